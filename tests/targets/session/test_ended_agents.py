"""Agents that are killed, lack memory, fall silent or are interrupted: told why, none left."""

from __future__ import annotations

import dataclasses
import os
import signal
from pathlib import Path
from typing import Any

import pytest

from targets.agent.records import Loading, Timed
from targets.detached import Detached, new_run_id
from targets.errors import (
    AgentKilled,
    RunIncomplete,
)
from targets.items import Item
from targets.provision.environment import BoardPython
from targets.session import Patience, run
from targets.target import Target
from tests.agent import small_models
from tests.processes import ends, parent_of
from tests.targets import conditions
from tests.targets.session.following import (
    after,
    collect,
    endless,
    hello,
    link,
    until,
)
from toolchain.bundle import Bundle


def test_what_came_before_a_kill_is_kept_and_the_kill_is_explained(
    noisy: Target, board: BoardPython, small: Bundle
) -> None:
    with link(noisy) as connection:
        envelopes = run(connection, board, endless(small), deadline=after())
        before = until(envelopes, Timed)
        os.kill(hello(before).pid, signal.SIGKILL)
        rest, error = collect(envelopes)
    assert isinstance(error, AgentKilled)
    assert (error.signal, error.phase, error.oom) == (9, "timing", False)
    assert error.rss_bytes
    assert error.hwm_bytes
    assert "killed (signal 9) while timing" in error.message
    assert "MiB just before" in error.message
    assert f"The {len(before) + len(rest)} records that came are kept" in error.hint


def test_a_kill_of_all_there_is_leaves_an_explanation_too(
    noisy: Target, board: BoardPython, small: Bundle
) -> None:
    with link(noisy) as connection:
        envelopes = run(connection, board, endless(small), deadline=after())
        agent = hello(until(envelopes, Timed)).pid
        supervisor = parent_of(agent)
        os.kill(supervisor, signal.SIGKILL)
        _, error = collect(envelopes)
    assert isinstance(error, AgentKilled)
    assert error.oom is None
    assert "probably by the kernel's out-of-memory killer" in error.message
    assert ends(agent)


def test_too_little_memory_is_told_as_such(
    tmp_path: Path, small: Bundle, board: BoardPython
) -> None:
    """The kernel's own limit, below what the model needs: 200 MB for its input alone."""
    model = small_models.float_detector(imgsz=(4096, 4096))
    large = dataclasses.replace(small, model=Item.of_bytes(model))
    with (
        conditions.memory_limit(150 << 20) as limited,
        conditions.board(Path(board.store.root).parent.parent, limited) as target,
        link(target) as connection,
    ):
        records, error = collect(run(connection, board, large, deadline=after()))
    assert isinstance(error, AgentKilled)
    assert error.oom
    assert "The kernel's out-of-memory killer killed the agent" in error.message
    assert "fewer bits" in error.hint
    assert error.rss_bytes is not None
    assert error.rss_bytes > 30 << 20  # the interpreter and its libraries, at least
    assert "150 MiB were free before it loaded" in error.message
    assert any(isinstance(record, Loading) for record in records)


def test_ctrl_c_ends_the_agent_on_the_board(
    noisy: Target, board: BoardPython, small: Bundle
) -> None:
    with link(noisy) as connection:
        envelopes = run(connection, board, endless(small), deadline=after())
        agent = hello(until(envelopes, Timed)).pid
        with pytest.raises(KeyboardInterrupt):
            envelopes.throw(KeyboardInterrupt())  # type: ignore[attr-defined]
        assert ends(agent)
        assert connection.is_open


def test_silence_has_an_end(noisy: Target, board: BoardPython, small: Bundle) -> None:
    with link(noisy) as connection:
        envelopes = run(
            connection, board, endless(small), patience=Patience(stall_s=1.5), deadline=after()
        )
        agent = hello(until(envelopes, Timed)).pid
        os.kill(agent, signal.SIGSTOP)
        _, error = collect(envelopes)
    assert isinstance(error, RunIncomplete)
    assert "Waited 1.5 s for the next record" in error.message
    assert ends(agent)


def test_an_interrupt_while_the_run_is_started_leaves_none_on_the_board(
    noisy: Target, board: BoardPython, small: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    started = Detached.start

    def interrupted(self: Detached, *words: Any, **named: Any) -> None:
        started(self, *words, **named)
        raise KeyboardInterrupt

    monkeypatch.setattr(Detached, "start", interrupted)
    with link(noisy) as connection:
        run_id = new_run_id()
        with pytest.raises(KeyboardInterrupt):
            next(run(connection, board, endless(small), run_id=run_id, deadline=after()))
        assert not (Path(board.store.root) / "runs" / run_id).exists()
        monkeypatch.undo()
        assert collect(run(connection, board, small, deadline=after()))[1] is None
