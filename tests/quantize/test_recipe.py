from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from toolchain.errors import RecipeError
from toolchain.quantize import FLOAT32, W4C_A8, W8C_A8, for_bits, parse
from toolchain.quantize.recipe import SUPPORTED, Recipe


@pytest.mark.parametrize("recipe", SUPPORTED, ids=str)
def test_a_printed_recipe_is_read_as_itself(recipe: Recipe) -> None:
    assert parse(str(recipe)) == recipe


def test_names_say_bits_granularity_and_activations() -> None:
    assert [str(recipe) for recipe in (FLOAT32, W8C_A8, W4C_A8)] == ["float32", "w8c-a8", "w4c-a8"]
    assert parse("w4c-a8").weight_bits == 4
    assert parse("float32").is_float


def test_a_width_stands_for_its_default_recipe() -> None:
    assert for_bits(8) is W8C_A8
    assert for_bits(4) is W4C_A8


@pytest.mark.parametrize("bits", [0, 2, 3, 5, 16, -4])
def test_other_widths_are_refused_with_those_that_exist(bits: int) -> None:
    with pytest.raises(RecipeError, match=f"{bits} bits") as refused:
        for_bits(bits)
    assert "8, 4" in refused.value.hint


@pytest.mark.parametrize(
    ("name", "what"),
    [
        ("w4g64-a8", "groups"),
        ("w4k-a8", "codebooks"),
        ("w4e-a8", "entropy-coded"),
        ("w3c-a8", "3-bit"),
    ],
)
def test_recipes_of_the_grammar_that_are_not_built_are_refused_as_such(
    name: str, what: str
) -> None:
    with pytest.raises(RecipeError, match=f"{name}: {what}.*not supported"):
        parse(name)


@pytest.mark.parametrize(
    ("typed", "meant"), [("w8-a8", "w8c-a8"), ("W4C-A8", "w4c-a8"), ("float", "float32")]
)
def test_a_mistyped_name_is_refused_with_the_nearest_one(typed: str, meant: str) -> None:
    with pytest.raises(RecipeError, match="no recipe") as refused:
        parse(typed)
    assert meant in refused.value.hint


@given(st.text(max_size=30))
def test_no_text_is_read_as_another_name(text: str) -> None:
    try:
        recipe = parse(text)
    except RecipeError:
        return
    assert str(recipe) == text
