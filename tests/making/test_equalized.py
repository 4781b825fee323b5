"""Equalization as a stage: before calibration, told in the record, absent where it cannot be."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from tests.quantize import models
from tests.quantize.uneven import tiny
from toolchain import making
from toolchain.calibrationset import find_calibration
from toolchain.making import Made
from toolchain.quantize import W8C_A8, Options, layertable, parse


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("HALFBYTE_CACHE", str(tmp_path / "cache"))
    models.pictures(tmp_path / "pictures", 4)
    return tmp_path


def made_of(folder: Path, model: bytes, recipe: Any = W8C_A8, **options: Any) -> Made:
    path = folder / "float.tflite"
    path.write_bytes(model)
    size = (models.SIDE, models.SIDE)
    made: Any = SimpleNamespace(tflite=path, tflite_sha256=models.sha256(model), imgsz=size)
    asked = Options(**({"recovery": None} | options))
    pictures = find_calibration(folder / "pictures")
    source: Any = SimpleNamespace(name="mine")
    return making.make_quantized(source, made, pictures, recipe, asked)


def record_of(made: Made) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((made.record or Path()).read_text())
    return found


def test_what_is_won_is_taken_by_itself_and_told(folder: Path) -> None:
    model = tiny(2)
    plain, equalized = (made_of(folder, model, equalize=asked) for asked in (False, True))
    assert plain.path.read_bytes() != equalized.path.read_bytes()
    record = record_of(equalized)
    assert any(unit["octaves"] for unit in record["equalized"])
    assert record["calibration"]["model_sha256"] != models.sha256(model)
    assert "equalized" not in record_of(plain)
    exact = models.Runner(model)
    noise = [
        sum(
            float(((exact.real(p)[name] - values) ** 2).mean())
            for p in models.pixels(4)
            for name, values in models.Runner(made.path.read_bytes()).real(p).items()
        )
        for made in (plain, equalized)
    ]
    assert noise[1] < noise[0] / 2
    names = [
        row.layer
        for made in (plain, equalized)
        for row in layertable.read(made.record or Path()).layers
    ]
    assert names[: len(names) // 2] == names[len(names) // 2 :]


def test_silu_gives_the_same_bytes_and_asks_for_nothing(folder: Path) -> None:
    model = models.described(models.wide())
    made = [made_of(folder, model, equalize=asked) for asked in (True, False)]
    assert made[0].path.read_bytes() == made[1].path.read_bytes()
    assert record_of(made[0]) == record_of(made[1])
    assert not (folder / "cache" / "equalized").exists()


def test_float_activations_leave_channels_as_they_are(folder: Path) -> None:
    assert "equalized" not in record_of(made_of(folder, tiny(2), parse("w8c")))


def test_what_was_found_with_float_boxes_is_not_taken_for_int8_ones(folder: Path) -> None:
    for asked in (True, False, True):
        made_of(folder, tiny(2), float_boxes=asked)
    assert len(list((folder / "cache" / "equalized").glob("*/record.json"))) == 2
