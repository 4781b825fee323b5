"""Files on the board that somebody changed: sent again, left out, or an error."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

import pytest

from targets.agent.faults import CHANGED
from targets.agent.records import Skipped, Timed
from targets.errors import (
    AgentFailed,
    AgentMismatch,
)
from targets.files import sha256_file
from targets.progress import SILENT, Task
from targets.provision.environment import BoardPython
from targets.session import facts, run
from targets.target import Target
from tests.targets.session.following import (
    after,
    collect,
    hello,
    link,
    of,
)
from toolchain.bundle import Bundle


def spoil(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)


def test_an_agent_that_was_changed_is_sent_once_more(
    noisy: Target, board: BoardPython, small: Bundle, caplog: pytest.LogCaptureFixture
) -> None:
    lying = Path(board.store.path(small.agent.sha256))
    with link(noisy) as connection:
        for _ in run(connection, board, small, deadline=after()):
            pass
        spoil(lying)
        records, error = collect(run(connection, board, small, deadline=after()))
        assert error is None
        assert hello(records).agent_sha256 == small.agent.sha256
        assert caplog.text.count("It is sent once more") == 1
        spoil(lying)
        assert facts(connection, board, small.agent, deadline=after()).kernel
    assert sha256_file(lying) == small.agent.sha256


class _Spoils:
    """Progress that lets somebody change the agent each time that files have arrived."""

    def __init__(self, path: Path) -> None:
        self.path = path

    @contextlib.contextmanager
    def task(self, label: str, total: float | None = None, unit: str = "") -> Iterator[Task]:
        with SILENT.task(label, total, unit) as task:
            yield task
        if label.startswith("to "):
            spoil(self.path)


def test_an_agent_that_is_changed_again_and_again_is_an_error(
    noisy: Target, board: BoardPython, small: Bundle
) -> None:
    lying = Path(board.store.path(small.agent.sha256))
    lying.unlink(missing_ok=True)
    with link(noisy) as connection:
        envelopes = run(connection, board, small, deadline=after(), progress=_Spoils(lying))
        records, error = collect(envelopes)
        assert records == []
        assert isinstance(error, AgentMismatch)
        assert "not the one that was sent" in error.message
        assert not lying.exists()
        assert collect(run(connection, board, small, deadline=after()))[1] is None


def test_a_picture_that_was_changed_is_left_out_and_sent_with_the_next_run(
    noisy: Target, board: BoardPython, small: Bundle
) -> None:
    lying = Path(board.store.path(small.pictures[1].item.sha256))
    with link(noisy) as connection:
        for _ in run(connection, board, small, deadline=after()):
            pass
        spoil(lying)
        skipped = of(run(connection, board, small, deadline=after()), Skipped)
        assert [(one.index, one.reason) for one in skipped] == [(1, CHANGED)]
        assert not lying.exists()
        assert of(run(connection, board, small, deadline=after()), Skipped) == []


def test_a_model_that_was_changed_is_not_measured(
    noisy: Target, board: BoardPython, small: Bundle
) -> None:
    with link(noisy) as connection:
        for _ in run(connection, board, small, deadline=after()):
            pass
        lying = Path(board.store.path(small.model.sha256))
        lying.write_bytes(bytes(small.model.size_bytes))
        records, error = collect(run(connection, board, small, deadline=after()))
        assert isinstance(error, AgentFailed)
        assert not any(isinstance(record, Timed) for record in records)
        assert collect(run(connection, board, small, deadline=after()))[1] is None
