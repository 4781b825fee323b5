"""How the command line speaks: suggestions, errors in two lines, JSON, exit codes, quiet pipes."""

import json
import os
import pty
import re
import subprocess
import sys
from pathlib import Path

import click
import pytest
from PIL import Image

from toolchain import __version__
from toolchain.cli.main import cli, main
from toolchain.cli.reference import commands, kinds
from toolchain.cli.words import spread

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


class Here:
    """The same within this process: quick, for what a process has no part in."""

    def __init__(self, place: Path, capture: pytest.CaptureFixture[str]) -> None:
        self.place, self._capture = place, capture

    def __call__(self, *words: str) -> subprocess.CompletedProcess[str]:
        with pytest.raises(SystemExit) as ended:
            main([*words])
        assert isinstance(ended.value.code, int)
        out, err = self._capture.readouterr()
        return subprocess.CompletedProcess(words, ended.value.code, out, err)


@pytest.fixture
def here(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Here:
    monkeypatch.chdir(tmp_path)
    return Here(tmp_path, capsys)


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
    done = halfbyte("inspect", "--jason", "--json")
    error = json.loads(done.stdout)["error"]
    assert error["exit_code"] == done.returncode == 2
    assert error["kind"] == "UsageError"
    assert "--jason" in error["message"]
    assert "halfbyte inspect --help" in error["hint"]


def test_a_damaged_model_is_named(tmp_path: Path) -> None:
    (tmp_path / "broken.tflite").write_bytes(b"not a model at all")
    done = halfbyte("bench", "broken.tflite", cwd=tmp_path)
    assert done.returncode == 3
    assert done.stderr.startswith("error: broken.tflite: not a TFLite model")


@pytest.mark.parametrize("command", ["expand", "lint", "inspect"])
def test_what_is_no_model_is_told_in_the_same_words_everywhere(command: str, here: Here) -> None:
    (here.place / "broken.tflite").write_bytes(b"12345")
    done = here(command, "broken.tflite")
    assert done.returncode == 3
    assert "broken.tflite: not a TFLite model: the identifier TFL3 is missing" in done.stderr


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
    assert spread([f"--bits={bits[0]}", *bits[1:]]) == [w for b in bits for w in ("--bits", b)]
    words = spread(["run", "--bits", *bits, "--weights", "w"])
    assert words == ["run", *[word for b in bits for word in ("--bits", b)], "--weights", "w"]


def test_several_recipes_may_follow_one_option() -> None:
    words = ["convert", "--recipe", "w8c-a8", "w4e", "w4g64-a8", "--weights", "w4e.pt"]
    each = [word for name in words[2:5] for word in ("--recipe", name)]
    assert spread(words) == ["convert", *each, "--weights", "w4e.pt"]
    assert spread(["--recipe=float32", "w4e"]) == ["--recipe", "float32", "--recipe", "w4e"]


@pytest.mark.parametrize("word", ["w4e.tflite", "./w4e", "models/w8c-a8", "photos", "8", "w4E-a8/"])
def test_what_does_not_look_like_a_recipe_is_none(word: str) -> None:
    assert spread(["--recipe", "w8c-a8", word]) == ["--recipe", "w8c-a8", word]


def test_commands_with_recipes_take_no_paths_that_these_could_swallow() -> None:
    with click.Context(cli) as context:
        found = [cli.get_command(context, name) for name in cli.list_commands(context)]
    having = [
        command
        for command in found
        if command and any("--recipe" in parameter.opts for parameter in command.params)
    ]
    assert {command.name for command in having} == {"run", "demo", "convert"}
    for command in having:
        assert not any(isinstance(parameter, click.Argument) for parameter in command.params)


@pytest.mark.parametrize("words", [("w8c-a8", "w4x-a8"), ("w4x-a8", "w8c-a8")])
def test_a_misspelt_recipe_among_several_is_named(words: tuple[str, ...], here: Here) -> None:
    Image.new("RGB", (32, 32)).save(here.place / "a.jpg")
    done = here("convert", "--calibration", ".", "--recipe", *words)
    assert done.returncode == 3
    assert "no recipe is called 'w4x-a8'" in done.stderr


def test_nothing_is_spread_after_two_dashes() -> None:
    words = ["detect", "--imgsz", "320", "--", "320"]
    assert spread(words) == words


def test_a_folder_named_by_a_number_may_follow_an_option_that_takes_numbers(here: Here) -> None:
    (here.place / "320").mkdir()
    found = here("detect", "--imgsz", "320", "320", "--model", os.devnull)
    assert "--imgsz is for --weights" in found.stderr  # IMAGES is no longer missing
    missing = here("detect", "--imgsz", "320", "480")
    assert missing.returncode == 2
    assert "--imgsz took every such word after it, 480 too" in missing.stderr
    assert "./480" in missing.stderr


@pytest.mark.parametrize(
    ("words", "what", "hint"),
    [
        ("detect nothere.jpg", "IMAGES: there is no file or folder nothere.jpg", "nothere2.jpg?"),
        ("run --images imagez", "--images: there is no file or folder imagez", "mean images?"),
        ("run --calibration /nope/x", "--calibration: there is no folder /nope/x", "/nope does"),
        ("bench nope.tflite", "MODELS: there is no file nope.tflite", "check the path"),
        ("bench images", "MODELS: images is a folder, not a file", "such as images/m.tflite"),
        ("report m.txt", "FOLDER: m.txt is a file, not a folder", "Give a folder"),
        ("detect m.txt --out m.txt", "--out: m.txt is a file, not a folder", "another folder"),
    ],
)
def test_a_path_that_does_not_fit_is_told_as_every_other_input(
    words: str, what: str, hint: str, here: Here
) -> None:
    (here.place / "images").mkdir()
    for name in ("nothere2.jpg", "images/m.tflite", "m.txt"):
        (here.place / name).write_bytes(b"")
    done = here(*words.split())
    assert done.returncode == 3
    first, second = done.stderr.strip().splitlines()
    assert first == f"error: {what}"
    assert second.startswith("  try: ")
    assert hint in second
    error = json.loads(here(*words.split(), "--json").stdout)["error"]
    assert (error["kind"], error["message"], error["exit_code"]) == ("PathError", what, 3)


@pytest.mark.parametrize("words", ["--version --json", "--json --version"])
def test_the_version_comes_as_json_too(words: str, here: Here) -> None:
    done = here(*words.split())
    assert done.returncode == 0
    assert json.loads(done.stdout) == {"name": "halfbyte", "version": __version__}


@pytest.mark.parametrize("words", ["-vv target list", "target list -v -v", "target -v list -v"])
def test_verbosity_may_be_asked_for_anywhere(words: str) -> None:
    done = halfbyte(*words.split(), HALFBYTE_TARGETS="")
    quiet = halfbyte("target", "list", HALFBYTE_TARGETS="")
    assert (done.returncode, done.stdout) == (0, quiet.stdout)


def test_every_command_takes_verbose() -> None:
    assert [name for name, text in commands() if "-v, --verbose" not in text] == []


@pytest.mark.parametrize("words", [["--help"], ["target", "list"], ["target", "list", "--json"]])
def test_a_pipe_that_nobody_reads_ends_quietly_as_documented(words: list[str]) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    done = subprocess.run(
        [sys.executable, "-m", "toolchain.cli", *words],
        stdout=writer,
        stderr=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        timeout=60,
        check=False,
    )
    os.close(writer)
    assert (done.returncode, done.stderr) == (141, b"")


def test_kinds_of_errors_are_public_and_every_exit_code_is_in_the_help() -> None:
    assert [name for name in kinds() if name.startswith("_")] == []
    assert {"UsageError": 2, "Interrupted": 130, "PathError": 3}.items() <= kinds().items()
    done = halfbyte("--help")
    for code in {0, 141, *kinds().values()}:
        assert re.search(rf"\b{code}\s+[a-z]", done.stdout), code


def test_options_that_do_not_go_together_are_told_before_anything_else(here: Here) -> None:
    Image.new("RGB", (32, 32)).save(here.place / "a.jpg")
    words = ("--calibration", ".", "--recipe", "w8c-a8", "--bits", "4")
    for command in (["convert"], ["run", "--images", "."], ["demo", "--images", "."]):
        done = here(*command, *words)
        assert done.returncode == 2
        assert done.stderr.splitlines()[0] == "error: give --recipe or --bits, not both"


def test_recipes_that_cannot_be_made_are_told_before_anything_else(here: Here) -> None:
    Image.new("RGB", (32, 32)).save(here.place / "a.jpg")
    done = here("convert", "--calibration", ".", "--bits", "8", "--budget", "3bpw")
    assert done.returncode == 3
    assert done.stderr.startswith(
        "error: a budget steers entropy-coded weights and mixtures, not w8c-a8"
    )


def test_what_to_evaluate_on_is_asked_for_by_the_names_of_the_options(here: Here) -> None:
    Image.new("RGB", (32, 32)).save(here.place / "a.jpg")
    done = here("run", "--weights", "yolov5s-seg", "--calibration", ".")
    assert done.returncode == 3
    assert "--images DIR" in done.stderr
    assert "--annotations FILE" in done.stderr


def test_a_run_folder_is_named_only_once_it_is_there(here: Here) -> None:
    (here.place / "broken.tflite").write_bytes(b"12345")
    done = here("bench", "broken.tflite")
    assert "run folder" not in done.stderr
    assert not (here.place / "runs").exists()


def test_colours_stay_out_of_pipes() -> None:
    done = halfbyte("target", "list")
    assert done.returncode == 0
    assert "\x1b[" not in done.stdout + done.stderr


def test_listing_targets_as_json_gives_the_embedded_one(tmp_path: Path) -> None:
    done = halfbyte("target", "list", "--json", cwd=tmp_path, HALFBYTE_CONFIG=str(tmp_path))
    assert [row["name"] for row in json.loads(done.stdout)["targets"]] == ["loopback"]
