"""Which combinations are measured."""

from __future__ import annotations

from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from toolchain.sweep.grid import Asked, Combination, combinations, folder_of


def test_more_threads_than_cpus_are_left_out_and_told() -> None:
    found, left_out = combinations(Asked(threads=(1, 2, 8)), None, cpus=4)
    assert found == [Combination(1), Combination(2)]
    [one] = left_out
    assert (one.combination, one.reason) == (Combination(8), "the board has 4 CPUs")


def test_without_a_word_on_threads_every_number_is_measured() -> None:
    assert [one.threads for one in combinations(Asked(), None, cpus=3)[0]] == [1, 2, 3]


def test_each_mode_has_as_many_threads_as_it_has_cpus() -> None:
    asked = Asked((1, 2, 4, 6), ("MODE_15W_2CORE", "MODE_20W_6CORE"))
    few, left_out = combinations(asked, asked.modes[0], cpus=2)
    assert few == [Combination(1, asked.modes[0]), Combination(2, asked.modes[0])]
    assert {one.reason for one in left_out} == {"the board has 2 CPUs in MODE_15W_2CORE"}
    every, left_out = combinations(asked, asked.modes[1], cpus=6)
    assert [one.threads for one in every] == [1, 2, 4, 6]
    assert not left_out


@given(
    st.lists(st.integers(1, 64), unique=True, max_size=5),
    st.lists(st.sampled_from(("7W", "15W", "MAXN_SUPER", "1-threads")), unique=True),
)
def test_every_combination_has_a_folder_of_its_own(threads: list[int], modes: list[str]) -> None:
    asked = Asked(tuple(threads), tuple(modes))
    found = [one for mode in asked.modes or (None,) for one in combinations(asked, mode, 64)[0]]
    names = [folder_of(Path("out"), one) for one in found]
    assert len(set(names)) == len(names)
    assert Path("out/accuracy") not in names
