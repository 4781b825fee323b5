"""Where a tensor may look in its storage; checked before a byte of it is used."""

from __future__ import annotations

import math
from typing import NamedTuple

MAX_DIMENSIONS = 8
MAX_COUNT = 1 << 40


class Malformed(Exception):
    """A checkpoint states something that cannot be: a view outside its storage, a wrong type."""


class View(NamedTuple):
    """A tensor as a checkpoint states it: numbers `offset + sum(index * stride)` of a storage."""

    storage: int
    offset: int
    shape: tuple[int, ...]
    stride: tuple[int, ...]


def fault_of(view: View, numbers: int) -> str | None:
    """Why the view does not fit a storage of that many numbers; None if it does.

    More numbers than the storage has are no fault (training leaves expanded anchor grids in its
    files): a view takes no memory.  Whoever copies one has to look, `tree.Array.float64` does.
    """
    sizes = (view.offset, *view.shape, *view.stride)
    if any(type(size) is not int or size < 0 for size in sizes):
        return f"has sizes {_short(sizes)}"
    if len(view.shape) != len(view.stride) or len(view.shape) > MAX_DIMENSIONS:
        return f"has {len(view.shape)} dimensions and {len(view.stride)} strides"
    count = math.prod(view.shape)
    if count == 0:
        return None
    last = view.offset + sum(
        (size - 1) * step for size, step in zip(view.shape, view.stride, strict=True)
    )
    if last >= numbers or count > MAX_COUNT:
        return f"of shape {_short(view.shape)} reaches number {last} of a storage of {numbers}"
    return None


def _short(sizes: tuple[object, ...]) -> str:
    return "[" + ", ".join(str(size)[:24] for size in sizes[:16]) + "]"
