from __future__ import annotations

from pathlib import Path

import pytest

from tests.detector import authors
from toolchain import weights
from toolchain.detector import Detector, load_detector


@pytest.fixture(scope="session")
def yolov5s_file() -> Path:
    return weights.resolve("yolov5s-seg").path


@pytest.fixture(scope="session")
def yolov7_file() -> Path:
    return weights.resolve("yolov7-seg").path


@pytest.fixture(scope="session")
def yolov5s(yolov5s_file: Path) -> Detector:
    return load_detector(yolov5s_file)


@pytest.fixture(scope="session")
def yolov7(yolov7_file: Path) -> Detector:
    return load_detector(yolov7_file)


@pytest.fixture
def small_file(tmp_path: Path) -> Path:
    """A good checkpoint of some 100 kB in the authors' form."""
    return authors.save(tmp_path / "small.pt", {"model": authors.small(), "ema": None})
