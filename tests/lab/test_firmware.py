"""Settings of boards across a real link: put in force, read back, put back byte for byte.

The guard is tried by what it is for: a run that is killed, a link that is cut, a power cut.
"""

from __future__ import annotations

import contextlib
import dataclasses
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from targets.deadline import Deadline
from targets.firmware import leftover, resolve
from targets.firmware.apply import Ours
from targets.firmware.diff import compare
from targets.firmware.lease import Lease
from targets.firmware.look import Board, look
from targets.firmware.resolve import Library, Settings, shipped
from targets.firmware.restore import restore
from targets.openssh import NO_CONFIG
from targets.privilege import Privilege
from targets.ssh import connect
from targets.target import Target
from tests.lab import boards as described
from tests.lab import hosts, machines, processes
from tests.lab.boards import BOARDS
from tests.lab.cli import Host
from tests.lab.conftest import board_called
from tests.lab.link import Link
from tests.lab.machines import Machine
from tests.lab.places import client_key
from tests.lab.test_machines import as_root, boot_id

KNOWN = Library(shipped())
PROFILES = ("benchmark", "field", "quiet")
# Of this machine's kernel, and not the board's: never changed from a host of the lab.
NOT_THE_BOARDS = {"swap.swappiness": "keep", "swap.disk": "keep", "swap.zram": "keep"}
MODES = ("15W", "25W", "MAXN_SUPER", "7W")


@pytest.fixture(autouse=True)
def own_settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HALFBYTE_CONFIG", str(tmp_path / "settings"))


@contextlib.contextmanager
def seen(address: str, known_hosts: Path, user: str = "root") -> Iterator[Board]:
    """A board, reached as that user and looked at."""
    target = Target(
        "board",
        address,
        user=user,
        key=client_key(),
        known_hosts=known_hosts,
        ssh_config=NO_CONFIG,
    )
    with connect(target, deadline=Deadline.after(120), accept_new=True) as connection:
        privilege = Privilege.of(connection, deadline=Deadline.after(60))
        yield look(connection, privilege, deadline=Deadline.after(200))


def settings(board: Board, profile: str, **more: str) -> Settings:
    """Of the board that it says it is, but for what belongs to this machine."""
    name = resolve.board_of(board.compatible, KNOWN, board.model)
    return resolve.resolve(KNOWN, name, profile, {**NOT_THE_BOARDS, **more})


def state(board: described.Board) -> dict[str, bytes]:
    """All that settings can change there, byte for byte, seen past SSH."""
    hardware = hosts.hardware(board)
    places = [
        *(hardware / "sys/devices/system/cpu/cpufreq").rglob("*"),
        *(hardware / "sys/class/devfreq").rglob("*"),
        *(hardware / "sys/class/hwmon").rglob("*"),
        hardware / "state" / "power-mode",
    ]
    return {str(path): path.read_bytes() for path in places if path.is_file()}


def wait_for(board: described.Board, wanted: dict[str, bytes], *, seconds: float) -> None:
    processes.wait("settings as they were", lambda: state(board) == wanted, seconds=seconds)


@pytest.fixture
def furnished(request: pytest.FixtureRequest, lab_is_up: None) -> Iterator[described.Board]:
    """A host of the lab, with a fan and, on the Jetson, names of power modes as real ones have."""
    board = board_called(getattr(request, "param", "pi-5"))
    fan = hosts.hardware(board) / "sys/class/hwmon/hwmon9"
    fan.mkdir(exist_ok=True)
    (fan / "name").write_text("pwmfan\n")
    (fan / "pwm1").write_text("75\n")
    if "nvpmodel" in board.tools:
        (hosts.hardware(board) / "state" / "power-mode").write_text("2\n")
        modes = "".join(f"< POWER_MODEL ID={n} NAME={name} >\\n" for n, name in enumerate(MODES))
        hosts.run_as_root(board, f"printf '{modes}' > /etc/nvpmodel.conf")
    yield board
    for path in (*fan.iterdir(), fan):
        path.unlink() if path.is_file() else path.rmdir()


@pytest.mark.parametrize("furnished", list(BOARDS), indirect=True)
def test_every_profile_is_put_in_force_read_back_and_put_back(
    furnished: described.Board, tmp_path: Path
) -> None:
    before = state(furnished)
    with seen(furnished.address, tmp_path / "known") as board:
        for profile in PROFILES:
            wanted = settings(board, profile)
            lease = Lease.take(board, wanted, deadline=Deadline.after(300), lease_s=300)
            assert lease.doubts == ()
            assert lease.applied.held
            rows = [item.row for item in lease.applied.after if item.row.wanted is not None]
            assert all(row.in_force for row in rows if row.key != "pi.config"), rows
            assert (state(furnished) != before) is any(d.changes for d in lease.applied.before)
            assert lease.end(deadline=Deadline.after(200)).why == "over"
            assert state(furnished) == before
    assert hosts.run_as_root(furnished, "ls -d /var/lib/halfbyte").stdout == ""


