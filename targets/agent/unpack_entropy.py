"""Entropy-coded int8 codes -> the codes.

The first byte says which coder wrote the rest:

    1   raw DEFLATE (RFC 1951) of the codes as bytes, in order; written with Huffman codes alone
"""

from __future__ import annotations

import zlib
from typing import TYPE_CHECKING, Any

import numpy as np

from .flat import Malformed

if TYPE_CHECKING:
    from numpy.typing import NDArray

DEFLATE = 1


def check(stored: Any, count: int) -> None:
    """Whether these bytes may hold so many codes: each takes at least a bit.  Raises Malformed."""
    if len(stored) < 1 + (count + 7) // 8:
        raise Malformed(f"{len(stored)} bytes for {count} entropy-coded values")
    if stored[0] != DEFLATE:
        raise Malformed(f"entropy coder {stored[0]} is not known to this version")


def decode(stored: Any, count: int) -> NDArray[np.int8]:
    """int8 [count].  stored: memoryview.  Raises Malformed.

    Inverse: `toolchain.tflite.packed_entropy.encode`.
    """
    check(stored, count)
    inflater = zlib.decompressobj(wbits=-zlib.MAX_WBITS)
    try:
        codes = inflater.decompress(stored[1:], count + 1)  # never more than one too many
    except zlib.error as error:
        raise Malformed(f"entropy-coded values: {error}") from None
    if len(codes) != count or not inflater.eof or inflater.unused_data:
        raise Malformed(f"entropy-coded values: not {count} of them")
    return np.frombuffer(codes, np.int8)
