"""`halfbyte lint` and `halfbyte verify` as they are typed: words, files, exit codes."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pytest

from tests.cli.test_manners import halfbyte
from tests.quantize import models
from tests.quantize.conftest import calibrated
from tests.tflite import broken
from toolchain.quantize import W8C_A8, quantize


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """float.tflite, w8.tflite, w4.tflite, bad.tflite and pictures/."""
    folder = tmp_path_factory.mktemp("checks")
    model = models.detector()
    w8 = quantize(model, calibrated(model, folder), W8C_A8).model
    (folder / "w8.tflite").write_bytes(w8)
    (folder / "w4.tflite").write_bytes(broken.as_int4(w8))
    bad = broken.refiltered(w8, "inner/weights", lambda codes: np.roll(codes, 1, axis=0))
    (folder / "bad.tflite").write_bytes(broken.rescaled(bad, "boxes_2", 100))
    return folder


def test_lint_of_a_clean_model_ends_well_and_says_what_it_did_not_do(place: Path) -> None:
    done = halfbyte("lint", "w8.tflite", cwd=place)
    assert done.returncode == 0, done.stderr
    assert "w8.tflite: 0 errors, 0 warnings, 0 notes" in done.stdout
    assert "not checked:" in done.stdout
    assert "--images DIR" in done.stdout


def test_warnings_fail_only_where_that_is_asked_for(place: Path) -> None:
    easy, strict = (halfbyte("lint", "w4.tflite", *more, cwd=place) for more in ([], ["--strict"]))
    assert (easy.returncode, strict.returncode) == (0, 8)
    assert easy.stdout == strict.stdout
    assert re.search(r"^warning int4-convolution  down, left", easy.stdout, re.M)
    assert "try: `halfbyte expand`" in easy.stdout


def test_errors_fail_and_their_json_is_one_document(place: Path) -> None:
    words = ("lint", "bad.tflite", "--images", "pictures", "--against", "float.tflite", "--json")
    done = halfbyte(*words, cwd=place)
    assert done.returncode == 8
    value = json.loads(done.stdout)
    assert (value["schema"], value["version"]) == ("halfbyte.lint", 1)
    assert value["errors"] >= 1
    assert "boxes_2" in {f["where"] for f in value["findings"] if f["severity"] == "error"}


def test_verify_names_the_layer_and_writes_what_it_found(place: Path, tmp_path: Path) -> None:
    words = ("verify", "bad.tflite", "--against", "float.tflite", "--images", "pictures")
    done = halfbyte(*words, "--out", str(tmp_path / "out"), cwd=place)
    assert done.returncode == 8
    assert "the first layer that diverges is inner (operator " in done.stdout
    value = json.loads((tmp_path / "out" / "verification.json").read_text())
    assert (value["first"], value["passed"], value["board"]) == ("inner", False, None)
    picture = (tmp_path / "out" / "layers.svg").read_text()
    assert picture.count("<circle") == len(value["layers"]) == 24


def test_verify_of_a_good_model_ends_well_with_few_pictures_and_little_memory(
    place: Path, tmp_path: Path
) -> None:
    words = ("verify", "w8.tflite", "--against", "float.tflite", "--images", "pictures", "--json")
    done = halfbyte(*words, "--limit", "3", "--out", str(tmp_path / "out"), cwd=place)
    assert done.returncode == 0, done.stderr
    value = json.loads(done.stdout)
    assert (value["images"], value["first"], value["passed"]) == (3, None, True)


def test_a_folder_without_pictures_is_told(place: Path, tmp_path: Path) -> None:
    done = halfbyte("lint", "w8.tflite", "--images", str(tmp_path), cwd=place)
    assert done.returncode == 3
    assert "no picture in" in done.stderr


def test_a_float_model_of_something_else_is_told(place: Path, tmp_path: Path) -> None:
    other = tmp_path / "other.tflite"
    weights = np.ones((2, 1, 1, 3), np.float32)
    other.write_bytes(models.one_convolution(weights, np.zeros(2, np.float32)))
    words = ("verify", "w8.tflite", "--against", str(other), "--images", "pictures")
    done = halfbyte(*words, "--out", str(tmp_path / "out"), cwd=place)
    assert done.returncode == 3
    assert "no tensor of the same name" in done.stderr
