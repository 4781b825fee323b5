"""Samples of outputs: the same positions everywhere, every channel's turn, nothing believed."""

import base64
import dataclasses

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

from targets.agent import wire
from targets.agent.probing import DTYPES, MAX_BYTES, sampled, values_of
from targets.agent.records import Probed
from tests.agent.running import of_kind, records_of, run, small_plan


@given(arrays(np.int16, array_shapes(max_dims=4, max_side=40)), st.integers(1, 500))
def test_a_sample_is_every_step_th_value_and_no_more_than_asked(values, most):
    step, chosen = sampled(values, most)
    assert len(chosen) <= most
    np.testing.assert_array_equal(chosen, values.ravel()[::step])


@given(
    st.integers(1, 60), st.integers(1, 60), st.sampled_from([3, 32, 80, 255, 256]),
    st.integers(600, 4000),
)  # fmt: skip
def test_all_channels_have_their_turn(height, width, channels, most):
    values = np.broadcast_to(np.arange(channels, dtype=np.int16), (1, height, width, channels))
    chosen = sampled(values, most)[1]
    assert len(np.unique(chosen)) == min(len(chosen), channels)


@given(st.sampled_from(DTYPES), st.integers(0, 300), st.integers(1, 9))
def test_the_host_reads_what_the_board_took(dtype, count, step):
    values = np.arange(count).astype(dtype)
    text = base64.b64encode(values[::step].tobytes()).decode()
    record = Probed(dtype=dtype, values=count, step=step, sample=text)
    np.testing.assert_array_equal(values_of(record), values[::step])


@pytest.mark.parametrize(
    "change",
    [
        {"dtype": "object"},
        {"dtype": "float16"},
        {"step": 0},
        {"step": -1},
        {"values": -4},
        {"values": 9},
        {"values": 2**62},
        {"sample": "AAECAw="},
        {"sample": "AAEC-w=="},
        {"sample": "é" * 8},
        {"sample": ""},
    ],
)
def test_a_sample_that_contradicts_itself_is_refused(change):
    good = Probed(dtype="int8", values=4, step=1, sample="AAECAw==")
    assert values_of(good).tolist() == [0, 1, 2, 3]
    with pytest.raises(ValueError, match=r"sample"):
        values_of(dataclasses.replace(good, **change))


def test_the_largest_sample_fits_the_wire():
    text = base64.b64encode(bytes(MAX_BYTES)).decode()
    record = Probed(dtype="int8", values=MAX_BYTES, sample=text)
    assert wire.decode(wire.encode(record, 0, 0)).record == record


def test_an_agent_tells_its_outputs_where_the_plan_asks_for_them(agent, tmp_path):
    plan = small_plan(tmp_path, pictures=2, probe_values=20)
    records = records_of(run(agent, plan).stdout)
    [loaded] = of_kind(records, wire.Loaded)
    probed = of_kind(records, wire.Probed)
    assert [(p.index, p.image, p.tensor) for p in probed] == [
        (index, f"image {index}", output.name) for index in range(2) for output in loaded.outputs
    ]
    for record in probed:
        output = loaded.outputs[record.output]
        assert record.values == np.prod(output.shape)
        assert 1 <= len(values_of(record)) <= 20
    whole = of_kind(
        records_of(run(agent, dataclasses.replace(plan, probe_values=10_000)).stdout), wire.Probed
    )
    for part, full in zip(probed, whole, strict=True):
        assert full.step == 1
        np.testing.assert_array_equal(values_of(part), values_of(full)[:: part.step])


def test_an_agent_that_is_not_asked_tells_none(agent, tmp_path):
    assert not of_kind(records_of(run(agent, small_plan(tmp_path)).stdout), wire.Probed)
