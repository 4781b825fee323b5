"""A kind of board: how it is recognised, and what is known of it beforehand."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

from targets.readings import Reading


@dataclass(frozen=True)
class Kind:
    """parts: patterns of an entry of the device tree's `compatible`, any of which is enough.

    model: where the device tree's `model` has to fit too, since parts alone do not tell.
    slows_c: from this temperature on it lowers its clocks; None where that is not known.
    power: rails whose sum is the power of all of it, the best choice first; `power_is` says what
    that sum is.  readings: tools that tell something here.  settings: the shipped file of firmware
    settings for it, by name.
    """

    name: str
    family: str
    soc: str
    parts: tuple[str, ...]
    model: str = ""
    slows_c: float | None = None
    power: tuple[tuple[str, ...], ...] = ()
    power_is: str = ""
    readings: tuple[Reading[Any], ...] = ()
    settings: str = "generic"

    def fits(self, compatible: tuple[str, ...], model: str) -> bool:
        """Whether a board that says this of itself is of this kind."""
        of_parts = any(re.fullmatch(part, entry) for part in self.parts for entry in compatible)
        return of_parts and re.search(self.model, model) is not None
