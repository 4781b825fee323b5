from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from tests.detector import authors
from toolchain import weights
from toolchain.convert import FloatModel, to_float_tflite
from toolchain.detector import Convolution, Detector, load_detector

IMGSZ = (96, 128)  # height, width


@pytest.fixture(scope="session")
def yolov5s() -> Detector:
    found = weights.resolve("yolov5s-seg")
    return load_detector(found.path, licence=found.licence)


@pytest.fixture(scope="session")
def float_model(yolov5s: Detector) -> FloatModel:
    """Made once a machine: the cache is the user's own."""
    return to_float_tflite(yolov5s, IMGSZ)


@pytest.fixture(scope="session")
def leaky(tmp_path_factory: pytest.TempPathFactory) -> Detector:
    """A detector of some 100 kB: three classes, four anchors a level, leaky ReLU as in the tiny."""
    anchors = [[10, 13, 16, 30, 33, 23, 40, 40]] * 3
    path = tmp_path_factory.mktemp("leaky") / "small.pt"
    authors.save(path, {"model": authors.small(anchors=anchors), "ema": None})
    detector = load_detector(path)
    layers = tuple(
        dataclasses.replace(layer, activation="leaky_relu", slope=0.1)
        if isinstance(layer, Convolution) and layer.activation == "silu"
        else layer
        for layer in detector.layers
    )
    return dataclasses.replace(detector, layers=layers)


@pytest.fixture(scope="session")
def leaky_model(leaky: Detector, tmp_path_factory: pytest.TempPathFactory) -> FloatModel:
    return to_float_tflite(leaky, (64, 32), cache=tmp_path_factory.mktemp("leaky-cache"))


@pytest.fixture(scope="session")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Two pictures of other shapes than the model's input."""
    from PIL import Image

    from toolchain.convert.float_model import made_picture

    folder = tmp_path_factory.mktemp("pictures")
    paths = [folder / "wide.png", folder / "high.jpg"]
    for path, size in zip(paths, [(120, 300), (200, 90)], strict=True):
        Image.fromarray(made_picture(size)).save(path)
    return paths
