from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from targets.agent.frames import letterbox, read_picture
from targets.agent.inputs import pack
from tests.quantize import models
from toolchain.quantize import Calibration, Options, Quantized, Recipe, calibrate, gradients
from toolchain.quantize import quantize as quantize_
from toolchain.quantize.graph import FloatGraph
from toolchain.quantize.sensitivity import Sensitivity
from toolchain.tflite import flatbuffer


@dataclasses.dataclass(frozen=True, eq=False)
class Subject:
    """A float model, and all that is known of it.  pictures: those of the sensitivity."""

    float_bytes: bytes
    calibration: Calibration
    sensitivity: Sensitivity
    pictures: tuple[NDArray[np.float32], ...]

    @property
    def graph(self) -> FloatGraph:
        return FloatGraph(flatbuffer.parse(self.float_bytes))

    def quantize(self, recipe: Recipe, **options: Any) -> Quantized:
        """With all that is known."""
        return quantize_(
            self.float_bytes,
            self.calibration,
            recipe,
            sensitivity=self.sensitivity,
            pictures=self.pictures,
            options=Options(**options),
        )


@pytest.fixture(scope="session")
def float_bytes() -> bytes:
    return models.detector()


@pytest.fixture(scope="session")
def calibration(float_bytes: bytes, tmp_path_factory: pytest.TempPathFactory) -> Calibration:
    folder = tmp_path_factory.mktemp("calibration")
    return calibrated(float_bytes, folder)


@pytest.fixture(scope="session")
def small(tmp_path_factory: pytest.TempPathFactory) -> Subject:
    """The hand-made detector, with metadata."""
    return known(models.described(models.detector()), tmp_path_factory.mktemp("small"))


@pytest.fixture(scope="session")
def wide(tmp_path_factory: pytest.TempPathFactory) -> Subject:
    """One with more weights than tables."""
    return known(models.described(models.wide()), tmp_path_factory.mktemp("wide"))


def calibrated(model: bytes, folder: Path, count: int = 8) -> Calibration:
    path = folder / "float.tflite"
    path.write_bytes(model)
    return calibrate(path, models.pictures(folder / "pictures", count))


def known(model: bytes, folder: Path, count: int = 8) -> Subject:
    found = calibrated(model, folder, count)
    paths = sorted((folder / "pictures").iterdir())
    sensitivity = gradients.measure(folder / "float.tflite", paths)
    imgsz = FloatGraph(flatbuffer.parse(model)).imgsz
    pictures = tuple(pack(letterbox(read_picture(path), imgsz).pixels, "float32") for path in paths)
    return Subject(model, found, sensitivity, pictures)