@pytest.mark.parametrize("furnished", ["jetson"], indirect=True)
def test_a_governor_is_set_and_put_back_for_each_policy(
    furnished: described.Board, tmp_path: Path
) -> None:
    """Two clusters that began with two governors have each its own again."""
    cpufreq = hosts.hardware(furnished) / "sys/devices/system/cpu/cpufreq"
    governor = cpufreq / "policy4" / "scaling_governor"
    own = governor.read_text()
    governor.write_text("conservative\n")
    try:
        before = state(furnished)
        with seen(furnished.address, tmp_path / "known") as board:
            wanted = settings(board, "field", **{"cpu.governor.policy4": "powersave"})
            lease = Lease.take(board, wanted, deadline=Deadline.after(300))
            assert (cpufreq / "policy0" / "scaling_governor").read_text() == "schedutil\n"
            assert governor.read_text() == "powersave\n"
            lease.end(deadline=Deadline.after(200))
        assert governor.read_text() == "conservative\n"
        assert state(furnished) == before
    finally:
        governor.write_text(own)


def test_without_root_what_could_not_be_set_says_so(furnished: described.Board, host: Host) -> None:
    before = state(furnished)
    keep = [word for key in NOT_THE_BOARDS for word in ("--set", f"{key}=keep")]
    words = ["firmware", "apply", furnished.name, *keep, "--accept-new", "--json"]
    done = host.halfbyte(*words)
    assert done.status == 8, done.stderr
    (governor,) = [d for d in done.value["doubts"] if d.startswith("cpu.governor")]
    assert governor == "cpu.governor of policy0 is ondemand, not performance (not permitted)"
    assert "NOPASSWD" in done.value["not_permitted"]["sudoers"]
    assert state(furnished) == before


def test_a_guard_puts_back_when_nobody_renews_and_not_before(
    furnished: described.Board, tmp_path: Path
) -> None:
    before = state(furnished)
    with seen(furnished.address, tmp_path / "known") as board:
        wanted = settings(board, "benchmark")
        lease = Lease.take(board, wanted, deadline=Deadline.after(300), lease_s=4)
        for _ in range(6):  # longer than the lease
            time.sleep(1)
            assert lease.renew()
        assert state(furnished) != before
        wait_for(furnished, before, seconds=30)
        assert look(board.connection, board.privilege, deadline=Deadline.after(100)).held is None
        assert not lease.renew()
        assert lease.end(deadline=Deadline.after(100)).why == "silence"


def test_a_guard_puts_back_when_the_run_is_killed(
    furnished: described.Board, tmp_path: Path
) -> None:
    """What runs on the board renews the lease, is killed by SIGKILL, and can say nothing more."""
    before = state(furnished)
    with seen(furnished.address, tmp_path / "known") as board:
        wanted = settings(board, "benchmark")
        lease = Lease.take(board, wanted, deadline=Deadline.after(300), lease_s=4)
        run = f'echo $$; while [ -e "{lease.path}" ]; do touch "{lease.path}"; sleep 0.5; done'
        with board.connection.start(run, deadline=Deadline.after(100)) as process:
            pid = int(process.readline(deadline=Deadline.after(30), limit=100))
            time.sleep(6)
            assert state(furnished) != before
            hosts.run_as_root(furnished, f"kill -{int(signal.SIGKILL)} {pid}")
            wait_for(furnished, before, seconds=30)


def test_a_guard_puts_back_when_the_link_is_cut_for_longer_than_the_lease(
    furnished: described.Board, tmp_path: Path
) -> None:
    before = state(furnished)
    link = Link(furnished.name)
    try:
        with seen(furnished.address, tmp_path / "known") as board:
            wanted = settings(board, "benchmark")
            lease = Lease.take(board, wanted, deadline=Deadline.after(300), lease_s=5)
            link.cut(seconds=2)  # shorter than the lease
            time.sleep(3)
            lease.renew(deadline=Deadline.after(30))
            assert state(furnished) != before
            link.cut()
            wait_for(furnished, before, seconds=30)
    finally:
        link.restore()


