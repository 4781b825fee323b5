"""A file as pieces that other versions of it have too, so that only new ones are sent.

A model is cut where its tensors' buffers and scales begin and end, and everything is cut where its
content says so: a byte more or less moves no cut but those beside it.

Content-defined chunking with a gear hash, a largest and a least size: Xia et al., "FastCDC", USENIX
ATC 2016.
"""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Iterator, Sequence
from functools import cache
from itertools import pairwise
from typing import Final

import numpy as np
from numpy.typing import NDArray

from targets.agent.flat import IDENTIFIER, Flat, Malformed
from targets.items import Item
from targets.stretches import Stretches

# The first bytes of a piece's SHA-256, and how many bytes it has.
ENTRY: Final = struct.Struct("<6sH")
LEAST_FILE_BYTES: Final = 64 * 1024
MOST_FILE_BYTES: Final = 1024 * 1024 * 1024
_OTHER_FILE_BYTES: Final = 32 * 1024 * 1024  # large files that are no models are compressed
MOST_PIECES: Final = 1 << 17  # `targets/receiver.py` takes no more

_LARGEST_BYTES = (1 << 16) - 1
_BODY_BITS, _TABLE_BITS = 15, 10  # a piece of a large buffer has 32 KiB on average, others 1 KiB
_OWN_PIECE_BYTES = 64  # smaller vectors lie among tables, and are cut as those are
# Slots of TensorFlow Lite's schema.fbs: of Model, Buffer, SubGraph, Tensor and its quantization.
_SUBGRAPHS, _BUFFERS, _DATA, _TENSORS, _QUANTIZATION, _SCALE = 2, 4, 0, 0, 4, 2
_BLOCK_BYTES = 1 << 17  # what a processor keeps near
_WINDOW_BYTES = 16


def table(item: Item) -> bytes:
    """`ENTRY` of each piece of a file, in order; b"" where pieces are not worth it."""
    if not LEAST_FILE_BYTES <= item.size_bytes <= MOST_FILE_BYTES:
        return b""
    try:
        if item.size_bytes > _OTHER_FILE_BYTES and item.beginning(8)[4:] != IDENTIFIER:
            return b""
        data = item.source if isinstance(item.source, bytes) else item.source.read_bytes()
    except OSError:
        return b""  # whoever sends it will tell
    ends = cuts(data)
    if len(ends) > MOST_PIECES:
        return b""
    view = memoryview(data)
    return b"".join(
        ENTRY.pack(hashlib.sha256(view[start:end]).digest(), end - start)
        for start, end in pairwise((0, *ends))
    )


def lacking(entries: bytes, present: Sequence[bool]) -> Stretches:
    """The stretches of pieces that are not `present` (as many as there are entries)."""
    spans: list[tuple[int, int]] = []
    at = 0
    for (_, size), is_there in zip(ENTRY.iter_unpack(entries), present, strict=True):
        if not is_there:
            start = spans.pop()[0] if spans and spans[-1][1] == at else at
            spans.append((start, at + size))
        at += size
    return Stretches(tuple(spans))


def cuts(data: bytes) -> list[int]:
    """Where each piece ends; the last is the end of `data`."""
    places, hashes = _candidates(data)
    coarse = places[hashes < 1 << (16 - _BODY_BITS)]
    ends: list[int] = []
    for start, end, bits in _regions(data):
        found = coarse if bits == _BODY_BITS else places
        low, high = np.searchsorted(found, (start + 1, end))
        ends += _spaced(found[low:high].tolist(), start, end, 1 << bits)
    return ends


def _spaced(candidates: list[int], start: int, end: int, mean: int) -> Iterator[int]:
    """Of the candidates between `start` and `end` those that make pieces neither tiny nor large."""
    largest = min(4 * mean, _LARGEST_BYTES)
    at = start
    for place in (*candidates, end):
        while place - at > largest:
            at += largest
            yield at
        if place - at >= mean // 4 or place == end:
            at = place
            yield at


def _regions(data: bytes) -> Iterator[tuple[int, int, int]]:
    """(start, end, bits of the mean size): what of a model changes as one, and what is between."""
    at = 0
    for start, size in _vectors(data):
        if start > at:
            yield at, start, _TABLE_BITS
        if start >= at:  # in a hostile file they may overlap
            yield start, start + size, _BODY_BITS
            at = start + size
    if at < len(data):
        yield at, len(data), _TABLE_BITS if at else _BODY_BITS


def _vectors(data: bytes) -> list[tuple[int, int]]:
    """Place and bytes of a model's buffers and scales, in order; none for anything else."""
    try:
        model = Flat(data).root()
        found = [buffer.span(_DATA) for buffer in model.tables(_BUFFERS)]
        for graph in model.tables(_SUBGRAPHS):
            quantizations = (tensor.table(_QUANTIZATION) for tensor in graph.tables(_TENSORS))
            spans = [some.span(_SCALE, 4) for some in quantizations if some is not None]
            found += [(start, 4 * count) for start, count in spans]
    except Malformed:
        return []
    return sorted({place for place in found if place[1] >= _OWN_PIECE_BYTES})


def _candidates(data: bytes) -> tuple[NDArray[np.int64], NDArray[np.uint16]]:
    """Where the hash of the bytes before has `_TABLE_BITS` high zeros, and the hashes."""
    places, hashes = [np.empty(0, np.int64)], [np.empty(0, np.uint16)]
    for start in range(0, len(data), _BLOCK_BYTES):
        before = min(start, _WINDOW_BYTES - 1)
        block = np.frombuffer(data, np.uint8)[start - before : start + _BLOCK_BYTES]
        rolled = _gear(block)[before:]
        (found,) = np.nonzero(rolled < 1 << (16 - _TABLE_BITS))
        places.append(found + start + 1)
        hashes.append(rolled[found])
    return np.concatenate(places), np.concatenate(hashes)


def _gear(data: NDArray[np.uint8]) -> NDArray[np.uint16]:
    """Of the 16 bytes up to each one: sum of G[byte] << distance, mod 2**16, by doubling."""
    rolled = _gears()[data]
    for width in (1, 2, 4, 8):
        rolled[width:] += np.left_shift(rolled[:-width], np.uint16(width))
    return rolled


@cache
def _gears() -> NDArray[np.uint16]:
    """256 numbers without a pattern, the same for ever."""
    return np.frombuffer(hashlib.shake_128(b"halfbyte pieces 1").digest(512), "<u2").astype(
        np.uint16
    )
