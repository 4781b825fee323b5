"""What the activations of a float model look like over real pictures, and its file.

The file is a numpy archive without pickled objects, entry "header" being UTF-8 JSON with schema
"halfbyte.calibration", version 1: model_sha256, images (names in the order of rows), left_out
([name, reason] of unreadable pictures) and tensors (one [name, shape] a column).  The arrays are
the fields of `Calibration`.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from targets.files import write_whole
from toolchain.errors import DataError
from toolchain.quantize.archive import archive, read
from toolchain.quantize.histogram import BINS

SCHEMA: Final = "halfbyte.calibration"
VERSION: Final = 1
MAX_FILE_BYTES: Final = 1 << 30


@dataclasses.dataclass(frozen=True)
class Statistics:
    """One tensor over all images.

    low, high: float32 [images], extremes of each image, over all values.
    mean, mean_square: float64 [channels], of the last axis, over a sample of positions.
    counts: int64 [histogram.BINS], of a sample of values.
    """

    low: NDArray[np.float32]
    high: NDArray[np.float32]
    mean: NDArray[np.float64]
    mean_square: NDArray[np.float64]
    counts: NDArray[np.int64]


@dataclasses.dataclass(frozen=True)
class Calibration:
    """Statistics of the activations that int8 ranges are chosen from.

    model_sha256: of the float model's bytes.  images: file names of the pictures used.
    left_out: (file name, reason) of those that could not be read.  tensors: statistics by tensor
    name.
    """

    model_sha256: str
    images: tuple[str, ...]
    left_out: tuple[tuple[str, str], ...]
    tensors: dict[str, Statistics]

    @cached_property
    def extremes(self) -> dict[str, tuple[float, float]]:
        """(lowest, highest) value of each tensor over all images."""
        return {
            name: (float(found.low.min()), float(found.high.max()))
            for name, found in self.tensors.items()
        }


def save(calibration: Calibration, path: Path) -> None:
    """Write the file; the same calibration gives the same bytes."""
    names = sorted(calibration.tensors)
    header = {
        "schema": SCHEMA,
        "version": VERSION,
        "model_sha256": calibration.model_sha256,
        "images": calibration.images,
        "left_out": calibration.left_out,
        "tensors": names,
    }
    text = json.dumps(header, ensure_ascii=False, allow_nan=False).encode("utf-8")
    arrays: dict[str, NDArray[Any]] = {"header": np.frombuffer(text, np.uint8)}
    for index, name in enumerate(names):
        for field in dataclasses.fields(Statistics):
            arrays[f"{index}.{field.name}"] = getattr(calibration.tensors[name], field.name)
    write_whole(path, archive(arrays))


def load(path: Path) -> Calibration:
    """Read and check a file.  Raises DataError."""
    try:
        return _checked(read(path, most_bytes=MAX_FILE_BYTES))
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise DataError(
            f"{path.name} is no calibration of version {VERSION}: {error}",
            hint="Delete it and calibrate again.",
        ) from error


def _checked(entries: Mapping[str, NDArray[Any]]) -> Calibration:
    header = json.loads(bytes(entries["header"]))
    if header["schema"] != SCHEMA or header["version"] != VERSION:
        raise ValueError(f"it says {header['schema']!r}, version {header['version']!r}")
    images = tuple(str(name) for name in header["images"])
    tensors = {
        str(name): _statistics(entries, index, len(images))
        for index, name in enumerate(header["tensors"])
    }
    left_out = tuple((str(name), str(reason)) for name, reason in header["left_out"])
    return Calibration(str(header["model_sha256"]), images, left_out, tensors)


def _statistics(entries: Mapping[str, NDArray[Any]], index: int, images: int) -> Statistics:
    found = Statistics(
        **{field.name: entries[f"{index}.{field.name}"] for field in dataclasses.fields(Statistics)}
    )
    shapes_fit = (
        images > 0
        and found.low.shape == found.high.shape == (images,)
        and found.mean.ndim == 1
        and found.mean.shape == found.mean_square.shape
        and found.counts.shape == (BINS,)
    )
    if not shapes_fit:
        raise ValueError(f"the arrays of tensor {index} do not fit each other")
    types_fit = (
        found.low.dtype == found.high.dtype == np.float32
        and found.mean.dtype == found.mean_square.dtype == np.float64
        and found.counts.dtype == np.int64
    )
    if not types_fit:
        raise ValueError(f"the arrays of tensor {index} have other types")
    finite = all(np.isfinite(values).all() for values in dataclasses.astuple(found))
    if not finite or (found.low > found.high).any() or found.counts.min() < 0:
        raise ValueError(f"the numbers of tensor {index} are impossible")
    return found
