import math
from statistics import NormalDist

import pytest
from hypothesis import given
from hypothesis import strategies as st

from toolchain.compare.student import quantile, within


@pytest.mark.parametrize(
    ("freedom", "level", "table"),
    [  # two-sided, Abramowitz and Stegun, table 26.10
        (1, 0.95, 12.706),
        (2, 0.95, 4.303),
        (4, 0.95, 2.776),
        (5, 0.99, 4.032),
        (30, 0.95, 2.042),
        (120, 0.99, 2.617),
    ],
)
def test_quantiles_are_those_of_the_printed_table(freedom: int, level: float, table: float) -> None:
    assert quantile(freedom, level) == pytest.approx(table, abs=5e-4)


@given(st.integers(1, 200), st.floats(0.01, 0.995))
def test_a_quantile_is_where_the_probability_is(freedom: int, level: float) -> None:
    assert within(quantile(freedom, level), freedom) == pytest.approx(level, abs=1e-9)


def test_with_much_freedom_it_is_the_normals() -> None:
    assert quantile(100_000) == pytest.approx(NormalDist().inv_cdf(0.975), abs=1e-4)
    assert within(0, 7) == 0
    assert math.isclose(within(1, 1), 0.5)  # Cauchy


@pytest.mark.parametrize(("freedom", "level"), [(0, 0.95), (3, 1.0), (3, 0.0)])
def test_no_freedom_and_no_level_are_refused(freedom: int, level: float) -> None:
    with pytest.raises(ValueError, match="freedom"):
        quantile(freedom, level)
