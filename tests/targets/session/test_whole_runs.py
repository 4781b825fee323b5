"""Whole runs: the real agent with a real model, in a real environment, over real SSH."""

from __future__ import annotations

import dataclasses
import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from targets.agent.records import Detected, Facts, Finished, Timed
from targets.errors import (
    AgentFailed,
    BoardBusy,
)
from targets.items import Item
from targets.provision.environment import BoardPython, clean
from targets.session import Patience, run
from targets.target import Target
from tests.agent import small_models
from tests.processes import ends, runs_still
from tests.targets.session.following import (
    after,
    collect,
    endless,
    hello,
    link,
    until,
)
from toolchain.bundle import Bundle, Settings


def test_a_run_tells_everything_in_order(noisy: Target, board: BoardPython, small: Bundle) -> None:
    with link(noisy) as connection:
        records = [e.record for e in run(connection, board, small, deadline=after())]
        assert "disk: 81% full" in connection.noise
    assert hello(records).agent_sha256 == small.agent.sha256
    assert isinstance(records[-1], Finished)
    detected = [record for record in records if isinstance(record, Detected)]
    assert [record.image for record in detected] == ["søppel—1.jpg", "it's.png", "plain.png"]
    assert all(record.detections for record in detected)
    (facts,) = [record for record in records if isinstance(record, Facts)]
    assert facts.runtime == board.runtime.named
    assert facts.numpy == board.versions["numpy"]
    assert facts.pillow == board.versions["PIL"]


def test_nothing_of_a_run_stays_but_the_files_for_the_next(
    noisy: Target, board: BoardPython, small: Bundle
) -> None:
    with link(noisy) as connection:
        for _ in run(connection, board, small, deadline=after()):
            pass
    root = Path(board.store.root)
    assert list((root / "runs").iterdir()) == []
    assert (root / "lock").read_bytes() == b""
    assert {item.sha256 for item in small.items} <= {p.name for p in (root / "objects").iterdir()}


def test_a_second_run_waits_for_nobody_and_names_the_first(
    noisy: Target, board: BoardPython, small: Bundle
) -> None:
    with link(noisy) as one, link(noisy) as other:
        envelopes = run(one, board, endless(small), deadline=after())
        agent = hello(until(envelopes, Timed)).pid
        _, error = collect(run(other, board, small, deadline=after()))
        assert isinstance(error, BoardBusy)
        assert f"@{os.uname().nodename}" in error.message
        with pytest.raises(BoardBusy):
            clean(other, deadline=after())
        assert runs_still(agent)
        envelopes.close()  # type: ignore[attr-defined]
        assert ends(agent)
        assert collect(run(other, board, small, deadline=after()))[1] is None


def test_two_hosts_take_turns(noisy: Target, board: BoardPython, small: Bundle) -> None:
    longer = dataclasses.replace(
        small, settings=dataclasses.replace(small.settings, timed_runs=6000)
    )
    with link(noisy) as one, link(noisy) as other, ThreadPoolExecutor() as pool:
        first = run(one, board, longer, deadline=after())
        until(first, Timed)
        patience = Patience(busy_s=60.0)
        second = pool.submit(
            lambda: list(run(other, board, small, patience=patience, deadline=after()))
        )
        ended = [envelope.monotonic_ns for envelope in first][-1]
        assert second.result()[0].monotonic_ns >= ended


def test_a_model_that_the_runtime_refuses_is_named(
    noisy: Target, board: BoardPython, small: Bundle
) -> None:
    broken = dataclasses.replace(small, model=Item.of_bytes(small_models.unknown_operator()))
    with link(noisy) as connection:
        _, error = collect(run(connection, board, broken, deadline=after()))
    assert isinstance(error, AgentFailed)
    assert "loading the model" in error.message


def test_a_plan_that_the_agent_refuses_is_no_run(
    noisy: Target, board: BoardPython, small: Bundle
) -> None:
    odd = dataclasses.replace(small, settings=Settings(threads=0))
    with link(noisy) as connection:
        _, error = collect(run(connection, board, odd, deadline=after()))
    assert isinstance(error, AgentFailed)
    assert "threads" in error.message
