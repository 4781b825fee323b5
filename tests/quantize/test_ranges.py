from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from toolchain.quantize.histogram import count
from toolchain.quantize.ranges import Reader, Seen, choose, read
from toolchain.quantize.scales import Scale, covering


def seen(values: NDArray[np.float64], reader: Reader = "value") -> Seen:
    exact = values.astype(np.float32)
    counts = count(exact).astype(np.float64)
    return Seen(counts, float(exact.min()), float(exact.max()), reader)


def loss(values: NDArray[np.float64], scale: Scale, reader: Reader = "value") -> float:
    """What rounding does to a reader, value by value, without histograms or running sums."""
    rounded = scale.decode(scale.encode(values)).astype(np.float64)
    wrong = read(rounded, reader, exact=False) - read(values, reader, exact=True)
    return float((wrong**2).mean())


@settings(deadline=None, max_examples=25)
@given(
    st.integers(0, 10_000),
    st.sampled_from(["normal", "laplace", "standard_t"]),
    st.floats(-3, 3),
    st.sampled_from(["value", "silu", "logit"]),
)
def test_the_chosen_range_loses_no_more_than_the_extremes(
    seed: int, shape: str, shift: float, reader: Reader
) -> None:
    random = np.random.default_rng(seed)
    values = (
        random.standard_t(3, 4000) if shape == "standard_t" else getattr(random, shape)(size=4000)
    )
    values = values * 4 + shift
    widest = covering(float(values.min()), float(values.max()))
    chosen = choose([seen(values, reader)]).scale
    # Bins are a thousandth wide; a hundredth more error is their rounding.
    assert loss(values, chosen, reader) <= loss(values, widest, reader) * 1.01


def test_one_far_outlier_does_not_set_the_range() -> None:
    values = np.append(np.random.default_rng(0).normal(size=1_000_000), 60.0)
    assert choose([seen(values)]).scale.high < 30


def test_before_silu_the_far_negative_side_is_given_up() -> None:
    values = np.random.default_rng(0).uniform(-100, 20, 100_000)
    scale = choose([seen(values, "silu")]).scale
    assert -9 < scale.low < -2
    assert 18 < scale.high < 21


def test_logits_that_nobody_reports_get_no_codes() -> None:
    values = np.random.default_rng(0).uniform(-40, 4, 100_000)
    scale = choose([seen(values, "logit")]).scale
    assert -8.5 < scale.low < -7
    assert scale.high == pytest.approx(4, abs=0.1)


def test_tensors_that_share_a_range_meet_between_their_own() -> None:
    random = np.random.default_rng(0)
    narrow, wide = random.normal(0, 1, 50_000), random.normal(0, 3, 50_000)
    own = [choose([seen(values)]).scale.high for values in (narrow, wide)]
    shared = choose([seen(narrow), seen(wide)]).scale.high
    assert own[0] < shared <= own[1] * 1.02


def test_a_tensor_that_is_always_zero_is_no_division_by_zero() -> None:
    choice = choose([seen(np.zeros(10))])
    assert choice.scale == Scale(1.0, 0)
    assert choice.sqnr_db is None


def test_values_of_one_sign_use_all_codes_for_it() -> None:
    scale = choose([seen(np.random.default_rng(0).uniform(0, 6, 10_000))]).scale
    assert scale.zero_point == -128
    assert scale.high == pytest.approx(6, rel=0.01)


def test_the_reported_noise_is_that_of_the_values() -> None:
    values = np.random.default_rng(0).normal(size=100_000)
    choice = choose([seen(values)])
    measured = 10 * np.log10((values**2).mean() / loss(values, choice.scale))
    assert choice.sqnr_db == pytest.approx(measured, abs=0.3)
