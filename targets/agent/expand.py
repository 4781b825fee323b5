"""A model with few-bit filters -> an ordinary int8 or float32 .tflite, bit for bit.

Two kinds are understood: packed files, whose filters are outputs of the custom operator
HalfbyteExpand (docs/packed-format.md), and standard ones with INT4 filters of convolutions.  The
expanded file is the packed one up to its codes, patched in some hundred places, with the filters
behind it; nothing else moves.
"""

from __future__ import annotations

import io
import mmap
import os
import threading
from typing import TYPE_CHECKING, Any, Callable, Iterator, List, Optional, Sequence

import numpy as np

from . import expand_packed
from .expand_model import Edits, Expansion, Filter, Model
from .flat import Malformed, is_packed
from .unpack import decode
from .unpack_int4 import unpack_int4

if TYPE_CHECKING:
    from numpy.typing import NDArray

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
        from . import expand_int4  # packed models seldom need it, and boards are slow to compile

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

    largest = max(item.rows * item.row for item in expansion.filters)

    def put_all(items: Iterator[Filter]) -> None:
        # A map of its own goes back to the system whole; the heap would keep some of it.
        scratch = np.frombuffer(mmap.mmap(-1, largest), np.int8)
        for item in items:
            _put_filter(item, scratch[: item.rows * item.row], put)

    _put_rest(expansion, put)
    _in_threads(put_all, expansion.filters)


def to_bytes(expansion: Expansion) -> bytes:
    """The expanded model, made in one piece of memory.  Raises Malformed, MemoryError."""
    # BytesIO hands out the object that it was filled in, so there is one copy and no more.
    stream = io.BytesIO(bytes(expansion.total_bytes))
    view = stream.getbuffer()

    def put(at: int, content: Any) -> None:
        piece = memoryview(content).cast("B")
        view[at : at + len(piece)] = piece

    def put_all(items: Iterator[Filter]) -> None:
        for item in items:
            count = item.rows * item.row
            if item.scales is None:
                place = np.frombuffer(view, np.int8, count, item.at)
                decode(item.codec, item.stored, place.reshape(item.rows, item.row), item.size)
            else:
                _put_filter(item, np.empty(count, np.int8), put)

    _put_rest(expansion, put)
    _in_threads(put_all, expansion.filters)
    return stream.getvalue()


def _put_rest(expansion: Expansion, put: Put) -> None:
    for start, end in expansion.kept:
        for at in range(start, end, _PIECE_BYTES):
            put(at, expansion.data[at : min(at + _PIECE_BYTES, end)])
    for at, content in (*expansion.patches, *expansion.added):
        put(at, content)


def _put_filter(item: Filter, scratch: NDArray[np.int8], put: Put) -> None:
    codes = scratch.reshape(item.rows, item.row)
    decode(item.codec, item.stored, codes, item.size)
    if item.scales is None:
        put(item.at, codes)
        return
    step = max(1, _PIECE_BYTES // (4 * item.row))
    for start in range(0, item.rows, step):
        piece = codes[start : start + step].astype(np.float32)
        piece *= item.scales[start : start + step, np.newaxis]
        put(item.at + 4 * start * item.row, piece)


def _in_threads(work: Callable[[Iterator[Filter]], None], filters: Sequence[Filter]) -> None:
    """Filters to `work` in THREADS threads, the largest first: the last ones then end together.

    This thread is one of them, because others leave memory behind.  Inflating, look-ups and
    writing all run without Python's lock.
    """
    queue = _Shared(sorted(filters, key=lambda item: -item.rows * item.row))
    errors: List[BaseException] = []

    def safely() -> None:
        try:
            work(queue)
        except BaseException as error:  # noqa: BLE001  raised again below, in the first thread
            errors.append(error)

    others = [threading.Thread(target=safely) for _ in range(THREADS - 1)]
    for other in others:
        other.start()
    safely()
    for other in others:
        other.join()
    if errors:
        raise errors[0]


class _Shared:
    """An iterator that several threads may draw from."""

    def __init__(self, items: Sequence[Filter]) -> None:
        self._items, self._lock = iter(items), threading.Lock()

    def __iter__(self) -> Iterator[Filter]:
        return self

    def __next__(self) -> Filter:
        with self._lock:
            return next(self._items)
