from __future__ import annotations

import numpy as np
import pytest

from tests.quantize.schemes.cases import FloatArray, energy_of, usual
from toolchain.errors import NotFinite, OutOfRange, RecipeError
from toolchain.quantize.granularity import Channel, Group, Layer
from toolchain.quantize.schemes import SCHEMES, uniform
from toolchain.quantize.search import Search, importance, minimise, unit


def loss(weights: FloatArray, search: Search, metric: FloatArray, bits: int = 4) -> float:
    parameters = uniform.fit(weights, bits, Channel(), energy=metric, search=search)
    error = uniform.decode(uniform.encode(weights, parameters), parameters) - weights
    return float((np.square(error, dtype=np.float64) * metric).sum())


@pytest.mark.parametrize("bits", range(2, 9))
def test_each_search_is_best_by_its_own_measure(bits: int) -> None:
    weights = usual(3, (12, 3, 3, 64))
    energy, plain = energy_of(weights), np.ones(64, np.float32)
    assert loss(weights, "mse", plain, bits) <= loss(weights, "min-max", plain, bits)
    assert loss(weights, "weighted", energy, bits) < loss(weights, "mse", energy, bits)


def test_the_scale_found_is_as_good_as_the_best_of_a_dense_grid() -> None:
    weights = usual(4, (5, 1, 1, 300))
    parameters = uniform.fit(weights, 4, Channel(), search="mse")
    ours = np.square(uniform.decode(uniform.encode(weights, parameters), parameters) - weights)
    most = np.abs(weights).max(axis=(1, 2, 3), keepdims=True)
    best = np.full(5, np.inf)
    for share in np.linspace(0.2, 1, 800):
        scale = most * share / 7
        error = np.square(np.clip(np.rint(weights / scale), -7, 7) * scale - weights)
        best = np.minimum(best, error.sum(axis=(1, 2, 3)))
    assert (ours.sum(axis=(1, 2, 3)) <= best * 1.02).all()


def test_an_outlier_a_thousand_times_the_rest_is_searched_past() -> None:
    weights = np.random.default_rng(0).normal(0, 1, (1, 1, 1, 100_000)).astype(np.float32)
    weights[..., 0] = 30
    parameters = uniform.fit(weights, 4, Layer(), search="mse")
    assert 0.2 < parameters.scale[0, 0] < 0.6


def test_of_equal_candidates_the_largest_is_taken() -> None:
    rows = np.zeros((2, 1, 4), np.float32)
    low, high = np.full((2, 1), 0.5, np.float32), np.full((2, 1), 2.0, np.float32)
    best = minimise(lambda r, candidate: r * candidate, rows, None, low=low, high=high)
    np.testing.assert_array_equal(best, high)


def test_given_tables_stay_with_their_rows_in_every_block() -> None:
    rows = np.ones((40, 1, 20_000), np.float32)
    wanted = np.linspace(0.5, 2, 40, dtype=np.float32)[:, None]

    def restore(r: FloatArray, candidate: FloatArray, target: FloatArray) -> FloatArray:
        return r + np.abs(candidate - target)

    low, high = np.full((40, 1), 0.4, np.float32), np.full((40, 1), 2.5, np.float32)
    best = minimise(restore, rows, None, wanted, low=low, high=high)
    np.testing.assert_allclose(best, wanted, rtol=0.03)


def test_unused_inputs_still_count_a_little() -> None:
    energy = np.array([0, 3, 0], np.float32)
    weight = importance("weighted", energy, (2, 1, 1, 3), Channel())
    assert weight is not None
    np.testing.assert_allclose(weight, [[[1e-6, 3, 1e-6]]])
    weight = importance("weighted", energy * 0, (2, 1, 1, 3), Channel())
    np.testing.assert_array_equal(weight, [[[1, 1, 1]]])


def test_importance_may_differ_by_weight() -> None:
    energy = np.arange(1, 25, dtype=np.float32).reshape(2, 1, 3, 4)
    weight = importance("weighted", energy, energy.shape, Group(5))
    assert weight is not None
    np.testing.assert_allclose(weight[1, 2] * 12.5, [23, 24, 0, 0, 0])


# One layer's moments weigh all its channels alike, so entropy-coded steps do not ask for them.
@pytest.mark.parametrize("name", sorted(SCHEMES.keys() - {"entropy"}))
def test_a_weighted_search_without_moments_is_refused(name: str) -> None:
    granularity = Group(4) if name == "grouped" else Channel()
    with pytest.raises(RecipeError, match="second moments"):
        SCHEMES[name].fit(usual(0), 4, granularity, search="weighted")


@pytest.mark.parametrize(
    ("energy", "error"),
    [
        (np.ones(19, np.float32), OutOfRange),
        (np.ones((2, 1, 1, 1, 20), np.float32), OutOfRange),
        (-np.ones(20, np.float32), OutOfRange),
        (np.full(20, np.nan, np.float32), NotFinite),
        (np.full(20, np.inf, np.float32), NotFinite),
    ],
)
def test_moments_that_are_none_are_refused(energy: FloatArray, error: type[Exception]) -> None:
    with pytest.raises(error):
        uniform.fit(usual(0), 4, Channel(), energy=energy, search="weighted")


def test_rows_are_taken_relative_to_their_largest_weight() -> None:
    rows = np.array([[[2, -4]], [[0, 0]], [[1e-40, -1e-40]]], np.float32)
    relative, peak = unit(rows)
    np.testing.assert_array_equal(relative, [[[0.5, -1]], [[0, 0]], [[0, 0]]])
    np.testing.assert_array_equal(peak, [[4], [0], [0]])
