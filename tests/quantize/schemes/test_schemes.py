"""Properties that all schemes have."""

from __future__ import annotations

import dataclasses
import itertools
import warnings
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.quantize.schemes.cases import (
    CASES,
    Case,
    FloatArray,
    each_case,
    energy_of,
    filters,
    fitted,
    searches,
    usual,
    widths,
)
from toolchain.errors import NotFinite, OutOfRange, RecipeError
from toolchain.quantize.coded import entropy_bits, expand, payload_bits
from toolchain.quantize.granularity import Channel, Group, Layer, Network, rows
from toolchain.quantize.schemes import SCHEMES

few = settings(max_examples=30)
seeds = st.integers(0, 2**32 - 1)
each_scheme = pytest.mark.parametrize("name", SCHEMES)

# The width of a step, for schemes that have one in each row.
STEPS = {
    "uniform": lambda parameters: parameters.scale,
    "affine": lambda parameters: parameters.scale,
    "grouped": lambda parameters: parameters.scale * parameters.multipliers,
    "entropy": lambda parameters: parameters.step,
}
# What a decoder needs beside the codes, in bits.
SIDE = {
    "uniform": lambda p: 32 * p.scale.size,
    "affine": lambda p: 32 * p.scale.size + p.bits * p.zero.size,
    "piecewise": lambda p: 32 * p.fine.size + 32 * p.coarse.size,
    "codebook": lambda p: 32 * p.scale.size + 8 * p.levels.size,
    "grouped": lambda p: 32 * p.scale.size + 4 * p.multipliers.size,
    "entropy": lambda p: 32 * p.step.size,
}


def restored(case: Case, weights: FloatArray, parameters: Any) -> FloatArray:
    return case.scheme.decode(case.scheme.encode(weights, parameters), parameters)


def squared_error(case: Case, weights: FloatArray, bits: int) -> float:
    difference = restored(case, weights, fitted(case, weights, bits)) - weights
    return float((difference.astype(np.float64) ** 2 * energy_of(weights)).sum())


@each_case
@few
@given(filters, widths, st.data())
def test_what_was_decoded_encodes_to_the_same_codes(
    case: Case, weights: FloatArray, bits: int, data: st.DataObject
) -> None:
    parameters = fitted(case, weights, bits, data.draw(searches(case)))
    codes = case.scheme.encode(weights, parameters)
    decoded = case.scheme.decode(codes, parameters)
    assert codes.shape == decoded.shape == weights.shape
    assert decoded.dtype == np.float32
    np.testing.assert_array_equal(case.scheme.encode(decoded, parameters), codes)


@each_case
@few
@given(filters, widths, st.data())
def test_no_weight_is_nearer_to_another_ones_value(
    case: Case, weights: FloatArray, bits: int, data: st.DataObject
) -> None:
    parameters = fitted(case, weights, bits, data.draw(searches(case)))
    # A layer's codebook still has a scale for each channel.
    view = case.granularity if isinstance(case.granularity, Group) else Channel()
    exact = rows(weights, view).astype(float)
    back = rows(restored(case, weights, parameters), view).astype(float)
    nearest = np.abs(exact[..., :, None] - back[..., None, :]).min(axis=-1)
    assert (np.abs(exact - back) <= nearest + 1e-5 * np.abs(exact)).all()


@pytest.mark.parametrize("case", [case for case in CASES if case.scheme.NAME in STEPS], ids=str)
@few
@given(filters, widths)
def test_a_scale_that_covers_all_weights_loses_at_most_half_a_step(
    case: Case, weights: FloatArray, bits: int
) -> None:
    parameters = fitted(case, weights, bits, case.scheme.FITTED_BY[0])
    if case.scheme.NAME != "entropy":
        assert case.scheme.FITTED_BY[0] == "min-max"
    step = STEPS[case.scheme.NAME](parameters).astype(float)
    error = rows(restored(case, weights, parameters), case.granularity).astype(float)
    error -= rows(weights, case.granularity)
    assert (np.abs(error).max(axis=-1) <= step * (0.5 + 1e-4)).all()


