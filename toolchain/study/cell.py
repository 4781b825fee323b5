"""One cell of the grid: weights in this form, recovered like that."""

from __future__ import annotations

import dataclasses
import functools
import re
from collections.abc import Mapping
from typing import Any, Final, Literal, get_args

import numpy as np

from toolchain.errors import RecipeError
from toolchain.quantize.granularity import Channel, Granularity, Group, Layer, Network
from toolchain.quantize.schemes import SCHEMES
from toolchain.quantize.search import SEARCHES, Search

Recovery = Literal["nearest", "second-order"]
Activations = Literal["float", "int8"]
RECOVERIES: Final[tuple[Recovery, ...]] = get_args(Recovery)
ACTIVATIONS: Final[tuple[Activations, ...]] = get_args(Activations)

MAX_GROUP: Final = 65_535
_GRANULARITY: Final = re.compile(
    r"(?P<plain>network|layer|channel)|group (?P<size>[1-9]\d{0,4})"
    r"|combined (?P<side>\d(?:\.\d{1,4})?)"
)


@dataclasses.dataclass(frozen=True)
class Combined:
    """Every layer at the granularity that serves it best, `combined.CHOICES` being offered.

    side_bits: what scales and biases together take, a weight, over the whole network.
    """

    side_bits: float


Reach = Granularity | Combined
"""How far one choice of numbers reaches."""


@dataclasses.dataclass(frozen=True)
class Cell:
    """What is done to the weights of every convolution.

    scheme: a name in `schemes.SCHEMES`.  bits: 2 to 8, of a code; of entropy-coded channels those
    stored on average, which may be broken.  search: how scales are chosen.  spare_ends: heads and
    the first two convolutions keep 8 bits a channel.
    """

    scheme: str
    bits: float
    reach: Reach
    search: Search = "mse"
    recovery: Recovery = "nearest"
    activations: Activations = "float"
    spare_ends: bool = False

    @property
    def name(self) -> str:
        """All of it in one line; two cells never have the same."""
        words = [self.scheme, f"{self.bits:g} bits", words_of(self.reach)]
        words += [self.search] * (self.scheme != "entropy") + [self.recovery]
        words += ["ends at 8"] * self.spare_ends + ["a8"] * (self.activations == "int8")
        return ", ".join(words)


def words_of(reach: Reach) -> str:
    """As in a grid file: "network", "layer", "channel", "group 64", "combined 0.08"."""
    match reach:
        case Group(size):
            return f"group {size}"
        case Combined(side_bits):
            return f"combined {side_bits:g}"
        case _:
            return type(reach).__name__.lower()


def reach_of(words: str) -> Reach:
    """The inverse of `words_of`.  Raises RecipeError."""
    match = _GRANULARITY.fullmatch(words)
    if match is None or int(match["size"] or 1) > MAX_GROUP:
        raise RecipeError(
            f"no granularity is called {words!r:.40}",
            hint='Write "network", "layer", "channel", "group 64" or "combined 0.08".',
        )
    if match["size"]:
        return Group(int(match["size"]))
    if match["side"]:
        return Combined(float(match["side"]))
    plain: dict[str, Reach] = {"network": Network(), "layer": Layer(), "channel": Channel()}
    return plain[match["plain"]]


def to_json(cell: Cell) -> dict[str, Any]:
    """Plain values, by the words of grid files."""
    return {
        "scheme": cell.scheme,
        "bits": cell.bits,
        "granularity": words_of(cell.reach),
        "search": cell.search,
        "recovery": cell.recovery,
        "activations": cell.activations,
        "spare_ends": cell.spare_ends,
    }


