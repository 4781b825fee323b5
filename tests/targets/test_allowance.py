"""Boards that do not stop talking: runs over real SSH with agents that tell more than was asked."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Iterator
from itertools import repeat

import pytest

from targets import loopback
from targets.agent import wire
from targets.agent.records import Detected, Sample, Skipped, Timed
from targets.agent.wire import Envelope
from targets.allowance import Extent, Meter
from targets.deadline import Deadline
from targets.detached import Detached, new_run_id
from targets.errors import StreamBroken
from targets.items import Item
from targets.provision.environment import BoardPython, provision
from targets.session import attach, run
from targets.ssh import Connection, connect
from targets.transfer import send
from tests.agent import small_models
from tests.targets import servers
from toolchain.bundle import Bundle, Settings

SETTINGS = Settings(head=small_models.HEAD, warmup=1, timed_runs=3)
HELLO = '"agent_sha256":"","pid":1,"record":"hello"'
TIMED = '"inference_ns":5,"record":"timed"'
SAMPLE = '"record":"sample"'
UNKNOWN = '"record":"of-a-later-version"'


def after(seconds: float = 120) -> Deadline:
    return Deadline.after(seconds)


@pytest.fixture(scope="module")
def link(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Connection]:
    home = servers.awkward_home(tmp_path_factory.mktemp("talkative"))
    with loopback.started(home=home) as target, connect(target, deadline=after()) as connection:
        yield connection


@pytest.fixture(scope="module")
def board(link: Connection) -> BoardPython:
    return provision(link, deadline=after(600))


def endless(record: str) -> Bundle:
    """A run whose agent tells this for ever."""
    program = f"""import os, signal, sys
sys.stdin.read()
signal.signal(signal.SIGPIPE, signal.SIG_DFL)
for seq in range(10 ** 9):
    body = {HELLO!r} if seq == 0 else {record!r}
    os.write(1, ('{{"seq":%d,"monotonic_ns":%d,%s}}\\n' % (seq, seq, body)).encode())
"""
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as stream:
        stream.writestr("__main__.py", program)
    model = Item.of_bytes(b"never loaded")
    return Bundle(model, Item.of_bytes(archive.getvalue()), (), SETTINGS)


def told(envelopes: Iterator[Envelope]) -> tuple[int, StreamBroken]:
    """How many records came before the error."""
    count = 0
    try:
        for _ in envelopes:
            count += 1
    except StreamBroken as error:
        return count, error
    raise AssertionError("the board stopped by itself")


def is_over(connection: Connection, board: BoardPython) -> bool:
    asked = 'exec 9>"$1/lock" && flock -w 20 9'
    return connection.run(asked, board.store.root, deadline=after()).ok


@pytest.mark.parametrize(
    ("record", "words"),
    [
        (TIMED, "4 timed inferences, more than the run that was asked for"),
        ('"image":"a","record":"detected"', "1 images, more than"),
        ('"image":"a","record":"skipped"', "1 images, more than"),
        (SAMPLE, "more records than"),
        (UNKNOWN, "more records than"),
    ],
    ids=["timed", "detected", "skipped", "samples", "unknown"],
)
def test_a_board_that_tells_more_than_was_asked_for_is_an_error_and_its_run_ends(
    link: Connection, board: BoardPython, record: str, words: str
) -> None:
    count, error = told(run(link, board, endless(record), deadline=after()))
    assert words in error.message
    assert "broken or hostile" in error.hint
    assert count <= Extent(warmup=1, timed_runs=3).most_records(120 + 3600) < 40_000
    assert is_over(link, board)


def test_a_run_that_is_fetched_later_has_the_same_limits(
    link: Connection, board: BoardPython
) -> None:
    job, run_id = endless(TIMED), new_run_id()
    send(link, job.items, store=board.store, deadline=after())
    there = Detached(link, board, run_id)
    there.start(job.agent, ["run"], b"", deadline=after())
    extent = Extent(timed_runs=7)
    rest = attach(link, board, None, run_id=run_id, kept=(), deadline=after(), extent=extent)
    assert rest is not None
    count, error = told(rest)
    assert "8 timed inferences" in error.message
    assert count == 8  # Hello, and what was asked for
    there.stop(deadline=after())
    assert is_over(link, board)
    there.forget()


def test_bytes_are_counted_too() -> None:
    """Few records, each as long as a line may be."""
    most_bytes = Extent(timed_runs=3).most_bytes(60)
    lines = Meter("pi", Extent(timed_runs=3), 60).lines(repeat(bytes(wire.MAX_LINE_BYTES)))
    taken: list[int] = []
    with pytest.raises(StreamBroken, match="more bytes than"):
        taken.extend(map(len, lines))
    assert most_bytes - wire.MAX_LINE_BYTES < sum(taken) <= most_bytes


def test_the_largest_honest_records_are_within_the_limits() -> None:
    name = "\N{PILE OF POO}" * 4096
    number = -1.2345678901234567e-300
    rows = ((number,) * 5 + (79.0,),) * 300
    extent, more = Extent(images=1), Extent(images=2)
    each_bytes = more.most_bytes(0) - extent.most_bytes(0)
    detected = Detected(index=10**7, image=name, detections=rows)
    skipped = Skipped(index=10**7, image=name, reason="\N{PILE OF POO}" * 1000)
    for record in (detected, skipped):
        assert len(wire.encode(record, 10**8, 10**18, "0" * 8)) < each_bytes
    tick_bytes = Extent().most_bytes(0.5) - Extent().most_bytes(0)
    cores = {f"cpu{core}": 0.12345678901234567 for core in range(256)}
    zones = {f"a thermal zone with a long name {zone}": 12.345 for zone in range(64)}
    clocks = {f"cpu{core}": 10**7 for core in range(256)}
    sample = Sample(temps_c=zones, cpu_khz=clocks, cpu_load=cores, rail_mv=clocks)
    assert len(wire.encode(sample, 10**8, 10**18, "0" * 8)) < tick_bytes
    timed_bytes = Extent(timed_runs=1).most_bytes(0) - Extent().most_bytes(0)
    assert len(wire.encode(Timed(10**7, 10**18), 10**8, 10**18, "0" * 8)) < timed_bytes


def test_limits_grow_with_what_is_asked_for_up_to_a_full_journal() -> None:
    small = Extent(warmup=3, timed_runs=30, images=10)
    assert small.most_records(60) < 3000
    assert Extent(timed_runs=10**7).most_records(60) > 10**7
    assert Extent(images=10**6).most_bytes(60) == Extent(probe_values=1).most_bytes(0)
    assert small.most_bytes(60) < small.most_bytes(3600) <= Extent(images=10**6).most_bytes(60)
