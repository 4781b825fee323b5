"""A plan says everything or is refused; the agent guesses nothing."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from targets.agent.faults import BadPlan
from targets.agent.plan import Plan, PlanFile, is_marker, marker_of, parse
from tests.agent.small_models import HEAD

SHA = "0123456789abcdef" * 4
FILES = st.builds(
    PlanFile,
    st.text(min_size=1, max_size=9).map(lambda t: "/" + t.replace("\0", "")),
    st.just(SHA),
    st.text(max_size=5),
)
PLANS = st.builds(
    Plan,
    model=FILES,
    marker=st.none() | st.just("marker-1234"),
    threads=st.integers(1, 8),
    warmup=st.integers(0, 9),
    timed_runs=st.integers(0, 99),
    imgsz=st.none() | st.tuples(st.integers(1, 2000), st.integers(1, 2000)),
    head=st.none() | st.just(HEAD),
    images=st.lists(FILES, max_size=3).map(tuple),
    confidence=st.floats(0, 0.99),
    fps_confidence=st.floats(0, 0.99),
    iou=st.floats(0, 1),
    max_detections=st.integers(1, 1000),
    multi_label=st.booleans(),
    sample_period_s=st.floats(0.01, 100),
    steady_s=st.floats(0, 600),
    first_seq=st.integers(0, 1000),
    first_timed=st.integers(0, 1000),
    first_image=st.integers(0, 1000),
)  # fmt: skip
WHOLE = json.loads(Plan(PlanFile("m.tflite", SHA), head=HEAD).to_json())


@given(PLANS)
def test_the_agent_reads_what_the_host_wrote(plan):
    assert plan.to_json().isascii()
    assert parse(plan.to_json()) == plan


def test_what_is_not_said_has_its_default():
    model = {"path": "m.tflite", "sha256": SHA}
    plan = parse(json.dumps({"schema": "halfbyte.plan", "version": 1, "model": model}).encode())
    assert plan == Plan(PlanFile("m.tflite", SHA))


@pytest.mark.parametrize(
    "change",
    [
        {"schema": "halfbyte.wire"},
        {"version": 2},
        {"model": None},
        {"model": {"path": "m"}},
        {"model": {"path": "m", "sha256": "short"}},
        {"model": {"path": "", "sha256": SHA}},
        {"model": {"path": "a\0b", "sha256": SHA}},
        {"model": {"path": "a\ud800", "sha256": SHA}},
        {"thread": 2},
        {"threads": 0},
        {"threads": True},
        {"threads": None},
        {"warmup": -1},
        {"timed_runs": 1.5},
        {"imgsz": 640},
        {"imgsz": [640]},
        {"imgsz": [640, 0]},
        {"head": {"layout": "spiral"}},
        {"images": {}},
        {"images": ["a.jpg"]},
        {"confidence": 1},
        {"confidence": -0.1},
        {"confidence": "0.5"},
        {"iou": 1.1},
        {"max_detections": 0},
        {"multi_label": 1},
        {"sample_period_s": 0},
        {"first_seq": -1},
        {"first_image": "0"},
        {"marker": "short"},
        {"marker": "two\nlines of it"},
    ],
)
def test_a_plan_with_a_wrong_value_is_refused(change):
    with pytest.raises(BadPlan):
        parse(json.dumps({**WHOLE, **change}).encode())


@given(st.binary(max_size=60) | st.sampled_from([b"NaN", b"[" * 100_000, b'{"a": 1e999}']))
def test_anything_else_is_refused(data):
    with pytest.raises(BadPlan):
        parse(data)


def test_numbers_that_json_does_not_have_are_refused():
    text = json.dumps(WHOLE).replace('"iou": 0.65', '"iou": NaN')
    with pytest.raises(BadPlan):
        parse(text.encode())


def test_a_marker_is_found_in_a_plan_that_is_bad_in_all_else():
    assert marker_of(b'{"marker": "marker-1234", "version": 99}') == "marker-1234"
    assert marker_of(b'{"marker": "bad marker\\n"}') is None
    assert marker_of(b"not JSON") is None


@pytest.mark.parametrize(
    ("text", "good"),
    [
        ("a" * 8, True),
        ("a" * 7, False),
        ("a" * 129, False),
        ("a b c d e", False),
        ("marker-12\n", False),
    ],
)
def test_a_marker_is_one_plain_word(text, good):
    assert is_marker(text) is good
