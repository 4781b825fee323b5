"""Element types of tensors: names, bits, numpy's equivalents."""

from __future__ import annotations

import dataclasses
from typing import Final

import numpy as np
from numpy.typing import DTypeLike


@dataclasses.dataclass(frozen=True)
class Element:
    """One element type of the schema.

    bits: of one stored value; None where values have no fixed size (strings, resources).
    dtype: what numpy reads; None where values are packed or numpy has no such type.
    """

    code: int
    name: str
    bits: int | None
    dtype: DTypeLike | None = None

    def bytes_for(self, count: int) -> int | None:
        """Bytes that `count` values take, packed; None where that is not fixed."""
        return None if self.bits is None else (count * self.bits + 7) // 8


ELEMENTS: Final = {
    element.code: element
    for element in (  # in the order of schema.fbs
        Element(0, "float32", 32, np.float32),
        Element(1, "float16", 16, np.float16),
        Element(2, "int32", 32, np.int32),
        Element(3, "uint8", 8, np.uint8),
        Element(4, "int64", 64, np.int64),
        Element(5, "string", None),
        Element(6, "bool", 8, np.bool_),
        Element(7, "int16", 16, np.int16),
        Element(8, "complex64", 64, np.complex64),
        Element(9, "int8", 8, np.int8),
        Element(10, "float64", 64, np.float64),
        Element(11, "complex128", 128, np.complex128),
        Element(12, "uint64", 64, np.uint64),
        Element(13, "resource", None),
        Element(14, "variant", None),
        Element(15, "uint32", 32, np.uint32),
        Element(16, "uint16", 16, np.uint16),
        Element(17, "int4", 4),
        Element(18, "bfloat16", 16),
        Element(19, "int2", 2),
    )
}

FLOAT32, INT32, UINT8, INT8, INT4 = (ELEMENTS[code] for code in (0, 2, 3, 9, 17))
