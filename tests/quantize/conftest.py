from __future__ import annotations

from pathlib import Path

import pytest

from tests.quantize import models
from toolchain.quantize import Calibration, calibrate


@pytest.fixture(scope="session")
def float_bytes() -> bytes:
    return models.detector()


@pytest.fixture(scope="session")
def calibration(float_bytes: bytes, tmp_path_factory: pytest.TempPathFactory) -> Calibration:
    folder = tmp_path_factory.mktemp("calibration")
    return calibrated(float_bytes, folder)


def calibrated(model: bytes, folder: Path, count: int = 8) -> Calibration:
    path = folder / "float.tflite"
    path.write_bytes(model)
    return calibrate(path, models.pictures(folder / "pictures", count))
