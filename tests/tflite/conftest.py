from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import pytest

from tests.quantize import models
from tests.quantize.conftest import calibrated
from toolchain.quantize import W4C_A8, W8C_A8, quantize

IMGSZ = (160, 192)  # height, width: that of the check beside another quantizer, so made once


class Made(NamedTuple):
    """A float model, its quantized forms, and pictures; w8 and w4 as bytes."""

    float_model: Path
    w8: bytes
    w4: bytes
    images: tuple[Path, ...]


@pytest.fixture(scope="session")
def real() -> Made:
    """YOLOv5s on five COCO photos; made once a machine, the cache is the user's own."""
    from toolchain import demo, making
    from toolchain.evaluate.pictures import find_pictures
    from toolchain.quantize import for_bits

    data = demo.material()
    pictures = making.find_calibration(data.calibration)
    source = making.read_weights("yolov5s-seg")
    made = making.make_float(source, IMGSZ)
    w8, w4 = (
        making.make_quantized(source, made, pictures, for_bits(bits)).path.read_bytes()
        for bits in (8, 4)
    )
    return Made(made.tflite, w8, w4, find_pictures(data.images))


@pytest.fixture(scope="session")
def small(tmp_path_factory: pytest.TempPathFactory) -> Made:
    """The hand-made detector of the quantizer's tests, on blurred noise."""
    folder = tmp_path_factory.mktemp("small")
    model = models.detector()
    found = calibrated(model, folder)
    w8, w4 = (quantize(model, found, recipe).model for recipe in (W8C_A8, W4C_A8))
    return Made(folder / "float.tflite", w8, w4, tuple(sorted((folder / "pictures").iterdir())))
