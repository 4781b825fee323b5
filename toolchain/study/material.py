"""What all cells start from: the float model and the pictures, named by content.

Every process that works on cells opens the same material by itself; calibration, sensitivity and
second moments come from its cache, or are made there.
"""

from __future__ import annotations

import dataclasses
from itertools import islice
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from targets.agent.plan import PlanFile
from targets.files import sha256_file
from targets.places import cache_dir
from targets.progress import SILENT, Progress
from toolchain import calibrationset, making
from toolchain.cache import Cache
from toolchain.calibrationset import Pictures
from toolchain.convert import FloatModel
from toolchain.errors import DataError, UnsupportedModel
from toolchain.quantize.graph import FloatGraph, check_weights
from toolchain.study import float_moments, identity
from toolchain.tflite import flatbuffer, metadata


@dataclasses.dataclass(frozen=True)
class Material:
    """float_model: made by `toolchain.convert`.  pictures: for calibration.  images: to detect on.

    code_sha256: of the code that made this; a process with other code refuses it.
    """

    float_model: FloatModel
    pictures: Pictures
    images: tuple[PlanFile, ...]
    code_sha256: str

    def images_of(self, ids: frozenset[str]) -> tuple[PlanFile, ...]:
        """Those with these ids, in order."""
        return tuple(image for image in self.images if image.id in ids)


class Opened:
    """Material in this process's memory.  Raises DataError, the errors of `toolchain.making`."""

    def __init__(self, material: Material, *, progress: Progress = SILENT) -> None:
        _check(material)
        self.material = material
        made = material.float_model
        self.graph = FloatGraph(flatbuffer.parse(made.tflite.read_bytes()))
        check_weights(self.graph)
        facts = metadata.extract(self.graph.model)
        if facts is None:
            raise UnsupportedModel(
                f"{made.tflite.name} says nothing of its outputs", hint="Convert the weights again."
            )
        self.facts = facts
        self.calibration = making.make_calibration(made, material.pictures, progress=progress)
        self.sensitivity = making.make_sensitivity(made, material.pictures, progress=progress)
        self._moments = self._gathered(progress)

    def moments(self, index: int) -> float_moments.LayerMoments:
        """Of the convolution with that operator index, in the float model."""
        return float_moments.read(self._moments, index)

    def seen(self, limit: int | None = None) -> list[NDArray[np.float32]]:
        """The pictures of the sensitivity, in its order: float32 [1, h, w, 3]."""
        return list(islice(calibrationset.seen(self.material.pictures, self.graph.imgsz), limit))

    def _gathered(self, progress: Progress) -> Path:
        made, pictures = self.material.float_model, self.material.pictures

        def gather(folder: Path) -> None:
            some = self.seen(float_moments.PICTURES)
            float_moments.gather(self.graph, self.sensitivity, some, folder, progress=progress)

        key = identity.moments_key(made.tflite_sha256, pictures.hashes)
        return Cache(cache_dir(), "moments").get_or_make(key, gather).folder


_kept: dict[Material, Opened] = {}


def opened(material: Material, *, progress: Progress = SILENT) -> Opened:
    """The same object for the same material, as long as no other is asked for."""
    if material not in _kept:
        _kept.clear()
        _kept[material] = Opened(material, progress=progress)
    return _kept[material]


def _check(material: Material) -> None:
    """This process works on the very things that the study was started with."""
    if material.code_sha256 != identity.code_sha256():
        raise DataError(
            "this process runs another version of halfbyte, or of Python, than the study",
            hint="Install the same on every worker, and start the workers again.",
        )
    made = material.float_model
    files = [(made.tflite, made.tflite_sha256)]
    files += zip(material.pictures.paths, material.pictures.hashes, strict=True)
    for path, sha256 in files:
        if not path.is_file() or sha256_file(path) != sha256:
            raise DataError(
                f"{path} is not here, or not as it was when the study began",
                hint="All workers need the same files under the same paths: one machine, or a "
                "shared folder.",
            )
