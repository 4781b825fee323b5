"""Each tool's recorded outputs, and that no parser trips over what it has never seen."""

from __future__ import annotations

import json
import random
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from targets.readings import READINGS
from targets.readings.sysfs import dump, files

RECORDED = Path(__file__).parents[2] / "recorded"
CASES = sorted(path for path in RECORDED.glob("*/*.json") if path.parent.name in READINGS)
OUTPUTS = [json.loads(path.read_text("utf-8"))["output"] for path in CASES]


def differences(expected: Any, told: Any, where: str = "") -> list[str]:
    """Where a value is not as expected; of objects only the fields that are named count."""
    if isinstance(expected, dict) and not isinstance(told, Mapping):
        return [
            line
            for name, value in expected.items()
            for line in differences(value, getattr(told, name), f"{where}.{name}")
        ]
    if isinstance(expected, dict):
        told = {str(name): value for name, value in told.items()}
        if expected.keys() != told.keys():
            return [f"{where}: {sorted(told)} for {sorted(expected)}"]
        return [
            line
            for name, value in expected.items()
            for line in differences(value, told[name], f"{where}.{name}")
        ]
    if isinstance(expected, list):
        if len(expected) != len(told):
            return [f"{where}: {told!r} for {expected!r}"]
        return [
            line
            for index, value in enumerate(expected)
            for line in differences(value, told[index], f"{where}[{index}]")
        ]
    same = told == (pytest.approx(expected) if isinstance(expected, float) else expected)
    return [] if same and (told is None) == (expected is None) else [f"{where}: {told!r}"]


@pytest.mark.parametrize("path", CASES, ids=lambda path: f"{path.parent.name}/{path.stem}")
def test_a_recorded_output_is_read_as_expected(path: Path) -> None:
    case = json.loads(path.read_text("utf-8"))
    assert (case["schema"], case["version"]) == ("halfbyte.recorded", 1)
    assert case["expected"]
    assert differences(case["expected"], READINGS[path.parent.name].parse(case["output"])) == []


def test_every_reading_has_a_recording() -> None:
    assert READINGS.keys() == {path.parent.name for path in CASES}


@pytest.mark.parametrize("reading", READINGS.values(), ids=lambda reading: reading.name)
@settings(max_examples=60, deadline=None)
@given(text=st.text(max_size=300))
def test_no_parser_raises_on_garbage(reading: Any, text: str) -> None:
    for words in (text, *(text + output + text for output in OUTPUTS[::9])):
        assert type(reading.parse(words)) is type(reading.parse(""))


@pytest.mark.parametrize("reading", READINGS.values(), ids=lambda reading: reading.name)
@settings(max_examples=60, deadline=None)
@given(data=st.data(), seed=st.integers(0, 2**32))
def test_no_parser_raises_on_a_damaged_recording(reading: Any, data: Any, seed: int) -> None:
    letters = list(data.draw(st.sampled_from(OUTPUTS)))
    dice = random.Random(seed)
    for _ in range(dice.randint(1, 12)):
        place = dice.randrange(len(letters) + 1)
        letters[place : place + dice.randint(0, 4)] = dice.choice(
            ["", "-", "/", "%", "@", "0x", "9" * 30, "\0", "\n", "=", "²", "off", "[", ","]
        )
    reading.parse("".join(letters))


def test_an_output_without_end_is_read_in_time() -> None:
    for reading in READINGS.values():
        for piece in ("9", "A 1/1/1/1 ", "==> /a <==\n", "cpu0: a=b ", "CPU [1%@1,", "0-9999,"):
            reading.parse(piece * (3_000_000 // len(piece)))


def test_files_come_back_from_the_command_that_prints_them(tmp_path: Path) -> None:
    for name, content in (("a", "1\n2"), ("b", ""), ("c", "three\n")):
        (tmp_path / name).write_text(content)
    command = dump(f"{tmp_path}/*", f"{tmp_path}/absent")
    said = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert files(said) == {
        f"{tmp_path}/a": "1\n2",
        f"{tmp_path}/b": "",
        f"{tmp_path}/c": "three",
    }
