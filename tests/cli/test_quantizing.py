"""Bits, recipes, format, budget and recovery as they are typed."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import click
import pytest
from click.testing import CliRunner

from tests.cli.test_manners import halfbyte
from tests.quantize import models
from toolchain.cli.quantizing import (
    check_recipes,
    quantizer_options_of,
    quantizing_options,
    recipes_of,
)
from toolchain.errors import RecipeError
from toolchain.quantize import Options, of_each
from toolchain.quantize.budget import Budget
from toolchain.quantize.recovery import BEST, Settings


def asked(*words: str) -> dict[str, Any]:
    """What a command gets of these words."""
    found: dict[str, Any] = {}

    @click.command()
    @quantizing_options
    def command(**options: Any) -> None:
        found.update(options)

    done = CliRunner().invoke(command, list(words), catch_exceptions=False)
    assert done.exit_code == 0, done.output
    return found


def names(*words: str) -> list[str]:
    return [str(recipe) for recipe in recipes_of(asked(*words))]


def options(*words: str) -> Options:
    return quantizer_options_of(asked(*words))


def test_without_a_word_8_and_4_bits_are_made_by_default_means() -> None:
    assert names() == ["w8c-a8", "w4e-a8"]
    assert options() == Options(recovery=Settings())


def test_widths_become_their_default_recipes_widest_first() -> None:
    assert names("--bits", "3", "--bits", "8", "--bits", "4") == ["w8c-a8", "w4e-a8", "w3e-a8"]
    assert names("--bits", "4", "--bits", "4") == ["w4e-a8"]


def test_recipes_stay_in_the_order_of_the_user_each_once() -> None:
    typed = ["w4k-a8", "w8c-a8", "w4e", "w4k-a8"]
    words = itertools.chain.from_iterable(("--recipe", name) for name in typed)
    assert names(*words) == ["w4k-a8", "w8c-a8", "w4e"]


def test_4_bits_in_int4_tensors_are_4_bits_a_channel() -> None:
    assert names("--format", "int4", "--bits", "4") == ["w4c-a8"]
    assert names("--format", "int4") == ["w8c-a8", "w4c-a8"]
    assert names("--format", "packed", "--bits", "4") == ["w4e-a8"]
    assert options("--format", "int4").form == "int4"
    assert options("--format", "int8").form == "plain"


def test_a_budget_is_bits_or_bytes() -> None:
    assert options("--budget", "4.08bpw").budget == Budget(bits_per_weight=4.08)
    assert options("--budget", "18MB").budget == Budget(file_bytes=18e6)
    with pytest.raises(RecipeError, match="'a lot' is no budget"):
        options("--budget", "a lot")


def test_with_a_budget_alone_the_model_that_it_steers_is_made() -> None:
    assert names("--budget", "18MB") == ["w4e-a8"]
    recipes, found = check_recipes(asked("--budget", "18MB"))
    assert [of_each(recipes, found)[recipe].budget for recipe in recipes] == [Budget(None, 18e6)]


def test_a_budget_leaves_models_of_8_bits_beside_it_alone() -> None:
    words = ("--bits", "8", "--bits", "4", "--budget", "3.5bpw")
    recipes, found = check_recipes(asked(*words))
    assert {str(recipe): own.budget for recipe, own in of_each(recipes, found).items()} == {
        "w8c-a8": None,
        "w4e-a8": Budget(bits_per_weight=3.5),
    }


def test_recovery_is_quick_usual_or_best() -> None:
    found = [options("--recovery", word).recovery for word in ("none", "default", "best")]
    assert found == [None, Settings(), BEST]
    assert BEST.patches > Settings().patches


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("calibration")
    models.pictures(place / "train", 1)
    return place


CONVERT = ("convert", "--weights", "yolov5s-seg", "--calibration", "train")


@pytest.mark.parametrize(
    ("words", "code", "what", "hint"),
    [
        (("--bits", "4", "--recipe", "w4k-a8"), 2, "give --recipe or --bits, not both", ""),
        (("--recipe", "w4x-a8"), 3, "no recipe is called 'w4x-a8'", "Did you mean"),
        (("--budget", "4bpw", "--bits", "8"), 3, "not w8c-a8", "--bits 4"),
        (("--budget", "4bpw", "--recipe", "w4k-a8"), 3, "not w4k-a8", "--bits 4"),
        (("--budget", "4bpw", "--format", "int4"), 3, "not w4c-a8", "--bits 4"),
        (("--budget", "4bpw", "--format", "int8"), 3, "not with --format int8", "expand"),
        (("--bits", "8", "4", "--budget", "4bpw", "--format", "int8"), 3, "--format int8", ""),
        (("--max-ap-drop", "1", "--format", "int8"), 3, "not with --format int8", "expand"),
        (("--max-ap-drop", "1", "--format", "int4"), 3, "cannot be written as INT4", "packed"),
        (("--budget", "much", "--bits", "4"), 3, "'much' is no budget", "4.08bpw, 18MB"),
        (("--format", "int4", "--bits", "3"), 3, "cannot be written as INT4", "w4c-a8"),
        (("--recipe", "float32"), 3, "float32 quantizes nothing", "w8c-a8"),
    ],
)
def test_what_cannot_be_made_is_told_before_any_work(
    folder: Path, words: tuple[str, ...], code: int, what: str, hint: str
) -> None:
    """A cache of its own: weights, were they asked for, would be fetched first."""
    done = halfbyte(*CONVERT, *words, cwd=folder, HALFBYTE_CACHE=str(folder / "cache"))
    assert done.returncode == code, done.stderr
    assert what in done.stderr
    assert hint in done.stderr
    assert not (folder / "models").exists()
    assert not (folder / "cache" / "weights").exists()


def test_channels_are_evened_out_unless_asked_not_to() -> None:
    assert options().equalize
    assert not options("--no-equalize").equalize