def from_json(raw: Mapping[str, Any]) -> Cell:
    """The inverse of `to_json`, checked.  Raises RecipeError."""
    cell = Cell(
        scheme=_one_of(raw, "scheme", tuple(SCHEMES), None),
        bits=_bits(raw.get("bits")),
        reach=reach_of(str(raw.get("granularity", "channel"))),
        search=_one_of(raw, "search", SEARCHES, "mse"),  # type: ignore[arg-type]  # checked there
        recovery=_one_of(raw, "recovery", RECOVERIES, "nearest"),  # type: ignore[arg-type]
        activations=_one_of(raw, "activations", ACTIVATIONS, "float"),  # type: ignore[arg-type]
        spare_ends=_flag(raw.get("spare_ends", False)),
    )
    check(cell)
    return cell


def check(cell: Cell) -> None:
    """Raises RecipeError where the parts do not go together."""
    scheme = SCHEMES[cell.scheme]
    whole_only = not (cell.scheme == "entropy" and isinstance(cell.reach, Channel))
    kinds = (Layer, Channel, Group) if isinstance(cell.reach, Combined) else (type(cell.reach),)
    problem, hint = "", ""
    if not set(kinds) <= set(scheme.GRANULARITIES):
        known = ", ".join(kind.__name__.lower() for kind in scheme.GRANULARITIES)
        problem, hint = "its scheme has no such granularity", f"{cell.scheme} has: {known}."
    elif cell.scheme == "entropy" and cell.search != "mse":
        problem, hint = "steps of entropy-coded filters are not searched", "Take search away."
    elif cell.search not in scheme.FITTED_BY:
        problem = f"its scheme has no search by {cell.search}"
        hint = f"{cell.scheme} has: {', '.join(scheme.FITTED_BY)}."
    elif whole_only and cell.bits != int(cell.bits):
        problem, hint = "its bits are not whole", "Only entropy-coded channels take broken ones."
    elif isinstance(cell.reach, Network) and cell.recovery != "nearest":
        problem = "what a whole network shares is fitted once, so it cannot follow its layers"
        hint = 'Take recovery = "nearest" for granularity = "network".'
    elif cell.scheme == "entropy" and cell.spare_ends:
        problem = "steps of entropy-coded filters spare what needs it by themselves"
        hint = "Take spare_ends away."
    elif cell.activations == "int8" and isinstance(cell.reach, Network):
        problem = "scales of a whole network are studied with float activations"
        hint = 'Take activations = "float".'
    elif cell.activations == "int8" and not has_int8_form(cell):
        problem = "its filters are no int8 filters with one scale a channel"
        hint = 'Take activations = "float".'
    if problem:
        raise RecipeError(f"{cell.name}: {problem}", hint=hint)


def has_int8_form(cell: Cell) -> bool:
    """Whether its filters are exactly ordinary int8 filters, so that a real file can hold them."""
    if isinstance(cell.reach, Combined):
        return False
    return _has_int8_form(cell.scheme, cell.bits, cell.reach)


@functools.cache
def _has_int8_form(name: str, bits: float, granularity: Granularity) -> bool:
    """Asked of the scheme itself, on a filter of sixteen weights."""
    scheme: Any = SCHEMES[name]
    weights = np.linspace(-1, 1, 16, dtype=np.float32).reshape(2, 1, 1, 8)
    fitted = scheme.fit(weights, int(bits), granularity, search="mse")
    return scheme.coded(scheme.encode(weights, fitted), fitted) is not None


def _one_of(raw: Mapping[str, Any], key: str, known: tuple[str, ...], default: str | None) -> str:
    value = raw.get(key, default)
    if value not in known:
        raise RecipeError(f"{key} {value!r:.40}", hint=f"One of: {', '.join(known)}.")
    return str(value)


def _bits(value: Any) -> float:
    if type(value) not in (int, float) or not 2 <= value <= 8:
        raise RecipeError(f"bits {value!r:.40}", hint="A number from 2 to 8.")
    return float(value)


def _flag(value: Any) -> bool:
    if type(value) is not bool:
        raise RecipeError(f"spare_ends {value!r:.40}", hint="true or false.")
    return value
