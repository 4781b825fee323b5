"""Which combinations are measured."""

from __future__ import annotations

from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from toolchain.sweep.grid import Asked, Combination, by_mode, combinations, folder_of


def test_more_threads_than_cpus_are_left_out_and_told() -> None:
    found, left_out = combinations(Asked(threads=(1, 2, 8)), cpus=4)
    assert found == [Combination(1), Combination(2)]
    [one] = left_out
    assert (one.combination, one.reason) == (Combination(8), "the board has 4 CPUs")


def test_without_a_word_on_threads_every_number_is_measured() -> None:
    assert [one.threads for one in combinations(Asked(), cpus=3)[0]] == [1, 2, 3]


def test_modes_are_not_mixed() -> None:
    found, _ = combinations(Asked((1, 2), ("7W", "15W")), cpus=2)
    assert [one.mode for one in found] == ["7W", "7W", "15W", "15W"]
    assert {mode: len(group) for mode, group in by_mode(found).items()} == {"7W": 2, "15W": 2}


@given(
    st.lists(st.integers(1, 64), unique=True, max_size=5),
    st.lists(st.sampled_from(("7W", "15W", "MAXN_SUPER", "1-threads")), unique=True),
)
def test_every_combination_has_a_folder_of_its_own(threads: list[int], modes: list[str]) -> None:
    found, _ = combinations(Asked(tuple(threads), tuple(modes)), cpus=64)
    names = [folder_of(Path("out"), one) for one in found]
    assert len(set(names)) == len(names)
    assert Path("out/accuracy") not in names
