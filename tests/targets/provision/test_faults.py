"""What goes wrong while a board is provisioned: what the user is told, when, and what is kept.

docs/reliability.md has a row for each.
"""

from __future__ import annotations

import contextlib
import dataclasses
import os
import shutil
import subprocess
import threading
from collections.abc import Iterator
from contextlib import AbstractContextManager
from pathlib import Path

import pytest

from targets import loopback
from targets.deadline import Deadline
from targets.errors import (
    BoardBusy,
    ChecksumMismatch,
    CommandFailed,
    CorruptUpload,
    FetchError,
    HalfbyteError,
    NoMemory,
    NoSpace,
)
from targets.loopback import base_python
from targets.packages import cached_place
from targets.progress import SILENT, Task
from targets.provision.catalogue import catalogue
from targets.provision.environment import BoardPython, clean, look, provision
from targets.provision.wheels import parcels
from targets.ssh import Connection, connect
from tests.targets import conditions, servers


def soon() -> Deadline:
    return Deadline.after(120)


@pytest.fixture(autouse=True)
def _settings(own_settings: Path) -> None:
    pass


@contextlib.contextmanager
def small_home(folder: Path, size: str) -> Iterator[Path]:
    """A home folder that is a file system of its own, of that size."""
    conditions.needs_root_and("unshare", "-m", "mount", "-t", "tmpfs", "none", "/mnt")
    home = servers.awkward_home(folder)
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}", "none", home], check=True)
    try:
        yield home
    finally:
        subprocess.run(["umount", "-l", home], check=True)


@contextlib.contextmanager
def link(home: Path, **more: str) -> Iterator[Connection]:
    with (
        loopback.started(home=home) as target,
        connect(dataclasses.replace(target, **more), deadline=soon()) as connection,  # type: ignore[arg-type]
    ):
        yield connection


@pytest.fixture
def board(tmp_path: Path) -> Iterator[Connection]:
    with link(servers.awkward_home(tmp_path)) as connection:
        yield connection


@pytest.fixture
def wanted(board: Connection) -> BoardPython:
    """What this board would get; every wheel of it is in the cache."""
    found, _ = look(board, deadline=soon())
    parcels(found.runtime.wheels)
    return found


def files_below(home: Path) -> set[str]:
    return {path.name for path in home.rglob("*") if path.is_file()}


def wheelhouse(folder: Path, wanted: BoardPython) -> Path:
    folder.mkdir()
    for wheel in wanted.runtime.wheels:
        shutil.copy(cached_place(wheel.filename, wheel.sha256), folder / wheel.filename)
    return folder


# Room and memory


def test_a_home_without_room_is_told_in_bytes_and_nothing_is_sent(
    tmp_path: Path, wanted: BoardPython
) -> None:
    needed = sum(p.item.size_bytes + p.unpacked_bytes for p in parcels(wanted.runtime.wheels))
    with small_home(tmp_path / "small", "40m") as home, link(home) as connection:
        with pytest.raises(NoSpace, match=r"[\d,]+ bytes are needed, [\d,]+ are free") as caught:
            provision(connection, deadline=soon())
        assert f"{needed + (16 << 20):,}" in caught.value.message
        assert str(home) in caught.value.message
        assert files_below(home) == set()


class _FillsUp:
    """Progress that lets another program take the room just as the unpacking begins."""

    def __init__(self, home: Path, left_bytes: int) -> None:
        self.home, self.left_bytes = home, left_bytes

    def task(
        self, label: str, total: float | None = None, unit: str = ""
    ) -> AbstractContextManager[Task]:
        if label.startswith("Unpacking"):
            room = os.statvfs(self.home)
            with (self.home / "another's").open("wb") as stream:
                os.posix_fallocate(
                    stream.fileno(), 0, room.f_bavail * room.f_frsize - self.left_bytes
                )
        return SILENT.task(label, total, unit)


def test_room_that_ends_while_unpacking_leaves_no_half_environment(
    tmp_path: Path, wanted: BoardPython
) -> None:
    with small_home(tmp_path / "small", "400m") as home, link(home) as connection:
        with pytest.raises(NoSpace, match=r"ran out of room on .* while unpacking") as caught:
            provision(connection, deadline=soon(), progress=_FillsUp(home, 20 << 20))
        assert str(home) in caught.value.message
        assert not list((home / ".halfbyte" / "envs").glob("*/"))
        (home / "another's").unlink()
        again = provision(connection, deadline=soon())
        assert again.made
        assert again.sent_bytes == 0  # the wheels that had arrived were kept


def test_a_home_that_cannot_be_written_is_told_with_the_setting_that_helps(tmp_path: Path) -> None:
    with small_home(tmp_path / "small", "400m") as home, loopback.started(home=home) as target:
        subprocess.run(["mount", "-o", "remount,ro", home], check=True)
        with connect(target, deadline=soon()) as connection:
            with pytest.raises(CommandFailed, match="Read-only file system") as caught:
                provision(connection, deadline=soon())
            assert "`root`" in caught.value.hint
        elsewhere = dataclasses.replace(target, root=str(tmp_path / "elsewhere"))
        with connect(elsewhere, deadline=soon()) as connection:
            assert provision(connection, deadline=soon()).made


