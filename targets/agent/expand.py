"""A model with few-bit filters -> an ordinary int8 or float32 .tflite, bit for bit.

Two kinds are understood: packed files, whose filters are outputs of the custom operator
HalfbyteExpand (docs/packed-format.md), and standard ones with INT4 filters of convolutions.  The
expanded file is the packed one up to its codes, patched in some hundred places, with the filters
behind it; nothing else moves.
"""

from __future__ import annotations

import io
import os
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, Callable, Iterable, List, Tuple

import numpy as np

from . import expand_int4, expand_packed
from .expand_model import Edits, Expansion, Filter, Model
from .flat import Malformed
from .unpack import DECODERS, unpack_int4

if TYPE_CHECKING:
    from .flat import Bytes

__all__ = [
    "VERSION",
    "Malformed",
    "expand_to_bytes",
    "expand_to_file",
    "has_int4",
    "is_packed",
    "read",
    "unpack_int4",
]

VERSION = 1
"""Of what is written: part of the name under which an expanded file is kept."""

THREADS = 2
_PIECE_BYTES = 1 << 20
Write = Callable[[int, Any], None]


def is_packed(data: Bytes) -> bool:
    """Whether the model has filters that a stock runtime cannot read.  Raises Malformed."""
    return Model(data).expand_code is not None


def has_int4(data: Bytes) -> bool:
    """Whether the model has INT4 filters, which a stock runtime reads slowly.  Raises Malformed."""
    return expand_int4.has_int4(Model(data))


def read(data: Bytes) -> Expansion:
    """Everything checked, nothing expanded yet.  Raises Malformed, also where nothing is packed."""
    model = Model(data)
    edits = Edits(model)
    if model.expand_code is not None:
        expand_packed.unpack(model, edits)
    expand_int4.widen(model, edits)
    if not edits:
        raise Malformed("nothing in it is packed")
    return edits.finish()


def expand_to_file(packed: Bytes, descriptor: int) -> int:
    """Write the expanded model into an empty file open for writing; its size in bytes.

    What INT4 tensors leave empty are holes, which take no room.  Raises Malformed, OSError.
    """
    expansion = read(packed)
    os.ftruncate(descriptor, expansion.total_bytes)

    def write(at: int, content: Any) -> None:
        view = memoryview(content).cast("B")
        while len(view):
            done = os.pwrite(descriptor, view, at)
            at, view = at + done, view[done:]

    _fill(expansion, write)
    return expansion.total_bytes


def expand_to_bytes(packed: Bytes) -> bytes:
    """The expanded model.  Raises Malformed, MemoryError."""
    expansion = read(packed)
    # BytesIO hands out the object that it was filled in, so there is one copy and no more.
    stream = io.BytesIO(bytes(expansion.total_bytes))
    with stream.getbuffer() as view:

        def write(at: int, content: Any) -> None:
            piece = memoryview(content).cast("B")
            view[at : at + len(piece)] = piece

        _fill(expansion, write)
    return stream.getvalue()


def _fill(expansion: Expansion, write: Write) -> None:
    for start, end in expansion.kept:
        for at in range(start, end, _PIECE_BYTES):
            write(at, expansion.data[at : min(at + _PIECE_BYTES, end)])
    for at, content in (*expansion.patches, *expansion.added):
        write(at, content)
    # Inflating, look-ups and writing all run without Python's lock.
    with ThreadPoolExecutor(THREADS) as pool:
        for _ in pool.map(lambda item: _write_filter(item, write), _largest_first(expansion)):
            pass


def _largest_first(expansion: Expansion) -> List[Filter]:
    return sorted(expansion.filters, key=lambda item: -item.rows * item.row)


def _write_filter(item: Filter, write: Write) -> None:
    decode = DECODERS[item.codec][1]
    codes = decode(item.stored, item.rows, item.row, item.size)
    if item.scales is None:
        write(item.at, codes)
        return
    for at, piece in _scaled(codes.reshape(item.rows, item.row), item.scales):
        write(item.at + at, piece)


def _scaled(codes: Any, scales: Any) -> Iterable[Tuple[int, Any]]:
    """(first byte, float32 values) of scale x code, some rows at a time."""
    rows, row = codes.shape
    step = max(1, _PIECE_BYTES // (4 * row))
    for start in range(0, rows, step):
        piece = codes[start : start + step].astype(np.float32)
        piece *= scales[start : start + step, np.newaxis]
        yield 4 * start * row, piece
