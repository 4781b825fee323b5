"""What each board of the lab is and says while it works, by our own commands, over SSH."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from targets.boards.look import as_facts, ask, look
from targets.deadline import Deadline
from targets.readings import READINGS
from targets.ssh import Connection, connect
from targets.target import Target
from tests.agent import small_models
from tests.lab import hosts
from tests.lab.boards import Board
from tests.lab.cli import Host
from tests.lab.conftest import board_called
from tests.lab.places import client_key

KINDS = {
    "pi-3": ("Raspberry Pi 3 Model B", "BCM2837", "4 x Cortex-A53 up to 1.20 GHz"),
    "pi-4": ("Raspberry Pi 4 Model B", "BCM2711", "4 x Cortex-A72 up to 1.80 GHz"),
    "pi-5": ("Raspberry Pi 5 Model B", "BCM2712", "4 x Cortex-A76 up to 2.40 GHz"),
    "jetson": (
        "Jetson Orin Nano",
        "Orin (T234)",
        "4 x Cortex-A78AE up to 1.51 GHz + 2 x Cortex-A78AE up to 1.51 GHz",
    ),
}


@pytest.fixture
def throttled(pi_4: Board) -> Iterator[None]:
    """A Pi 4 that is short of power now, and was too hot before."""
    state = hosts.hardware(pi_4) / "state" / "throttled"
    state.write_text("0xd0001\n")
    try:
        yield
    finally:
        state.unlink()


@contextlib.contextmanager
def connected(board: Board) -> Iterator[Connection]:
    target = Target(
        board.name,
        board.address,
        user="pi",
        key=client_key(),
        known_hosts=Path("/dev/null"),
    )
    with connect(target, deadline=Deadline.after(60), accept_new=True) as connection:
        yield connection


def test_a_board_is_recognised_by_its_files_alone(board: Board) -> None:
    with connected(board) as connection:
        facts = as_facts(look(connection, deadline=Deadline.after(60)))
    assert (facts["name"], facts["soc"], facts["cores"]) == KINDS[board.name]
    assert facts["model"] == board.model
    assert facts["ram_bytes"] == board.memory_kib * 1024
    assert facts["userland_bits"] == (32 if board.name == "pi-3" else 64)
    assert facts["kernel"] == board.kernel
    assert facts["libc"] == "glibc 2.36"


def test_a_pi_that_is_short_of_power_is_told_so(host: Host, pi_4: Board, throttled: None) -> None:
    found = host.halfbyte("target", "check", "pi-4", "--json", "--accept-new").value
    (facts,) = (check["facts"] for check in found if check["facts"])
    assert facts["name"] == "Raspberry Pi 4 Model B"
    (check,) = (check for check in found if check["name"] == "throttling")
    assert check["ok"] is None
    assert check["detail"] == (
        "now: under-voltage; since it started: under-voltage, throttled, soft temperature limit"
    )


def test_readings_of_real_tools_are_understood(board: Board) -> None:
    with connected(board) as connection:

        def told(name: str) -> object:
            return ask(connection, READINGS[name], deadline=Deadline.after(60))

        limits = [cluster.max_khz for cluster in board.clusters]
        assert [policy.max_khz for policy in told("cpufreq").clusters] == limits
        temps = {kind: c and c / 1000 for kind, c in board.zones.values()}
        assert told("thermal").temps_c == temps
        if board.name == "jetson":
            assert told("power-mode").name == "MAXN_SUPER"
            assert told("jetson-clocks").reason == "not permitted: jetson_clocks wants root"
            assert told("ina3221").rails_mw["VDD_IN"] == pytest.approx(5249.52)
            assert told("tegrastats").rails_mw["VDD_IN"] == 5249
            assert told("throttled").reason == "the tool is not installed"
        else:
            assert told("throttled").bits == 0
            assert (told("pmic").sum_mw is not None) == (board.name == "pi-5")


def test_a_run_is_watched_and_throttling_is_a_doubt(
    host: Host, pi_4: Board, throttled: None, tmp_path: Path
) -> None:
    run = watched(host, "pi-4", tmp_path, runs=100)
    assert run["telemetry"]["throttling"] == ["under-voltage"]
    assert {"emulated", "throttled", "throttled-before"} <= set(run["doubts"])
    told = {(one["quantity"], one["name"]): one for one in run["telemetry"]["series"]}
    assert told["temperature", "cpu-thermal"]["mean"] == pytest.approx(48.199)
    assert told["load", "all cores"]["mean"] > 0


def test_power_and_energy_of_a_jetson_are_told(host: Host, lab_is_up: None, tmp_path: Path) -> None:
    board_called("jetson")
    run = watched(host, "jetson", tmp_path, runs=2000)
    assert run["telemetry"]["power"]["rails"] == ["VDD_IN"]
    assert run["telemetry"]["power"]["mean_w"] == pytest.approx(5.2495, abs=1e-3)
    assert run["telemetry"]["power"]["energy_j"] > 0
    assert {note["about"] for note in run["telemetry"]["notes"]} == {
        f"thermal zone cv{number}-thermal" for number in range(3)
    }


def watched(host: Host, name: str, folder: Path, *, runs: int) -> dict[str, object]:
    model = folder / "small.tflite"
    model.write_bytes(small_models.int8_detector())
    words = ["--target", name, "--out", str(folder / "run"), "--runs", str(runs), "--accept-new"]
    done = host.halfbyte("bench", str(model), *words)
    assert done.status == 0, done.stderr
    (run,) = json.loads((folder / "run" / "report.json").read_text())["runs"]
    assert isinstance(run, dict)
    return run
