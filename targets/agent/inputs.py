"""Pixels as the tensor that a model takes: float, int8 or uint8, each by its own scale."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray


class InputMismatch(ValueError):
    """An input tensor that no picture can be packed for."""


def pack(
    pixels: NDArray[np.uint8],
    dtype: str,
    *,
    scale: float = 0.0,
    zero_point: int = 0,
    channels_first: bool = False,
) -> NDArray[Any]:
    """The input tensor [1, h, w, 3] (or [1, 3, h, w]) of `pixels`, uint8 [h, w, 3].

    The model sees RGB in 0..1.  dtype "float32": value / 255.  "int8", "uint8": that quantized by
    `scale` and `zero_point`, as TFLite defines them; scale 0 means not quantized, which for uint8
    can only mean the pixels themselves and for int8 is refused.  Raises InputMismatch.
    """
    if channels_first:
        pixels = np.ascontiguousarray(pixels.transpose(2, 0, 1))
    return _values(pixels, dtype, scale, zero_point)[np.newaxis]


def _values(pixels: NDArray[np.uint8], dtype: str, scale: float, zero_point: int) -> NDArray[Any]:
    if dtype == "float32":
        return np.divide(pixels, np.float32(255), dtype=np.float32)
    if dtype == "uint8" and scale == 0:
        return pixels
    if dtype not in ("int8", "uint8") or not scale > 0:
        raise InputMismatch(f"pictures cannot be packed as {dtype} with scale {scale!r}")
    table = _table(dtype, scale, zero_point)
    # The usual scale of 1/255 makes a copy of the pixels, or the pixels with the top bit flipped.
    if np.array_equal(table.view(np.uint8), np.arange(256, dtype=np.uint8)):
        return pixels
    if np.array_equal(table, (np.arange(256) - 128).astype(np.int8)):
        return (pixels ^ np.uint8(0x80)).view(np.int8)
    return table[pixels]


def _table(dtype: str, scale: float, zero_point: int) -> NDArray[Any]:
    """The quantized value of each of the 256 pixel values."""
    limits = np.iinfo(dtype)
    steps = np.rint(np.arange(256) / 255 / np.float64(np.float32(scale))) + zero_point
    table: NDArray[Any] = np.clip(steps, limits.min, limits.max).astype(dtype)
    return table
