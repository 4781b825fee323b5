"""What happens to a run whose link breaks: what was measured is kept, the board is free again."""

from __future__ import annotations

import contextlib
import json
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.lab import processes
from tests.lab.boards import Board
from tests.lab.cli import Host
from tests.lab.link import Link

# `targets.transport.DEAD_LINK_S`, what the host then does for `session.STOP_S`, and a slow host.
TOLD_S = 20 + 12 + 20


@contextlib.contextmanager
def run(
    host: Host, board: Board, model: Path, out: Path, runs: int
) -> Iterator[subprocess.Popen[str]]:
    """A run that has timed something when the block begins."""
    words = ["bench", str(model), "--target", board.name, "--runs", str(runs), "--warmup", "0"]
    with host.running(*words, "--out", str(out), "--json", "--accept-new") as process:
        begun = lambda: timed(out) >= 2 or process.poll() is not None  # noqa: E731
        processes.wait("records", begun, seconds=300)
        yield process


def timed(out: Path) -> int:
    """Inferences in the run folder's records so far."""
    files = list((out / "records").glob("*.jsonl"))
    return sum(path.read_text().count('"record":"timed"') for path in files)


def report(out: Path) -> Any:
    return json.loads((out / "report.json").read_text())


def test_a_reset_in_a_run_is_told_and_no_record_is_lost(
    host: Host, pi_4: Board, link: Link, model: Path, tmp_path: Path
) -> None:
    with run(host, pi_4, model, tmp_path, runs=5000) as process:
        link.reset()
        process.communicate(timeout=60)
    assert process.returncode == 7
    assert report(tmp_path)["partial"] is True
    assert report(tmp_path)["runs"][0]["speed"]["inference_ms"]["samples"] == timed(tmp_path) >= 2


@pytest.mark.xfail(strict=True, raises=AssertionError, reason="a run does not outlive its link yet")
def test_a_reset_in_a_run_is_got_over(
    host: Host, pi_4: Board, link: Link, model: Path, tmp_path: Path
) -> None:
    with run(host, pi_4, model, tmp_path, runs=8) as process:
        link.reset()
        process.communicate(timeout=300)
    assert process.returncode == 0
    assert timed(tmp_path) == 8


def test_a_silent_cut_in_a_run_is_told_in_time_and_no_record_is_lost(
    host: Host, pi_4: Board, link: Link, model: Path, tmp_path: Path
) -> None:
    with run(host, pi_4, model, tmp_path, runs=5000) as process:
        link.cut()
        cut_at_s = time.monotonic()
        process.communicate(timeout=200)
    told_after_s = time.monotonic() - cut_at_s
    assert process.returncode == 7
    assert report(tmp_path)["partial"] is True
    assert timed(tmp_path) >= 2
    assert told_after_s < TOLD_S


def test_a_short_cut_in_a_run_changes_nothing(
    host: Host, pi_4: Board, link: Link, model: Path, tmp_path: Path
) -> None:
    with run(host, pi_4, model, tmp_path, runs=8) as process:
        link.cut(seconds=5)
        _, stderr = process.communicate(timeout=300)
    assert process.returncode == 0, stderr
    assert timed(tmp_path) == 8


def test_after_a_silent_cut_the_next_run_has_the_board(
    host: Host, pi_4: Board, link: Link, model: Path, tmp_path: Path
) -> None:
    # The board's kernel sends again as soon as the cable is in (RFC 6069), and is answered by a
    # reset, which ends the old agent.  Behind a router it would take longer.
    with run(host, pi_4, model, tmp_path / "first", runs=5000) as process:
        link.cut()
        process.communicate(timeout=200)
    link.heal()
    words = ["--runs", "1", "--warmup", "0", "--json", "--out", str(tmp_path / "second")]
    done = host.halfbyte("bench", str(model), "--target", pi_4.name, *words)
    assert done.status == 0, done.stderr
