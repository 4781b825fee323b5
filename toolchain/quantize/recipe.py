"""Names of quantization recipes, parsed and printed here and nowhere else.

    recipe      = "float32" | "w" bits granularity ["-a8"]
    bits        = "2" .. "8"                    of a stored weight
    granularity = "c"                           one scale an output channel
                | "g" size                      groups of `size` weights with whole multipliers
                | "k"                           a codebook of 2^bits levels an output channel
                | "e"                           entropy-coded: `bits` are stored bits
                | "m"                           a mixture: what each layer needs of 2^bits levels
                                                or fewer, and of int8, chosen by sensitivity
                | "s"                           the same without int8, but in the first convolution
                                                and the heads: so many levels strictly

`w4c-a8` is 4-bit weights with a scale an output channel and 8-bit activations; without `-a8`
activations stay float32.
"""

from __future__ import annotations

import dataclasses
import difflib
import re
from typing import Final, Literal

from toolchain.errors import RecipeError

Granularity = Literal["c", "g", "k", "e", "m", "s"]

_FORM: Final = re.compile(
    r"w(?P<bits>[2-8])(?P<granularity>c|g(?P<group>[1-9][0-9]{0,4})|k|e|m|s)(?P<activations>-a8)?"
)
_MOST_BITS: Final = {"c": 8, "g": 4, "k": 4, "e": 7, "m": 4, "s": 4}
"""Codebooks and groups beyond 16 levels would be int8 filters; a rate of 8 bits is just int8."""


@dataclasses.dataclass(frozen=True)
class Recipe:
    """How weights and activations are stored; `str()` gives the name.

    weight_bits: None leaves everything float32.  group: weights a group for granularity "g".
    activation_bits: 8, or None for float32 ones.
    """

    weight_bits: int | None = None
    granularity: Granularity = "c"
    group: int | None = None
    activation_bits: int | None = 8

    def __str__(self) -> str:
        if self.weight_bits is None:
            return "float32"
        activations = f"-a{self.activation_bits}" if self.activation_bits else ""
        return f"w{self.weight_bits}{self.granularity}{self.group or ''}{activations}"

    @property
    def is_float(self) -> bool:
        """Whether the model stays as it is."""
        return self.weight_bits is None

    @property
    def is_packed(self) -> bool:
        """Whether its filters take fewer bits than an ordinary tensor of the stock runtime."""
        return self.weight_bits is not None and (
            self.weight_bits < 8 or self.activation_bits is None
        )

    @property
    def is_mixture(self) -> bool:
        """Whether it leaves scheme, granularity and bits of each layer open."""
        return self.granularity in ("m", "s")

    @property
    def default_budget(self) -> float | None:
        """Bits a weight of the whole file that entropy-coded weights (4.08 for 4 bits) and mixtures
        (4.15) aim at; None where weights have a fixed width.

        Against fp16 those are the 3.92 and 3.86 times less of arXiv 2407.04943, of its uniform and
        its non-uniform weights.
        """
        more = {"e": 0.08, "m": 0.15, "s": 0.15}.get(self.granularity)
        return None if self.weight_bits is None or more is None else self.weight_bits + more


FLOAT32: Final = Recipe()
W8C_A8: Final = Recipe(8)
W4C_A8: Final = Recipe(4)
W4E_A8: Final = Recipe(4, "e")
W3E_A8: Final = Recipe(3, "e")
USUAL: Final = (
    FLOAT32,
    W8C_A8,
    W4E_A8,
    W3E_A8,
    Recipe(4, "g", 64),
    Recipe(4, "g", 32),
    Recipe(4, "k"),
    Recipe(4, "m"),
    Recipe(4, "s"),
    W4C_A8,
    Recipe(4, "e", None, None),
)
"""Named where a choice is shown; the grammar knows more."""


def parse(text: str) -> Recipe:
    """The recipe of that name.  Raises RecipeError (no such name, or no sense in it)."""
    if text == str(FLOAT32):
        return FLOAT32
    match = _FORM.fullmatch(text)
    if match is None:
        raise RecipeError(f"no recipe is called {text!r:.60}", hint=_suggestion(text))
    letter: Granularity = match["granularity"][0]  # type: ignore[assignment]  # by the pattern
    bits, group = int(match["bits"]), int(match["group"]) if match["group"] else None
    if bits > _MOST_BITS[letter]:
        raise RecipeError(
            f"{text}: at most {_MOST_BITS[letter]} bits go with {letter!r}", hint=_suggestion(text)
        )
    return Recipe(bits, letter, group, 8 if match["activations"] else None)


def for_bits(bits: int) -> Recipe:
    """The default recipe of a weight width: w8c-a8 for 8, entropy-coded below.

    Raises RecipeError.
    """
    if bits == 8:
        return W8C_A8
    if not 2 <= bits <= 7:
        raise RecipeError(f"no recipe for {bits} bits", hint="Supported widths: 2 to 8.")
    return Recipe(bits, "e")


def _suggestion(text: str) -> str:
    names = [str(recipe) for recipe in USUAL]
    near = difflib.get_close_matches(text.lower(), names, n=1, cutoff=0.5)
    first = f"Did you mean {near[0]}? " if near else ""
    return f"{first}Usual ones: {', '.join(names)}."
