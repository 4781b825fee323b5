from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from toolchain.errors import RecipeError
from toolchain.quantize import FLOAT32, W3E_A8, W4C_A8, W4E_A8, W8C_A8, for_bits, parse
from toolchain.quantize.recipe import USUAL, Recipe


@pytest.mark.parametrize("recipe", USUAL, ids=str)
def test_a_printed_recipe_is_read_as_itself(recipe: Recipe) -> None:
    assert parse(str(recipe)) == recipe


def test_names_say_bits_granularity_and_activations() -> None:
    names = [str(recipe) for recipe in (FLOAT32, W8C_A8, W4C_A8, W4E_A8)]
    assert names == ["float32", "w8c-a8", "w4c-a8", "w4e-a8"]
    assert parse("w4c-a8") == Recipe(4, "c", None, 8)
    assert parse("w4g64-a8") == Recipe(4, "g", 64, 8)
    assert parse("w4k") == Recipe(4, "k", None, None)
    assert parse("float32").is_float
    assert not any(recipe.is_float for recipe in USUAL if recipe is not FLOAT32)


def test_a_width_stands_for_its_default_recipe() -> None:
    assert for_bits(8) is W8C_A8
    assert for_bits(4) == W4E_A8
    assert for_bits(3) == W3E_A8


@pytest.mark.parametrize("bits", [0, 1, 9, 16, -4])
def test_other_widths_are_refused_with_those_that_exist(bits: int) -> None:
    with pytest.raises(RecipeError, match=f"{bits} bits") as refused:
        for_bits(bits)
    assert "2 to 8" in refused.value.hint


@pytest.mark.parametrize(
    ("name", "least"), [("w8g64-a8", "4 bits"), ("w5k-a8", "4 bits"), ("w8e-a8", "7 bits")]
)
def test_widths_that_a_granularity_has_no_use_for_are_refused_as_such(
    name: str, least: str
) -> None:
    with pytest.raises(RecipeError, match=f"{name}: at most {least}"):
        parse(name)


@pytest.mark.parametrize(
    ("typed", "meant"),
    [
        ("w8-a8", "w8c-a8"),
        ("W4C-A8", "w4c-a8"),
        ("float", "float32"),
        ("w4g-a8", "w4g64-a8"),
        ("w4e-a16", "w4e-a8"),
        ("w4g064-a8", "w4g64-a8"),
    ],
)
def test_a_mistyped_name_is_refused_with_the_nearest_one(typed: str, meant: str) -> None:
    with pytest.raises(RecipeError, match="no recipe") as refused:
        parse(typed)
    assert f"Did you mean {meant}?" in refused.value.hint


@given(
    st.one_of(
        st.text(max_size=30),
        st.from_regex(r"w\d[cgkems]\d{0,6}(-a8)?", fullmatch=True),
    )
)
def test_no_text_is_read_as_another_name(text: str) -> None:
    try:
        recipe = parse(text)
    except RecipeError:
        return
    assert str(recipe) == text


def test_entropy_coded_weights_and_mixtures_aim_at_a_size() -> None:
    assert W4E_A8.default_budget == pytest.approx(4.08)
    assert parse("w3e").default_budget == pytest.approx(3.08)
    assert parse("w4m-a8").default_budget == pytest.approx(4.15)
    assert parse("w4s").default_budget == pytest.approx(4.15)
    others = [r for r in USUAL if r.granularity != "e" and not r.is_mixture]
    assert {recipe.default_budget for recipe in others} == {None}


def test_what_a_stock_tensor_holds_as_it_is_needs_no_packing() -> None:
    assert [str(recipe) for recipe in USUAL if not recipe.is_packed] == ["float32", "w8c-a8"]
    assert parse("w8c").is_packed  # float activations: the runtime has no int8 filter for them
