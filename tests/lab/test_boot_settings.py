"""Boot settings on a machine that plays a Pi: real restarts and a real FAT partition, while the
firmware that reads config.txt or tryboot.txt is a stand-in (tests/lab/stand_in_firmware.py).
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from targets.deadline import Deadline
from targets.errors import Unreachable
from targets.firmware import boot, resolve
from targets.firmware.boot import Plan
from targets.firmware.diff import compare
from targets.firmware.look import Board
from tests.lab import stand_in_firmware as firmware
from tests.lab.machines import Machine
from tests.lab.test_firmware import KNOWN, seen
from tests.lab.test_machines import as_root

CONFIG = "/boot/firmware/config.txt"


@pytest.fixture(autouse=True)
def own_settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HALFBYTE_CONFIG", str(tmp_path / "settings"))


@pytest.fixture
def pi(virt: Machine, tmp_path: Path) -> Iterator[Machine]:
    if shutil.which("mkfs.vfat") is None or shutil.which("mcopy") is None:
        pytest.skip("mkfs.vfat and mcopy are not installed (Debian: dosfstools, mtools)")
    with firmware.played(virt, tmp_path):
        yield virt


def planned(board: Board) -> Plan:
    wanted = resolve.resolve(KNOWN, "raspberry-pi-3", "benchmark")
    rows = [d for d in compare(wanted, board.seen) if d.row.key == "pi.config"]
    assert [(d.row.where, d.row.now, d.row.wanted) for d in rows] == [
        (f"{CONFIG}, gpu_mem", "gpu_mem=76", "gpu_mem=32")
    ]
    plan = boot.plan(board, wanted)
    assert plan is not None
    assert plan.path == CONFIG  # and not /boot/config.txt, which nothing reads
    assert "+gpu_mem=32" in plan.diff
    return plan


def test_a_board_that_comes_back_keeps_its_new_file_and_gives_it_back(
    pi: Machine, tmp_path: Path
) -> None:
    with seen(pi.address, tmp_path / "known") as board:
        told: list[str] = []
        plan = planned(board)
        back = boot.try_out(board, plan, deadline=Deadline.after(500), tell=told.append)
        assert len(told) == 2
        assert as_root(pi, "vcgencmd get_config gpu_mem") == "gpu_mem=32\n"
        changed = firmware.file_there(pi, CONFIG)
        assert changed.startswith(firmware.CONFIG)
        assert changed.endswith(b"gpu_mem=32\r\n# <<< halfbyte\r\n")
        assert firmware.file_there(pi, "/boot/firmware/tryboot.txt") == b""
        assert firmware.file_there(pi, "/boot/config.txt") == firmware.NOTE.encode()
        assert back.boot_changed
        boot.put_back(back, deadline=Deadline.after(100))
    assert firmware.file_there(pi, CONFIG) == firmware.CONFIG
    assert as_root(pi, "ls /var/lib/halfbyte") == ""


def test_a_board_that_does_not_come_back_boots_its_old_file(
    pi: Machine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    as_root(pi, "touch /root/stand-in/hangs; sync")
    monkeypatch.setattr(boot, "BACK_S", 20.0)
    with seen(pi.address, tmp_path / "known") as board, pytest.raises(Unreachable) as caught:
        boot.try_out(board, planned(board), deadline=Deadline.after(500), tell=str)
    assert "Unplug it" in caught.value.hint
    firmware.unplug_and_plug_in(pi)
    assert firmware.file_there(pi, CONFIG) == firmware.CONFIG
    assert as_root(pi, "vcgencmd get_config gpu_mem") == "gpu_mem=76\n"
    with seen(pi.address, tmp_path / "known") as board:
        assert board.boot_changed
        boot.put_back(board, deadline=Deadline.after(100))
    assert firmware.file_there(pi, CONFIG) == firmware.CONFIG
    assert firmware.file_there(pi, "/boot/firmware/tryboot.txt") == b""
