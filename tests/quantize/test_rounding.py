from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from toolchain.quantize.rounding import gain, round_second_order


def to_step(step: float):  # type: ignore[no-untyped-def]
    def nearest(column: torch.Tensor, index: int, price: float) -> torch.Tensor:
        return (column / step).round() * step

    return nearest


def plain(weights: torch.Tensor, step: float) -> torch.Tensor:
    return (weights / step).round() * step


def errors(difference: torch.Tensor, covariance: torch.Tensor) -> torch.Tensor:
    """Second-order error of each row."""
    return ((difference @ covariance) * difference).sum(dim=1)


def inputs(random: np.random.Generator, rows: int, columns: int) -> torch.Tensor:
    """Inputs of a layer: a few causes behind all channels, channels of all sizes."""
    causes = random.normal(size=(rows, max(1, columns // 3)))
    mixed = causes @ random.normal(size=(causes.shape[1], columns))
    noisy = mixed + 0.3 * random.normal(size=mixed.shape)
    return torch.from_numpy((noisy * random.lognormal(0, 0.5, columns)).astype(np.float32))


def second_moments(seen: torch.Tensor) -> torch.Tensor:
    return seen.T @ seen / len(seen)


@settings(max_examples=25)
@given(st.integers(0, 10_000), st.integers(24, 150), st.sampled_from([0.05, 0.3, 1.0]))
def test_it_is_better_than_rounding_to_nearest(seed: int, columns: int, step: float) -> None:
    random = np.random.default_rng(seed)
    covariance = second_moments(inputs(random, 400, columns))
    weights = torch.from_numpy(random.normal(size=(8, columns)).astype(np.float32))
    rounded = round_second_order(weights, covariance, to_step(step))
    before = errors(weights - plain(weights, step), covariance).sum()
    after = errors(weights - rounded, covariance).sum()
    assert after < before


def test_its_error_is_about_the_share_that_is_foretold() -> None:
    random = np.random.default_rng(0)
    covariance = second_moments(inputs(random, 2000, 144))
    weights = torch.from_numpy(random.normal(size=(64, 144)).astype(np.float32))
    rounded = round_second_order(weights, covariance, to_step(0.05), damping=1e-4)
    before = errors(weights - plain(weights, 0.05), covariance).sum()
    after = errors(weights - rounded, covariance).sum()
    share = gain(covariance, damping=1e-4)
    assert 0 < share < 0.1
    assert float(after / before) == pytest.approx(share, rel=0.15)


@given(st.integers(0, 10_000), st.integers(1, 40))
def test_every_weight_is_one_that_can_be_stored(seed: int, columns: int) -> None:
    random = np.random.default_rng(seed)
    weights = torch.from_numpy(random.normal(size=(3, columns)).astype(np.float32))
    covariance = second_moments(inputs(random, 100, columns))
    rounded = round_second_order(weights, covariance, to_step(0.25))
    assert torch.equal(rounded, plain(rounded, 0.25))


@settings(max_examples=40)
@given(st.lists(st.floats(0, 1e6, width=32), min_size=1, max_size=30), st.integers(0, 1000))
def test_where_inputs_are_unrelated_it_is_rounding_to_nearest(
    diagonal: list[float], seed: int
) -> None:
    random = np.random.default_rng(seed)
    weights = torch.from_numpy(random.normal(size=(4, len(diagonal))).astype(np.float32))
    covariance = torch.diag(torch.tensor(diagonal))
    rounded = round_second_order(weights, covariance, to_step(0.1))
    torch.testing.assert_close(rounded, plain(weights, 0.1))


@given(st.integers(0, 10_000), st.integers(2, 60), st.integers(1, 5), st.floats(-15, 15))
def test_second_moments_of_any_rank_and_size_are_survived(
    seed: int, columns: int, rank: int, power: float
) -> None:
    random = np.random.default_rng(seed)
    seen = random.normal(size=(rank, columns)).astype(np.float32)
    seen[:, random.random(columns) < 0.3] = 0  # inputs that are always 0
    covariance = second_moments(torch.from_numpy(seen)) * 10.0**power
    weights = torch.from_numpy(random.normal(size=(3, columns)).astype(np.float32))
    rounded = round_second_order(weights, covariance, to_step(0.2))
    assert torch.isfinite(rounded).all()
    # What is made up for elsewhere never runs away.
    assert (rounded - weights).abs().max() < 20


def test_a_layer_that_only_sees_zeros_is_rounded_to_nearest() -> None:
    weights = torch.from_numpy(np.random.default_rng(0).normal(size=(3, 9)).astype(np.float32))
    rounded = round_second_order(weights, torch.zeros(9, 9), to_step(0.1))
    torch.testing.assert_close(rounded, plain(weights, 0.1))


def test_moments_that_rounding_made_slightly_negative_get_more_damping() -> None:
    random = np.random.default_rng(0)
    seen = torch.from_numpy(random.normal(size=(2, 50)).astype(np.float32))
    covariance = second_moments(seen)
    covariance -= torch.eye(50) * covariance.diagonal().mean() * 0.02
    weights = torch.from_numpy(random.normal(size=(3, 50)).astype(np.float32))
    assert torch.isfinite(round_second_order(weights, covariance, to_step(0.1))).all()


def test_zeros_among_the_weights_stay_where_they_are_alone() -> None:
    random = np.random.default_rng(0)
    covariance = second_moments(inputs(random, 300, 30))
    rounded = round_second_order(torch.zeros(4, 30), covariance, to_step(0.1))
    assert not rounded.any()


def test_rows_are_rounded_as_if_each_were_alone() -> None:
    random = np.random.default_rng(0)
    covariance = second_moments(inputs(random, 300, 40))
    weights = torch.from_numpy(random.normal(size=(5, 40)).astype(np.float32))
    together = round_second_order(weights, covariance, to_step(0.3))
    for row in range(5):
        alone = round_second_order(weights[row : row + 1], covariance, to_step(0.3))
        assert (alone[0] != together[row]).float().mean() < 0.1  # sums in another order


def test_blocks_make_no_difference(monkeypatch: pytest.MonkeyPatch) -> None:
    from toolchain.quantize import rounding

    random = np.random.default_rng(0)
    covariance = second_moments(inputs(random, 500, 100))
    weights = torch.from_numpy(random.normal(size=(6, 100)).astype(np.float32))
    found = []
    for block in (1, 7, 128):
        monkeypatch.setattr(rounding, "BLOCK", block)
        rounded = round_second_order(weights, covariance, to_step(0.3))
        found.append(float(errors(weights - rounded, covariance).sum()))
    assert found == pytest.approx([found[0]] * 3, rel=0.05)


def test_prices_say_how_much_an_error_counts_where_it_cannot_be_made_up_for() -> None:
    random = np.random.default_rng(0)
    covariance = torch.diag(torch.tensor([4.0, 1.0, 0.25]))
    prices: dict[int, float] = {}

    def noting(column: torch.Tensor, index: int, price: float) -> torch.Tensor:
        prices[index] = price
        return column

    weights = torch.from_numpy(random.normal(size=(2, 3)).astype(np.float32))
    kept = round_second_order(weights, covariance, noting, damping=0.0)
    assert list(prices) == [0, 1, 2]  # the largest first
    ratios = [prices[index] / prices[1] for index in range(3)]
    assert ratios == pytest.approx([4.0, 1.0, 0.25], rel=1e-4)
    torch.testing.assert_close(kept, weights)


def test_the_weights_given_are_left_as_they_were() -> None:
    random = np.random.default_rng(0)
    weights = torch.from_numpy(random.normal(size=(2, 20)).astype(np.float32))
    covariance = second_moments(inputs(random, 100, 20))
    before = weights.clone(), covariance.clone()
    round_second_order(weights, covariance, to_step(0.5))
    assert torch.equal(weights, before[0])
    assert torch.equal(covariance, before[1])
