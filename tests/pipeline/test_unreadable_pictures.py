"""Pictures that end half way: some are told, all of them are an error."""

from __future__ import annotations

import io
import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.tflite.test_layout import CELLS, candidates, constant_model
from toolchain.cli.main import main


def jpeg() -> bytes:
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)
    stream = io.BytesIO()
    Image.fromarray(noise).save(stream, "JPEG")
    return stream.getvalue()


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """m.tflite, cut.jpg, and a folder some/ with one whole picture and one that is cut."""
    monkeypatch.chdir(tmp_path)
    constant_model(tmp_path / "m.tflite", candidates(3 * CELLS, 85, 1))
    data = jpeg()
    (tmp_path / "some").mkdir()
    (tmp_path / "some" / "a.jpg").write_bytes(data)
    for path in (tmp_path / "cut.jpg", tmp_path / "some" / "cut.jpg"):
        path.write_bytes(data[: len(data) // 2])
    return tmp_path


def halfbyte(*words: str) -> int:
    with pytest.raises(SystemExit) as ended:
        main([*words])
    assert isinstance(ended.value.code, int)
    return ended.value.code


def test_one_picture_that_cannot_be_read_is_an_error(
    place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert halfbyte("detect", "cut.jpg", "--model", "m.tflite", "--json") == 3
    error = json.loads(capsys.readouterr().out)["error"]
    assert error["kind"] == "ImageUnreadable"
    assert error["message"].startswith("cut.jpg cannot be read: ")
    assert error["hint"]
    assert not (place / "detections").exists()


@pytest.mark.usefixtures("place")
def test_pictures_left_out_are_counted(capsys: pytest.CaptureFixture[str]) -> None:
    assert halfbyte("detect", "some", "--model", "m.tflite", "--confidence", "0.9") == 0
    assert "1 of 2 pictures left out" in capsys.readouterr().out


@pytest.mark.usefixtures("place")
def test_an_evaluation_of_nothing_but_unreadable_pictures_fails(
    capsys: pytest.CaptureFixture[str],
) -> None:
    words = ("m.tflite", "--images", "cut.jpg", "--runs", "2", "--threads", "1", "--out", "out")
    assert halfbyte("evaluate", *words) == 3
    assert "none of the 1 pictures could be read; the first, cut.jpg: " in capsys.readouterr().err
