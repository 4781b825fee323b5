"""Several boards in one command: side by side, one report, one's failure is its own."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from targets.errors import HalfbyteError, Unreachable
from targets.target import Target
from tests.agent import small_models
from tests.targets import servers
from toolchain import fleet

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def boards(tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[Target]]:
    place = tmp_path_factory.mktemp("boards")
    with contextlib.ExitStack() as opened:
        yield [opened.enter_context(servers.openssh(place / name)) for name in ("one", "two")]


@pytest.fixture
def config(boards: list[Target], tmp_path: Path) -> Path:
    """Two boards that are there, between two that are not."""
    gone = servers.free_port()
    lines = ['schema = "halfbyte.targets"', "version = 1"]
    for name, target in zip(("lost", "one", "two", "off"), (None, *boards, None), strict=True):
        lines += [f"[targets.{name}]", 'host = "127.0.0.1"']
        if target is None:
            lines += [f"port = {gone}"]
            continue
        lines += [f"port = {target.port}", f'user = "{target.user}"', f'key = "{target.key}"']
        assert target.known_hosts is not None
        with (tmp_path / "known_hosts").open("a") as stream:
            stream.write(target.known_hosts.read_text())
    (tmp_path / "targets.toml").write_text("\n".join(lines) + "\n")
    return tmp_path


def bench(config: Path, names: str, out: Path) -> tuple[int, str, Any]:
    model = out.with_suffix(".tflite")
    model.write_bytes(small_models.int8_detector())
    words = ["bench", str(model), "--target", names, "--runs", "20", "--out", str(out)]
    done = subprocess.run(
        [sys.executable, "-m", "toolchain.cli", *words],
        env={**os.environ, "PYTHONPATH": str(ROOT), "HALFBYTE_CONFIG": str(config)},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    report = out / "report.json"
    assert report.exists(), done.stderr
    return done.returncode, done.stderr, json.loads(report.read_text())


def test_boards_run_side_by_side_and_one_report_has_them_all(config: Path, tmp_path: Path) -> None:
    code, errors, report = bench(config, "one,two", tmp_path / "both")
    assert code == 0, errors
    assert {run["target"]["name"] for run in report["runs"]} == {"one", "two"}
    assert report["partial"] is False


def test_a_board_that_is_not_there_costs_only_itself(config: Path, tmp_path: Path) -> None:
    code, errors, report = bench(config, "lost,one,two,off", tmp_path / "some")
    assert code == Unreachable.exit_code
    assert "lost" in errors
    assert "off" in errors
    assert {run["target"]["name"] for run in report["runs"]} == {"one", "two"}


def test_work_of_all_is_done_at_the_same_time_and_faults_keep_their_order() -> None:
    import threading

    meeting = threading.Barrier(5, timeout=20)

    def work(target: Target, stopping: threading.Event) -> list[HalfbyteError]:
        assert not stopping.is_set()
        meeting.wait()
        if target.name in "bd":
            raise Unreachable(f"{target.name} is off")
        return []

    faults = fleet.over([Target(name, "127.0.0.1") for name in "abcde"], work)
    assert [fault.message for fault in faults] == ["b is off", "d is off"]


def test_the_fault_of_a_single_board_is_raised() -> None:
    def work(target: Target, stopping: object) -> list[HalfbyteError]:
        raise Unreachable("off")

    with pytest.raises(Unreachable):
        fleet.over([Target("a", "127.0.0.1")], work)


def test_an_interrupt_ends_boards_that_work_and_leaves_those_that_do_not_answer(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    import _thread
    import threading
    import time

    monkeypatch.setattr(fleet, "GRACE_S", 1.0)
    ended = threading.Event()

    def work(target: Target, stopping: threading.Event) -> list[HalfbyteError]:
        if target.name == "silent":
            time.sleep(60)
        while not stopping.is_set():
            time.sleep(0.02)
        ended.set()
        return []

    threading.Timer(0.3, _thread.interrupt_main).start()
    began_s = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        fleet.over([Target("silent", "127.0.0.1"), Target("busy", "127.0.0.1")], work)
    assert ended.is_set()
    assert time.monotonic() - began_s < 10
