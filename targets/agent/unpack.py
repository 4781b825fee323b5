"""Few-bit codes -> int8 filters: the inverse of each way in which a packed file stores one.

All arrays are flat and in C order of [O, H, W, I]; `row` is H * W * I.  Each function checks the
lengths of what it is given before it allocates.  Inverses: `toolchain.tflite.packed_codecs`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Callable, Dict, Tuple, Union

import numpy as np

from . import unpack_entropy
from .flat import Malformed

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Packed = Union[bytes, bytearray, memoryview, NDArray[np.uint8]]
    Int8Array = NDArray[np.int8]

PLAIN, NIBBLES, GROUPED, CODEBOOK, ENTROPY = 1, 2, 3, 4, 5
LEVELS = 16

_CHUNK = 1 << 16
# `take` widens its indices to 8 bytes each: a piece at a time keeps that in the cache.
_TABLES = 256  # tables of two levels a byte made at a time: 128 KiB


def _pairs_of_every_byte() -> NDArray[np.int8]:
    """int8 [256, 2]: the low and the high nibble of each byte, sign extended."""
    every = np.arange(256, dtype=np.uint8)
    nibbles = np.stack([every & 0x0F, every >> 4], axis=1).astype(np.int8)
    return np.where(nibbles > 7, nibbles - 16, nibbles).astype(np.int8)


_SIGNED = _pairs_of_every_byte()
_UNSIGNED = _SIGNED & 0x0F


def unpack_int4(packed: Packed, count: int) -> Int8Array:
    """int8 [count], each in -8..7, from nibbles whose low half comes first (TFLite INT4).

    packed: at least ceil(count / 2) bytes; an odd count leaves the last high half unread.
    Raises ValueError where there are too few bytes.  Inverse: `toolchain.tflite.packing.pack_int4`.
    """
    return _looked_up(packed, count, _SIGNED)


def _looked_up(packed: Packed, count: int, pairs: Int8Array) -> Int8Array:
    """pairs: int8 [256, 2], what the low and the high half of each byte stand for."""
    codes = np.frombuffer(packed, dtype=np.uint8)
    needed = (count + 1) // 2
    if count < 0 or codes.size < needed:
        raise Malformed(f"{codes.size} packed bytes for {count} values of 4 bits")
    # Two int8 seen as one int16: each look-up yields two weights.
    table = np.ascontiguousarray(pairs).view(np.int16).ravel()
    expanded = np.empty(needed, dtype=np.int16)
    for start in range(0, needed, _CHUNK):
        piece = slice(start, min(start + _CHUNK, needed))
        # "wrap" spares the bounds check: a byte cannot leave a table of 256.
        np.take(table, codes[piece], out=expanded[piece], mode="wrap")
    return expanded.view(np.int8)[:count]


def plain(stored: Tuple[Any, ...], rows: int, row: int, _size: int) -> Int8Array:
    """The codes are there as they are."""
    _exactly(stored[0], rows * row, "codes")
    return np.frombuffer(stored[0], np.int8)


def nibbles(stored: Tuple[Any, ...], rows: int, row: int, _size: int) -> Int8Array:
    """4-bit codes that are the filter."""
    _exactly(stored[0], (rows * row + 1) // 2, "codes")
    return unpack_int4(stored[0], rows * row)


def grouped(stored: Tuple[Any, ...], rows: int, row: int, size: int) -> Int8Array:
    """4-bit codes, each times its group's multiplier; `size` codes of a row are a group."""
    if size < 1:
        raise Malformed(f"groups of {size}")
    groups = (row + size - 1) // size
    _exactly(stored[0], (rows * row + 1) // 2, "codes")
    _exactly(stored[1], (rows * groups + 1) // 2, "multipliers")
    codes = unpack_int4(stored[0], rows * row)
    multipliers = _looked_up(stored[1], rows * groups, _UNSIGNED).reshape(rows, groups)
    codes = codes.reshape(rows, row)
    whole = row // size
    # Splitting the last axis is a view: the products land in `codes`.
    in_groups = codes[:, : whole * size].reshape(rows, whole, size)
    in_groups *= multipliers[:, :whole, np.newaxis]
    if whole < groups:
        codes[:, whole * size :] *= multipliers[:, whole:]
    return codes.ravel()


def codebook(stored: Tuple[Any, ...], rows: int, row: int, _size: int) -> Int8Array:
    """4-bit indices of 16 int8 levels, which the filter or each row has."""
    _exactly(stored[0], (rows * row + 1) // 2, "indices")
    levels = np.frombuffer(stored[1], np.int8)
    if levels.size not in (LEVELS, rows * LEVELS):
        raise Malformed(f"{levels.size} levels for {rows} channels")
    if levels.size == LEVELS:
        return _looked_up(stored[0], rows * row, levels[_UNSIGNED])
    if row % 2:  # a byte may hold the end of one row and the start of the next
        indices = _looked_up(stored[0], rows * row, _UNSIGNED).reshape(rows, row)
        return np.concatenate([own[i] for own, i in zip(levels.reshape(rows, LEVELS), indices)])
    expanded = np.empty((rows, row // 2), np.int16)
    packed = np.frombuffer(stored[0], np.uint8).reshape(rows, row // 2)
    levels = levels.reshape(rows, LEVELS)
    for start in range(0, rows, _TABLES):
        tables = levels[start : start + _TABLES].take(_UNSIGNED, axis=1).view(np.int16)
        for table, codes, out in zip(tables[..., 0], packed[start:], expanded[start:]):
            np.take(table, codes, out=out, mode="wrap")
    return expanded.view(np.int8).ravel()


def entropy(stored: Tuple[Any, ...], rows: int, row: int, _size: int) -> Int8Array:
    """Entropy-coded codes that are the filter."""
    return unpack_entropy.decode(stored[0], rows * row)


# How many tensors each reads, and the function.
DECODERS: Dict[int, Tuple[int, Callable[[Tuple[Any, ...], int, int, int], Int8Array]]] = {
    PLAIN: (1, plain),
    NIBBLES: (1, nibbles),
    GROUPED: (2, grouped),
    CODEBOOK: (2, codebook),
    ENTROPY: (1, entropy),
}


def _exactly(stored: Any, size_bytes: int, what: str) -> None:
    if len(stored) != size_bytes:
        raise Malformed(f"{len(stored)} bytes of {what} where {size_bytes} are due")