@each_case
@settings(max_examples=4)
@given(seeds)
def test_more_bits_are_never_worse(case: Case, seed: int) -> None:
    weights = usual(seed)
    if isinstance(case.granularity, Group):
        # A group of three may fit some step by luck.
        case = case._replace(granularity=Group(16))
    errors = [squared_error(case, weights, bits) for bits in range(2, 9)]
    for fewer, more in itertools.pairwise(errors):
        # From some width on entropy-coded steps are as fine as int8 allows, to 0.001 bits.
        assert more <= fewer * 1.001
    if case.scheme.NAME != "entropy":
        assert errors[-1] < errors[0] / 100


@each_case
@few
@given(filters, widths, st.integers(-20, 20))
def test_weights_twice_as_large_get_the_same_codes(
    case: Case, weights: FloatArray, bits: int, power: int
) -> None:
    # Below, numbers stop being exact and channels count as dead.
    weights = np.where(np.abs(weights) < 1e-6, 0, weights).astype(np.float32)
    factor = np.float32(2.0**power)
    codes = case.scheme.encode(weights, fitted(case, weights, bits))
    larger = weights * factor
    parameters = fitted(case, larger, bits)
    np.testing.assert_array_equal(case.scheme.encode(larger, parameters), codes)
    alive = np.abs(weights).max(axis=(1, 2, 3)) > 0
    np.testing.assert_array_equal(
        restored(case, larger, parameters)[alive],
        (case.scheme.decode(codes, fitted(case, weights, bits)) * factor)[alive],
    )


@each_case
@settings(max_examples=10)
@given(seeds, widths, st.randoms())
def test_the_order_of_channels_does_not_matter(
    case: Case, seed: int, bits: int, random: Any
) -> None:
    weights = usual(seed)
    order = random.sample(range(len(weights)), len(weights))
    moved = np.ascontiguousarray(weights[order])
    back = restored(case, moved, fitted(case, moved, bits))
    straight = restored(case, weights, fitted(case, weights, bits))[order]
    shared = isinstance(case.granularity, Layer | Network)
    if shared is not (case.scheme.NAME == "codebook"):
        # Candidates that are as good as equal may change places when sums round differently: those
        # of scales over all channels, and those of levels, whose sums run on from row to row.
        energy = energy_of(weights)
        errors = [(np.square(found - moved) * energy).sum() for found in (back, straight)]
        assert errors[0] == pytest.approx(errors[1], rel=0.1)
    else:
        np.testing.assert_array_equal(back, straight)


@each_case
@few
@given(filters, widths, st.data())
def test_dead_channels_come_back_as_zeros_without_a_warning(
    case: Case, weights: FloatArray, bits: int, data: st.DataObject
) -> None:
    dead = data.draw(st.sampled_from([slice(0, 1), slice(None)]))
    weights[dead] = data.draw(st.sampled_from([0.0, -0.0, 1e-40]))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        parameters = fitted(case, weights, bits, data.draw(searches(case)))
        codes = case.scheme.encode(weights, parameters)
        decoded = case.scheme.decode(codes, parameters)
        form = case.scheme.coded(codes, parameters)
    assert not decoded[dead].any()
    if form is not None:
        filter_, scale = form
        assert not expand(filter_)[dead].any()
        assert (scale > 0).all()
        assert np.isfinite(scale).all()


@pytest.mark.parametrize("case", [c for c in CASES if c.scheme.NAME != "codebook"], ids=str)
@few
@given(filters, widths, st.data())
def test_zeros_stay_zeros_among_other_weights(
    case: Case, weights: FloatArray, bits: int, data: st.DataObject
) -> None:
    weights[..., 0] = 0
    parameters = fitted(case, weights, bits, data.draw(searches(case)))
    assert not restored(case, weights, parameters)[..., 0].any()


@each_case
@few
@given(filters, widths, st.data())
def test_stored_bits_are_those_of_codes_and_side_data(
    case: Case, weights: FloatArray, bits: int, data: st.DataObject
) -> None:
    parameters = fitted(case, weights, bits, data.draw(searches(case)))
    codes = case.scheme.encode(weights, parameters)
    side = SIDE[case.scheme.NAME](parameters)
    of_codes = case.scheme.stored_bits(codes, parameters) - side
    if case.scheme.NAME == "entropy":
        assert of_codes == pytest.approx(entropy_bits(codes), abs=1e-6)
    else:
        a_weight = bits + 1 if case.scheme.NAME == "piecewise" else bits
        assert of_codes == a_weight * weights.size
        assert int(codes.max()) - int(codes.min()) < 2**a_weight
    form = case.scheme.coded(codes, parameters)
    if form is not None and bits == 4:
        padding = 8 * 16 * len(codes) if case.scheme.NAME == "affine" else 0
        scales = 32 * len(codes)
        assert payload_bits(form[0]) <= of_codes + side - 32 + padding + scales


