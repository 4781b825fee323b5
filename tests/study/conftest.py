from __future__ import annotations

import os
from pathlib import Path

import pytest

from targets.agent.plan import PlanFile
from targets.files import sha256_file
from targets.places import cache_dir
from tests.places import shared_coco
from toolchain import calibrationset, making
from toolchain.calibrationset import Pictures
from toolchain.convert import FloatModel
from toolchain.evaluate import datasets
from toolchain.evaluate.truth import Dataset
from toolchain.study import identity
from toolchain.study.material import Material, Opened

IMGSZ = (96, 128)  # height, width: the float model that other tests make too
IMAGES, CALIBRATION = 12, 6


@pytest.fixture(scope="session")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A cache of the tests' own, but for what takes long and is the same for all."""
    folder, usual = tmp_path_factory.mktemp("cache"), cache_dir()
    for kind in ("float", "packages", "weights", "agents"):
        (usual / kind).mkdir(parents=True, exist_ok=True)
        (folder / kind).symlink_to(usual / kind)
    return folder


@pytest.fixture(autouse=True)
def own_cache(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HALFBYTE_CACHE", str(cache))


@pytest.fixture(scope="session")
def env(cache: Path) -> dict[str, str]:
    """For processes: this source, that cache."""
    root = str(Path(__file__).resolve().parents[2])
    path = os.pathsep.join(filter(None, [root, os.environ.get("PYTHONPATH", "")]))
    return {**os.environ, "PYTHONPATH": path, "HALFBYTE_CACHE": str(cache)}


@pytest.fixture(scope="session")
def dataset() -> Dataset:
    dev = shared_coco() / "dev"
    whole = datasets.load(dev / "instances.json", dev / "images")
    return whole.only([picture.id for picture in whole.images[:IMAGES]])


@pytest.fixture(scope="session")
def pictures() -> Pictures:
    return calibrationset.find_calibration(shared_coco() / "calib" / "images", limit=CALIBRATION)


@pytest.fixture(scope="session")
def float_model() -> FloatModel:
    return making.make_float(making.read_weights("yolov5s-seg"), IMGSZ)


@pytest.fixture(scope="session")
def material(float_model: FloatModel, pictures: Pictures, dataset: Dataset) -> Material:
    images = tuple(
        PlanFile(str(picture.path), sha256_file(picture.path), str(picture.id))
        for picture in dataset.images
    )
    return Material(float_model, pictures, images, identity.code_sha256())


@pytest.fixture(scope="session")
def source(material: Material, cache: Path) -> Opened:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HALFBYTE_CACHE", str(cache))
        return Opened(material)
