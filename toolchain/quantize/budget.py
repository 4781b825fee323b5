"""How large a model file may be: "4.08bpw" or "18MB"."""

from __future__ import annotations

import dataclasses
import re
from typing import Final

from toolchain.errors import RecipeError

_FORM: Final = re.compile(
    r"(?P<number>[0-9]{1,12}(?:\.[0-9]{1,12})?)\s*(?P<unit>bpw|kB|KB|MB|MiB|KiB)"
)
_BYTES: Final = {"kB": 1e3, "KB": 1e3, "MB": 1e6, "KiB": 2.0**10, "MiB": 2.0**20}


@dataclasses.dataclass(frozen=True)
class Budget:
    """One of the two.

    bits_per_weight: of the whole file, over weights and biases of the model.
    """

    bits_per_weight: float | None = None
    file_bytes: float | None = None

    def bits(self, parameters: int) -> float:
        """Bits a weight of the whole file for a model with so many weights and biases."""
        if self.bits_per_weight is not None:
            return self.bits_per_weight
        assert self.file_bytes is not None
        return 8 * self.file_bytes / parameters


def parse(text: str) -> Budget:
    """Raises RecipeError."""
    match = _FORM.fullmatch(text.strip())
    if match is None or float(match["number"]) <= 0:
        raise RecipeError(
            f"{text!r:.40} is no budget", hint="Write bits a weight or a size: 4.08bpw, 18MB."
        )
    number = float(match["number"])
    if match["unit"] == "bpw":
        return Budget(bits_per_weight=number)
    return Budget(file_bytes=number * _BYTES[match["unit"]])