@each_case
@few
@given(filters, widths, st.data())
def test_the_coded_filter_expands_to_exactly_what_is_decoded(
    case: Case, weights: FloatArray, bits: int, data: st.DataObject
) -> None:
    parameters = fitted(case, weights, bits, data.draw(searches(case)))
    codes = case.scheme.encode(weights, parameters)
    form = case.scheme.coded(codes, parameters)
    if form is None:
        own_scales = isinstance(case.granularity, Group) and case.scheme.NAME != "grouped"
        assert own_scales or case.scheme.NAME == "piecewise" or bits == 8
        return
    filter_, scale = form
    assert scale.shape == (len(weights),)
    assert scale.dtype == np.float32
    filled = expand(filter_)
    assert filled.min() >= -127
    np.testing.assert_array_equal(
        filled * scale[:, None, None, None], case.scheme.decode(codes, parameters)
    )


@each_case
@few
@given(filters, widths)
def test_columns_one_by_one_give_what_the_whole_gives(
    case: Case, weights: FloatArray, bits: int
) -> None:
    parameters = fitted(case, weights, bits)
    codes = case.scheme.encode(weights, parameters)
    decoded = case.scheme.decode(codes, parameters).reshape(len(weights), -1)
    flat = weights.reshape(len(weights), -1)
    for column in np.arange(flat.shape[1]):
        found, values = case.scheme.nearest(flat[:, column], parameters, column)
        np.testing.assert_array_equal(found, codes.reshape(flat.shape)[:, column])
        np.testing.assert_array_equal(values, decoded[:, column])
    some = np.arange(flat.shape[1])[::-2]
    found, values = case.scheme.nearest(flat[:, some], parameters, some)
    np.testing.assert_array_equal(found, codes.reshape(flat.shape)[:, some])
    np.testing.assert_array_equal(values, decoded[:, some])


@each_case
@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_weights_that_are_not_finite_are_refused_with_their_channel(case: Case, bad: float) -> None:
    weights = usual(0)
    weights[4, 1, 1, 7] = weights[5, 0, 0, 0] = bad
    with pytest.raises(NotFinite, match=r"2 of 1080 .* channel 4"):
        fitted(case, weights, 4)


@each_case
def test_what_a_scheme_has_no_form_for_is_refused(case: Case) -> None:
    fit, weights = case.scheme.fit, usual(0)
    for bits in (0, 9):
        with pytest.raises(OutOfRange, match="bits"):
            fit(weights, bits, case.granularity)
    with pytest.raises(OutOfRange, match="shape"):
        fit(weights[0], 4, case.granularity)
    with pytest.raises(OutOfRange, match="shape"):
        fit(weights[:0], 4, case.granularity)
    with pytest.raises(RecipeError) as caught:
        fit(weights, 4, case.granularity, search="median")  # type: ignore[arg-type]
    assert "weighted" in caught.value.hint


@each_scheme
def test_a_granularity_without_a_form_is_refused_by_name(name: str) -> None:
    scheme = SCHEMES[name]
    for granularity in (Network(), Layer(), Channel(), Group(2)):
        if not isinstance(granularity, scheme.GRANULARITIES):
            with pytest.raises(RecipeError, match=type(granularity).__name__):
                scheme.fit(usual(0), 4, granularity)


@each_scheme
def test_parameters_are_frozen_arrays_and_plain_values(name: str) -> None:
    case = next(case for case in CASES if name == case.scheme.NAME)
    parameters = fitted(case, usual(0), 4)
    with pytest.raises(dataclasses.FrozenInstanceError):
        parameters.bits = 5
    arrays = [v for v in vars(parameters).values() if isinstance(v, np.ndarray)]
    assert arrays
    assert all(array.dtype in (np.float32, np.int8, np.uint8) for array in arrays)
