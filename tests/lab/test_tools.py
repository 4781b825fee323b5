"""The lab's own parts: board tools keep state as real ones do, and links do what they are told."""

from __future__ import annotations

import re
import subprocess
import time

import pytest

from tests.lab import hosts
from tests.lab.boards import Board
from tests.lab.conftest import board_called
from tests.lab.link import Link
from tests.lab.places import client_key


def said(board: Board, words: str) -> str:
    """Standard output of a command of user pi, over the system's own ssh."""
    known = ["-o", "StrictHostKeyChecking=no", "-o", "UserKnownHostsFile=/dev/null"]
    command = ["ssh", "-q", *known, "-i", str(client_key()), f"pi@{board.address}", words]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    return done.stdout


@pytest.fixture
def jetson(lab_is_up: None) -> Board:
    return board_called("jetson")


def test_every_board_says_what_it_is(board: Board) -> None:
    tree = "/sys/firmware/devicetree/base/model"
    count = "grep -c ^processor /proc/cpuinfo"
    words = f"tr -d '\\0' < {tree}; echo; uname -r -m; getconf LONG_BIT; {count}"
    model, kernel, bits, cpus = said(board, words).splitlines()
    is_64_bit = board.system.architecture == "arm64"
    assert model == board.model
    assert kernel == f"{board.kernel} {'aarch64' if is_64_bit else 'armv7l'}"
    assert bits == ("64" if is_64_bit else "32")
    assert int(cpus) == board.cpus


def test_a_pi_throttles_when_it_is_told_to(pi_4: Board) -> None:
    state = hosts.hardware(pi_4) / "state" / "throttled"
    assert said(pi_4, "vcgencmd get_throttled") == "throttled=0x0\n"
    state.write_text("0x50005\n")
    try:
        assert said(pi_4, "vcgencmd get_throttled") == "throttled=0x50005\n"
    finally:
        state.unlink()
    assert said(pi_4, "vcgencmd measure_temp") == "temp=48.2'C\n"
    assert said(pi_4, "vcgencmd pmic_read_adc").startswith("error=1")


def test_jetson_clocks_go_up_and_come_back(jetson: Board) -> None:
    assert "as a root user" in said(jetson, "jetson_clocks --show")
    before = hosts.run_as_root(jetson, "jetson_clocks --show").stdout
    hosts.run_as_root(jetson, "jetson_clocks")
    during = hosts.run_as_root(jetson, "jetson_clocks --show").stdout
    hosts.run_as_root(jetson, "jetson_clocks --restore")
    assert "CurrentFreq=729600" in before
    assert during.count("MinFreq=1510400 MaxFreq=1510400 CurrentFreq=1510400") == 6
    after = hosts.run_as_root(jetson, "jetson_clocks --show").stdout
    assert re.findall(r"MinFreq=\d+", after) == re.findall(r"MinFreq=\d+", before)


def test_a_power_mode_is_kept_and_needs_root(jetson: Board) -> None:
    assert said(jetson, "nvpmodel -q") == "NV Power Mode: MAXN_SUPER\n2\n"
    assert said(jetson, "nvpmodel -m 0; nvpmodel -q") == "NV Power Mode: MAXN_SUPER\n2\n"
    hosts.run_as_root(jetson, "nvpmodel -m 0")
    try:
        assert said(jetson, "nvpmodel -q") == "NV Power Mode: 15W\n0\n"
    finally:
        hosts.run_as_root(jetson, "nvpmodel -m 2")


def test_tegrastats_speaks_in_the_form_of_its_release(jetson: Board) -> None:
    line = said(jetson, "tegrastats --interval 200 | head -n 1")
    assert re.match(r"\d\d-\d\d-\d{4} \d\d:\d\d:\d\d RAM \d+/\d+MB \(lfb \d+x\d+MB\) SWAP ", line)
    assert "CPU [0%@729,3%@729,6%@729,2%@729,5%@729,1%@729] EMC_FREQ" in line
    assert "GR3D_FREQ 0%@[306]" in line
    assert "cpu@48.562C" in line
    assert "VDD_IN 5249mW/5249mW" in line


def test_a_sensor_of_an_absent_unit_answers_eagain(jetson: Board) -> None:
    code = (
        "import os; f = os.open('/sys/class/thermal/thermal_zone2/temp', os.O_RDONLY|os.O_NONBLOCK)"
    )
    words = f"""python3 -c "{code}
try: os.read(f, 9)
except BlockingIOError: print('EAGAIN')" """
    assert said(jetson, words) == "EAGAIN\n"


def test_a_link_delays_as_long_as_it_is_told_to(pi_4: Board, link: Link) -> None:
    def seconds() -> float:
        began_at_s = time.monotonic()
        said(pi_4, "true")
        return time.monotonic() - began_at_s

    said(pi_4, "true")
    quick = seconds()
    with link.quality(delay_ms=150):
        # An SSH login with a key takes at least six round trips.
        assert seconds() > quick + 6 * 0.3 * 0.8


def test_a_link_lets_through_as_much_as_it_is_told_to(pi_4: Board, link: Link) -> None:
    with link.quality(rate_kbit=1000, queue_ms=2000):
        began_at_s = time.monotonic()
        assert len(said(pi_4, "head -c 300000 /dev/zero | tr '\\0' x")) == 300_000
        seconds = time.monotonic() - began_at_s
    assert seconds > 300_000 * 8 / 1_000_000


def test_a_reset_ends_a_connection_at_once_and_lets_new_ones_through(
    pi_4: Board, link: Link
) -> None:
    known = ["-o", "StrictHostKeyChecking=no", "-o", "UserKnownHostsFile=/dev/null"]
    command = ["ssh", "-q", *known, "-i", str(client_key()), f"pi@{pi_4.address}"]
    process = subprocess.Popen(
        [*command, "echo on; sleep 9"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "on\n"
    began_at_s = time.monotonic()
    link.reset()
    assert process.wait(timeout=30) == 255
    assert time.monotonic() - began_at_s < 5
    process.communicate()
    assert said(pi_4, "echo again") == "again\n"
    wait_for_nobody(pi_4)


def wait_for_nobody(board: Board) -> None:
    """The board's end of the connection was reset too: its kernel has no open one left."""
    count = "awk '$2 ~ /:0016$/ && $4 == \"01\"' /proc/net/tcp | wc -l"
    for _ in range(100):
        if hosts.run_as_root(board, count).stdout.strip() == "0":
            return
        time.sleep(0.1)
    pytest.fail("the board still has the connection")
