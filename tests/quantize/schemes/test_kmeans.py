from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray

from tests.quantize.schemes.cases import usual
from toolchain.quantize.schemes.kmeans import kmeans
from toolchain.quantize.search import unit

FloatArray = NDArray[np.float32]


def loss(row: FloatArray, weight: FloatArray, levels: FloatArray) -> float:
    distance = np.square(row[:, None].astype(float) - levels).min(axis=1)
    return float(distance @ weight)


def least_loss(row: FloatArray, weight: FloatArray, count: int) -> float:
    """The optimum, by trying every way to cut the sorted row (Wang and Song, 2011)."""
    order = np.argsort(row)
    x, w = row[order].astype(float), weight[order].astype(float)
    mass, first, second = (np.cumsum([0, *w * x**power]) for power in (0, 1, 2))
    m, f, s = (sums - sums[:, None] for sums in (mass, first, second))
    cost = np.where(m > 0, s - f**2 / np.where(m > 0, m, 1), np.inf)
    np.fill_diagonal(cost, 0)
    best = cost[0]
    for _ in range(count - 1):
        best = (best[:, None] + cost).min(axis=0)
    return float(best[-1])


@settings(max_examples=50)
@given(st.integers(0, 999), st.integers(1, 16), st.integers(1, 120), st.booleans())
def test_short_rows_get_the_best_levels_there_are(
    seed: int, count: int, length: int, weighted: bool
) -> None:
    random = np.random.default_rng(seed)
    values, _ = unit(random.standard_t(4, (3, length)).astype(np.float32))
    weight = random.gamma(1, 1, (1, length)).astype(np.float32)
    levels = kmeans(values, weight if weighted else None, count)
    for row, found in zip(values, levels, strict=True):
        own = weight[0] if weighted else np.ones(length, np.float32)
        assert loss(row, own, found) <= least_loss(row, own, count) * 1.001 + 1e-9


@pytest.mark.parametrize("weighted", [False, True])
def test_long_rows_get_nearly_the_best_levels(weighted: bool) -> None:
    values, _ = unit(usual(1, (6, 1, 1, 900))[:, 0, 0])
    weight = np.random.default_rng(0).gamma(1, 1, (1, 900)).astype(np.float32)
    levels = kmeans(values, weight if weighted else None, 16)
    own = weight[0] if weighted else np.ones(900, np.float32)
    ratio = [loss(r, own, f) / least_loss(r, own, 16) for r, f in zip(values, levels, strict=True)]
    assert max(ratio) < 1.1
    assert np.mean(ratio) < 1.03


@given(
    arrays(np.float32, (2, 9), elements=st.floats(-1, 1, width=32)),
    arrays(np.float32, (2, 9), elements=st.floats(0, 1, width=32)),
    st.integers(1, 20),
)
def test_levels_ascend_inside_their_row_whatever_the_weights(
    values: FloatArray, weight: FloatArray, count: int
) -> None:
    levels = kmeans(values, weight, count)
    assert levels.shape == (2, count)
    assert (np.diff(levels) >= 0).all()
    assert (levels >= values.min(axis=1, keepdims=True) - 1e-6).all()
    assert (levels <= values.max(axis=1, keepdims=True) + 1e-6).all()


def test_as_many_levels_as_values_lose_nothing() -> None:
    values = np.tile(np.array([-1, -0.25, 0, 0.5, 1], np.float32), (2, 30))
    np.testing.assert_array_equal(kmeans(values, None, 5), values[:, :5])


def test_a_heavier_weight_draws_its_level_nearer() -> None:
    values = np.array([[-1, -0.8, 0.6, 1]], np.float32)
    weight = np.array([[1, 1, 1, 3]], np.float32)
    np.testing.assert_allclose(kmeans(values, None, 2), [[-0.9, 0.8]], rtol=1e-6)
    np.testing.assert_allclose(kmeans(values, weight, 2), [[-0.9, 0.9]], rtol=1e-6)


def test_the_order_of_values_leaves_no_trace() -> None:
    values = np.round(usual(2, (1, 1, 1, 600))[:, 0, 0] * 50) / 50
    values, _ = unit(values)
    weight = np.random.default_rng(0).integers(1, 4, values.shape).astype(np.float32)
    order = np.random.default_rng(1).permutation(600)
    np.testing.assert_array_equal(
        kmeans(values, weight, 16), kmeans(values[:, order], weight[:, order], 16)
    )
