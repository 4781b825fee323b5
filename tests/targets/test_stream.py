from __future__ import annotations

import logging

import pytest
from hypothesis import given
from hypothesis import strategies as st

from targets.agent.records import Finished, Timed
from targets.agent.wire import MAX_LINE_BYTES, encode
from targets.errors import StreamBroken
from targets.stream import MAX_NOISE_BYTES, Stream

MARKER = "halfbyte-0123456789abcdef"
LINES = [encode(Timed(index=n, inference_ns=n + 1), n, 1000 + n) for n in range(3)]
BEGIN = f"{MARKER}\n".encode()


def read(stream: Stream, lines: list[bytes]) -> list[object]:
    return [envelope.record for envelope in stream.read(lines)]


def test_records_follow_the_marker() -> None:
    stream = Stream(MARKER)
    assert read(stream, [BEGIN, *LINES]) == [Timed(index=n, inference_ns=n + 1) for n in range(3)]
    assert (stream.started, stream.cut, stream.noise) == (True, False, "")


def test_noise_before_the_marker_is_kept_and_mentioned_once(
    caplog: pytest.LogCaptureFixture,
) -> None:
    stream = Stream(MARKER)
    noise = [b"Welcome to shed\n", b'{"record":"timed"}\n', b"disk: 81% full" + BEGIN]
    with caplog.at_level(logging.WARNING, "targets.stream"):
        assert len(read(stream, [*noise, *LINES])) == 3
    assert stream.noise == 'Welcome to shed\n{"record":"timed"}\ndisk: 81% full'
    assert len(caplog.records) == 1


@pytest.mark.parametrize(
    ("garbage", "says"),
    [
        (b"Segmentation fault\n", "not a record"),
        (b"{}\n", "not a record"),
        (b'{"record":"timed","seq":0,"monotonic_ns":NaN}\n', "NaN is not JSON"),
        (b"\n", "not a record"),
    ],
)
def test_garbage_after_the_marker_is_an_error(garbage: bytes, says: str) -> None:
    with pytest.raises(StreamBroken, match=f"After 1 records .*{says}"):
        read(Stream(MARKER), [BEGIN, LINES[0], garbage])


def test_a_missing_record_is_an_error() -> None:
    with pytest.raises(StreamBroken, match="record 2 came where 1 was due"):
        read(Stream(MARKER), [BEGIN, LINES[0], LINES[2]])


def test_a_record_of_a_newer_agent_is_passed_over() -> None:
    newer = b'{"record":"aurora","seq":1,"monotonic_ns":5,"colour":"green"}\n'
    assert len(read(Stream(MARKER), [BEGIN, LINES[0], newer, LINES[2]])) == 2


def test_a_record_that_broke_off_is_left_out_and_said_so() -> None:
    stream = Stream(MARKER)
    assert len(read(stream, [BEGIN, LINES[0], LINES[1][:-9]])) == 1
    assert stream.cut


def test_a_line_without_end_is_no_record() -> None:
    with pytest.raises(StreamBroken, match="more than"):
        read(Stream(MARKER), [BEGIN, b" " * (MAX_LINE_BYTES + 1)])


def test_endless_noise_is_an_error() -> None:
    with pytest.raises(StreamBroken, match="has not begun"):
        read(Stream(MARKER), [b"y\n"] * MAX_NOISE_BYTES)


def test_a_stream_that_never_starts_has_no_records() -> None:
    stream = Stream(MARKER)
    assert read(stream, [b"bash: python3: command not found\n"]) == []
    assert not stream.started
    assert "command not found" in stream.noise


@given(st.lists(st.binary(max_size=40).map(lambda data: data.replace(b"\n", b"") + b"\n")))
def test_whatever_was_printed_before_costs_no_record(noise: list[bytes]) -> None:
    last = encode(Finished(), 3, 0)
    assert len(read(Stream(MARKER), [*noise, BEGIN, *LINES, last])) == 4
