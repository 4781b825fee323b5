"""Second moments of what every convolution of the float model reads, kept once for all cells.

A numpy file for each layer's covariance and mean (`quantize.moments.Moments`), by operator index;
covariances are mapped from the disk, not read whole.  YOLOv7: 1 GB on the disk.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from targets.files import replaced
from targets.progress import SILENT, Progress
from toolchain.quantize import moments
from toolchain.quantize.graph import FloatGraph
from toolchain.quantize.recovery import PATCHES
from toolchain.quantize.sensitivity import Sensitivity
from toolchain.quantize.walk import Walk

PICTURES: Final = 24
"""Of those of the sensitivity, the first so many: enough for an estimate of one number a layer."""


@dataclasses.dataclass(frozen=True, eq=False)
class LayerMoments:
    """covariance: float32 [K, K], mapped.  mean: float32 [K].  K as in `moments.Moments`."""

    covariance: NDArray[np.float32]
    mean: NDArray[np.float32]

    @property
    def energy(self) -> float:
        """The mean square of a patch: sum of E[x_k^2]."""
        trace = np.trace(self.covariance, dtype=np.float64)
        return float(trace + np.square(self.mean, dtype=np.float64).sum())


def gather(
    graph: FloatGraph,
    sensitivity: Sensitivity,
    pictures: Sequence[NDArray[np.float32]],
    folder: Path,
    *,
    progress: Progress = SILENT,
) -> None:
    """Walk the pictures through the float model and write every layer's moments to `folder`.

    pictures: float32 [1, h, w, 3], the first ones of `sensitivity`, in its order.
    """
    walk = Walk(graph, {}, pictures)
    rng = np.random.default_rng(0)
    names = graph.layer_names()
    with progress.task("second moments", total=len(graph.convolutions), unit="layers") as task:
        for operation in graph.operations:
            if operation.kind == "CONV_2D":
                seen = moments.gather(
                    walk,
                    operation,
                    sensitivity.layers[names[operation.index]].positions,
                    patches=PATCHES,
                    rng=rng,
                )
                _save(folder / f"{operation.index}.covariance.npy", seen.covariance.numpy())
                _save(folder / f"{operation.index}.mean.npy", seen.mean.numpy())
                task.advance()
            walk.pass_by(operation)


def read(folder: Path, index: int) -> LayerMoments:
    """Those of the convolution with that operator index."""
    return LayerMoments(
        np.load(folder / f"{index}.covariance.npy", mmap_mode="r"),
        np.load(folder / f"{index}.mean.npy"),
    )


def _save(path: Path, values: NDArray[np.float32]) -> None:
    with replaced(path) as stream:
        np.save(stream, values, allow_pickle=False)
