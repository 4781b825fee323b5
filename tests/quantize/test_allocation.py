"""Which candidate each filter gets under a budget."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from toolchain.quantize.allocation import allocate, hull
from toolchain.quantize.candidates import Candidate
from toolchain.quantize.methods import EIGHT_BITS

numbers = st.integers(1, 1000).map(float)
filters = st.lists(
    st.lists(st.builds(Candidate, st.just(EIGHT_BITS), numbers, numbers), min_size=1, max_size=5),
    min_size=1,
    max_size=4,
)


def of(*pairs: tuple[float, float]) -> list[Candidate]:
    return [Candidate(EIGHT_BITS, bits, cost) for bits, cost in pairs]


def total(taken: dict[int, Candidate]) -> tuple[float, float]:
    return sum(one.bits for one in taken.values()), sum(one.cost for one in taken.values())


def test_bits_go_where_each_of_them_saves_most() -> None:
    felt = of((4, 100), (8, 10))
    hardly = of((4, 10), (8, 1))
    taken = allocate({0: felt, 1: hardly}, 12)
    assert taken == {0: felt[1], 1: hardly[0]}


def test_a_step_that_does_not_fit_leaves_its_room_to_others() -> None:
    large = of((10, 1000), (100, 0))
    little = of((10, 5), (12, 4))
    assert allocate({0: large, 1: little}, 30) == {0: large[0], 1: little[1]}


def test_what_no_price_of_a_bit_makes_best_is_not_on_the_hull() -> None:
    found = of((2, 100), (3, 99), (4, 10), (5, 30), (6, 0))
    assert hull(found) == [found[0], found[2], found[4]]


def test_what_is_left_is_spent_on_what_fits() -> None:
    found = of((10, 1000), (20, 900), (30, 0))
    assert hull(found) == [found[0], found[2]]
    assert allocate({0: found}, 25) == {0: found[1]}


def test_of_equal_sizes_the_better_counts() -> None:
    found = of((4, 9), (4, 7), (6, 7))
    assert hull(found) == [found[1]]


def test_a_room_that_the_smallest_exceed_is_refused() -> None:
    assert allocate({0: of((4, 1)), 1: of((5, 1), (9, 0))}, 8.9) is None


@given(filters, st.integers(1, 4000))
def test_the_room_is_kept_and_nothing_smaller_is_better(
    found: list[list[Candidate]], room_bits: int
) -> None:
    """Within the largest step that did not fit, no choice of all is better."""
    candidates = dict(enumerate(found))
    taken = allocate(candidates, room_bits)
    least = sum(min(one.bits for one in some) for some in found)
    if taken is None:
        assert least > room_bits
        return
    bits, cost = total(taken)
    assert bits <= room_bits
    spare = max(one.bits for some in found for one in some)
    for others in itertools.product(*found):
        if sum(one.bits for one in others) <= room_bits - spare:
            assert sum(one.cost for one in others) >= cost - 1e-6


@given(filters)
def test_with_room_for_all_each_filter_has_its_least_cost(found: list[list[Candidate]]) -> None:
    taken = allocate(dict(enumerate(found)), 1e9)
    assert taken is not None
    assert total(taken)[1] == pytest.approx(sum(min(one.cost for one in some) for some in found))