def test_lack_of_memory_is_told_in_bytes_and_nothing_is_sent(tmp_path: Path) -> None:
    conditions.needs_root_and("unshare", "-m", "true")
    meminfo = tmp_path / "meminfo"
    meminfo.write_text("MemTotal: 60000 kB\nMemAvailable: 20000 kB\nSwapFree: 1000 kB\n")
    mounted = f"""
if [ -z "$MOUNTED" ]; then
  export MOUNTED=1
  exec unshare -m /bin/sh -c 'mount --bind "$1" /proc/meminfo && shift && exec "$@"' \\
    sh '{meminfo}' "$0" "$@"
fi"""
    with (
        conditions.board(tmp_path, mounted) as target,
        connect(target, deadline=soon()) as connection,
        pytest.raises(NoMemory, match="67,108,864 bytes are needed, 21,504,000 are free"),
    ):
        provision(connection, deadline=soon())
    assert files_below(servers.awkward_home(tmp_path)) == set()


# Wheels that are not the right ones


def test_a_wheelhouse_for_another_processor_is_told_what_it_has(
    tmp_path: Path, board: Connection, wanted: BoardPython
) -> None:
    runtime = wanted.runtime.wheels[0]
    other = next(
        wheel
        for wheel in catalogue().of(runtime.project, runtime.version)
        if not wanted.interpreter.fits(wheel.filename)
    )
    house = wheelhouse(tmp_path / "house", wanted)
    (house / runtime.filename).rename(house / other.filename)
    with pytest.raises(FetchError) as caught:
        provision(board, wheelhouse=house, deadline=soon())
    assert f"lacks {runtime.filename}" in caught.value.message
    assert f"It has {other.filename}: for another board" in caught.value.message


def test_a_wheel_for_another_processor_under_the_right_name_is_not_sent(
    tmp_path: Path, board: Connection, wanted: BoardPython
) -> None:
    house = wheelhouse(tmp_path / "house", wanted)
    first, second = (house / wheel.filename for wheel in wanted.runtime.wheels[:2])
    shutil.copy(second, first)
    with pytest.raises(ChecksumMismatch, match="Nothing was sent") as caught:
        provision(board, wheelhouse=house, deadline=soon())
    assert wanted.runtime.wheels[0].sha256 in caught.value.message
    assert files_below(Path(wanted.store.root)) == set()


def test_a_wheel_with_one_bit_changed_is_not_sent(
    tmp_path: Path, board: Connection, wanted: BoardPython
) -> None:
    house = wheelhouse(tmp_path / "house", wanted)
    path = house / wanted.runtime.wheels[-1].filename
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    with pytest.raises(ChecksumMismatch, match="Nothing was sent"):
        provision(board, wheelhouse=house, deadline=soon())
    assert files_below(Path(wanted.store.root)) == set()


