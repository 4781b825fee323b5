from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays
from numpy.typing import NDArray

from toolchain.errors import OutOfRange
from toolchain.quantize.coded import (
    Codebook,
    Entropy,
    Grouped,
    Nibbles,
    Plain,
    entropy_bits,
    expand,
    payload_bits,
)

SHAPE = (3, 1, 2, 5)
shapes = array_shapes(min_dims=4, max_dims=4, max_side=5)
nibbles = shapes.flatmap(lambda shape: arrays(np.int8, shape, elements=st.integers(-8, 7)))
bytes_ = shapes.flatmap(lambda shape: arrays(np.int8, shape))


def zeros(dtype: Any = np.int8, shape: tuple[int, ...] = SHAPE) -> NDArray[Any]:
    return np.zeros(shape, dtype)


def ones(*shape: int) -> NDArray[np.uint8]:
    return np.ones(shape, np.uint8)


@given(bytes_)
def test_codes_that_are_the_filter_expand_to_themselves(codes: NDArray[np.int8]) -> None:
    np.testing.assert_array_equal(expand(Plain(codes)), codes)
    np.testing.assert_array_equal(expand(Entropy(codes)), codes)
    low = np.clip(codes, -8, 7)
    np.testing.assert_array_equal(expand(Nibbles(low)), low)


@given(nibbles, st.integers(1, 150), st.data())
def test_a_group_multiplies_its_own_weights_and_no_others(
    codes: NDArray[np.int8], size: int, data: st.DataObject
) -> None:
    channels, weights = len(codes), codes.size // len(codes)
    shape = (channels, -(-weights // size))
    multipliers = data.draw(arrays(np.uint8, shape, elements=st.integers(1, 15)))
    expanded = expand(Grouped(codes, multipliers, size))
    assert expanded.dtype == np.int8
    for index in np.ndindex(codes.shape):
        place = np.ravel_multi_index(index[1:], codes.shape[1:])
        assert expanded[index] == int(codes[index]) * int(multipliers[index[0], place // size])


@given(nibbles, st.booleans(), st.data())
def test_an_index_reads_the_level_of_its_row(
    codes: NDArray[np.int8], shared: bool, data: st.DataObject
) -> None:
    indices = (codes + 8).astype(np.uint8)
    levels = data.draw(arrays(np.int8, (1 if shared else len(codes), 16)))
    expanded = expand(Codebook(indices, levels))
    assert expanded.dtype == np.int8
    for index in np.ndindex(codes.shape):
        assert expanded[index] == levels[0 if shared else index[0], indices[index]]


def test_payload_counts_codes_and_side_data() -> None:
    assert payload_bits(Plain(zeros())) == 240
    assert payload_bits(Nibbles(zeros())) == 120
    assert payload_bits(Grouped(zeros(), ones(3, 3), 4)) == 120 + 9 * 4
    assert payload_bits(Codebook(zeros(np.uint8), zeros(shape=(1, 16)))) == 120 + 16 * 8
    assert payload_bits(Codebook(zeros(np.uint8), zeros(shape=(3, 16)))) == 120 + 48 * 8


@pytest.mark.parametrize(("values", "bits"), [(1, 0), (2, 1), (16, 4), (256, 8)])
def test_equally_frequent_codes_cost_the_logarithm_of_their_number(values: int, bits: int) -> None:
    codes = (np.arange(1024) % values - 128).astype(np.int8).reshape(4, 1, 1, 256)
    assert payload_bits(Entropy(codes)) == pytest.approx(1024 * bits)


@given(bytes_)
def test_entropy_is_what_its_formula_says_and_at_most_eight_bits(codes: NDArray[np.int8]) -> None:
    _, counts = np.unique(codes, return_counts=True)
    expected = -(counts * np.log2(counts / codes.size)).sum()
    assert entropy_bits(codes) == pytest.approx(expected, abs=1e-9)
    assert -1e-9 <= entropy_bits(codes) <= 8 * codes.size


@pytest.mark.parametrize(
    "make",
    [
        lambda: Plain(zeros(np.int16)),
        lambda: Plain(zeros(shape=(3, 5))),
        lambda: Entropy(zeros(shape=(3, 0, 2, 5))),
        lambda: Nibbles(zeros() + np.int8(8)),
        lambda: Nibbles(zeros() - np.int8(9)),
        lambda: Grouped(zeros(), ones(3, 3), 5),
        lambda: Grouped(zeros(), ones(1, 2), 5),
        lambda: Grouped(zeros(), ones(3, 2) * np.uint8(16), 5),
        lambda: Grouped(zeros(), ones(3, 2) * np.uint8(0), 5),
        lambda: Grouped(zeros(), ones(3, 2), 0),
        lambda: Grouped(zeros() + np.int8(8), ones(3, 2), 5),
        lambda: Codebook(zeros(np.uint8) + np.uint8(16), zeros(shape=(1, 16))),
        lambda: Codebook(zeros(np.uint8), zeros(shape=(2, 16))),
        lambda: Codebook(zeros(np.uint8), zeros(shape=(1, 15))),
        lambda: Codebook(zeros(np.int8), zeros(shape=(1, 16))),
    ],
)
def test_a_filter_that_its_form_cannot_hold_is_refused(make: Callable[[], object]) -> None:
    with pytest.raises(OutOfRange) as caught:
        make()
    assert caught.value.hint


def test_a_group_far_longer_than_the_filter_costs_no_memory() -> None:
    expanded = expand(Grouped(zeros() + np.int8(3), ones(3, 1) * np.uint8(5), 2**62))
    assert (expanded == 15).all()
