"""Disks of the board without room: named before the run, and no record lost in it."""

from __future__ import annotations

import contextlib
import dataclasses
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from targets.agent.records import Finished, Timed
from targets.errors import (
    NoSpace,
)
from targets.items import Item
from targets.provision.environment import BoardPython
from targets.session import run
from targets.target import Target
from tests.targets import conditions
from tests.targets.session.following import (
    after,
    collect,
    link,
    of,
)
from toolchain.bundle import Bundle


def test_lack_of_room_for_the_files_is_named_before_they_are_sent(
    tmp_path: Path, board: BoardPython, small: Bundle
) -> None:
    place = tmp_path / "small"
    place.mkdir()
    store = dataclasses.replace(board.store, root=str(place))
    (place / "objects").mkdir()
    big = dataclasses.replace(small, model=Item.of_bytes(bytes(12 << 20)))
    full = f"{conditions.small_file_system(place)}\nmkdir -p '{place}/objects'"
    with conditions.board(tmp_path, full) as target, link(target) as connection:
        there = dataclasses.replace(board, store=store)
        records, error = collect(run(connection, there, big, deadline=after()))
    assert records == []
    assert isinstance(error, NoSpace)
    assert str(place) in error.message


@contextlib.contextmanager
def small_disk(place: Path, size_kib: int) -> Iterator[Path]:
    """A disk of its own for our folder on the board."""
    conditions.needs_root_and("mount", "--version")
    place.mkdir()
    mounted = ["mount", "-t", "tmpfs", "-o", f"size={size_kib}k", "none", str(place)]
    if subprocess.run(mounted, capture_output=True, check=False).returncode:
        pytest.skip("no file system can be mounted here")
    try:
        yield place
    finally:
        subprocess.run(["umount", "-l", str(place)], check=True)


def moved(board: BoardPython, root: Path) -> BoardPython:
    """The same environment, seen from another folder of ours."""
    (root / "objects").mkdir(parents=True)
    (root / "envs").symlink_to(f"{board.store.root}/envs")
    return dataclasses.replace(board, store=dataclasses.replace(board.store, root=str(root)))


def fill(disk: Path) -> None:
    with contextlib.suppress(OSError), (disk / "filler").open("wb", buffering=0) as out:
        while True:
            out.write(bytes(4096))
    assert shutil.disk_usage(disk).free == 0


def test_a_disk_that_fills_in_the_run_costs_no_record(
    tmp_path: Path, noisy: Target, board: BoardPython, small: Bundle
) -> None:
    longer = dataclasses.replace(
        small, settings=dataclasses.replace(small.settings, timed_runs=2000)
    )
    with small_disk(tmp_path / "disk", 6 * 1024) as disk, link(noisy) as connection:
        there = moved(board, disk / "ours")
        seen = []
        for envelope in run(connection, there, longer, deadline=after()):
            seen.append(envelope)
            if len(seen) == 20:
                fill(disk)
        assert [timed.index for timed in of(seen, Timed)] == list(range(2000))
        assert isinstance(seen[-1].record, Finished)


def test_a_disk_without_room_for_what_a_run_tells_is_named_before_it_runs(
    tmp_path: Path, noisy: Target, board: BoardPython, small: Bundle
) -> None:
    with small_disk(tmp_path / "disk", 1536) as disk, link(noisy) as connection:
        there = moved(board, disk / "ours")
        records, error = collect(run(connection, there, small, deadline=after()))
    assert records == []
    assert isinstance(error, NoSpace)
    assert "no room to start a run" in error.message