def test_a_guard_that_is_killed_itself_leaves_what_it_takes_to_put_back(
    furnished: described.Board, host: Host, tmp_path: Path
) -> None:
    before = state(furnished)
    with seen(furnished.address, tmp_path / "known") as board:
        wanted = settings(board, "benchmark")
        lease = Lease.take(board, wanted, deadline=Deadline.after(300), lease_s=300)
        hosts.run_as_root(furnished, "kill -9 $(cat /var/lib/halfbyte/guard)")
        assert lease.end(deadline=Deadline.after(100)).why == "leftover"
        assert state(furnished) == before
        Lease.take(board, wanted, deadline=Deadline.after(300), lease_s=300)
        hosts.run_as_root(furnished, "kill -9 $(cat /var/lib/halfbyte/guard)")
        again = look(board.connection, board.privilege, deadline=Deadline.after(100))
        assert again.held is not None
        assert not again.held.guard
        assert restore(again, deadline=Deadline.after(100)).why == "asked"
    assert state(furnished) == before


def test_settings_that_replace_others_go_back_to_what_was_before_both(
    furnished: described.Board, tmp_path: Path
) -> None:
    before = state(furnished)
    with seen(furnished.address, tmp_path / "known") as board:
        ours = Ours()
        for profile in ("benchmark", "quiet"):
            lease = Lease.take(
                board, settings(board, profile), deadline=Deadline.after(300), ours=ours
            )
            ours = Ours(holds=(lease.applied.id,))
            board = look(board.connection, board.privilege, deadline=Deadline.after(100))
        lease.end(deadline=Deadline.after(100))
    assert state(furnished) == before


def test_after_a_power_cut_a_machine_is_as_it_began(virt: Machine, tmp_path: Path) -> None:
    """Its own kernel, so that the value is real: how eagerly it swaps."""
    value = "cat /proc/sys/vm/swappiness"
    before, booted = as_root(virt, value), boot_id(virt)
    keep = {"cpu.governor": "keep", "swap.swappiness": 1}
    with seen(virt.address, tmp_path / "known") as board:
        wanted = resolve.resolve(KNOWN, "generic", "benchmark", keep)
        lease = Lease.take(board, wanted, deadline=Deadline.after(300), lease_s=300)
        assert lease.applied.held
        assert as_root(virt, value) == "1\n"
        machines.power_off(virt)
    machines.power_on(virt)
    assert boot_id(virt) not in ("", booted)
    assert as_root(virt, value) == before
    with seen(virt.address, tmp_path / "known") as board:
        assert board.held is not None
        assert board.held.restarted
        assert board.held.is_left_over
        told = leftover.put_back(board.connection, deadline=Deadline.after(200))
        assert told is not None
        assert "were put back now" in told
        after = look(board.connection, board.privilege, deadline=Deadline.after(100))
        assert after.held is None
        rows = [item.row for item in compare(wanted, after.seen)]
        assert [row.now for row in rows if row.key == "swap.swappiness"] == [before.strip()]
    assert as_root(virt, "ls /var/lib/halfbyte") == ""


SWAP_ON = """
dd if=/dev/zero of=/swap bs=1M count=16 2>/dev/null && chmod 600 /swap &&
echo 16M >/sys/block/zram0/disksize && mkswap /swap >/dev/null && mkswap /dev/zram0 >/dev/null &&
swapon -p 5 /swap && swapon -p 100 /dev/zram0 && cat /proc/swaps
"""
SWAP_GONE = "swapoff -a; rm -f /swap; echo 1 >/sys/block/zram0/reset"


def test_swap_on_disk_and_in_memory_is_switched_off_and_comes_back(
    virt: Machine, tmp_path: Path
) -> None:
    """A machine's own kernel: its areas are nobody else's."""
    before = as_root(virt, SWAP_ON)
    assert ("/swap" in before, "/dev/zram0" in before) == (True, True)
    off = {"cpu.governor": "keep", "swap.disk": "off", "swap.zram": "off"}
    try:
        with seen(virt.address, tmp_path / "known") as board:
            wanted = resolve.resolve(KNOWN, "generic", "benchmark", off)
            lease = Lease.take(board, wanted, deadline=Deadline.after(300), lease_s=300)
            assert len(as_root(virt, "cat /proc/swaps").splitlines()) == 1
            lease.end(deadline=Deadline.after(100))
        assert sorted(as_root(virt, "cat /proc/swaps").split()) == sorted(before.split())
    finally:
        as_root(virt, SWAP_GONE)


def test_the_board_is_told_by_its_device_tree_and_not_by_its_name(
    furnished: described.Board, tmp_path: Path
) -> None:
    with seen(furnished.address, tmp_path / "known") as board:
        misnamed = dataclasses.replace(board.connection.target, name="raspberry-pi-4")
        assert (
            misnamed.name
            != resolve.board_of(board.compatible, KNOWN, board.model)
            == "raspberry-pi-5"
        )
