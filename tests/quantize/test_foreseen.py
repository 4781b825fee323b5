"""Noise foretold from statistics, against rounding that is done."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from toolchain.quantize import foreseen
from toolchain.quantize.granularity import Channel, Group
from toolchain.quantize.methods import Method


@given(st.integers(0, 2**32 - 1))
@settings(max_examples=30, deadline=None)
def test_foretold_rounding_of_activations_is_what_rounding_makes(seed: int) -> None:
    random = np.random.default_rng(seed)
    x = random.normal(0, np.exp2(random.uniform(-3, 3, 6)), (20_000, 6))
    weights = random.normal(0, 1, (4, 1, 1, 6)).astype(np.float32)
    step = foreseen.step(x.min(axis=0), x.max(axis=0))
    error = np.rint(x / step) * step - x
    made = ((error @ weights[:, 0, 0].T.astype(np.float64)) ** 2).mean(axis=0).sum()
    variance = foreseen.rounding(np.full(6, step), (x**2).mean(axis=0))
    assert foreseen.activation_noise(weights, variance) == pytest.approx(made, rel=0.3)


METHODS = [
    Method("uniform", 8, Channel()),
    Method("uniform", 4, Channel()),
    Method("grouped", 4, Group(8)),
    Method("entropy", 4, Channel()),
]


@given(st.integers(0, 2**32 - 1), st.sampled_from(METHODS))
@settings(deadline=None)
def test_factors_on_outputs_cost_nothing_and_noise_falls_with_bits(
    seed: int, method: Method
) -> None:
    random = np.random.default_rng(seed)
    weights = random.normal(0, 1, (6, 3, 3, 5)).astype(np.float32)
    power = random.uniform(0.1, 10, 5)
    octaves = random.integers(-4, 5, 6)[:, None, None, None]
    own = [foreseen.weight_noise(weights[o : o + 1], power, method) for o in range(6)]
    moved = np.ldexp(weights, octaves.astype(np.int32))
    for o in range(6):
        found = foreseen.weight_noise(moved[o : o + 1], power, method)
        assert found == pytest.approx(own[o] * 4.0 ** int(octaves[o].item()), rel=1e-6)
    finer = Method(method.scheme, method.bits + 2, method.granularity)
    ratio = foreseen.weight_noise(weights, power, method) / foreseen.weight_noise(
        weights, power, finer
    )
    assert 6 < ratio < 50  # 16 and some, by the rounding of few levels


def test_a_filter_that_stays_float_makes_no_noise() -> None:
    assert foreseen.weight_noise(np.ones((2, 1, 1, 3), np.float32), np.ones(3), None) == 0
