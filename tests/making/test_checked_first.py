"""What is asked of all models is compared with the float one before the first of them is made."""

from __future__ import annotations

from pathlib import Path

import pytest

from targets.places import cache_dir
from tests.convert.conftest import IMGSZ
from tests.quantize import models
from toolchain import pipeline
from toolchain.calibrationset import find_calibration
from toolchain.errors import OutOfRange, RecipeError
from toolchain.quantize import W4E_A8, W8C_A8, Options, planfile
from toolchain.quantize.budget import Budget
from toolchain.quantize.recipe import Recipe

PLAN = 'schema = "halfbyte.plan"\nversion = 1\nrecipe = "w4e-a8"\n'
NAMED = PLAN + '[[layer]]\nname = "model.0.convv"\nbits = 4\n'


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """With weights and float models out of the user's, and nothing else."""
    folder = tmp_path / "cache"
    folder.mkdir()
    for kind in ("weights", "float"):
        (cache_dir() / kind).mkdir(parents=True, exist_ok=True)
        (folder / kind).symlink_to(cache_dir() / kind)
    monkeypatch.setenv("HALFBYTE_CACHE", str(folder))
    return folder


@pytest.mark.parametrize(
    ("recipes", "options", "error"),
    [
        ((W8C_A8, W4E_A8), Options(budget=Budget(bits_per_weight=0.1)), OutOfRange),
        ((W8C_A8, W4E_A8), Options(budget=Budget(file_bytes=100_000)), OutOfRange),
        ((W4E_A8,), Options(plan=planfile.parse(NAMED)), RecipeError),
    ],
    ids=["bits", "bytes", "plan"],
)
def test_what_cannot_be_made_is_refused_before_anything_is_calibrated(
    cache: Path, tmp_path: Path, recipes: tuple[Recipe, ...], options: Options, error: type
) -> None:
    models.pictures(tmp_path / "pictures", 2)
    asked = pipeline.Making(
        weights="yolov5s-seg",
        recipes=recipes,
        imgsz=IMGSZ,
        calibration=find_calibration(tmp_path / "pictures"),
        options=options,
    )
    with pytest.raises(error):
        pipeline.convert(asked, tmp_path / "models")
    assert {"calibration", "sensitivity", "quantized"}.isdisjoint(p.name for p in cache.iterdir())
    assert not (tmp_path / "models").exists()
