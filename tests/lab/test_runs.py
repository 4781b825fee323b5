"""Runs whose link, session or board breaks off: they go on; no record is lost or told twice."""

from __future__ import annotations

import contextlib
import json
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.lab import hosts, processes
from tests.lab.boards import Board
from tests.lab.cli import Host
from tests.lab.link import Link

RUNS = 12
# `targets.transport.DEAD_LINK_S` and what comes before it, for a slow host.
TOLD_S = 20 + 20


@contextlib.contextmanager
def run(
    host: Host, board: Board, model: Path, out: Path, runs: int = RUNS
) -> Iterator[subprocess.Popen[str]]:
    """A run that has timed something when the block begins."""
    words = ["bench", str(model), "--target", board.name, "--runs", str(runs), "--warmup", "0"]
    with host.running(*words, "--out", str(out), "--json", "--accept-new") as process:
        begun = lambda: timed(out) >= 2 or process.poll() is not None  # noqa: E731
        processes.wait("records", begun, seconds=300)
        yield process


def records(out: Path) -> list[dict[str, Any]]:
    """The records in the run folder so far."""
    files = list((out / "records").glob("*.jsonl"))
    lines = [line for path in files for line in path.read_text().split("\n")[:-1]]
    return [json.loads(line) for line in lines]


def timed(out: Path) -> int:
    return sum(record["record"] == "timed" for record in records(out))


def is_whole(process: subprocess.Popen[str], out: Path, runs: int = RUNS) -> bool:
    """It ended well, each inference told once, by one agent."""
    _, stderr = process.communicate(timeout=400)
    assert process.returncode == 0, stderr
    told = records(out)
    assert [record["seq"] for record in told] == list(range(len(told)))
    assert [r["index"] for r in told if r["record"] == "timed"] == list(range(runs))
    return len({r["pid"] for r in told if r["record"] == "hello"}) == 1


def test_a_reset_in_a_run_is_got_over(
    host: Host, pi_4: Board, link: Link, model: Path, tmp_path: Path
) -> None:
    with run(host, pi_4, model, tmp_path) as process:
        link.reset()
        assert is_whole(process, tmp_path)


def test_a_short_cut_in_a_run_changes_nothing(
    host: Host, pi_4: Board, link: Link, model: Path, tmp_path: Path
) -> None:
    with run(host, pi_4, model, tmp_path) as process:
        link.cut(seconds=5)
        assert is_whole(process, tmp_path)


def test_a_silent_cut_in_a_run_is_told_in_time_and_got_over(
    host: Host, pi_4: Board, link: Link, model: Path, tmp_path: Path
) -> None:
    with run(host, pi_4, model, tmp_path) as process:
        cut_at_s = time.monotonic()
        link.cut()
        assert process.stderr is not None
        for line in process.stderr:
            if "connecting again" in line:
                break
        told_after_s = time.monotonic() - cut_at_s
        link.heal()
        assert is_whole(process, tmp_path)
    assert told_after_s < TOLD_S


def test_the_end_of_the_ssh_session_is_not_the_runs(
    host: Host, pi_4: Board, link: Link, model: Path, tmp_path: Path
) -> None:
    with run(host, pi_4, model, tmp_path) as process:
        hosts.run_as_root(pi_4, "pkill -KILL -u pi -f 'sshd.*pi' || pkill -KILL -f 'sshd: pi'")
        assert is_whole(process, tmp_path)


def test_an_agent_that_is_killed_is_told_and_its_records_are_kept(
    host: Host, pi_4: Board, link: Link, model: Path, tmp_path: Path
) -> None:
    with run(host, pi_4, model, tmp_path, runs=5000) as process:
        (hello,) = [r for r in records(tmp_path) if r["record"] == "hello"]
        hosts.run_as_root(pi_4, f"kill -KILL {hello['pid']}")
        stdout, _ = process.communicate(timeout=120)
    assert process.returncode == 7
    assert "killed (signal 9)" in stdout
    report = json.loads((tmp_path / "report.json").read_text())
    assert report["partial"] is True
    assert report["runs"][0]["speed"]["inference_ms"]["samples"] == timed(tmp_path) >= 2


def test_a_host_that_is_killed_finds_its_run_on_the_board(
    host: Host, pi_4: Board, link: Link, model: Path, tmp_path: Path
) -> None:
    with run(host, pi_4, model, tmp_path) as process:
        process.kill()
        process.communicate()
    done = host.halfbyte("runs", "attach", str(tmp_path), "--json")
    assert done.status == 0, done.stderr
    told = records(tmp_path)
    assert [record["seq"] for record in told] == list(range(len(told)))
    assert [r["index"] for r in told if r["record"] == "timed"] == list(range(RUNS))


@pytest.mark.parametrize(("wait", "runs"), [("0", 120), ("300", RUNS)])
def test_two_hosts_at_once_take_turns(
    host: Host, pi_4: Board, link: Link, model: Path, tmp_path: Path, wait: str, runs: int
) -> None:
    with run(host, pi_4, model, tmp_path / "one", runs) as first:
        words = ["--runs", "2", "--warmup", "0", "--json", "--wait", wait]
        done = host.halfbyte(
            "bench", str(model), "--target", pi_4.name, *words, "--out", str(tmp_path / "two")
        )
        assert is_whole(first, tmp_path / "one", runs)
    if wait == "0":
        assert done.status == 5
        assert "is busy with a run of" in done.error["message"]
    else:
        assert done.status == 0, done.stderr
        assert min(r["monotonic_ns"] for r in records(tmp_path / "two")) > max(
            r["monotonic_ns"] for r in records(tmp_path / "one") if r["record"] == "timed"
        )
