"""Values of 4 bits, two in a byte, by table: each look-up yields both."""

from __future__ import annotations

from typing import TYPE_CHECKING, Optional, Union

import numpy as np

from .flat import Malformed

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Packed = Union[bytes, bytearray, memoryview, NDArray[np.uint8]]
    Int8Array = NDArray[np.int8]

_CHUNK = 1 << 16
# `take` widens its indices to 8 bytes each: a piece at a time keeps that in the cache.


def _pairs_of_every_byte() -> NDArray[np.int8]:
    """int8 [256, 2]: the low and the high nibble of each byte, sign extended."""
    every = np.arange(256, dtype=np.uint8)
    nibbles = np.stack([every & 0x0F, every >> 4], axis=1).astype(np.int8)
    return np.where(nibbles > 7, nibbles - 16, nibbles).astype(np.int8)


SIGNED = _pairs_of_every_byte()
UNSIGNED = SIGNED & 0x0F
"""int8 [256, 2]: what the low and the high half of each byte stand for, as -8..7 or 0..15."""


def unpack_int4(packed: Packed, count: int) -> Int8Array:
    """int8 [count], each in -8..7, from nibbles whose low half comes first (TFLite INT4).

    packed: at least ceil(count / 2) bytes; an odd count leaves the last high half unread.
    Raises ValueError where there are too few bytes.  Inverse: `toolchain.tflite.packing.pack_int4`.
    """
    return look_up(packed, count, SIGNED)


def look_up(
    packed: Packed, count: int, pairs: Int8Array, out: Optional[Int8Array] = None
) -> Int8Array:
    """int8 [count]: for each byte the two values that `pairs`, int8 [256, 2], gives it.

    out: where they go, contiguous.  Raises Malformed where there are too few bytes.
    """
    codes = np.frombuffer(packed, dtype=np.uint8)
    needed = (count + 1) // 2
    if count < 0 or codes.size < needed:
        raise Malformed(f"{codes.size} packed bytes for {count} values of 4 bits")
    # Two int8 seen as one int16: each look-up yields two weights.
    table = np.ascontiguousarray(pairs).view(np.int16).ravel()
    if out is None:
        out = np.empty(2 * needed, np.int8)[:count]
    whole = count // 2
    twos = out[: 2 * whole].view(np.int16)
    for start in range(0, whole, _CHUNK):
        piece = slice(start, min(start + _CHUNK, whole))
        # "wrap" spares the bounds check: a byte cannot leave a table of 256.
        np.take(table, codes[piece], out=twos[piece], mode="wrap")
    if count % 2:
        out[-1] = pairs[codes[whole], 0]
    return out
