"""Names of quantization recipes, parsed and printed here and nowhere else.

    recipe      = "float32" | "w" bits granularity "-a8"
    bits        = "2" .. "8"                    of a stored weight
    granularity = "c"                           one scale an output channel
                | "g" size                      groups of `size` weights
                | "k"                           a codebook
                | "e"                           entropy-coded: `bits` are stored bits

`w4c-a8` is 4-bit weights with a scale an output channel and 8-bit activations.  The grammar is
wider than what is built so far, so that a name is either unknown or merely unsupported.
"""

from __future__ import annotations

import dataclasses
import difflib
import re
from typing import Final, Literal

from toolchain.errors import RecipeError

Granularity = Literal["c", "g", "k", "e"]

_FORM: Final = re.compile(r"w(?P<bits>[2-8])(?P<granularity>c|g(?P<group>[1-9]\d{0,4})|k|e)-a8")
_WORDS: Final = {"g": "groups", "k": "codebooks", "e": "entropy-coded weights"}


@dataclasses.dataclass(frozen=True)
class Recipe:
    """How weights and activations are stored; `str()` gives the name.

    weight_bits: None leaves everything float32.  group: weights a group for granularity "g".
    Below 8 bits the first convolution and the heads keep 8-bit weights: the picture's edges and
    the boxes come from few weights, and cost little file at full width.
    """

    weight_bits: int | None = None
    granularity: Granularity = "c"
    group: int | None = None

    def __str__(self) -> str:
        if self.weight_bits is None:
            return "float32"
        return f"w{self.weight_bits}{self.granularity}{self.group or ''}-a8"

    @property
    def is_float(self) -> bool:
        """Whether the model stays as it is."""
        return self.weight_bits is None


FLOAT32: Final = Recipe()
W8C_A8: Final = Recipe(8)
W4C_A8: Final = Recipe(4)
SUPPORTED: Final = (FLOAT32, W8C_A8, W4C_A8)


def parse(text: str) -> Recipe:
    """The recipe of that name.  Raises RecipeError (no such name, or known and not built)."""
    if text == str(FLOAT32):
        return FLOAT32
    match = _FORM.fullmatch(text)
    if match is None:
        raise RecipeError(f"no recipe is called {text!r:.60}", hint=_suggestion(text))
    letter: Granularity = match["granularity"][0]  # type: ignore[assignment]  # by the pattern
    group = int(match["group"]) if match["group"] else None
    recipe = Recipe(int(match["bits"]), letter, group)
    if recipe not in SUPPORTED:
        what = _WORDS.get(letter, f"{recipe.weight_bits}-bit weights")
        raise RecipeError(
            f"{recipe}: {what} are not supported by this version", hint=_suggestion(text)
        )
    return recipe


def for_bits(bits: int) -> Recipe:
    """The default recipe of a weight width: `--bits 8` is w8c-a8.  Raises RecipeError."""
    for recipe in SUPPORTED:
        if recipe.weight_bits == bits:
            return recipe
    widths = ", ".join(str(recipe.weight_bits) for recipe in SUPPORTED if not recipe.is_float)
    raise RecipeError(f"no recipe for {bits} bits", hint=f"Supported widths: {widths}.")


def _suggestion(text: str) -> str:
    names = [str(recipe) for recipe in SUPPORTED]
    near = difflib.get_close_matches(text, names, n=1, cutoff=0.5)
    first = f"Did you mean {near[0]}? " if near else ""
    return f"{first}Supported: {', '.join(names)}."
