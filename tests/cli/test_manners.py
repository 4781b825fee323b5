"""How the command line speaks: suggestions, errors in two lines, JSON, exit codes, quiet pipes."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest


def halfbyte(*words: str, cwd: Path | None = None, **env: str) -> subprocess.CompletedProcess[str]:
    root = Path(__file__).resolve().parents[2]
    return subprocess.run(
        [sys.executable, "-m", "toolchain.cli", *words],
        capture_output=True,
        text=True,
        cwd=cwd,
        stdin=subprocess.DEVNULL,
        env={**os.environ, "PYTHONPATH": str(root), **env},
        timeout=120,
        check=False,
    )


def test_a_mistyped_command_is_suggested() -> None:
    done = halfbyte("evalute")
    assert done.returncode == 2
    assert "Did you mean: evaluate" in done.stderr


def test_a_mistyped_option_is_suggested() -> None:
    done = halfbyte("bench", "--treads", "2")
    assert done.returncode == 2
    assert "--threads" in done.stderr


def test_an_error_is_one_line_of_what_and_one_of_what_to_do(tmp_path: Path) -> None:
    (tmp_path / "broken.tflite").write_bytes(b"not a model at all")
    done = halfbyte("inspect", "broken.tflite", cwd=tmp_path)
    assert done.returncode == 3
    what, hint = done.stderr.strip().splitlines()
    assert what.startswith("error: ")
    assert hint.startswith("  try: ")
    assert done.stdout == ""


def test_with_json_an_error_is_an_object_on_standard_output(tmp_path: Path) -> None:
    (tmp_path / "broken.tflite").write_bytes(b"not a model at all")
    done = halfbyte("inspect", "broken.tflite", "--json", cwd=tmp_path)
    error = json.loads(done.stdout)["error"]
    assert error["exit_code"] == done.returncode == 3
    assert error["hint"]


def test_an_unknown_target_names_the_nearest(tmp_path: Path) -> None:
    (tmp_path / "m.tflite").write_bytes(b"")
    done = halfbyte("target", "remove", "loopbak", HALFBYTE_CONFIG=str(tmp_path))
    assert done.returncode == 3
    assert "target" in done.stderr


def test_the_order_of_imgsz_is_height_then_width(tmp_path: Path) -> None:
    done = halfbyte("convert", "--imgsz", "320", "545", "--calibration", str(tmp_path))
    assert done.returncode == 2
    assert "545 is no multiple of 32; the nearest are 544 and 576" in done.stderr


@pytest.mark.parametrize("bits", [["4", "8"], ["4"], ["8", "4"]])
def test_several_widths_may_follow_one_option(bits: list[str]) -> None:
    from toolchain.cli.main import _spread

    spread = _spread(["run", "--bits", *bits, "--weights", "w"])
    assert spread == ["run", *[word for b in bits for word in ("--bits", b)], "--weights", "w"]


def test_a_missing_file_is_named() -> None:
    done = halfbyte("inspect", "nowhere.tflite")
    assert done.returncode == 2
    assert "nowhere.tflite" in done.stderr


def test_colours_stay_out_of_pipes() -> None:
    done = halfbyte("target", "list")
    assert done.returncode == 0
    assert "\x1b[" not in done.stdout + done.stderr


def test_listing_targets_as_json_gives_the_embedded_one(tmp_path: Path) -> None:
    done = halfbyte("target", "list", "--json", cwd=tmp_path, HALFBYTE_CONFIG=str(tmp_path))
    assert [row["name"] for row in json.loads(done.stdout)["targets"]] == ["loopback"]
