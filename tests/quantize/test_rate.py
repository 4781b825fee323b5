"""Bits that entropy-coded filters take, layer after layer."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from tests.quantize.conftest import Subject
from toolchain.errors import OutOfRange
from toolchain.quantize.coded import CodedFilter, Entropy, entropy_bits
from toolchain.quantize.granularity import Channel
from toolchain.quantize.rate import Pace, relative_steps
from toolchain.quantize.schemes import entropy


def ideal(coded: CodedFilter) -> float:
    assert isinstance(coded, Entropy)
    return entropy_bits(coded.codes)


def codes(subject: Subject, index: int, steps: NDArray[np.float32]) -> NDArray[np.int8]:
    exact = subject.graph.constant(subject.graph.operations[index].inputs[1])
    return entropy.encode(exact, entropy.Parameters(steps, 0, Channel()))


def paced(subject: Subject, pace: Pace, cost: float = 1.0) -> float:
    """Bits a weight when all layers were coded; each takes `cost` times its entropy."""
    total = weights = 0.0
    for operation in subject.graph.convolutions:
        made = Entropy(codes(subject, operation.index, pace.steps(operation.index)))
        pace.spent(operation.index, made)
        total += cost * ideal(made)
        weights += made.codes.size
    return total / weights


@pytest.mark.parametrize("bits", [1.5, 3.0, 4.0, 5.0])
def test_layers_take_the_wanted_bits_within_a_percent(wide: Subject, bits: float) -> None:
    pace = Pace(wide.graph, wide.sensitivity, bits, ideal)
    assert paced(wide, pace) == pytest.approx(bits, rel=0.01)


@pytest.mark.parametrize("cost", [0.94, 1.08])
def test_layers_that_take_more_or_less_than_planned_leave_others_the_rest(
    wide: Subject, cost: float
) -> None:
    """Second-order rounding and the coder change what was planned by some percent."""
    pace = Pace(wide.graph, wide.sensitivity, 4.0, lambda coded: cost * ideal(coded))
    assert paced(wide, pace, cost) == pytest.approx(4.0, rel=0.02)
    untold = Pace(wide.graph, wide.sensitivity, 4.0, ideal)
    assert abs(paced(wide, untold, cost) - 4.0) > 0.04 * 4


def test_a_layer_that_the_outputs_feel_more_gets_finer_steps(wide: Subject) -> None:
    pace = Pace(wide.graph, wide.sensitivity, 3.0, ideal)
    names = wide.graph.layer_names()
    noise = {}
    for operation in wide.graph.convolutions:
        steps = pace.steps(operation.index)[:, 0].astype(np.float64)
        exact = wide.graph.constant(operation.inputs[1])
        largest = np.abs(exact).max(axis=(1, 2, 3))
        felt = wide.sensitivity.layers[names[operation.index]].energy / exact[0].size
        free = (steps > largest / 127 * 1.001) & (steps < largest * 0.999)
        noise[names[operation.index]] = (steps**2 * felt)[free]
    products = np.concatenate(list(noise.values()))
    assert len(noise) == 7
    assert len(products) > 200
    # Where no limit of int8 is reached, every channel's noise hurts the outputs alike.
    np.testing.assert_allclose(products, np.median(products), rtol=1e-3)


def test_fewer_bits_are_coarser_steps(wide: Subject) -> None:
    few, many = (Pace(wide.graph, wide.sensitivity, bits, ideal) for bits in (2.0, 5.0))
    for operation in wide.graph.convolutions:
        assert (few.steps(operation.index) >= many.steps(operation.index)).all()
        assert few.steps(operation.index).sum() > many.steps(operation.index).sum()


def test_more_bits_than_int8_codes_have_are_int8_codes(wide: Subject) -> None:
    pace = Pace(wide.graph, wide.sensitivity, 9.0, ideal)
    for operation in wide.graph.convolutions:
        made = codes(wide, operation.index, pace.steps(operation.index))
        assert np.abs(made.astype(int)).max(axis=(1, 2, 3)).min() == 127


def test_bits_that_no_steps_reach_are_refused_with_what_is_possible(wide: Subject) -> None:
    with pytest.raises(OutOfRange, match="with the coarsest steps there are") as refused:
        Pace(wide.graph, wide.sensitivity, 0.001, ideal)
    assert "Ask for" in refused.value.hint


def test_steps_are_of_equal_worth() -> None:
    weights = np.ones((3, 1, 1, 4), np.float32)
    steps = relative_steps(np.array([4.0, 1.0, 0.0]), weights)
    assert steps[:2] == pytest.approx([1.0, 2.0])
    assert steps[2] == np.inf
