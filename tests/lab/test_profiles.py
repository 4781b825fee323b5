"""A profile around a run on a board: however the run, its link or its host ends, it goes back.

Each with a real run under way.  The board's settings are seen past SSH, byte for byte.
"""

from __future__ import annotations

import contextlib
import json
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.lab import boards as described
from tests.lab import hosts, processes
from tests.lab.boards import Board
from tests.lab.cli import Ended, Host
from tests.lab.link import Link
from tests.lab.test_firmware import NOT_THE_BOARDS, furnished, state, wait_for
from tests.lab.test_runs import records, timed

__all__ = ["furnished"]
LEASE_S = 20
# `targets.detached`: a host that says nothing for so long is gone, and its lease is not renewed.
SILENT_S = 15
pytestmark = pytest.mark.parametrize("furnished", ["pi-4"], indirect=True)


@pytest.fixture
def roots(lab_is_up: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Host:
    """A host that logs in as root, whose leases are short."""
    monkeypatch.setenv("HALFBYTE_LEASE_S", str(LEASE_S))
    (tmp_path / "home").mkdir()
    host = Host.made(tmp_path / "home")
    file = host.home / "targets.toml"
    file.write_text(file.read_text().replace('user = "pi"', 'user = "root"'))
    return host


def words(board: Board, model: Path, out: Path, runs: int) -> list[str]:
    keep = [word for key in NOT_THE_BOARDS for word in ("--set", f"{key}=keep")]
    more = ["--profile", "benchmark", *keep, "--runs", str(runs), "--warmup", "0", "--threads", "2"]
    return ["bench", str(model), "--target", board.name, *more, "--out", str(out)]


@contextlib.contextmanager
def run(
    host: Host, board: Board, model: Path, out: Path, runs: int
) -> Iterator[subprocess.Popen[str]]:
    """A run under a profile that has timed something when the block begins."""
    said = [*words(board, model, out, runs), "--json", "--accept-new"]
    with host.running(*said) as process:
        begun = lambda: timed(out) >= 2 or process.poll() is not None  # noqa: E731
        processes.wait("records", begun, seconds=400)
        yield process


def of_run(out: Path) -> Any:
    """The one run of the report: its settings, and codes of its doubts with their words."""
    (found,) = json.loads((out / "report.json").read_text())["runs"]
    return found


def doubts(out: Path) -> str:
    report = json.loads((out / "report.json").read_text())
    return " ".join(doubt["text"] for doubt in report["doubts"])


def governor(board: Board) -> str:
    cpufreq = hosts.hardware(board) / "sys/devices/system/cpu/cpufreq"
    return (cpufreq / "policy0" / "scaling_governor").read_text().strip()


def test_the_agent_is_killed(
    furnished: described.Board, roots: Host, model: Path, tmp_path: Path
) -> None:
    before, out = state(furnished), tmp_path / "out"
    with run(roots, furnished, model, out, runs=5000) as process:
        assert governor(furnished) == "performance"
        (hello,) = [r for r in records(out) if r["record"] == "hello"]
        hosts.run_as_root(furnished, f"kill -KILL {hello['pid']}")
        stdout, stderr = process.communicate(timeout=200)
    assert process.returncode == 7, stderr
    assert "killed (signal 9)" in stdout
    assert state(furnished) == before
    assert "put back" not in doubts(out)  # it was, and by its own host
    rows = of_run(out)["board_settings"]["settings"]
    assert {row["after"] == row["before"] for row in rows} == {True}


def test_the_link_is_cut_for_longer_than_the_lease(
    furnished: described.Board, roots: Host, model: Path, tmp_path: Path
) -> None:
    before, out = state(furnished), tmp_path / "out"
    link = Link(furnished.name)
    try:
        with run(roots, furnished, model, out, runs=50) as process:
            assert governor(furnished) == "performance"
            link.cut()
            wait_for(furnished, before, seconds=SILENT_S + LEASE_S + 20)
            link.heal()
            _, stderr = process.communicate(timeout=500)
    finally:
        link.restore()
    assert process.returncode == 0, stderr
    assert state(furnished) == before
    assert "gone for longer than the lease" in doubts(out)


def test_the_host_is_killed(
    furnished: described.Board, roots: Host, model: Path, tmp_path: Path
) -> None:
    """Its run goes on, its settings do not; who fetches the rest is told."""
    before, out = state(furnished), tmp_path / "out"
    with run(roots, furnished, model, out, runs=60) as process:
        assert governor(furnished) == "performance"
        process.kill()
        process.communicate()
    wait_for(furnished, before, seconds=LEASE_S + 20)
    again = attached(roots, out)
    assert again.status == 0, again.stderr
    assert timed(out) == 60
    assert "gone for longer than the lease" in doubts(out)
    assert state(furnished) == before


def test_the_host_is_killed_and_comes_back_within_the_lease(
    furnished: described.Board,
    roots: Host,
    model: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The same settings are held on to, and nothing is to be doubted."""
    monkeypatch.setenv("HALFBYTE_LEASE_S", "120")
    before, out = state(furnished), tmp_path / "out"
    with run(roots, furnished, model, out, runs=30) as process:
        process.kill()
        process.communicate()
    done = roots.halfbyte(*words(furnished, model, out, 30), "--json")
    assert done.status == 0, done.stderr
    assert timed(out) == 30
    assert "earlier part" not in doubts(out)
    assert "put back" not in doubts(out)
    assert state(furnished) == before


def test_another_host_waits_for_the_settings_to_end(
    furnished: described.Board, roots: Host, model: Path, tmp_path: Path
) -> None:
    before = state(furnished)
    with run(roots, furnished, model, tmp_path / "one", runs=30) as first:
        said = words(furnished, model, tmp_path / "two", 2)
        at_once = roots.halfbyte(*said, "--json", "--wait", "0")
        assert at_once.status == 5, at_once.stdout
        assert at_once.error["kind"] == "BoardBusy"
        assert governor(furnished) == "performance"
        later = roots.halfbyte(*said, "--json", "--wait", "300")
        _, stderr = first.communicate(timeout=300)
    assert first.returncode == 0, stderr
    assert later.status == 0, later.stderr
    for name in ("one", "two"):
        assert "put back" not in doubts(tmp_path / name)
        assert "Somebody changed" not in doubts(tmp_path / name)
    assert state(furnished) == before


def attached(host: Host, out: Path) -> Ended:
    """`runs attach`, and the report made anew."""
    done = host.halfbyte("runs", "attach", str(out), "--json")
    assert done.status == 0, done.stderr
    return host.halfbyte("report", str(out), "--json")
