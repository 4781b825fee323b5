"""How much the outputs feel an error anywhere in the network, and its file.

The file is a numpy archive without pickled objects, entry "header" being UTF-8 JSON with schema
"halfbyte.sensitivity", version 1: model_sha256, images, tensors, layers.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from targets.files import write_whole
from toolchain.errors import DataError
from toolchain.quantize.archive import archive, read
from toolchain.quantize.histogram import BINS

SCHEMA: Final = "halfbyte.sensitivity"
VERSION: Final = 1
MAX_FILE_BYTES: Final = 4 << 30


@dataclasses.dataclass(frozen=True, eq=False)
class LayerSensitivity:
    """One convolution.

    energy: float64 [O], the mean over images of sum_p g[p, o]^2 sum_k x[p, k]^2: what independent
    errors at each position p of output channel o, of variance sum_k x[p, k]^2, add to the squared
    error of what matters, to first order.  g: gradient of a random signed sum of what matters with
    respect to the output (`gradients`), E[g[p, o] g[q, o]] = (J^T J)[p, q]; x: input patch.
    An error of variance 1 in each weight makes errors of that variance, but they are not
    independent: one weight acts at all positions, and its true cost sum_pq (J^T J)[p, q]
    sum_k x[p, k] x[q, k] has the terms p != q too, which are dropped here.  Those vanish where no
    output looks at two positions of the layer, as behind 1x1 layers alone; behind a 3x3 layer the
    true cost can be several times as large, or smaller.
    positions: float32 [images, H, W], g^2 summed over output channels: where the layer's output is
    looked at.
    """

    energy: NDArray[np.float64]
    positions: NDArray[np.float32]


@dataclasses.dataclass(frozen=True, eq=False)
class Sensitivity:
    """Squared gradients of what matters (`importance.what_matters`) on calibration pictures.

    model_sha256: of the float model.  images: file names, in the order of `positions`.
    counts: by tensor name, float64 [histogram.BINS]: its values, each counted by the squared
    gradient at it (or, for a tensor read by SiLU alone, at SiLU's output).
    layers: by layer name.
    """

    model_sha256: str
    images: tuple[str, ...]
    counts: dict[str, NDArray[np.float64]]
    layers: dict[str, LayerSensitivity]


def save(found: Sensitivity, path: Path) -> None:
    """Write the file; the same sensitivity gives the same bytes."""
    tensors, layers = sorted(found.counts), sorted(found.layers)
    header = {
        "schema": SCHEMA,
        "version": VERSION,
        "model_sha256": found.model_sha256,
        "images": found.images,
        "tensors": tensors,
        "layers": layers,
    }
    text = json.dumps(header, ensure_ascii=False, allow_nan=False).encode("utf-8")
    arrays: dict[str, NDArray[Any]] = {"header": np.frombuffer(text, np.uint8)}
    for index, name in enumerate(tensors):
        arrays[f"counts.{index}"] = found.counts[name]
    for index, name in enumerate(layers):
        arrays[f"energy.{index}"] = found.layers[name].energy
        arrays[f"positions.{index}"] = found.layers[name].positions
    write_whole(path, archive(arrays))


def load(path: Path) -> Sensitivity:
    """Read and check a file.  Raises DataError."""
    try:
        return _checked(read(path, most_bytes=MAX_FILE_BYTES))
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise DataError(
            f"{path.name} is no sensitivity of version {VERSION}: {error}",
            hint="Delete it and measure again.",
        ) from error


def _checked(entries: Mapping[str, NDArray[Any]]) -> Sensitivity:
    header = json.loads(bytes(entries["header"]))
    if header["schema"] != SCHEMA or header["version"] != VERSION:
        raise ValueError(f"it says {header['schema']!r}, version {header['version']!r}")
    images = tuple(str(name) for name in header["images"])
    counts = {
        str(name): _array(entries, f"counts.{index}", (BINS,), np.float64)
        for index, name in enumerate(header["tensors"])
    }
    layers = {
        str(name): LayerSensitivity(
            _array(entries, f"energy.{index}", (None,), np.float64),
            _array(entries, f"positions.{index}", (len(images), None, None), np.float32),
        )
        for index, name in enumerate(header["layers"])
    }
    return Sensitivity(str(header["model_sha256"]), images, counts, layers)


def _array(
    entries: Mapping[str, NDArray[Any]], name: str, shape: tuple[int | None, ...], dtype: Any
) -> NDArray[Any]:
    values = entries[name]
    fits = values.ndim == len(shape) and all(
        asked is None or asked == size for asked, size in zip(shape, values.shape, strict=True)
    )
    if not fits or values.dtype != dtype:
        raise ValueError(f"{name} has shape {values.shape} of {values.dtype}")
    if not np.isfinite(values).all() or (values < 0).any():
        raise ValueError(f"{name} holds impossible numbers")
    return values
