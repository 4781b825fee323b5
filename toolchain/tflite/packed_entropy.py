"""int8 codes -> entropy-coded bytes; the coders are told apart by their first byte."""

from __future__ import annotations

import zlib

import numpy as np
from numpy.typing import NDArray

from targets.agent.unpack_entropy import DEFLATE


def encode(codes: NDArray[np.int8]) -> bytes:
    """The smallest form that this version writes.

    codes: int8, any shape, read in C order.  Raw DEFLATE with Huffman codes alone: matches of
    longer runs do not occur in weights, and looking for them would only dilute the literals.
    Inverse: `targets.agent.unpack_entropy.decode`.
    """
    deflater = zlib.compressobj(
        level=9,
        wbits=-zlib.MAX_WBITS,
        memLevel=zlib.DEF_MEM_LEVEL + 1,  # 32,768 codes share a table
        strategy=zlib.Z_HUFFMAN_ONLY,
    )
    return bytes([DEFLATE]) + deflater.compress(codes.tobytes()) + deflater.flush()
