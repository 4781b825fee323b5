from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.quantize.schemes.cases import FloatArray, usual
from toolchain.errors import NotFinite, OutOfRange
from toolchain.quantize.coded import entropy_bits
from toolchain.quantize.granularity import Channel
from toolchain.quantize.schemes import entropy

FILTERS = [usual(seed, (8, 3, 3, 40)) for seed in range(3)]


def sensitivities(seed: int = 0) -> list[FloatArray]:
    random = np.random.default_rng(seed)
    return [random.lognormal(0, 1, len(values)).astype(np.float32) for values in FILTERS]


def relatives() -> list[FloatArray]:
    return [entropy.relative_steps(own, 1.0) for own in sensitivities()]


def rate(fitted: list[entropy.Parameters]) -> float:
    codes = [entropy.encode(w, p) for w, p in zip(FILTERS, fitted, strict=True)]
    return sum(entropy_bits(c) for c in codes) / sum(c.size for c in codes)


def loss(fitted: list[entropy.Parameters]) -> float:
    total = 0.0
    for weights, parameters, own in zip(FILTERS, fitted, sensitivities(), strict=True):
        error = entropy.decode(entropy.encode(weights, parameters), parameters) - weights
        total += float(np.square(error).sum(axis=(1, 2, 3)) @ own)
    return total


@settings(max_examples=20)
@given(st.floats(1.0, 5.0))
def test_a_network_takes_the_bits_that_were_asked_for(bits: float) -> None:
    assert rate(entropy.fit_network(FILTERS, relatives(), bits)) == pytest.approx(bits, abs=0.005)


def test_steps_keep_their_ratios_between_the_limits_of_int8() -> None:
    fitted = entropy.fit_network(FILTERS, relatives(), 3.0)
    kappa = []
    for weights, parameters, own in zip(FILTERS, fitted, relatives(), strict=True):
        step, most = parameters.step[:, 0], np.abs(weights).max(axis=(1, 2, 3))
        assert (step >= most / 127 * (1 - 1e-6)).all()
        assert (step <= most * (1 + 1e-6)).all()
        free = (step > most / 126) & (step < most * 0.99)
        kappa.extend(step[free] / own[free])
    assert len(kappa) > 12
    np.testing.assert_allclose(kappa, kappa[0], rtol=1e-5)


def test_sensitive_channels_get_finer_steps_and_the_network_loses_less() -> None:
    by_sensitivity = entropy.fit_network(FILTERS, relatives(), 3.0)
    alike = [np.ones_like(own) for own in relatives()]
    assert loss(by_sensitivity) < 0.9 * loss(entropy.fit_network(FILTERS, alike, 3.0))


@pytest.mark.parametrize("faint", [1e-6, 1e-12, 1e-20])
def test_a_channel_that_is_nearly_zero_does_not_hide_the_bits_of_the_others(faint: float) -> None:
    """Its finest step is far below all others, whose rate stands still for dozens of octaves."""
    weights = np.random.default_rng(5).normal(size=(32, 3, 3, 16)).astype(np.float32)
    weights[7] *= np.float32(faint)
    alike = np.ones(32, np.float32)
    fitted = entropy.fit_network([weights], [alike], 6.0)
    own = entropy_bits(entropy.encode(weights, fitted[0])) / weights.size
    assert own == pytest.approx(6.0, abs=0.005)


def test_more_bits_than_int8_codes_have_leave_the_finest_steps() -> None:
    for parameters, weights in zip(
        entropy.fit_network(FILTERS, relatives(), 8.0), FILTERS, strict=True
    ):
        most = np.abs(weights).max(axis=(1, 2, 3))
        np.testing.assert_allclose(parameters.step[:, 0], most / 127, rtol=1e-6)


def test_fewer_bits_than_the_coarsest_steps_have_are_refused_with_what_is_possible() -> None:
    with pytest.raises(OutOfRange, match="coarsest steps") as caught:
        entropy.fit_network(FILTERS, relatives(), 0.001)
    least = float(caught.value.hint.split()[2])
    assert rate(entropy.fit_network(FILTERS, relatives(), least)) <= least + 0.001


def test_channels_that_nothing_depends_on_get_the_coarsest_step() -> None:
    own = sensitivities()[0]
    own[2] = 0
    (parameters,) = entropy.fit_network(FILTERS[:1], [entropy.relative_steps(own, 1.0)], 4.0)
    assert parameters.step[2, 0] == np.abs(FILTERS[0][2]).max()


def test_a_network_of_zeros_keeps_positive_steps() -> None:
    zeros = [np.zeros_like(FILTERS[0])] * 2
    for parameters in entropy.fit_network(zeros, relatives()[:2], 4.0):
        assert (parameters.step == 1).all()


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_sensitivities_that_are_not_finite_are_refused(bad: float) -> None:
    with pytest.raises(NotFinite):
        entropy.relative_steps(np.array([1.0, bad]), 1.0)


def test_sensitivities_below_zero_are_refused() -> None:
    with pytest.raises(OutOfRange):
        entropy.relative_steps(np.array([1.0, -1.0]), 1.0)


@pytest.mark.parametrize("bits", [1.5, 2.5, 4.0])
def test_counting_bits_while_rounding_saves_more_than_it_costs(bits: float) -> None:
    weights = usual(5, (4, 1, 1, 3000))
    parameters = entropy.fit(weights, bits, Channel())
    flat, columns = weights.reshape(4, -1), np.arange(3000)
    plain, _ = entropy.nearest(flat, parameters, columns)
    lengths = entropy.code_lengths(plain.astype(np.int8))
    thrifty, values = entropy.cheapest(flat, parameters, columns, lengths)
    np.testing.assert_array_equal(values, thrifty * parameters.step)
    assert entropy_bits(thrifty.astype(np.int8)) < entropy_bits(plain.astype(np.int8))

    def cost(codes: FloatArray) -> float:
        error = np.square(flat / parameters.step - codes).sum()
        return float(error + entropy.SLOPE * lengths[codes.astype(int) + 128].sum())

    assert cost(thrifty) < cost(plain)
    same, _ = entropy.cheapest(flat, parameters, columns, lengths, 0.0)
    np.testing.assert_array_equal(same, plain)


def test_code_lengths_are_those_of_their_frequencies() -> None:
    codes = np.repeat(np.array([-128, 0, 127], np.int8), [10_000, 80_000, 10_000])
    lengths = entropy.code_lengths(codes)
    np.testing.assert_allclose(lengths[[0, 128, 255]], -np.log2([0.1, 0.8, 0.1]), atol=0.01)
    assert lengths[1] > 16
