"""Whole runs: the real agent with a real model, in a real environment, over real SSH."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, TypeVar

import pytest

from targets import detached
from targets.agent.faults import CHANGED
from targets.agent.records import Detected, Facts, Finished, Hello, Loading, Skipped, Timed
from targets.agent.wire import Envelope
from targets.deadline import Deadline
from targets.detached import Detached, new_run_id
from targets.errors import (
    AgentFailed,
    AgentKilled,
    AgentMismatch,
    BoardBusy,
    HalfbyteError,
    NoSpace,
    RunIncomplete,
)
from targets.files import sha256_file
from targets.items import Item
from targets.progress import SILENT, Task
from targets.provision.environment import BoardPython, clean, provision
from targets.session import Patience, attach, facts, run
from targets.ssh import Connection, connect
from targets.target import Target
from targets.transfer import send
from targets.zipapp import build
from tests.agent import small_models
from tests.targets import conditions, links, servers
from toolchain.bundle import Bundle, Picture, Settings

_T = TypeVar("_T")
ENDLESS = Settings(head=small_models.HEAD, timed_runs=1_000_000, sample_period_s=0.05)


def after(seconds: float = 120) -> Deadline:
    return Deadline.after(seconds)


def link(target: Target) -> Connection:
    return connect(target, deadline=after(20))


@pytest.fixture(scope="module")
def agent(tmp_path_factory: pytest.TempPathFactory) -> Item:
    built = build(tmp_path_factory.mktemp("agent"))
    return Item.of_file(built.path, sha256=built.sha256)


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory, agent: Item) -> Bundle:
    """A small detector and three pictures, one with an awkward name."""
    folder = tmp_path_factory.mktemp("bundle")
    pictures = []
    for index, name in enumerate(("søppel—1.jpg", "it's.png", "plain.png")):
        cell = small_models.coloured_cell(index, index, index)
        path = small_models.save_picture(folder / f"{index}.png", cell)
        pictures.append(Picture(name, Item.of_file(path)))
    model = Item.of_bytes(small_models.int8_detector())
    settings = Settings(head=small_models.HEAD, warmup=1, timed_runs=3)
    return Bundle(model, agent, tuple(pictures), settings)


@pytest.fixture(scope="module")
def noisy(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Target]:
    with conditions.board(tmp_path_factory.mktemp("noisy"), conditions.NOISE) as target:
        yield target


@pytest.fixture(scope="module")
def board(noisy: Target) -> BoardPython:
    with link(noisy) as connection:
        return provision(connection, deadline=after(600))


def endless(bundle: Bundle) -> Bundle:
    return dataclasses.replace(bundle, settings=ENDLESS)


def collect(envelopes: Iterator[Envelope]) -> tuple[list[Any], HalfbyteError | None]:
    """The records, and the error at their end."""
    records = []
    try:
        for envelope in envelopes:
            records.append(envelope.record)
    except HalfbyteError as error:
        return records, error
    return records, None


def until(envelopes: Iterator[Envelope], kind: type) -> list[Any]:
    records = []
    for envelope in envelopes:
        records.append(envelope.record)
        if isinstance(envelope.record, kind):
            return records
    raise AssertionError(f"the run ended without {kind.__name__}")


def hello(records: Sequence[Any]) -> Hello:
    assert isinstance(records[0], Hello)
    return records[0]


def of(envelopes: Iterable[Envelope], kind: type[_T]) -> list[_T]:
    return [e.record for e in envelopes if isinstance(e.record, kind)]


def runs_still(pid: int) -> bool:
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    return False


def gone(pid: int, within_s: float = 30) -> bool:
    end = time.monotonic() + within_s
    while runs_still(pid) and time.monotonic() < end:
        time.sleep(0.05)
    return not runs_still(pid)


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
        supervisor = int(Path(f"/proc/{agent}/stat").read_text().rpartition(")")[2].split()[1])
        os.kill(supervisor, signal.SIGKILL)
        _, error = collect(envelopes)
    assert isinstance(error, AgentKilled)
    assert error.oom is None
    assert "probably by the kernel's out-of-memory killer" in error.message
    assert gone(agent)


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
        assert gone(agent)
        assert collect(run(other, board, small, deadline=after()))[1] is None


def test_ctrl_c_ends_the_agent_on_the_board(
    noisy: Target, board: BoardPython, small: Bundle
) -> None:
    with link(noisy) as connection:
        envelopes = run(connection, board, endless(small), deadline=after())
        agent = hello(until(envelopes, Timed)).pid
        with pytest.raises(KeyboardInterrupt):
            envelopes.throw(KeyboardInterrupt())  # type: ignore[attr-defined]
        assert gone(agent)
        assert connection.is_open


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
    assert gone(agent)


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
    supervisor = int(Path(f"/proc/{agent}/stat").read_text().rpartition(")")[2].split()[1])
    state = json.loads((folder / "state.json").read_text())
    (folder / "state.json").write_text(json.dumps({**state, "boot_id": "another"}))
    os.kill(supervisor, signal.SIGKILL)
    assert gone(agent)
    with (folder / "journal.jsonl").open("r+b") as stream:
        lines = stream.read().splitlines(keepends=True)
        stream.seek(0)
        stream.truncate()  # the last seconds were not on the disk yet, the host has them
        stream.writelines([*lines[:lost_from], b'{"seq":9999,"mono'])


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
    assert gone(agent)


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


def test_lack_of_room_for_the_files_is_named_before_they_are_sent(
    tmp_path: Path, board: BoardPython, small: Bundle
) -> None:
    place = tmp_path / "small"
    place.mkdir()
    store = dataclasses.replace(board.store, root=str(place))
    (place / "objects").mkdir()
    big = dataclasses.replace(small, model=Item.of_bytes(bytes(12 << 20)))
    full = f"{conditions.small_file_system(place)}\nmkdir -p '{place}/objects'"
    with conditions.board(tmp_path, full) as target, link(target) as connection:
        there = dataclasses.replace(board, store=store)
        records, error = collect(run(connection, there, big, deadline=after()))
    assert records == []
    assert isinstance(error, NoSpace)
    assert str(place) in error.message


@contextlib.contextmanager
def small_disk(place: Path, size_kib: int) -> Iterator[Path]:
    """A disk of its own for our folder on the board."""
    conditions.needs_root_and("mount", "--version")
    place.mkdir()
    mounted = ["mount", "-t", "tmpfs", "-o", f"size={size_kib}k", "none", str(place)]
    if subprocess.run(mounted, capture_output=True, check=False).returncode:
        pytest.skip("no file system can be mounted here")
    try:
        yield place
    finally:
        subprocess.run(["umount", "-l", str(place)], check=True)


def moved(board: BoardPython, root: Path) -> BoardPython:
    """The same environment, seen from another folder of ours."""
    (root / "objects").mkdir(parents=True)
    (root / "envs").symlink_to(f"{board.store.root}/envs")
    return dataclasses.replace(board, store=dataclasses.replace(board.store, root=str(root)))


def fill(disk: Path) -> None:
    with contextlib.suppress(OSError), (disk / "filler").open("wb", buffering=0) as out:
        while True:
            out.write(bytes(4096))
    assert shutil.disk_usage(disk).free == 0


def test_a_disk_that_fills_in_the_run_costs_no_record(
    tmp_path: Path, noisy: Target, board: BoardPython, small: Bundle
) -> None:
    longer = dataclasses.replace(
        small, settings=dataclasses.replace(small.settings, timed_runs=2000)
    )
    with small_disk(tmp_path / "disk", 6 * 1024) as disk, link(noisy) as connection:
        there = moved(board, disk / "ours")
        seen = []
        for envelope in run(connection, there, longer, deadline=after()):
            seen.append(envelope)
            if len(seen) == 20:
                fill(disk)
        assert [timed.index for timed in of(seen, Timed)] == list(range(2000))
        assert isinstance(seen[-1].record, Finished)


def test_a_disk_without_room_for_what_a_run_tells_is_named_before_it_runs(
    tmp_path: Path, noisy: Target, board: BoardPython, small: Bundle
) -> None:
    with small_disk(tmp_path / "disk", 1536) as disk, link(noisy) as connection:
        there = moved(board, disk / "ours")
        records, error = collect(run(connection, there, small, deadline=after()))
    assert records == []
    assert isinstance(error, NoSpace)
    assert "no room to start a run" in error.message


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
        assert gone(agent, within_s=20)
        envelopes.close()  # type: ignore[attr-defined]
    lease.unlink()


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
