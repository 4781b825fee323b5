"""Quantized models out of pictures in folders, kept in a cache of the test's own."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from PIL import Image

from tests.quantize import models
from toolchain import making, makingcode
from toolchain.calibrationset import find_calibration
from toolchain.errors import OutOfRange, RecipeError
from toolchain.making import Made
from toolchain.quantize import W8C_A8, Options, parse, planfile
from toolchain.quantize.recovery import Settings

W4C_A8 = parse("w4c-a8")
Quantize = Callable[..., Made]


@pytest.fixture
def quantize(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Quantize:
    """Of the pictures in a folder: the hand-made detector."""
    monkeypatch.setenv("HALFBYTE_CACHE", str(tmp_path / "cache"))
    path = tmp_path / "float.tflite"
    path.write_bytes(models.described(models.detector()))
    made: Any = SimpleNamespace(
        tflite=path,
        tflite_sha256=models.sha256(path.read_bytes()),
        imgsz=(models.SIDE, models.SIDE),
    )
    source: Any = SimpleNamespace(name="mine")

    def quantized(folder: Path, recipe: Any = W8C_A8, **options: Any) -> Made:
        # Equalized, each recipe would have a float model, and so a calibration, of its own.
        usual: dict[str, Any] = {"recovery": Settings(patches=32), "equalize": False}
        asked = Options(**(usual | options))
        return making.make_quantized(source, made, find_calibration(folder), recipe, asked)

    return quantized


def entries(tmp_path: Path, kind: str) -> list[Path]:
    return [path for path in (tmp_path / "cache" / kind).iterdir() if path.is_dir()]


def test_the_same_choice_is_made_once_and_another_anew(quantize: Quantize, tmp_path: Path) -> None:
    models.pictures(tmp_path / "pictures", 3)
    first = quantize(tmp_path / "pictures")
    again = quantize(tmp_path / "pictures")
    assert (first.cached, again.cached) == (False, True)
    assert again.path == first.path
    for change in ({"float_boxes": False}, {"recovery": None}, {"recovery": Settings(patches=16)}):
        assert not quantize(tmp_path / "pictures", **change).cached
    assert not quantize(tmp_path / "pictures", W4C_A8).cached
    assert len(entries(tmp_path, "calibration")) == len(entries(tmp_path, "sensitivity")) == 1


def test_renamed_pictures_are_the_same_pictures(quantize: Quantize, tmp_path: Path) -> None:
    paths = models.pictures(tmp_path / "pictures", 3)
    quantize(tmp_path / "pictures")
    for path in paths:
        path.rename(path.with_stem(f"photo-{path.stem}"))
    made = quantize(tmp_path / "pictures", W4C_A8)  # on the sensitivity that is kept
    assert len(entries(tmp_path, "sensitivity")) == 1
    assert json.loads((made.record or Path()).read_text())["recovery"]["patches"] == 32


def test_pictures_of_one_name_in_several_folders_are_several(
    quantize: Quantize, tmp_path: Path
) -> None:
    paths = models.pictures(tmp_path / "apart", 4)
    for index, path in enumerate(paths):
        (tmp_path / "folders" / str(index)).mkdir(parents=True)
        shutil.copy(path, tmp_path / "folders" / str(index) / "same.png")
    apart, folders = (quantize(tmp_path / name, W4C_A8) for name in ("apart", "folders"))
    assert folders.path.read_bytes() == apart.path.read_bytes()


def test_an_unreadable_picture_is_passed_over_by_all_steps(
    quantize: Quantize, tmp_path: Path
) -> None:
    paths = models.pictures(tmp_path / "pictures", 3)
    shutil.copytree(tmp_path / "pictures", tmp_path / "clean")
    Image.open(paths[0]).save(tmp_path / "pictures" / "00-cut.jpg")
    whole = (tmp_path / "pictures" / "00-cut.jpg").read_bytes()
    (tmp_path / "pictures" / "00-cut.jpg").write_bytes(whole[: len(whole) // 2])
    mixed, clean = (quantize(tmp_path / name, W4C_A8) for name in ("pictures", "clean"))
    assert mixed.path.read_bytes() == clean.path.read_bytes()
    record = json.loads((mixed.record or Path()).read_text())
    assert record["calibration"]["left_out"][0][0] == "00-cut.jpg"


@pytest.mark.parametrize(
    ("lines", "error"),
    [("budget = 0.1\n", OutOfRange), ('[[layer]]\nname = "inne"\nbits = 4\n', RecipeError)],
)
def test_what_the_model_cannot_have_is_refused_before_it_is_calibrated(
    quantize: Quantize, tmp_path: Path, lines: str, error: type[Exception]
) -> None:
    models.pictures(tmp_path / "pictures", 3)
    plan = planfile.parse('schema = "halfbyte.plan"\nversion = 1\nrecipe = "w4e-a8"\n' + lines)
    with pytest.raises(error):
        quantize(tmp_path / "pictures", plan.recipe, plan=plan)
    kinds = {path.name for path in (tmp_path / "cache").iterdir()}
    assert kinds.isdisjoint({"calibration", "sensitivity", "moments"})


@pytest.mark.parametrize(
    "module",
    [
        "quantize/learned.py",
        "quantize/schemes/entropy.py",
        "tflite/sharing.py",
        "tflite/metadata.py",
        "tflite/flatbuffer.py",
        "agent/heads.py",
    ],
)
def test_the_key_follows_the_text_of_what_decides_the_bytes(module: str, tmp_path: Path) -> None:
    for place in makingcode.deciding():
        copy = shutil.copytree if place.is_dir() else shutil.copy
        copy(place, tmp_path / place.name)
    places = [tmp_path / place.name for place in makingcode.deciding()]
    before = makingcode.code_sha256(places)
    assert before == makingcode.quantizer_sha256()
    with (tmp_path / module).open("a") as text:
        text.write("# other\n")
    assert makingcode.code_sha256(places) != before


def test_all_of_ours_that_the_quantizer_loads_is_in_the_key_or_decides_no_byte() -> None:
    """In a process of its own: what other tests have loaded does not count."""
    lines = (
        "import sys",
        "import toolchain.quantize.gradients, toolchain.quantize.quantizer",
        "ours = ('toolchain', 'targets')",
        "loaded = [m for n, m in sys.modules.items() if n.partition('.')[0] in ours]",
        "print(*(m.__file__ for m in loaded), sep='\\n')",
    )
    ran = subprocess.run(
        [sys.executable, "-c", "\n".join(lines)], check=True, capture_output=True, text=True
    )
    keyed = makingcode.deciding()
    other = {
        "/".join(path.parts[-2:])
        for path in map(Path, ran.stdout.split())
        if not any(path.is_relative_to(place) for place in keyed)
    }
    names = ("__init__", "errors", "files", "progress", "places")
    assert other <= {
        f"{package}/{name}.py" for package in ("targets", "toolchain") for name in names
    }
