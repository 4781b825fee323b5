"""The program that makes an environment, run by real interpreters on hand-made wheels."""

from __future__ import annotations

import base64
import hashlib
import json
import os
import stat
import subprocess
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from targets.loopback import base_python
from targets.provision import on_board

PLAIN = {"toy/__init__.py": b'__version__ = "1.5"\n', "toy/data.bin": bytes(range(256))}


def record(files: Mapping[str, bytes]) -> bytes:
    rows = []
    for name, data in files.items():
        digest = base64.urlsafe_b64encode(hashlib.sha256(data).digest()).rstrip(b"=").decode()
        rows.append(f"{name},sha256={digest},{len(data)}")
    return "\n".join([*rows, "toy-1.5.dist-info/RECORD,,"]).encode()


def wheel(
    folder: Path, files: Mapping[str, bytes] = PLAIN, listed: bytes | None = None
) -> dict[str, str]:
    """A wheel in the board's store, as a request names it."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "wheel"
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in files.items():
            archive.writestr(name, data)
        archive.writestr("toy-1.5.dist-info/RECORD", record(files) if listed is None else listed)
    return named(path)


def named(path: Path) -> dict[str, str]:
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    return {"name": "toy-1.5-py3-none-any.whl", "path": str(path), "sha256": digest}


def tell(root: Path, do: str, python: str | None = None, **more: Any) -> dict[str, Any]:
    request = {"do": do, "root": str(root), "key": "abc", "board_folders": [], **more}
    words, stdin = on_board.invocation("environment", python or base_python(), request)
    done = subprocess.run(words, input=stdin, capture_output=True, check=False, timeout=60)
    assert done.returncode == 0, done.stderr.decode()
    answer = json.loads(done.stdout)
    assert isinstance(answer, dict)
    return answer


def make(root: Path, *wheels: dict[str, str], imports: tuple[str, ...] = ("toy",)) -> Any:
    return tell(root, "make", wheels=list(wheels), imports=list(imports))


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "a root's folder"


def test_an_environment_is_unpacked_imported_and_seen_again(root: Path) -> None:
    assert tell(root, "look")["stamp"] is None
    made = make(root, wheel(root / "objects"))["stamp"]
    assert made["versions"] == {"toy": "1.5"}
    assert tell(root, "look")["stamp"] == made
    assert (root / "envs/abc/toy/data.bin").read_bytes() == PLAIN["toy/data.bin"]


def test_nobody_else_may_look_into_it(root: Path) -> None:
    tell(root, "look")
    make(root, wheel(root / "objects"))
    assert stat.S_IMODE(root.stat().st_mode) == 0o700
    for path in (root / "envs").rglob("*"):
        assert stat.S_IMODE(path.stat().st_mode) & 0o077 == 0


def test_the_wheels_are_gone_once_they_are_unpacked(root: Path) -> None:
    make(root, wheel(root / "objects"))
    assert list((root / "objects").iterdir()) == []


def test_what_the_board_has_room_for_is_told(root: Path) -> None:
    seen = tell(root, "look")
    assert seen["free_bytes"] > 0
    assert os.path.ismount(seen["mount"])


@pytest.mark.parametrize(
    "spoil",
    [
        lambda env: (env / "halfbyte-environment.json").unlink(),
        lambda env: (env / "halfbyte-environment.json").write_text("{"),
        lambda env: (env / "toy/data.bin").unlink(),
        lambda env: (env / "toy/data.bin").write_bytes(b"short"),
        lambda env: env.rename(env.with_name("abc.part")),
    ],
    ids=["no stamp", "half a stamp", "a file is missing", "half a file", "never renamed"],
)
def test_a_half_made_environment_is_recognised_and_made_again(
    root: Path, spoil: Callable[[Path], object]
) -> None:
    make(root, wheel(root / "objects"))
    spoil(root / "envs/abc")
    assert tell(root, "look")["stamp"] is None
    make(root, wheel(root / "objects"))
    assert tell(root, "look")["stamp"]["versions"] == {"toy": "1.5"}
    assert {path.name for path in (root / "envs").iterdir()} == {"abc", "abc.lock"}


def test_two_that_make_it_at_once_do_not_disturb_each_other(root: Path) -> None:
    request = {
        "do": "make", "root": str(root), "key": "abc", "board_folders": [], "imports": ["toy"],
        "wheels": [wheel(root / "objects")],
    }  # fmt: skip
    words, stdin = on_board.invocation("environment", base_python(), request)
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    makers = [subprocess.Popen(words, **pipes) for _ in range(3)]  # type: ignore[call-overload]
    for maker in makers:
        maker.stdin.write(stdin)
        maker.stdin.close()
    answers = [json.loads(maker.stdout.read()) for maker in makers]
    assert [maker.wait(60) for maker in makers] == [0, 0, 0]
    assert [answer["stamp"]["versions"] for answer in answers] == [{"toy": "1.5"}] * 3
    for maker in makers:
        maker.stdout.close()


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("../outside.py", "outside"),
        ("toy/../../outside.py", "outside"),
        ("/outside.py", "outside"),
        ("toy\\outside.py", "outside"),
        ("toy//outside.py", "outside"),
        ("toy-1.5.data/scripts/outside.py", "outside"),
        ("halfbyte-environment.json", "halfbyte-environment"),
    ],
)
def test_a_member_that_would_land_elsewhere_is_refused(
    root: Path, tmp_path: Path, name: str, why: str
) -> None:
    answer = make(root, wheel(root / "objects", {**PLAIN, name: b"x"}))
    assert answer["problem"] == "bad-wheel"
    assert why in answer["detail"]
    assert not list(tmp_path.rglob("outside.py"))
    assert not (root / "envs/abc").exists()
    assert not (root / "envs/abc.part").exists()


def test_a_link_in_a_wheel_is_refused(root: Path) -> None:
    path = root / "objects" / "wheel"
    wheel(root / "objects")
    info = zipfile.ZipInfo("toy/link")
    info.external_attr = (stat.S_IFLNK | 0o777) << 16
    files = {**PLAIN, "toy/link": b"/etc/passwd"}
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in PLAIN.items():
            archive.writestr(name, data)
        archive.writestr(info, b"/etc/passwd")
        archive.writestr("toy-1.5.dist-info/RECORD", record(files))
    assert make(root, named(path))["problem"] == "bad-wheel"


@pytest.mark.parametrize(
    ("listed", "says"),
    [
        (record({**PLAIN, "toy/data.bin": b"other"}), "RECORD says"),
        (record({"toy/__init__.py": PLAIN["toy/__init__.py"]}), "a member called"),
    ],
)
def test_bytes_that_the_publisher_does_not_vouch_for_are_refused(
    root: Path, listed: bytes, says: str
) -> None:
    answer = make(root, wheel(root / "objects", listed=listed))
    assert answer["problem"] == "bad-wheel"
    assert says in answer["detail"]


def test_a_changed_wheel_is_named(root: Path) -> None:
    good = wheel(root / "objects")
    Path(good["path"]).write_bytes(b"PK something else")
    assert make(root, good) == {"problem": "corrupt", "path": good["path"]}


def test_a_wheel_that_is_no_archive_is_refused(root: Path) -> None:
    (root / "objects").mkdir(parents=True)
    (root / "objects/wheel").write_bytes(b"no zip at all")
    assert make(root, named(root / "objects/wheel"))["problem"] == "bad-wheel"


def test_an_environment_that_cannot_be_imported_is_not_kept(root: Path) -> None:
    broken = {"toy/__init__.py": b'raise ImportError("libstdc++.so.6: no such file")\n'}
    answer = make(root, wheel(root / "objects", broken))
    assert answer["problem"] == "import-failed"
    assert "libstdc++.so.6" in answer["detail"]
    assert not (root / "envs/abc").exists()


def test_an_import_that_crashes_says_by_which_signal(root: Path) -> None:
    broken = {"toy/__init__.py": b"import os, signal\nos.kill(os.getpid(), signal.SIGILL)\n"}
    answer = make(root, wheel(root / "objects", broken))
    assert (answer["problem"], answer["signal"]) == ("import-failed", 4)


def test_packages_of_the_interpreter_itself_stay_out_of_sight(root: Path) -> None:
    assert make(root, wheel(root / "objects"), imports=("toy", "pip"))["problem"] == "import-failed"


def cleaned(root: Path) -> dict[str, Any]:
    ours = ["envs", "objects", "runs", "tmp", "firmware"]
    return tell(root, "clean", ours=ours, roots_folder=str(root.parent / "root's"))


def roots_backup(root: Path, text: str) -> None:
    """What root keeps of a hold, and a lease of that name in our folder."""
    (root / "firmware").mkdir(parents=True)
    (root / "firmware" / "lease-1").touch()
    (root.parent / "root's").mkdir()
    (root.parent / "root's" / "backup.json").write_text(text)


def test_a_hold_that_root_guards_is_not_ended_by_cleaning(root: Path) -> None:
    lease = root / "firmware" / "lease-1"
    roots_backup(root, json.dumps({"lease": str(lease)}))
    assert cleaned(root)["problem"] == "settings-held"
    assert lease.exists()


@pytest.mark.parametrize("text", ["{", "[]", "{}", '{"lease": 1}'])
def test_nothing_is_cleaned_where_nobody_can_tell_whose_hold_it_is(root: Path, text: str) -> None:
    roots_backup(root, text)
    assert cleaned(root)["problem"] == "settings-held"
    assert (root / "firmware" / "lease-1").exists()


def test_a_hold_of_another_user_is_not_in_the_way(root: Path) -> None:
    roots_backup(root, json.dumps({"lease": "/home/ada/.halfbyte/firmware/lease-1"}))
    cleaned(root)
    assert not root.exists()


def test_clean_removes_what_is_ours_and_nothing_else(root: Path) -> None:
    make(root, wheel(root / "objects"))
    (root / "holiday.jpg").write_bytes(b"precious")
    told = cleaned(root)
    assert told["removed_bytes"] > 256
    assert [path.name for path in root.iterdir()] == ["holiday.jpg"]
    (root / "holiday.jpg").unlink()
    cleaned(root)
    assert not root.exists()


@pytest.mark.parametrize("name", ["3.8.18", "3.9.18", "3.12.1", "3.13.0"])
def test_other_interpreters_make_it_too(root: Path, name: str) -> None:
    python = Path.home() / ".pyenv" / "versions" / name / "bin" / "python3"
    if not python.exists():
        pytest.skip(f"no Python {name} on this machine")
    wheels = [wheel(root / "objects")]
    made = tell(root, "make", str(python), wheels=wheels, imports=["toy"])
    assert made["stamp"]["versions"] == {"toy": "1.5"}
