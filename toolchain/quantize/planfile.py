"""A plan: how each layer of a model is to be quantized, as a file that people edit.

    schema = "halfbyte.plan"
    version = 1
    recipe = "w4e-a8"             # says whether activations are int8
    budget = 4.08                 # bits a weight of the whole file: entropy-coded layers without
                                  # bits of their own share what the others leave of it
    float_boxes = true            # box outputs stay float32 where layers say nothing of it

    [default]                     # layers that the file does not name, and what a layer leaves out
    scheme = "entropy"
    granularity = "channel"
    search = "weighted"

    [[layer]]
    name = "model.0.conv"
    scheme = "entropy"            # uniform, affine, codebook, grouped or entropy
    bits = 6.213                  # entropy: what it takes in the file; else whole, of a code
    granularity = "channel"       # or "layer", or with grouped "group 64"
    search = "weighted"           # of scales: "min-max", "mse" or "weighted"
    float_output = false

Without [default] a layer that is not named is treated as the recipe says.  A layer of another
scheme than the default's takes nothing from it.
"""

from __future__ import annotations

import dataclasses
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from toolchain.quantize.choice import (
    KEYS,
    LayerChoice,
    flag,
    number,
    of_recipe,
    only,
    read_choice,
    refuse,
)
from toolchain.quantize.recipe import Recipe
from toolchain.quantize.recipe import parse as parse_recipe

SCHEMA: Final = "halfbyte.plan"
VERSION: Final = 1
SUFFIX: Final = ".plan.toml"

MAX_FILE_BYTES: Final = 1 << 20
MAX_LINE: Final = 1000
"""Letters: what TOML makes of one long line can take its square in time and memory."""

MAX_LAYERS: Final = 10_000
MAX_NAME: Final = 800
MOST_BUDGET: Final = 1e6
"""Far above what any model takes; a budget in bytes may be."""

_TOP: Final = ("schema", "version", "recipe", "budget", "float_boxes", "default", "layer")


@dataclasses.dataclass(frozen=True)
class PlanFile:
    """budget: bits a weight of the whole file; None for the recipe's own.  default: for layers
    that are not named; None for what the recipe says.  layers: (name, choice) in the order of the
    file, no name twice.
    """

    recipe: Recipe
    budget: float | None = None
    float_boxes: bool = True
    default: LayerChoice | None = None
    layers: tuple[tuple[str, LayerChoice], ...] = ()

    @property
    def is_below_8_bits(self) -> bool:
        """Whether it asks for filters that take less room than int8 ones."""
        choices = [self.default, *(choice for _, choice in self.layers)]
        return any(choice is not None and choice.is_below_8_bits for choice in choices)


def read(path: Path) -> PlanFile:
    """Raises RecipeError with what is wrong and where; OSError."""
    with path.open("rb") as stream:
        data = stream.read(MAX_FILE_BYTES + 1)
    if len(data) > MAX_FILE_BYTES:
        refuse(path.name, f"it has more than {MAX_FILE_BYTES} bytes", "A plan is a small file.")
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError:
        refuse(path.name, "it is no text in UTF-8", "Give the .plan.toml beside a model.")
    return parse(text, path.name)


def parse(text: str, name: str = "plan") -> PlanFile:
    """The plan in `text`; `name` is for messages.  Raises RecipeError."""
    table = _toml(text, name)
    _check_schema(table, name)
    only(table, _TOP, name)
    recipe = _recipe(table, name)
    default = _default(table, name, recipe)
    plan = PlanFile(
        recipe=recipe,
        budget=number(table, "budget", name, most=MOST_BUDGET),
        float_boxes=flag(table, "float_boxes", name) is not False,
        default=default,
        layers=_layers(table.get("layer", []), name, default or of_recipe(recipe)),
    )
    _check_budget(plan, name)
    return plan


def _toml(text: str, name: str) -> dict[str, Any]:
    for line_number, line in enumerate(text.split("\n"), start=1):
        if len(line) > MAX_LINE:
            refuse(name, f"line {line_number} has more than {MAX_LINE} letters", "Break it.")
    try:
        return tomllib.loads(text)
    except RecursionError:
        refuse(name, "it is nested without end", "Give the .plan.toml beside a model.")
    except ValueError as error:  # TOMLDecodeError, and whole numbers of thousands of digits
        refuse(name, f"it is no TOML: {error!s:.200}", "Correct that line.")


def _check_schema(table: Mapping[str, Any], name: str) -> None:
    schema, version = table.get("schema"), table.get("version")
    if schema != SCHEMA:
        refuse(
            name,
            f'it does not say schema = "{SCHEMA}"',
            "Give the .plan.toml that `halfbyte convert` writes beside each model.",
        )
    if type(version) is not int or version != VERSION:
        newer = type(version) is int and version > VERSION
        refuse(
            name,
            f"it says version {version!r:.40}; this halfbyte reads version {VERSION}",
            "Take a newer halfbyte." if newer else f"Write version = {VERSION}.",
        )


def _recipe(table: Mapping[str, Any], name: str) -> Recipe:
    text = table.get("recipe")
    if not isinstance(text, str):
        refuse(name, "it names no recipe", 'For example: recipe = "w4e-a8".')
    recipe = parse_recipe(text)
    if recipe.is_float:
        refuse(name, "float32 quantizes nothing", 'For example: recipe = "w4e-a8".')
    return recipe


def _default(table: Mapping[str, Any], name: str, recipe: Recipe) -> LayerChoice | None:
    if "default" not in table:
        return None
    where = f"{name}, [default]"
    raw = _table(table["default"], where)
    only(raw, KEYS, where)
    return read_choice(raw, where, of_recipe(recipe))


def _layers(raw: Any, name: str, default: LayerChoice) -> tuple[tuple[str, LayerChoice], ...]:
    if not isinstance(raw, list):
        refuse(name, "`layer` is no list of tables", "Write [[layer]] above each layer.")
    if len(raw) > MAX_LAYERS:
        refuse(name, f"it has more than {MAX_LAYERS} layers", "One [[layer]] a convolution.")
    found: dict[str, LayerChoice] = {}
    for place, entry in enumerate(raw, start=1):
        table = _table(entry, f"{name}, layer {place}")
        own = table.get("name")
        if not isinstance(own, str) or not 0 < len(own) <= MAX_NAME:
            refuse(f"{name}, layer {place}", "it has no name", 'For example: name = "stem".')
        where = f"{name}, layer {own!r}"
        if own in found:
            refuse(where, "it is there twice", "Keep one of the two.")
        only(table, ("name", *KEYS, "float_output"), where)
        found[own] = read_choice(table, where, default)
    return tuple(found.items())


def _table(value: Any, where: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        refuse(where, "it is no table", "Write [default] once and [[layer]] above each layer.")
    return value


def _check_budget(plan: PlanFile, name: str) -> None:
    if plan.budget is not None or plan.recipe.default_budget is not None:
        return
    choices = [(f"layer {own!r}", choice) for own, choice in plan.layers]
    if plan.default is not None:
        choices.append(("[default]", plan.default))
    for where, choice in choices:
        if choice.shares_budget:
            refuse(
                f"{name}, {where}",
                "it is entropy-coded without bits, and the file has no budget",
                "Give it bits = 4.0, or the file budget = 4.08.",
            )
