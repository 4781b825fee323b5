"""How the command line speaks: suggestions, errors in two lines, JSON, exit codes, quiet pipes."""

import json
import os
import pty
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


def halfbyte(*words: str, cwd: Path | None = None, **env: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "toolchain.cli", *words],
        capture_output=True,
        text=True,
        cwd=cwd,
        stdin=subprocess.DEVNULL,
        env={**os.environ, "PYTHONPATH": str(ROOT), **env},
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
    done = halfbyte("doctor", "lopback", HALFBYTE_CONFIG=str(tmp_path))
    assert done.returncode == 3
    assert "Did you mean loopback?" in done.stderr


def test_the_order_of_imgsz_is_height_then_width(tmp_path: Path) -> None:
    done = halfbyte("convert", "--imgsz", "320", "545", "--calibration", str(tmp_path))
    assert done.returncode == 2
    assert "545 is no multiple of 32; the nearest are 544 and 576" in done.stderr


def test_with_json_a_usage_error_is_an_object_too() -> None:
    done = halfbyte("inspect", "nowhere.tflite", "--json")
    error = json.loads(done.stdout)["error"]
    assert error["exit_code"] == done.returncode == 2
    assert "nowhere.tflite" in error["message"]


def test_a_damaged_model_is_named(tmp_path: Path) -> None:
    (tmp_path / "broken.tflite").write_bytes(b"not a model at all")
    done = halfbyte("bench", "broken.tflite", cwd=tmp_path)
    assert done.returncode == 3
    assert "broken.tflite: not a TFLite model" in done.stderr


def test_an_empty_calibration_folder_is_named_with_what_to_put_there(tmp_path: Path) -> None:
    done = halfbyte("convert", "--weights", "yolov5s-seg", "--calibration", str(tmp_path))
    assert done.returncode == 3
    assert f"no picture in the calibration folder {tmp_path}" in done.stderr
    assert "32 to 128 typical pictures" in done.stderr


@pytest.mark.parametrize(
    ("option", "value", "words"),
    [
        ("--imgsz", "320", "--imgsz is for --weights"),
        ("--weights", "yolov5s-seg", "give --model or --weights, not both"),
    ],
)
def test_what_a_model_decides_itself_is_refused_beside_it(
    tmp_path: Path, option: str, value: str, words: str
) -> None:
    for name in ("m.tflite", "p.jpg"):
        (tmp_path / name).write_bytes(b"")
    done = halfbyte("detect", "p.jpg", "--model", "m.tflite", option, value, cwd=tmp_path)
    assert done.returncode == 2
    assert words in done.stderr


def test_doctor_finds_a_cache_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    done = halfbyte("doctor", "--offline", HALFBYTE_CACHE=str(tmp_path / "file"))
    assert done.returncode == 8
    assert "bad  cache folder" in done.stdout
    assert "HALFBYTE_CACHE" in done.stdout


@pytest.mark.parametrize(("variable", "coloured"), [("LANG", True), ("NO_COLOR", False)])
def test_a_terminal_gets_colours_unless_it_says_no(variable: str, coloured: bool) -> None:
    env = {k: v for k, v in os.environ.items() if k not in ("NO_COLOR", "FORCE_COLOR")}
    env |= {"TERM": "xterm-256color", variable: "C.UTF-8", "PYTHONPATH": str(ROOT)}
    reader, writer = pty.openpty()
    subprocess.run(
        [sys.executable, "-m", "toolchain.cli", "inspect", os.devnull],
        stdin=subprocess.DEVNULL,
        stdout=writer,
        stderr=writer,
        env=env,
        check=False,
        timeout=60,
    )
    os.close(writer)
    seen = os.read(reader, 65536)
    os.close(reader)
    assert b"error:" in seen
    assert (b"\x1b[1;31m" in seen) is coloured


@pytest.mark.parametrize("bits", [["4", "8"], ["4"], ["8", "4"]])
def test_several_widths_may_follow_one_option(bits: list[str]) -> None:
    from toolchain.cli.main import _spread

    assert _spread([f"--bits={bits[0]}", *bits[1:]]) == [w for b in bits for w in ("--bits", b)]
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
