"""How one layer is to be quantized, as a table of a plan says it (`planfile`), checked."""

from __future__ import annotations

import dataclasses
import difflib
import re
from collections.abc import Mapping, Sequence
from typing import Any, Final, NoReturn

from toolchain.errors import RecipeError
from toolchain.quantize.granularity import Channel, Granularity, Group, Layer
from toolchain.quantize.methods import SCHEME_OF
from toolchain.quantize.recipe import Recipe
from toolchain.quantize.schemes import SCHEMES, affine, codebook, entropy, grouped, uniform
from toolchain.quantize.search import Search

KEYS: Final = ("scheme", "bits", "granularity", "search")
MAX_WORD: Final = 300
MAX_GROUP: Final = 0xFFFF
MOST_BITS: Final = 1000.0
"""Entropy-coded: a filter of three weights takes hundreds of bits for each, with its table."""

_GRANULARITY: Final = re.compile(r"layer|channel|group (?P<size>[1-9][0-9]{0,4})")


@dataclasses.dataclass(frozen=True)
class _Form:
    """What a scheme may be asked for so that its filter is an int8 one."""

    granularities: tuple[type, ...]
    most_bits: int


_PLAIN: Final = (Channel, Layer)
FORMS: Final = {
    uniform.NAME: _Form(_PLAIN, 8),
    affine.NAME: _Form(_PLAIN, 7),
    codebook.NAME: _Form(_PLAIN, 8),
    grouped.NAME: _Form((Group,), 8),
    entropy.NAME: _Form((Channel,), 8),
}


@dataclasses.dataclass(frozen=True)
class LayerChoice:
    """One layer.

    bits: of a code, a whole number; of an entropy-coded layer what a packed file holds of its
    codes, a weight, None for a share of the budget.  float_output: None leaves it to the rule.
    """

    scheme: str
    bits: float | None
    granularity: Granularity
    search: Search
    float_output: bool | None = None

    @property
    def shares_budget(self) -> bool:
        """Whether its bits are what others leave."""
        return self.scheme == entropy.NAME and self.bits is None

    @property
    def is_below_8_bits(self) -> bool:
        """Whether a packed file holds it in less room than int8 takes."""
        return self.scheme == entropy.NAME or (self.bits is not None and self.bits < 8)


def of_recipe(recipe: Recipe) -> LayerChoice:
    """What a recipe does to most layers."""
    bits = recipe.weight_bits or 8
    scheme = SCHEME_OF[recipe.granularity]
    return LayerChoice(
        scheme=scheme,
        bits=None if scheme == entropy.NAME else float(bits),
        granularity=Group(recipe.group) if recipe.group else Channel(),
        search="min-max" if bits == 8 else "weighted",
    )


def words_of(granularity: Granularity) -> str:
    """As in a plan: "channel", "layer", "group 64"."""
    if isinstance(granularity, Group):
        return f"group {granularity.size}"
    return type(granularity).__name__.lower()


def read_choice(table: Mapping[str, Any], where: str, base: LayerChoice) -> LayerChoice:
    """What a table says; what it leaves out is as in `base` if the scheme is the same.

    where: for messages.  Raises RecipeError.
    """
    scheme = one_of(table, "scheme", tuple(FORMS), where) or base.scheme
    inherited = base if scheme == base.scheme else None
    bits = _bits(table, where, scheme)
    if bits is None and inherited is not None:
        bits = inherited.bits
    if bits is None and scheme != entropy.NAME:
        refuse(where, f"{scheme} needs bits", "For example: bits = 4.")
    return LayerChoice(
        scheme=scheme,
        bits=bits,
        granularity=_granularity(table, where, scheme, inherited),
        search=_search(table, where, scheme, bits, inherited),
        float_output=flag(table, "float_output", where),
    )


def _bits(table: Mapping[str, Any], where: str, scheme: str) -> float | None:
    if scheme == entropy.NAME:
        return number(table, "bits", where, most=MOST_BITS)
    bits, most = table.get("bits"), FORMS[scheme].most_bits
    if bits is None:
        return None
    if type(bits) not in (int, float) or bits not in range(2, most + 1):
        refuse(where, f"bits is {bits!r:.40}", f"A whole number, 2 to {most} for {scheme}.")
    return float(bits)


def _search(
    table: Mapping[str, Any],
    where: str,
    scheme: str,
    bits: float | None,
    inherited: LayerChoice | None,
) -> Search:
    known: Sequence[Search] = SCHEMES[scheme].FITTED_BY
    asked = one_of(table, "search", tuple(known), where)
    if asked is not None:
        return asked  # type: ignore[return-value]  # one of `known`
    if inherited is not None:
        return inherited.search
    return "min-max" if bits == 8 and "min-max" in known else "weighted"


def _granularity(
    table: Mapping[str, Any], where: str, scheme: str, inherited: LayerChoice | None
) -> Granularity:
    kinds = FORMS[scheme].granularities
    words = table.get("granularity")
    if words is None and inherited is not None:
        return inherited.granularity
    if words is None and Group not in kinds:
        return Channel()
    match = _GRANULARITY.fullmatch(words) if isinstance(words, str) else None
    found: Granularity | None = None
    if match is not None and match["size"]:
        found = Group(int(match["size"]))
    elif match is not None:
        found = Layer() if words == "layer" else Channel()
    too_large = isinstance(found, Group) and found.size > MAX_GROUP
    if found is None or not isinstance(found, kinds) or too_large:
        known = ["group 64" if kind is Group else kind.__name__.lower() for kind in kinds]
        what = "says no granularity" if words is None else f"granularity is {words!r:.40}"
        refuse(where, what, f"With {scheme} write, for example, {' or '.join(known)}.")
    return found


def only(table: Mapping[str, Any], known: tuple[str, ...], where: str) -> None:
    """Raises RecipeError for a key that is not `known`."""
    for key in table:
        if key not in known:
            near = difflib.get_close_matches(key[:MAX_WORD], known, n=1, cutoff=0.4)
            meant = f"Did you mean {near[0]}?" if near else f"Keys are: {', '.join(known)}."
            refuse(where, f"there is no key {key!r:.60}", meant)


def flag(table: Mapping[str, Any], key: str, where: str) -> bool | None:
    """True, false or absent.  Raises RecipeError."""
    value = table.get(key)
    if value is not None and not isinstance(value, bool):
        refuse(where, f"{key} is {value!r:.40}", "Write true or false.")
    return value


def number(table: Mapping[str, Any], key: str, where: str, *, most: float) -> float | None:
    """A number above 0, or absent.  Raises RecipeError."""
    value = table.get(key)
    if value is None:
        return None
    if type(value) not in (int, float) or not 0 < value <= most:
        refuse(where, f"{key} is {value!r:.40}", f"A number above 0, at most {most:g}.")
    return float(value)


def one_of(table: Mapping[str, Any], key: str, known: tuple[str, ...], where: str) -> str | None:
    """A word of `known`, or absent.  Raises RecipeError."""
    value = table.get(key)
    if value is not None and not (isinstance(value, str) and value in known):
        near = difflib.get_close_matches(str(value)[:MAX_WORD], known, n=1, cutoff=0.5)
        meant = f"Did you mean {near[0]}? " if near else ""
        refuse(where, f"{key} is {value!r:.60}", f"{meant}Here it is one of: {', '.join(known)}.")
    return value


def refuse(where: str, what: str, hint: str) -> NoReturn:
    """Raises RecipeError."""
    raise RecipeError(f"{where}: {what}", hint=hint)
