"""Amounts with units on the command line: 200MB, 100ms."""

from __future__ import annotations

import math
import re
from typing import Any, Final

import click

_FORM: Final = re.compile(r"\s*([0-9]+(?:\.[0-9]*)?|\.[0-9]+)\s*([A-Za-z%]*)\s*")


class Amount(click.ParamType):  # type: ignore[type-arg,unused-ignore]
    """A number and one of some units, turned into the smallest of them."""

    def __init__(self, name: str, units: dict[str, float]) -> None:
        self.name = name
        self._units = units

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """A number above 0.  Fails as click does, naming the units."""
        if isinstance(value, int | float):
            return value
        match = _FORM.fullmatch(value)
        units = {unit.lower(): factor for unit, factor in self._units.items()}
        factor = units.get(match[2].lower()) if match else None
        if match is None or factor is None or not 0 < float(match[1]) * factor < math.inf:
            known = ", ".join(unit for unit in self._units if unit)
            self.fail(f"{value!r} is no {self.name}; units: {known}", param, ctx)
        return float(match[1]) * factor

    def get_metavar(self, param: click.Parameter, ctx: click.Context | None = None) -> str:  # noqa: ARG002
        """What the help shows in its place."""
        return self.name.upper()


SIZE: Final = Amount(
    "size",
    {"B": 1, "kB": 1e3, "MB": 1e6, "GB": 1e9, "KiB": 2**10, "MiB": 2**20, "GiB": 2**30},
)
TIME: Final = Amount("time", {"us": 1e-3, "ms": 1, "s": 1e3})
PERCENT: Final = Amount("share", {"%": 1, "": 1})
