"""A model with few-bit filters -> an ordinary int8 or float32 .tflite, bit for bit.

Two kinds are understood: packed files, whose filters are outputs of the custom operator
HalfbyteExpand (docs/packed-format.md), and standard ones with INT4 filters of convolutions.  The
expanded file is the packed one up to its codes, patched in some hundred places, with the filters
behind it; nothing else moves.
"""

from __future__ import annotations

import io
import os
from typing import TYPE_CHECKING, Any, Callable, Iterable, List, Optional, Tuple

import numpy as np

from . import expand_int4, expand_packed
from .expand_model import Edits, Expansion, Filter, Model
from .flat import Malformed, is_packed
from .unpack import decode, unpack_int4

if TYPE_CHECKING:
    from .flat import Bytes

__all__ = ["Malformed", "is_packed", "read", "to_bytes", "unpack_int4", "write"]

THREADS = 2
_PIECE_BYTES = 1 << 20
Put = Callable[[int, Any], None]


def read(data: Bytes, *, int4: bool = True) -> Optional[Expansion]:
    """What expanding a model takes, checked, nothing expanded yet; None where nothing is packed.

    int4: whether INT4 filters, which a stock runtime reads slowly, are expanded too.
    Raises Malformed.
    """
    model = Model(data)
    packed = model.expand_code is not None
    if not packed and not int4:
        return None
    model.open()
    edits = Edits(model)
    if packed:
        expand_packed.unpack(model, edits)
    if int4:
        expand_int4.widen(model, edits)
    return edits.finish(packed=packed) if edits else None


def write(expansion: Expansion, descriptor: int) -> None:
    """Into an empty file open for writing.  What INT4 tensors leave empty are holes without cost.

    Raises Malformed, OSError.
    """
    os.ftruncate(descriptor, expansion.total_bytes)

    def put(at: int, content: Any) -> None:
        view = memoryview(content).cast("B")
        while len(view):
            done = os.pwrite(descriptor, view, at)
            at, view = at + done, view[done:]

    _fill(expansion, put)


def to_bytes(expansion: Expansion) -> bytes:
    """The expanded model, made in one piece of memory.  Raises Malformed, MemoryError."""
    # BytesIO hands out the object that it was filled in, so there is one copy and no more.
    stream = io.BytesIO(bytes(expansion.total_bytes))
    with stream.getbuffer() as view:

        def put(at: int, content: Any) -> None:
            piece = memoryview(content).cast("B")
            view[at : at + len(piece)] = piece

        _fill(expansion, put)
    return stream.getvalue()


def _fill(expansion: Expansion, put: Put) -> None:
    for start, end in expansion.kept:
        for at in range(start, end, _PIECE_BYTES):
            put(at, expansion.data[at : min(at + _PIECE_BYTES, end)])
    for at, content in (*expansion.patches, *expansion.added):
        put(at, content)
    from concurrent.futures import ThreadPoolExecutor  # plain models need not wait for it

    # Inflating, look-ups and writing all run without Python's lock.
    with ThreadPoolExecutor(THREADS) as pool:
        for _ in pool.map(lambda item: _put_filter(item, put), _largest_first(expansion)):
            pass


def _largest_first(expansion: Expansion) -> List[Filter]:
    return sorted(expansion.filters, key=lambda item: -item.rows * item.row)


def _put_filter(item: Filter, put: Put) -> None:
    codes = decode(item.codec, item.stored, item.rows, item.row, item.size)
    if item.scales is None:
        put(item.at, codes)
        return
    for at, piece in _scaled(codes.reshape(item.rows, item.row), item.scales):
        put(item.at + at, piece)


def _scaled(codes: Any, scales: Any) -> Iterable[Tuple[int, Any]]:
    """(first byte, float32 values) of scale x code, some rows at a time."""
    rows, row = codes.shape
    step = max(1, _PIECE_BYTES // (4 * row))
    for start in range(0, rows, step):
        piece = codes[start : start + step].astype(np.float32)
        piece *= scales[start : start + step, np.newaxis]
        yield 4 * start * row, piece
