"""What may be asked of the quantizer beside a recipe."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Literal

from toolchain.errors import RecipeError
from toolchain.quantize.budget import Budget
from toolchain.quantize.planfile import PlanFile
from toolchain.quantize.recipe import W4C_A8, Recipe
from toolchain.quantize.recovery import Settings

Form = Literal["packed", "int4", "plain"]
"""packed: filters as HalfbyteExpand's inputs.  int4: INT4 tensors.  plain: int8 (or float32)."""


@dataclasses.dataclass(frozen=True)
class Options:
    """form: None takes packed below 8 bits and for float activations, else plain.

    budget: for entropy-coded weights and mixtures in a packed file only, None for the recipe's own.
    float_boxes: box outputs stay float32 in an int8 model.
    recovery: None rounds to nearest.
    plan: goes before the recipe, which has to be its own, budget and float_boxes.
    equalize: factors may move between layers first (`equalize`); `quantize` itself moves none.
    """

    form: Form | None = None
    budget: Budget | None = None
    float_boxes: bool = True
    recovery: Settings | None = dataclasses.field(default_factory=Settings)
    plan: PlanFile | None = None
    equalize: bool = True

    def form_of(self, recipe: Recipe) -> Form:
        """What is written.  Filters of 8 bits beside int8 activations are stored as they are."""
        if recipe.is_packed or (self.plan is not None and self.plan.is_below_8_bits):
            return self.form or "packed"
        return "plain"


def check(recipe: Recipe, options: Options) -> None:
    """What can be said before any work is done.  Raises RecipeError."""
    if recipe.is_float:
        raise RecipeError("float32 quantizes nothing", hint="Use w8c-a8 or w4e-a8.")
    if options.form_of(recipe) == "int4" and recipe != W4C_A8:
        raise RecipeError(
            f"{recipe} cannot be written as INT4 tensors",
            hint="INT4 holds one scale a channel: use w4c-a8, or the packed format.",
        )
    if options.plan is not None and (options.budget is not None or options.plan.recipe != recipe):
        raise RecipeError(
            "a plan has a recipe and a budget of its own",
            hint="Write them into the plan, or leave the plan out.",
        )
    if options.budget is not None and recipe.default_budget is None:
        raise RecipeError(
            f"a budget steers entropy-coded weights and mixtures, not {recipe}",
            hint="Use w4e-a8 (or --bits 4) with a budget, or w4m-a8 or w4s-a8.",
        )
    if options.budget is not None:
        unsteered(options.form_of(recipe))


def check_searched(recipe: Recipe, options: Options) -> None:
    """The same where the budget is yet to be found.  Raises RecipeError."""
    check(recipe, dataclasses.replace(options, budget=Budget(bits_per_weight=1.0)))


def of_each(
    recipes: Sequence[Recipe], options: Options, *, searched: bool = False
) -> dict[Recipe, Options]:
    """What is asked of each recipe, checked: a budget goes to those that it can steer.

    searched: a budget is yet to be found, for each of them.
    Raises RecipeError, also for a budget that steers none of them.
    """
    if searched:
        for recipe in recipes:
            check_searched(recipe, options)
    steered = {recipe for recipe in recipes if recipe.default_budget is not None}
    steered = steered or set(recipes)
    unbound = dataclasses.replace(options, budget=None)
    asked = {recipe: options if recipe in steered else unbound for recipe in recipes}
    for recipe, own in asked.items():
        check(recipe, own)
    return asked


def unsteered(form: Form) -> None:
    """Raises RecipeError where files of that form have their size whatever is asked for."""
    if form != "packed":
        word = {"plain": "int8", "int4": "int4"}[form]
        raise RecipeError(
            "a size that is asked for (--budget, --max-ap-drop, a plan's budget) is kept in packed "
            f"files alone, not with --format {word}",
            hint="Leave --format out; `halfbyte expand` makes an int8 file of a packed one.",
        )
