"""What a bad link does to halfbyte's commands: right outcomes, told in time, nothing sent twice."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.agent import small_models
from tests.lab import hosts, processes
from tests.lab.boards import Board
from tests.lab.cli import Ended, Host
from tests.lab.link import Link

SIZE_BYTES = 1_000_000
# What a command says before and beside the file: key exchange, questions, the receiver.
ASIDE_BYTES = 150_000
# For a host that has other things to do as well.
START_S = 240
# `targets.transport.DEAD_LINK_S`, and time for a slow host.
TOLD_S = 20 + 15


@pytest.fixture
def ready(host: Host, pi_4: Board, link: Link) -> Board:
    """The board with everything but the file at hand."""
    first = host.home / "first.tflite"
    first.write_bytes(small_models.int8_detector())
    done = host.halfbyte("deploy", str(first), "--target", pi_4.name, "--accept-new")
    assert done.status == 0, done.stderr
    return pi_4


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """A model that no board has: a megabyte that does not compress."""
    path = tmp_path / "new.tflite"
    path.write_bytes(small_models.int8_detector() + os.urandom(SIZE_BYTES))
    return path


def deploy(host: Host, file: Path, timeout_s: float = 300) -> Ended:
    return host.halfbyte("deploy", str(file), "--target", "pi-4", "--json", timeout_s=timeout_s)


def is_whole(host: Host, board: Board, file: Path, done: Ended) -> bool:
    (path,) = done.value["paths"]
    digest: str = hosts.run_as_root(board, f"sha256sum {path}").stdout.split()[0]
    return digest == str(path).rpartition("/")[2]


def test_a_link_of_256_kbit_is_slow_and_nothing_else(
    host: Host, ready: Board, link: Link, file: Path
) -> None:
    with link.quality(rate_kbit=256, delay_ms=40):
        done = deploy(host, file)
    assert done.status == 0, done.stderr
    assert is_whole(host, ready, file, done)
    assert done.seconds > SIZE_BYTES * 8 / 256_000


def test_a_link_that_loses_and_delays_is_got_through(
    host: Host, ready: Board, link: Link, file: Path
) -> None:
    with link.quality(loss=0.03, delay_ms=30, jitter_ms=10):
        done = deploy(host, file)
        lost = link.state()
    assert done.status == 0, done.stderr
    assert is_whole(host, ready, file, done)
    assert lost["up"]["lost"] > 0


def test_a_short_cut_in_an_upload_is_survived(
    host: Host, ready: Board, link: Link, file: Path
) -> None:
    with link.quality(rate_kbit=2000):
        link.cut_after(ASIDE_BYTES + 300_000)
        with host.running("deploy", str(file), "--target", ready.name, "--json") as process:
            processes.wait("the cut", lambda: link.is_cut, seconds=START_S)
            time.sleep(4)
            link.heal()
            stdout, stderr = process.communicate(timeout=START_S)
    assert process.returncode == 0, stderr
    assert json.loads(stdout)["bytes_sent"] >= SIZE_BYTES


def test_a_reset_in_an_upload_is_got_over_by_the_same_command(
    host: Host, ready: Board, link: Link, file: Path
) -> None:
    with link.quality(rate_kbit=4000):
        before = link.up_bytes
        link.reset_after(ASIDE_BYTES + 600_000)
        done = deploy(host, file)
        sent = link.up_bytes - before
    assert done.status == 0, done.stderr
    assert "connecting again" in done.stderr
    assert is_whole(host, ready, file, done)
    assert sent < SIZE_BYTES * 1.2 + 2 * ASIDE_BYTES, "what had arrived was sent again"


def test_a_host_that_is_killed_in_an_upload_goes_on_when_it_is_started_again(
    host: Host, ready: Board, link: Link, file: Path
) -> None:
    with link.quality(rate_kbit=4000):
        before = link.up_bytes
        with host.running("deploy", str(file), "--target", ready.name) as process:
            enough = before + ASIDE_BYTES + 600_000
            processes.wait("some of it", lambda: link.up_bytes > enough, seconds=START_S)
            process.kill()
        before = link.up_bytes
        again = deploy(host, file)
    assert again.status == 0, again.stderr
    assert is_whole(host, ready, file, again)
    assert link.up_bytes - before < SIZE_BYTES * 0.8, "what had arrived was sent again"


def test_a_silent_cut_in_an_upload_is_told_in_time_and_got_over(
    host: Host, ready: Board, link: Link, file: Path
) -> None:
    with upload_that_is_cut(host, link, file) as process:
        before = link.up_bytes
        time.sleep(3)
        link.heal()
        stdout, stderr = process.communicate(timeout=START_S)
    assert process.returncode == 0, stderr
    assert is_whole(host, ready, file, Ended(0, stdout, stderr, 0))
    assert link.up_bytes - before < SIZE_BYTES * 0.8, "what had arrived was sent again"


def test_after_a_silent_cut_the_next_try_goes_on_at_the_byte(
    host: Host, ready: Board, link: Link, file: Path
) -> None:
    with upload_that_is_cut(host, link, file) as process:
        process.kill()
    link.heal()
    before = link.up_bytes
    again = deploy(host, file)
    assert again.status == 0, again.stderr
    assert is_whole(host, ready, file, again)
    assert link.up_bytes - before < SIZE_BYTES * 0.8


def test_a_board_that_went_away_is_told_in_time(host: Host, ready: Board, link: Link) -> None:
    link.cut()
    done = host.halfbyte("target", "check", ready.name, "--json", timeout_s=150)
    link.heal()
    assert done.status in (4, 8)
    assert done.seconds < 90


@contextlib.contextmanager
def upload_that_is_cut(host: Host, link: Link, file: Path) -> Iterator[subprocess.Popen[str]]:
    """The command once it has told of the silent cut, which must be in time; the cut stays."""
    with link.quality(rate_kbit=4000):
        link.cut_after(ASIDE_BYTES + 600_000)
        with host.running("deploy", str(file), "--target", "pi-4", "--json") as process:
            processes.wait("the cut", lambda: link.is_cut, seconds=START_S)
            cut_at_s = time.monotonic()
            assert process.stderr is not None
            while "connecting again" not in (line := process.stderr.readline()):
                assert line, "it ended"
            assert time.monotonic() - cut_at_s < TOLD_S
            yield process
