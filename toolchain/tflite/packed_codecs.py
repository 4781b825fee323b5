"""Coded filters -> the tensors that a packed file stores for them.

Decoding is `targets.agent.unpack`, which says what each codec's number means.
"""

from __future__ import annotations

import dataclasses
import weakref
from typing import Any

import numpy as np
from numpy.typing import NDArray

from targets.agent import unpack
from toolchain.errors import OutOfRange
from toolchain.quantize.coded import (
    Codebook,
    CodedFilter,
    Entropy,
    Grouped,
    Nibbles,
    Plain,
)
from toolchain.tflite import packed_entropy
from toolchain.tflite.packing import pack_int4

MAX_GROUP = 0xFFFF


@dataclasses.dataclass(frozen=True, eq=False)
class Stored:
    """codec: as in `targets.agent.unpack`.  tensors: name and uint8 or int8 values, in the order
    in which the operator reads them.  size: weights a group, 0 where there are none.
    """

    codec: int
    tensors: tuple[tuple[str, NDArray[Any]], ...]
    size: int = 0


_kept: weakref.WeakKeyDictionary[CodedFilter, Stored] = weakref.WeakKeyDictionary()


def store(filter: CodedFilter) -> Stored:  # noqa: A002  # TFLite's own word
    """What a packed file holds of a filter.  Raises OutOfRange (groups of over 65,535).

    Looking for a short code takes a second or two for millions of weights, so what was found is
    kept for as long as the filter is.
    """
    if filter not in _kept:
        _kept[filter] = _stored(filter)
    return _kept[filter]


def stored_bits(filter: CodedFilter) -> float:  # noqa: A002
    """Bits of all that `store` gives: codes and what decodes them, scales apart."""
    return 8.0 * _size_bytes(store(filter))


def _size_bytes(stored: Stored) -> int:
    return sum(values.nbytes for _, values in stored.tensors)


def _stored(filter: CodedFilter) -> Stored:  # noqa: A002
    match filter:
        case Plain(codes):
            return Stored(unpack.PLAIN, (("codes", codes),))
        case Nibbles(codes):
            return Stored(unpack.NIBBLES, (("codes", _nibbles(codes)),))
        case Grouped(codes, multipliers, size):
            size = min(size, codes[0].size)
            if size > MAX_GROUP:
                raise OutOfRange(
                    f"groups of {size} weights do not fit a packed file",
                    hint=f"Take groups of at most {MAX_GROUP}.",
                )
            tensors = ("codes", _nibbles(codes)), ("multipliers", _nibbles(multipliers))
            return Stored(unpack.GROUPED, tensors, size)
        case Codebook(indices, levels):
            plain = Stored(unpack.CODEBOOK, (("indices", _nibbles(indices)), ("levels", levels)))
            by_rank = Stored(unpack.RANKS, ranked(indices, levels))
            return min(plain, by_rank, key=_size_bytes)
        case Entropy(codes):
            stored = np.frombuffer(packed_entropy.encode(codes), np.uint8)
            return Stored(unpack.ENTROPY, (("entropy", stored),))


def ranked(
    indices: NDArray[np.uint8], levels: NDArray[np.int8]
) -> tuple[tuple[str, NDArray[Any]], ...]:
    """Indices renamed by falling frequency and entropy-coded, and the levels in that order.

    indices: uint8 [O, H, W, I], 0 to 15.  levels: int8 [1, 16] or [O, 16].  All channels then use
    like codes, so that few tables serve many of them.
    """
    rows = indices.reshape(len(levels), -1)
    counts = np.stack([np.bincount(row, minlength=unpack.LEVELS) for row in rows])
    order = np.argsort(-counts, axis=1, kind="stable")
    ranks = np.take_along_axis(np.argsort(order, axis=1), rows.astype(np.intp), axis=1)
    codes = (ranks - unpack.RANK_ZERO).astype(np.int8).reshape(indices.shape)
    stored = np.frombuffer(packed_entropy.encode(codes), np.uint8)
    return ("indices", stored), ("levels", np.take_along_axis(levels, order, axis=1))


def _nibbles(values: NDArray[Any]) -> NDArray[np.uint8]:
    """Of values in -8..7, or in 0..15: the same bits, the first of each pair in the low half."""
    signed = ((values.astype(np.int8) + 8) & 0x0F) - 8
    return np.frombuffer(pack_int4(signed.astype(np.int8)), np.uint8)
