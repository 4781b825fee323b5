from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import pytest

from tests.quantize import models
from tests.quantize.conftest import calibrated
from tests.tflite import broken
from toolchain.quantize import W8C_A8, quantize

IMGSZ = (160, 192)  # height, width: that of the check beside another quantizer, so made once


class Made(NamedTuple):
    """A float model, quantized forms of it as bytes (w4: INT4 tensors), and pictures."""

    float_model: Path
    w8: bytes
    w4: bytes
    images: tuple[Path, ...]

    def __repr__(self) -> str:
        return f"Made({self.float_model.name})"  # the bytes of models help nobody


@pytest.fixture(scope="session")
def real() -> Made:
    """YOLOv5s on five COCO photos; made once a machine, the cache is the user's own."""
    from toolchain import calibrationset, demo, making
    from toolchain.evaluate.pictures import find_pictures
    from toolchain.quantize import for_bits

    data = demo.material()
    pictures = calibrationset.find_calibration(data.calibration)
    source = making.read_weights("yolov5s-seg")
    made = making.make_float(source, IMGSZ)
    w8 = making.make_quantized(source, made, pictures, for_bits(8)).path.read_bytes()
    return Made(made.tflite, w8, broken.as_int4(w8), find_pictures(data.images))


@pytest.fixture(scope="session")
def small(tmp_path_factory: pytest.TempPathFactory) -> Made:
    """The hand-made detector of the quantizer's tests, on blurred noise."""
    folder = tmp_path_factory.mktemp("small")
    model = models.detector()
    w8 = quantize(model, calibrated(model, folder), W8C_A8).model
    images = tuple(sorted((folder / "pictures").iterdir()))
    return Made(folder / "float.tflite", w8, broken.as_int4(w8), images)
