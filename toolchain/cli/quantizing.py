"""Options that say which models to make, and how."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

import click

from toolchain.cli.paths import existing_file

if TYPE_CHECKING:
    from pathlib import Path

    from toolchain.pipeline import Making
    from toolchain.quantize import Form, Options, Recipe

F = TypeVar("F", bound=Callable[..., Any])

_quantizing: list[Callable[[Any], Any]] = [
    click.option(
        "--bits",
        type=click.Choice(["2", "3", "4", "5", "6", "7", "8"]),
        multiple=True,
        help="Bits per weight; several make several models.  [default: 4 8; 4 with --budget]",
    ),
    click.option(
        "--recipe",
        "recipe_names",
        multiple=True,
        metavar="NAME",
        help="Instead of --bits: w8c-a8, w4e-a8, w4m-a8, w4s-a8, w4g64-a8, w4k-a8, w4c-a8, w4e, "
        "...  Several make several models.",
    ),
    click.option(
        "--format",
        "form",
        type=click.Choice(["packed", "int4", "int8"]),
        help="How few-bit weights are stored: packed, INT4 tensors, or expanded.  "
        "[default: packed below 8 bits]",
    ),
    click.option(
        "--budget",
        metavar="SIZE",
        help="Size of entropy-coded models (--bits below 8) and of mixtures (w4m-a8, w4s-a8), as "
        "packed files: 4.08bpw (bits per weight, whole file) or 18MB. Models of a fixed width, "
        "such as --bits 8, are made as without it.",
    ),
    click.option(
        "--plan",
        "plan_file",
        type=existing_file(),
        help="Instead of --bits, --recipe and --budget: each layer as this .plan.toml says, which "
        "lies beside every model that was made and may be edited.",
    ),
    click.option(
        "--max-ap-drop",
        type=click.FloatRange(0, 100, min_open=True),
        metavar="POINTS",
        help="Instead of --bits and --budget: the smallest entropy-coded model that is likely to "
        "lose no more AP: predicted without labels, by how far it agrees with the float model on "
        "a third of the calibration pictures; tries three sizes. No promise: run measures it.",
    ),
    click.option(
        "--recovery",
        type=click.Choice(["none", "default", "best"]),
        default="default",
        show_default=True,
        help="How weights are rounded: to nearest (quick), by second order, or (best) on more of "
        "each picture, after which scales and biases are learned end to end.",
    ),
    click.option(
        "--no-equalize",
        is_flag=True,
        help="Leave the sizes of channels as they are, where moving factors between layers would "
        "even them out (networks with ReLU or LeakyReLU); verify can then compare all tensors.",
    ),
]


def quantizing_options(function: F) -> F:
    """Which models to make, and how: bits, recipes or a plan, format, budget, recovery."""
    for option in reversed(_quantizing):
        function = option(function)
    return function


def recipes_of(asked: dict[str, Any]) -> tuple[Recipe, ...]:
    """The recipes that --bits, --recipe or --plan name, widest first.  Raises RecipeError."""
    from toolchain.quantize import W4C_A8, for_bits, parse, planfile

    _check_together(asked)
    if asked["plan_file"]:
        return (planfile.read(asked["plan_file"]).recipe,)
    if asked["max_ap_drop"] is not None:
        return (_searched(asked["recipe_names"]),)
    if asked["recipe_names"]:
        return tuple(dict.fromkeys(parse(name) for name in asked["recipe_names"]))
    usual = ("4",) if asked["budget"] else ("4", "8")
    widths = sorted({int(bits) for bits in asked["bits"] or usual}, reverse=True)
    as_int4 = asked["form"] == "int4"
    return tuple(W4C_A8 if as_int4 and bits == 4 else for_bits(bits) for bits in widths)


def _check_together(asked: dict[str, Any]) -> None:
    """Raises click.UsageError where two options say the same."""
    keys = {
        "--bits": "bits",
        "--recipe": "recipe_names",
        "--budget": "budget",
        "--plan": "plan_file",
        "--max-ap-drop": "max_ap_drop",
    }
    given = [name for name, key in keys.items() if asked[key]]
    for one, others in (
        ("--plan", ("--bits", "--recipe", "--budget", "--max-ap-drop")),
        ("--max-ap-drop", ("--bits", "--budget")),
        ("--recipe", ("--bits",)),
    ):
        if one in given and (both := [name for name in others if name in given]):
            raise click.UsageError(f"give {one} or {both[0]}, not both")


def _searched(names: Sequence[str]) -> Recipe:
    """The recipe whose budget --max-ap-drop searches for."""
    from toolchain.quantize import W4E_A8, parse

    recipes = [parse(name) for name in names] or [W4E_A8]
    if len(recipes) > 1 or recipes[0].granularity != "e":
        raise click.UsageError(
            "--max-ap-drop goes with one entropy-coded recipe: w4e-a8, or w4e for float activations"
        )
    return recipes[0]


def quantizer_options_of(asked: dict[str, Any]) -> Options:
    """How to quantize.  Raises RecipeError."""
    from toolchain.quantize import Options, budget, planfile
    from toolchain.quantize.recovery import BEST, Settings

    forms: dict[str, Form] = {"packed": "packed", "int4": "int4", "int8": "plain"}
    recovery = {"none": None, "default": Settings(), "best": BEST}[asked["recovery"]]
    return Options(
        form=forms[asked["form"]] if asked["form"] else None,
        budget=budget.parse(asked["budget"]) if asked["budget"] else None,
        recovery=recovery,
        plan=planfile.read(asked["plan_file"]) if asked["plan_file"] else None,
        equalize=not asked["no_equalize"],
    )


def check_recipes(asked: dict[str, Any]) -> tuple[tuple[Recipe, ...], Options]:
    """Recipes and options that go together.

    Raises RecipeError, InputError (a device that is not there), click.UsageError.
    """
    from toolchain.quantize import device, of_each

    if device.asked() == device.CUDA:
        device.chosen()
    recipes, options = recipes_of(asked), quantizer_options_of(asked)
    of_each(recipes, options, searched=asked["max_ap_drop"] is not None)
    return recipes, options


def making_of(
    asked: dict[str, Any],
    *,
    weights: str,
    imgsz: tuple[int, int],
    calibration: Path,
    limit: int | None = None,
    names: Path | None = None,
) -> Making:
    """Which models to make, from the pictures in a folder.

    Raises as `check_recipes`, before anything is read; EmptyCalibration.
    """
    from toolchain.calibrationset import find_calibration
    from toolchain.pipeline import Making

    recipes, options = check_recipes(asked)
    return Making(
        weights=weights,
        recipes=recipes,
        options=options,
        plan=asked["plan_file"],
        max_ap_drop=asked["max_ap_drop"],
        imgsz=imgsz,
        calibration=find_calibration(calibration, limit=limit),
        names=names,
    )
