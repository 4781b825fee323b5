"""Records keep their values across the wire, and no line can do more than be refused."""

import dataclasses
import json
import math
import typing

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from targets.agent import wire

TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
NUMBERS = st.floats(allow_nan=False, allow_infinity=False)
INTS = st.integers(-(2**63) + 1, 2**63 - 1)
ROWS = st.tuples(NUMBERS, NUMBERS, NUMBERS, NUMBERS, NUMBERS, st.integers(0, 99).map(float))


def of_type(hint):
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin is tuple and typing.get_origin(arguments[0]) is tuple:  # of detections
        return st.lists(ROWS, max_size=3).map(tuple)
    if origin is typing.Union:
        return st.none() | of_type(arguments[0])
    if origin is tuple:
        return st.lists(of_type(arguments[0]), max_size=3).map(tuple)
    if origin is dict:
        return st.dictionaries(TEXT, of_type(arguments[1]), max_size=3)
    if dataclasses.is_dataclass(hint):
        hints = typing.get_type_hints(hint)
        return st.builds(hint, **{name: of_type(field) for name, field in hints.items()})
    return {str: TEXT, int: INTS, float: NUMBERS, bool: st.booleans()}[hint]


RECORDS = st.one_of([of_type(cls) for cls in wire.RECORDS.values()])
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.sampled_from(["", "a", "\ud800"]),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(st.sampled_from(["scale", "shape", "rss_bytes", "x"]), inner, max_size=4)
    ),
    max_leaves=8,
)


def line_of(record: str, **fields) -> bytes:
    return json.dumps({"seq": 0, "monotonic_ns": 1, "record": record, **fields}).encode()


@given(RECORDS, st.integers(0, 2**40), st.integers(0, 2**62))
def test_every_record_comes_back_as_it_was_sent(record, seq, monotonic_ns):
    line = wire.encode(record, seq, monotonic_ns)
    assert line.isascii()
    assert line.index(b"\n") == len(line) - 1
    assert wire.decode(line) == wire.Envelope(seq, monotonic_ns, record)


def decoded_or_refused(line: bytes) -> None:
    try:
        wire.decode(line)
    except wire.WireError:
        return


@given(st.binary(max_size=200))
def test_arbitrary_bytes_are_at_most_refused(line):
    decoded_or_refused(line)


@given(st.sampled_from(sorted(wire.RECORDS)), st.data())
def test_records_with_arbitrary_values_are_at_most_refused(name, data):
    fields = [field.name for field in dataclasses.fields(wire.RECORDS[name])]
    values = data.draw(st.fixed_dictionaries({}, optional=dict.fromkeys(fields, JSON)))
    decoded_or_refused(line_of(name, **values))


@given(RECORDS, st.data())
def test_a_line_cut_anywhere_is_refused(record, data):
    line = wire.encode(record, 0, 0)
    cut = data.draw(st.integers(0, len(line) - 2))
    with pytest.raises(wire.WireError):
        wire.decode(line[:cut])


@pytest.mark.parametrize(
    "value", [math.nan, math.inf, -math.inf, np.float32("nan"), np.float64("inf")]
)
def test_what_is_not_a_number_is_sent_as_null(value):
    line = wire.encode(wire.Sample(load_1min=value, temps_c={"cpu": value}), 0, 0)
    sent = json.loads(line, parse_constant=pytest.fail)
    assert sent["load_1min"] is None
    assert sent["temps_c"] == {"cpu": None}


@pytest.mark.parametrize("constant", ["NaN", "Infinity", "-Infinity", "1e999", "-1e999"])
def test_numbers_that_json_does_not_have_are_refused(constant):
    line = line_of("sample", load_1min=0.5).replace(b"0.5", constant.encode())
    with pytest.raises(wire.WireError):
        wire.decode(line)


@pytest.mark.parametrize(
    ("record", "fields"),
    [
        ("timed", {"inference_ns": None}),
        ("timed", {"inference_ns": True}),
        ("timed", {"inference_ns": 1.5}),
        ("timed", {"inference_ns": 2**63}),
        ("hello", {"version": "1"}),
        ("skipped", {"reason": None}),
        ("skipped", {"reason": "\ud800"}),
        ("skipped", {"reason": "x" * 70_000}),
        ("loaded", {"inputs": [None]}),
        ("loaded", {"inputs": [{"scale": None}]}),
        ("loaded", {"inputs": [{"shape": [1, "2"]}]}),
        ("loaded", {"before": None}),
        ("facts", {"cpu_max_khz": {"policy0": None}}),
        ("facts", {"cpu_features": ["a"] * 20_000}),
        ("facts", {"emulated": 1}),
        ("detected", {"detections": [[1, 2, 3, 4, 0.5]]}),
        ("detected", {"detections": [[1, 2, 3, 4, 0.5, 1.5]]}),
        ("detected", {"detections": [[1, 2, 3, 4, 0.5, -1]]}),
        ("detected", {"detections": {}}),
    ],
)
def test_values_of_the_wrong_type_are_refused(record, fields):
    with pytest.raises(wire.WireError):
        wire.decode(line_of(record, **fields))


@pytest.mark.parametrize(
    "change",
    [{"seq": -1}, {"seq": None}, {"seq": True}, {"monotonic_ns": "5"}, {"record": 5}],
)
def test_an_envelope_has_its_three_fields(change):
    with pytest.raises(wire.WireError):
        wire.decode(line_of("finished", **change) if "record" not in change else b'{"record": 5}')


def test_unknown_is_null_where_a_field_may_be_unknown():
    envelope = wire.decode(line_of("sample", load_1min=None, temps_c={"cv0": None, "cpu": 48.5}))
    assert envelope is not None
    assert envelope.record == wire.Sample(temps_c={"cv0": None, "cpu": 48.5})


def test_newer_boards_may_send_more():
    assert wire.decode(line_of("weather", wind=3)) is None
    envelope = wire.decode(line_of("warmed", index=2, inference_ns=5, phase_of_moon="full"))
    assert envelope is not None
    assert envelope.record == wire.Warmed(index=2, inference_ns=5)


def test_deep_nesting_is_refused():
    with pytest.raises(wire.WireError):
        wire.decode(b"[" * 100_000)


def test_a_record_that_is_too_long_is_not_sent():
    with pytest.raises(wire.WireError):
        wire.encode(wire.Failed(message="x" * wire.MAX_LINE_BYTES), 0, 0)
    with pytest.raises(wire.WireError):
        wire.decode(b" " * wire.MAX_LINE_BYTES + b"{}")


def test_text_of_any_locale_is_sent_in_ascii():
    name = "søppel—1.jpg"
    line = wire.encode(
        wire.Skipped(image=name, reason=b"s\xf8".decode("utf-8", "surrogateescape")), 0, 0
    )
    assert line.isascii()
    envelope = wire.decode(line)
    assert envelope is not None
    assert envelope.record.image == name
    assert envelope.record.reason == "s\ufffd"


def test_numpy_values_are_sent_as_plain_numbers():
    record = wire.Sample(load_1min=np.float32(0.5), cpu_khz={"policy0": np.int64(7)})
    envelope = wire.decode(wire.encode(record, 0, 0))
    assert envelope is not None
    assert envelope.record == wire.Sample(load_1min=0.5, cpu_khz={"policy0": 7})
