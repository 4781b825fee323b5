"""What the program that runs as root does to config.txt, on folders of a test."""

from __future__ import annotations

import hashlib
import json
import resource
from pathlib import Path
from typing import Any

import pytest

from targets.firmware import boot
from targets.firmware.boot import Plan
from targets.firmware.config_txt import with_block, without_block
from targets.provision.on_board import boot_file
from targets.provision.on_board.knobs import Refused

OLD = b"gpu_mem=76\r\n"
NEW = "gpu_mem=76\r\n# >>> halfbyte\r\ngpu_mem=32\r\n"


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Only the two paths differ from a board's."""
    place = tmp_path / "firmware"
    place.mkdir()
    (place / "config.txt").write_bytes(OLD)
    monkeypatch.setattr(boot_file, "BACKUP", str(tmp_path / "kept" / "boot.json"))
    monkeypatch.setattr(boot_file, "_folder", lambda path: path)
    return place


def asked(folder: Path, **more: Any) -> dict[str, Any]:
    return {"folder": str(folder), "seen_sha256": sha256(OLD), "text": NEW, **more}


def test_a_trial_leaves_the_old_file_alone(folder: Path) -> None:
    boot_file.prepare(asked(folder))
    assert (folder / "config.txt").read_bytes() == OLD
    assert (folder / "tryboot.txt").read_bytes() == NEW.encode()
    boot_file.settle(asked(folder, keep=False))
    assert [path.name for path in folder.iterdir()] == ["config.txt"]
    assert boot_file.backup() is None


def test_what_came_back_is_kept_and_goes_back_byte_for_byte(folder: Path) -> None:
    boot_file.prepare(asked(folder))
    boot_file.settle(asked(folder, keep=True))
    assert (folder / "config.txt").read_bytes() == NEW.encode()
    request = {"seen_sha256": sha256(NEW.encode()), "unmarked_sha256": sha256(OLD), "text": "x"}
    assert boot_file.put_back(request) == {"restored": True, "others": False}
    assert (folder / "config.txt").read_bytes() == OLD
    assert boot_file.backup() is None


def test_what_somebody_changed_meanwhile_stays(folder: Path) -> None:
    boot_file.prepare(asked(folder))
    boot_file.settle(asked(folder, keep=True))
    theirs = NEW.encode() + b"enable_uart=1\r\n"
    (folder / "config.txt").write_bytes(theirs)
    text = "gpu_mem=76\r\nenable_uart=1\r\n"
    unmarked = sha256(text.encode())
    request = {"seen_sha256": sha256(theirs), "unmarked_sha256": unmarked, "text": text}
    assert boot_file.put_back(request)["others"] is True
    assert (folder / "config.txt").read_bytes() == text.encode()


def test_a_file_that_is_not_the_one_seen_is_not_touched(folder: Path) -> None:
    (folder / "config.txt").write_bytes(OLD + b"# newer\r\n")
    with pytest.raises(Refused, match="changed meanwhile"):
        boot_file.prepare(asked(folder))
    assert not (folder / "tryboot.txt").exists()


def test_somebody_elses_trial_is_not_overwritten(folder: Path) -> None:
    (folder / "tryboot.txt").write_text("os_prefix=new/\n")
    with pytest.raises(Refused, match="something else"):
        boot_file.prepare(asked(folder))


@pytest.mark.parametrize("path", ["/etc", "/boot/../etc", "/boot/firmware/.."])
def test_only_a_mounted_firmware_partition_will_do(path: str) -> None:
    with pytest.raises(Refused, match="no firmware partition"):
        boot_file._folder(path)


LATIN = b"# M\xfcller, \xc3\xa9t\xc3\xa9\r\ngpu_mem=76\r\n"


def test_a_byte_that_is_not_utf_8_is_kept(folder: Path) -> None:
    """As the board says it, as the host plans with it, and back."""
    (folder / "config.txt").write_bytes(LATIN)
    text = json.loads(json.dumps(LATIN.decode("utf-8", "surrogateescape")))
    changed = with_block(text, ["gpu_mem=32"])
    plan = Plan(f"{folder}/config.txt", text, changed, ("gpu_mem=32",))
    assert plan.diff.encode()  # it can be shown
    boot_file.prepare({"folder": str(folder), "seen_sha256": sha256(LATIN), "text": changed})
    tried = (folder / "tryboot.txt").read_bytes()
    assert tried.startswith(LATIN)
    assert b"gpu_mem=32" in tried
    request = {"folder": str(folder), "seen_sha256": boot._sha256(text), "text": changed}
    boot_file.settle({**request, "keep": True})
    now = changed.encode("utf-8", "surrogateescape")
    asked_back = {
        "seen_sha256": sha256(now),
        "unmarked_sha256": boot._sha256(without_block(changed)),
        "text": without_block(changed),
    }
    assert boot_file.put_back(asked_back) == {"restored": True, "others": False}
    assert (folder / "config.txt").read_bytes() == LATIN


def test_nothing_of_ours_stays_on_a_full_partition(folder: Path) -> None:
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (500, before[1]))
    try:
        with pytest.raises(OSError, match="large"):
            boot_file.prepare(asked(folder, text=NEW + "#" * 2000))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert [path.name for path in folder.iterdir()] == ["config.txt"]
