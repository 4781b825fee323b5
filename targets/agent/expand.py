"""Packed weights -> what kernels read; numpy only, the same on board and host."""

from __future__ import annotations

from typing import TYPE_CHECKING, Union

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Packed = Union[bytes, bytearray, memoryview, NDArray[np.uint8]]

_CHUNK_BYTES = 1 << 16
# `take` widens its indices to 8 bytes each: a piece at a time keeps that in the cache.


def _pairs_of_every_byte() -> NDArray[np.int8]:
    """int8 [256, 2]: the low and the high nibble of each byte, sign extended."""
    every = np.arange(256, dtype=np.uint8)
    nibbles = np.stack([every & 0x0F, every >> 4], axis=1).astype(np.int8)
    return np.where(nibbles > 7, nibbles - 16, nibbles).astype(np.int8)


# Two int8 seen as one int16: each look-up yields two weights.
_PAIRS = _pairs_of_every_byte().view(np.int16).ravel()


def unpack_int4(packed: Packed, count: int) -> NDArray[np.int8]:
    """int8 [count], each in -8..7, from nibbles whose low half comes first (TFLite INT4).

    packed: at least ceil(count / 2) bytes; an odd count leaves the last high half unread.
    Raises ValueError where there are too few bytes.  Inverse: `toolchain.tflite.packing.pack_int4`.
    """
    codes = np.frombuffer(packed, dtype=np.uint8)
    needed = (count + 1) // 2
    if count < 0 or codes.size < needed:
        raise ValueError(f"{codes.size} packed bytes for {count} values of 4 bits")
    expanded = np.empty(needed, dtype=np.int16)
    for start in range(0, needed, _CHUNK_BYTES):
        piece = slice(start, min(start + _CHUNK_BYTES, needed))
        # "wrap" spares the bounds check: a byte cannot leave a table of 256.
        np.take(_PAIRS, codes[piece], out=expanded[piece], mode="wrap")
    return expanded.view(np.int8)[:count]
