"""Changes and guards that are killed, or are slow to say who they are: nothing is lost."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.targets.firmware import played
from tests.targets.firmware.asked import NVPMODEL, PERFORMANCE, looked, request
from tests.targets.firmware.played import GOVERNOR, Played


@pytest.mark.parametrize("dies", ["at once", "in the change"])
def test_what_a_killed_change_left_is_put_back(board: Played, dies: str) -> None:
    """A power mode takes seconds to set; whoever sets it may be killed meanwhile."""
    board.write("/mode", "0")
    board.tool("nvpmodel", NVPMODEL)
    process = board.start(request(board, 1, ("mode", "", "3"), PERFORMANCE, lease_s=1.0))
    played.wait("the change", (board.folder / "changing").exists)
    if dies == "in the change":
        time.sleep(1.5)  # longer than the lease, whose time does not run yet
        assert board.read("/mode") == "3"
    process.send_signal(signal.SIGKILL)
    process.wait()
    played.wait("the guard", lambda: looked(board, 1)["outcome"] is not None)
    assert looked(board, 1)["outcome"]["why"] == "silence"
    assert board.read("/mode") == "0"
    assert board.read(GOVERNOR) == "ondemand\n"


STANDS = """
import fcntl, os, sys, time
lock = os.open(sys.argv[1], os.O_RDWR | os.O_CREAT)
fcntl.flock(lock, fcntl.LOCK_EX)
print(flush=True)
time.sleep(1.0)
os.write(lock, (sys.argv[2] if len(sys.argv) > 2 else str(os.getpid())).encode())
time.sleep(60)
"""
STOPS = """
import sys
from targets.provision.on_board import keeping
from targets.provision.on_board.place import Place
keeping._SAY_S = 3.0
keeping.stop_guard(Place(sys.argv[1], as_root=False))
"""


@pytest.mark.parametrize("says", ["", "0", "one"])
def test_a_guard_that_has_yet_to_say_who_it_is_is_waited_for(tmp_path: Path, says: str) -> None:
    """Its file is empty at first; `kill 0` would end whoever wanted to stop it."""
    words = [sys.executable, "-c", STANDS, str(tmp_path / "guard"), *([says] if says else [])]
    with subprocess.Popen(words, stdout=subprocess.PIPE) as guard:
        assert guard.stdout is not None
        guard.stdout.readline()
        stopped = subprocess.run(
            [sys.executable, "-c", STOPS, str(tmp_path)],
            start_new_session=True,  # so that a failure ends nothing else
            capture_output=True,
            text=True,
            timeout=30,
        )
        if not says:
            assert (stopped.returncode, guard.wait(timeout=10)) == (0, -signal.SIGKILL)
        else:
            assert stopped.returncode == 1
            assert "does not say which process it is" in stopped.stderr
            guard.kill()
