from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from toolchain.errors import RecipeError
from toolchain.quantize.budget import Budget, parse


@pytest.mark.parametrize(
    ("text", "budget"),
    [
        ("4.08bpw", Budget(bits_per_weight=4.08)),
        ("3 bpw", Budget(bits_per_weight=3)),
        (" 18MB ", Budget(file_bytes=18e6)),
        ("18.5MiB", Budget(file_bytes=18.5 * 2**20)),
        ("900kB", Budget(file_bytes=9e5)),
        ("900KB", Budget(file_bytes=9e5)),
        ("900KiB", Budget(file_bytes=900 * 1024)),
    ],
)
def test_bits_a_weight_and_sizes_are_read(text: str, budget: Budget) -> None:
    assert parse(text) == budget


@pytest.mark.parametrize(
    "text",
    ["", "4", "4.08", "bpw", "0bpw", "0.0MB", "-3bpw", "4,08bpw", "1e3MB", "infMB", "nanbpw",
     "18mb", "18 GB", "4.bpw", "18MB 3bpw", "٤bpw", "1" * 400 + "MB"],
)  # fmt: skip
def test_anything_else_is_refused_with_how_it_is_written(text: str) -> None:
    with pytest.raises(RecipeError, match="is no budget") as refused:
        parse(text)
    assert "4.08bpw, 18MB" in refused.value.hint
    assert len(refused.value.message) < 80


@given(st.floats(0.01, 100), st.integers(1, 10**9))
def test_a_size_is_so_many_bits_for_each_weight(bits: float, parameters: int) -> None:
    of_file = Budget(file_bytes=bits * parameters / 8)
    assert of_file.bits(parameters) == pytest.approx(bits)
    assert Budget(bits_per_weight=bits).bits(parameters) == bits


def test_the_size_of_arxiv_2407_04943_is_the_default_of_4_bits() -> None:
    assert parse("18.82MB").bits(36_905_341) == pytest.approx(4.08, abs=0.001)
