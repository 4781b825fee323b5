"""Few-bit codes -> int8 filters: the inverse of each way in which a packed file stores one.

    plain      int8 codes as they are
    nibbles    4-bit codes -8..7 that are the filter, in TFLite's INT4 order
    grouped    such codes, and multipliers 1..15, packed like them
    codebook   4-bit indices packed like them, and 16 int8 levels for the filter or each channel
    entropy    int8 codes, entropy-coded (`unpack_entropy`)

Arrays are flat and in C order of [O, H, W, I]: `rows` channels of `row` values.  The inverse is
`toolchain.tflite.packed_codecs`.
"""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any, Callable, Dict, Tuple, Union

import numpy as np

from . import unpack_entropy
from .flat import Malformed

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Packed = Union[bytes, bytearray, memoryview, NDArray[np.uint8]]
    Int8Array = NDArray[np.int8]

Stored = Tuple[Any, ...]
"""Memoryviews of the tensors of one filter."""

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


def check(codec: int, stored: Stored, rows: int, row: int, size: int) -> None:
    """Whether these tensors can hold `rows` x `row` values.  Nothing is allocated.

    Raises Malformed.
    """
    if codec not in CODECS:
        raise Malformed(f"codec {codec} is not known to this version")
    known = CODECS[codec]
    if len(stored) != known.tensors:
        raise Malformed(f"{len(stored)} tensors of codes where {known.tensors} are due")
    known.check(stored, rows, row, size)


def decode(codec: int, stored: Stored, rows: int, row: int, size: int = 0) -> Int8Array:
    """int8 [rows * row].  size: weights of a group.  Raises Malformed."""
    check(codec, stored, rows, row, size)
    return CODECS[codec].decode(stored, rows, row, size)


def _check_plain(stored: Stored, rows: int, row: int, _size: int) -> None:
    _exactly(stored[0], rows * row, "codes")


def _plain(stored: Stored, _rows: int, _row: int, _size: int) -> Int8Array:
    return np.frombuffer(stored[0], np.int8)


def _check_nibbles(stored: Stored, rows: int, row: int, _size: int) -> None:
    _exactly(stored[0], (rows * row + 1) // 2, "4-bit codes")


def _nibbles(stored: Stored, rows: int, row: int, _size: int) -> Int8Array:
    return unpack_int4(stored[0], rows * row)


def _check_grouped(stored: Stored, rows: int, row: int, size: int) -> None:
    if size < 1:
        raise Malformed(f"groups of {size}")
    _check_nibbles(stored, rows, row, size)
    _exactly(stored[1], (rows * _groups(row, size) + 1) // 2, "multipliers")


def _grouped(stored: Stored, rows: int, row: int, size: int) -> Int8Array:
    """Each code times its group's multiplier; `size` codes of a row are a group."""
    groups, whole = _groups(row, size), row // size
    codes = unpack_int4(stored[0], rows * row).reshape(rows, row)
    multipliers = _looked_up(stored[1], rows * groups, _UNSIGNED).reshape(rows, groups)
    # Splitting the last axis is a view: the products land in `codes`.
    in_groups = codes[:, : whole * size].reshape(rows, whole, size)
    in_groups *= multipliers[:, :whole, np.newaxis]
    if whole < groups:
        codes[:, whole * size :] *= multipliers[:, whole:]
    return codes.ravel()


def _check_codebook(stored: Stored, rows: int, row: int, size: int) -> None:
    _check_nibbles(stored, rows, row, size)
    if len(stored[1]) not in (LEVELS, rows * LEVELS):
        raise Malformed(f"{len(stored[1])} levels for {rows} channels")


def _codebook(stored: Stored, rows: int, row: int, _size: int) -> Int8Array:
    """Indices of 16 levels, which the filter or each row has."""
    levels = np.frombuffer(stored[1], np.int8).reshape(-1, LEVELS)
    if len(levels) == 1:
        return _looked_up(stored[0], rows * row, levels[0][_UNSIGNED])
    if row % 2:  # a byte may hold the end of one row and the start of the next
        indices = _looked_up(stored[0], rows * row, _UNSIGNED).reshape(rows, row)
        return np.concatenate([own[i] for own, i in zip(levels, indices)])
    expanded = np.empty((rows, row // 2), np.int16)
    packed = np.frombuffer(stored[0], np.uint8).reshape(rows, row // 2)
    for start in range(0, rows, _TABLES):
        tables = levels[start : start + _TABLES].take(_UNSIGNED, axis=1).view(np.int16)
        for table, codes, out in zip(tables[..., 0], packed[start:], expanded[start:]):
            np.take(table, codes, out=out, mode="wrap")
    return expanded.view(np.int8).ravel()


def _check_entropy(stored: Stored, rows: int, row: int, _size: int) -> None:
    unpack_entropy.check(stored[0], rows * row)


def _entropy(stored: Stored, rows: int, row: int, _size: int) -> Int8Array:
    return unpack_entropy.decode(stored[0], rows * row)


def _groups(row: int, size: int) -> int:
    return (row + size - 1) // size


def _exactly(stored: Any, size_bytes: int, what: str) -> None:
    if len(stored) != size_bytes:
        raise Malformed(f"{len(stored)} bytes of {what} where {size_bytes} are due")


@dataclasses.dataclass(frozen=True)
class Codec:
    """tensors: how many it reads.  check, decode: (stored, rows, row, group size)."""

    tensors: int
    check: Callable[[Stored, int, int, int], None]
    decode: Callable[[Stored, int, int, int], Int8Array]


CODECS: Dict[int, Codec] = {
    PLAIN: Codec(1, _check_plain, _plain),
    NIBBLES: Codec(1, _check_nibbles, _nibbles),
    GROUPED: Codec(2, _check_grouped, _grouped),
    CODEBOOK: Codec(2, _check_codebook, _codebook),
    ENTROPY: Codec(1, _check_entropy, _entropy),
}
