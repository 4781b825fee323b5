"""Few-bit codes -> int8 filters: the inverse of each way in which a packed file stores one.

    plain      int8 codes as they are
    nibbles    4-bit codes -8..7 that are the filter, in TFLite's INT4 order
    grouped    such codes, and multipliers 1..15, packed like them
    codebook   4-bit indices packed like them, and 16 int8 levels for the filter or each channel
    entropy    int8 codes, entropy-coded (`unpack_entropy`)
    ranks      indices as for a codebook, less RANK_ZERO, entropy-coded; frequent ones come first

Arrays are flat and in C order of [O, H, W, I]: `rows` channels of `row` values.  The inverse is
`toolchain.tflite.packed_codecs`.
"""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any, Callable, Dict, Tuple

import numpy as np

from . import unpack_entropy
from .flat import Malformed
from .unpack_int4 import SIGNED, UNSIGNED, look_up

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Int8Array = NDArray[np.int8]

Stored = Tuple[Any, ...]
"""Memoryviews of the tensors of one filter."""

PLAIN, NIBBLES, GROUPED, CODEBOOK, ENTROPY, RANKS = 1, 2, 3, 4, 5, 6
LEVELS = 16
RANK_ZERO = 7
"""Index that is coded as 0; the rarest one, 15, is then the only one that does not fit a nibble."""

_TABLES = 256  # tables of two levels a byte made at a time: 128 KiB


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


def decode(codec: int, stored: Stored, out: Int8Array, size: int = 0) -> None:
    """Fill `out`, int8 [rows, row], contiguous.  size: weights of a group.  Raises Malformed."""
    check(codec, stored, out.shape[0], out.shape[1], size)
    CODECS[codec].decode(stored, out, size)


def _check_plain(stored: Stored, rows: int, row: int, _size: int) -> None:
    _exactly(stored[0], rows * row, "codes")


def _plain(stored: Stored, out: Int8Array, _size: int) -> None:
    out[...] = np.frombuffer(stored[0], np.int8).reshape(out.shape)


def _check_nibbles(stored: Stored, rows: int, row: int, _size: int) -> None:
    _exactly(stored[0], (rows * row + 1) // 2, "4-bit codes")


def _nibbles(stored: Stored, out: Int8Array, _size: int) -> None:
    look_up(stored[0], out.size, SIGNED, out.reshape(-1))


def _check_grouped(stored: Stored, rows: int, row: int, size: int) -> None:
    if size < 1:
        raise Malformed(f"groups of {size}")
    _check_nibbles(stored, rows, row, size)
    _exactly(stored[1], (rows * _groups(row, size) + 1) // 2, "multipliers")


def _grouped(stored: Stored, out: Int8Array, size: int) -> None:
    """Each code times its group's multiplier; `size` codes of a row are a group."""
    rows, row = out.shape
    groups, whole = _groups(row, size), row // size
    multipliers = look_up(stored[1], rows * groups, UNSIGNED).reshape(rows, groups)
    _nibbles(stored, out, size)
    # Splitting the last axis is a view: the products land in `out`.
    in_groups = out[:, : whole * size].reshape(rows, whole, size)
    in_groups *= multipliers[:, :whole, np.newaxis]
    if whole < groups:
        out[:, whole * size :] *= multipliers[:, whole:]


def _check_codebook(stored: Stored, rows: int, row: int, size: int) -> None:
    _check_nibbles(stored, rows, row, size)
    _check_levels(stored[1], rows)


def _check_levels(levels: Any, rows: int) -> None:
    if len(levels) not in (LEVELS, rows * LEVELS):
        raise Malformed(f"{len(levels)} levels for {rows} channels")


def _codebook(stored: Stored, out: Int8Array, _size: int) -> None:
    """Indices of 16 levels, which the filter or each row has."""
    rows, row = out.shape
    levels = np.frombuffer(stored[1], np.int8).reshape(-1, LEVELS)
    if len(levels) == 1:
        look_up(stored[0], out.size, levels[0][UNSIGNED], out.reshape(-1))
        return
    if row % 2:  # a byte may hold the end of one row and the start of the next
        look_up(stored[0], out.size, UNSIGNED, out.reshape(-1))
        for own, codes in zip(levels, out):
            codes[...] = own[codes]
        return
    packed = np.frombuffer(stored[0], np.uint8).reshape(rows, row // 2)
    twos = out.view(np.int16)
    for start in range(0, rows, _TABLES):
        tables = levels[start : start + _TABLES].take(UNSIGNED, axis=1).view(np.int16)
        for table, codes, two in zip(tables[..., 0], packed[start:], twos[start:]):
            np.take(table, codes, out=two, mode="wrap")


def _check_entropy(stored: Stored, rows: int, row: int, _size: int) -> None:
    unpack_entropy.check(stored[0], rows, row)


def _entropy(stored: Stored, out: Int8Array, _size: int) -> None:
    unpack_entropy.decode(stored[0], out)


def _check_ranks(stored: Stored, rows: int, row: int, size: int) -> None:
    _check_entropy(stored, rows, row, size)
    _check_levels(stored[1], rows)


def _ranks(stored: Stored, out: Int8Array, _size: int) -> None:
    """Entropy-coded indices of 16 levels, which the filter or each row has."""
    unpack_entropy.decode(stored[0], out)
    if out.size and (out.min() < -RANK_ZERO or out.max() >= LEVELS - RANK_ZERO):
        raise Malformed("an index of no level")
    levels = np.frombuffer(stored[1], np.int8).reshape(-1, LEVELS)
    tables = np.zeros((len(levels), 256), np.int8)
    tables[:, (np.arange(LEVELS) - RANK_ZERO) & 0xFF] = levels
    places = out.view(np.uint8)
    if len(levels) == 1:
        out[...] = tables[0][places]
        return
    for table, place, codes in zip(tables, places, out):
        codes[...] = table[place]


def _groups(row: int, size: int) -> int:
    return (row + size - 1) // size


def _exactly(stored: Any, size_bytes: int, what: str) -> None:
    if len(stored) != size_bytes:
        raise Malformed(f"{len(stored)} bytes of {what} where {size_bytes} are due")


@dataclasses.dataclass(frozen=True)
class Codec:
    """tensors: how many it reads.  check: of (stored, rows, row, group size), before `decode`."""

    tensors: int
    check: Callable[[Stored, int, int, int], None]
    decode: Callable[[Stored, Int8Array, int], None]


CODECS: Dict[int, Codec] = {
    PLAIN: Codec(1, _check_plain, _plain),
    NIBBLES: Codec(1, _check_nibbles, _nibbles),
    GROUPED: Codec(2, _check_grouped, _grouped),
    CODEBOOK: Codec(2, _check_codebook, _codebook),
    ENTROPY: Codec(1, _check_entropy, _entropy),
    RANKS: Codec(2, _check_ranks, _ranks),
}
