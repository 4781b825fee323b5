"""Links and hosts that go, boards that restart: the run goes on, or ends as it was told."""

from __future__ import annotations

import dataclasses
import json
import os
import signal
import time
from pathlib import Path

import pytest

from targets import detached
from targets.agent.records import Detected, Finished, Hello, Timed
from targets.agent.wire import Envelope
from targets.detached import Detached, new_run_id
from targets.errors import (
    RunIncomplete,
)
from targets.provision.environment import BoardPython
from targets.session import Patience, attach, run
from targets.target import Target
from targets.transfer import send
from tests.processes import ends, parent_of, runs_still
from tests.targets import links, servers
from tests.targets.session.following import (
    after,
    endless,
    hello,
    link,
    of,
    until,
)
from toolchain.bundle import Bundle


def test_a_run_outlives_its_link_and_nothing_is_lost_or_told_twice(
    noisy: Target, board: BoardPython, small: Bundle
) -> None:
    longer = dataclasses.replace(
        small, settings=dataclasses.replace(small.settings, timed_runs=4000)
    )
    with link(noisy) as connection:
        envelopes = run(connection, board, longer, deadline=after())
        seen: list[Envelope] = []
        for envelope in envelopes:
            seen.append(envelope)
            if len(seen) in (20, 900):
                connection.abort()
    assert [envelope.seq for envelope in seen] == list(range(len(seen)))
    assert len({hello.pid for hello in of(seen, Hello)}) == 1
    assert [timed.index for timed in of(seen, Timed)] == list(range(4000))
    assert isinstance(seen[-1].record, Finished)


def test_a_link_that_stays_broken_leaves_the_run_on_and_the_next_fetches_it(
    noisy: Target, board: BoardPython, small: Bundle
) -> None:
    longer = dataclasses.replace(
        small, settings=dataclasses.replace(small.settings, timed_runs=2000)
    )
    assert noisy.port is not None
    run_id = new_run_id()
    with links.link_to(noisy.port) as wire:
        connection = link(servers.at_port(noisy, wire.port))
        patience = Patience(link_s=1.5)
        kept: list[Envelope] = []
        told = None
        try:
            for envelope in run(
                connection, board, longer, run_id=run_id, patience=patience, deadline=after()
            ):
                kept.append(envelope)
                if len(kept) == 15:
                    wire.close()
        except RunIncomplete as error:
            told = error
        assert told is not None
        assert "out of reach" in told.message
        assert "The run goes on there" in told.hint
    with link(noisy) as connection:
        rest = attach(connection, board, longer, run_id=run_id, kept=kept, deadline=after())
        assert rest is not None
        kept += rest
        assert [envelope.seq for envelope in kept] == list(range(len(kept)))
        assert [timed.index for timed in of(kept, Timed)] == list(range(2000))
        assert isinstance(kept[-1].record, Finished)
        again = attach(connection, board, longer, run_id=run_id, kept=kept, deadline=after())
        assert again is None, "what was fetched whole does not stay on the board"


def test_a_run_that_nobody_follows_ends_when_it_was_told_to(
    noisy: Target, board: BoardPython, small: Bundle
) -> None:
    connection = link(noisy)
    patience = Patience(link_s=0.0, linger_s=2.0)
    envelopes = run(connection, board, endless(small), patience=patience, deadline=after())
    before = until(envelopes, Timed)
    connection.abort()
    agent = hello(before).pid
    assert ends(agent)


@pytest.mark.parametrize("lost_from", [20, 1_000_000], ids=["records lost", "none lost"])
def test_after_a_restart_of_the_board_the_run_goes_on_where_it_was(
    noisy: Target, board: BoardPython, small: Bundle, lost_from: int
) -> None:
    """Power cut, as far as a run can tell: nobody lives, and the boot has another name."""
    longer = dataclasses.replace(
        small, settings=dataclasses.replace(small.settings, timed_runs=3000)
    )
    run_id = new_run_id()
    with link(noisy) as connection:
        seen = []
        for envelope in run(connection, board, longer, run_id=run_id, deadline=after()):
            seen.append(envelope)
            if len(seen) == 30:
                folder = Path(board.store.root) / "runs" / run_id
                restarted(folder, of(seen, Hello)[0].pid, lost_from=lost_from)
    assert [envelope.seq for envelope in seen] == list(range(len(seen)))
    assert len(of(seen, Hello)) == 2
    assert [timed.index for timed in of(seen, Timed)] == list(range(3000))
    assert len(of(seen, Detected)) == 3
    assert isinstance(seen[-1].record, Finished)


def restarted(folder: Path, agent: int, *, lost_from: int) -> None:
    """Everything of the run killed, half a line at the journal's end, a state of another boot."""
    supervisor = parent_of(agent)
    state = json.loads((folder / "state.json").read_text())
    (folder / "state.json").write_text(json.dumps({**state, "boot_id": "another"}))
    os.kill(supervisor, signal.SIGKILL)
    assert ends(agent)
    with (folder / "journal.jsonl").open("r+b") as stream:
        lines = stream.read().splitlines(keepends=True)
        stream.seek(0)
        stream.truncate()  # the last seconds were not on the disk yet, the host has them
        stream.writelines([*lines[:lost_from], b'{"seq":9999,"mono'])


def test_asked_again_to_take_up_a_run_that_is_on_the_board_says_so(
    noisy: Target, board: BoardPython, small: Bundle
) -> None:
    """The answer to a start was lost on the way; so was the one to a start after a restart."""
    plan = endless(small).plan(board.store.path).to_json()
    with link(noisy) as connection:
        send(connection, small.items, store=board.store, deadline=after())
        there = Detached(connection, board, new_run_id())
        for resume in (False, False, True):
            there.start(small.agent, ["run"], plan, deadline=after(), resume=resume)
        journal = Path(board.store.root) / "runs" / there.run_id / "journal.jsonl"
        time.sleep(0.5)
        assert journal.read_text().count('"record":"hello"') == 1
        there.stop(deadline=after())
        there.forget()
        assert not journal.exists()


def test_a_host_that_gives_no_sign_counts_as_gone(
    noisy: Target, board: BoardPython, small: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The link is there, and so is the SSH server's belief in it; the host is stopped."""
    monkeypatch.setattr(detached, "SIGN_S", 3600.0)
    monkeypatch.setattr(detached, "SILENT_S", 1.0)
    lease = Path(board.store.root) / "lease"
    lease.touch()
    patience = Patience(link_s=0.0, linger_s=6.0)
    with link(noisy) as connection:
        envelopes = run(
            connection, board, endless(small), patience=patience, renew=str(lease), deadline=after()
        )
        agent = hello(until(envelopes, Timed)).pid
        time.sleep(3.0)
        assert time.time() - lease.stat().st_mtime > 1.5
        assert runs_still(agent), "it lingers for as long as it was told to"
        assert ends(agent, within_s=20)
        envelopes.close()  # type: ignore[attr-defined]
    lease.unlink()