class _Tampers:
    """Progress that lets somebody change the wheels on the board after they arrived."""

    def __init__(self, objects: Path, times: int) -> None:
        self.objects, self.left = objects, times

    def task(
        self, label: str, total: float | None = None, unit: str = ""
    ) -> AbstractContextManager[Task]:
        if label.startswith("Unpacking") and self.left:
            self.left -= 1
            for path in self.objects.iterdir():
                data = bytearray(path.read_bytes())
                data[len(data) // 2] ^= 1
                path.write_bytes(data)
        return SILENT.task(label, total, unit)


def test_a_wheel_changed_on_the_board_is_never_unpacked(
    board: Connection, wanted: BoardPython
) -> None:
    tampers = _Tampers(Path(wanted.store.objects), times=1)
    made = provision(board, deadline=soon(), progress=tampers)
    sizes = sum(parcel.item.size_bytes for parcel in parcels(wanted.runtime.wheels))
    assert made.made
    assert made.sent_bytes > sizes  # what was changed came once more


def test_a_wheel_that_is_changed_again_and_again_is_an_error(
    board: Connection, wanted: BoardPython
) -> None:
    with pytest.raises(CorruptUpload, match="is not what was sent"):
        provision(board, deadline=soon(), progress=_Tampers(Path(wanted.store.objects), times=9))
    assert not list(Path(wanted.store.root, "envs").glob("*/"))


# Two at once, and cleaning up


def test_two_hosts_that_provision_one_board_at_once_both_succeed(tmp_path: Path) -> None:
    made: list[BoardPython] = []
    with loopback.started(home=servers.awkward_home(tmp_path)) as target:

        def host() -> None:
            with connect(target, deadline=soon()) as connection:
                made.append(provision(connection, deadline=soon()))

        hosts = [threading.Thread(target=host) for _ in range(2)]
        for one in hosts:
            one.start()
        for one in hosts:
            one.join()
        assert len(made) == 2
        assert made[0].versions == made[1].versions
        with connect(target, deadline=soon()) as connection:
            assert not provision(connection, deadline=soon()).made
            objects = connection.run(["ls", made[0].store.objects], deadline=soon()).stdout
    assert objects == b""


def test_clean_leaves_nothing_and_says_how_much_it_was(board: Connection) -> None:
    made = provision(board, deadline=soon())
    assert clean(board, deadline=soon()) > made.size_bytes
    home = Path(made.store.root).parent
    assert list(home.iterdir()) == []


def test_clean_needs_no_python(tmp_path: Path) -> None:
    with conditions.board(tmp_path, conditions.only_path(tmp_path)) as target:
        without = dataclasses.replace(target, python=None)
        with connect(without, deadline=soon()) as connection:
            ours = tmp_path / servers.AWKWARD_HOME / ".halfbyte"
            (ours / "objects").mkdir(parents=True)
            (ours / "objects" / "a").write_bytes(bytes(100_000))
            assert clean(connection, deadline=soon()) >= 98_304
            assert not ours.exists()


@pytest.mark.parametrize("root", ["~", "~/", "~/mine", "/"])
def test_a_folder_of_somebody_elses_files_is_never_taken_for_ours(
    tmp_path: Path, root: str
) -> None:
    home = servers.awkward_home(tmp_path)
    (home / "mine" / "runs").mkdir(parents=True)
    (home / "mine" / "runs" / "diary").write_text("precious")
    mode = home.stat().st_mode
    with link(home, root=root) as connection:
        with pytest.raises(CommandFailed, match="no folder for us"):
            provision(connection, deadline=soon())
        with pytest.raises(CommandFailed, match="no folder for us"):
            clean(connection, deadline=soon())
    assert (home / "mine" / "runs" / "diary").read_text() == "precious"
    assert home.stat().st_mode == mode


def test_settings_still_in_force_are_not_forgotten_by_cleaning(board: Connection) -> None:
    found, _ = look(board, deadline=soon())
    held = Path(found.store.root, "firmware")
    held.mkdir()
    (held / "backup.json").write_text("{}")
    with pytest.raises(BoardBusy, match="still in force") as caught:
        clean(board, deadline=soon())
    assert "halfbyte firmware restore" in caught.value.hint
    assert (held / "backup.json").exists()


# A board that answers, but not what was asked


def _answering(folder: Path, answer: str) -> str:
    """A Python that says what it is, and to all else that is asked of it just `answer`."""
    path = folder / "python3"
    path.write_text(f"""#!/bin/sh
case "$*" in
  *"import fcntl, hashlib, json"*) exit 0 ;;
esac
if [ "$1" = -E ]; then
  {base_python()} "$@" | sed 's|"executable": "[^"]*"|"executable": "{path}"|'
else
  cat >/dev/null; echo '{answer}'
fi
""")
    path.chmod(0o755)
    return str(path)


ROOM = '"free_bytes": 1, "free_inodes": null, "mount": "/", "available_bytes": null'


@pytest.mark.parametrize(
    "answer",
    [
        "{}",
        f'{{{ROOM}, "stamp": 1}}',
        f'{{{ROOM}, "stamp": {{"versions": [], "size_bytes": 1}}}}',
        f'{{{ROOM}, "stamp": {{"versions": {{"numpy": 1}}, "size_bytes": 1}}}}',
        f'{{{ROOM}, "stamp": {{"versions": {{"numpy": "1"}}, "size_bytes": "x"}}}}',
        f'{{{ROOM.replace("1", "true")}, "stamp": null}}',
        f'{{{ROOM.replace("null", "[]")}, "stamp": null}}',
    ],
)
def test_an_answer_on_the_environment_of_another_shape_is_an_error(
    tmp_path: Path, answer: str
) -> None:
    python = _answering(tmp_path, answer)
    with (
        link(servers.awkward_home(tmp_path), python=python) as connection,
        pytest.raises(CommandFailed, match="says of its environment is not understood"),
    ):
        look(connection, deadline=soon())


@pytest.mark.parametrize("answer", ['{"removed_bytes": "many"}', '{"removed_bytes": -1}', "{}"])
def test_an_answer_on_cleaning_of_another_shape_is_an_error(tmp_path: Path, answer: str) -> None:
    python = _answering(tmp_path, answer)
    with (
        link(servers.awkward_home(tmp_path), python=python) as connection,
        pytest.raises(CommandFailed, match="not understood"),
    ):
        clean(connection, deadline=soon())


@pytest.mark.parametrize("problem", ["corrupt", "no-space", "bad-wheel", "import-failed", "?"])
def test_a_refusal_without_its_particulars_is_still_an_error_of_ours(
    tmp_path: Path, problem: str
) -> None:
    python = _answering(tmp_path, f'{{"problem": "{problem}"}}')
    with (
        link(servers.awkward_home(tmp_path), python=python) as connection,
        pytest.raises(HalfbyteError),
    ):
        look(connection, deadline=soon())
