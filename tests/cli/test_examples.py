"""Every example that --help prints is run, in the order in which they are printed."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from targets import loopback
from targets.target import Target
from tests.cli import sandbox
from toolchain.cli.reference import PAGE, commands, page

# Models come first, since others use them; taking away comes last.
LATE = ("report", "target clean", "target remove", "cache clear")
EXAMPLES = sorted(
    dict.fromkeys(sandbox.examples()),
    key=lambda line: (
        any(f"halfbyte {word}" in line for word in LATE),
        "target add" not in line,
        "convert" not in line,
    ),
)


@pytest.fixture(scope="module")
def board(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Target]:
    with loopback.started(home=tmp_path_factory.mktemp("board")) as target:
        yield target


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("examples")
    sandbox.furnish(folder)
    return folder


@pytest.fixture(scope="module")
def env(place: Path, board: Target) -> dict[str, str]:
    root = Path(__file__).resolve().parents[2]
    return {**os.environ, "PYTHONPATH": str(root), "HALFBYTE_CONFIG": str(place / "settings")}


@pytest.mark.slow
@pytest.mark.parametrize("line", EXAMPLES)
def test_an_example_does_what_it_shows(
    line: str, place: Path, board: Target, env: dict[str, str], tmp_path: Path
) -> None:
    if "target add" in line:  # the address of an example is nobody's; this one answers
        address = f"{board.user}@{board.host}:{board.port}"
        line = line.replace("pi@192.168.1.40", address)
        line += "" if "--no-connect" in line else f" --accept-new --key {board.key}"
    if "demo" in line:  # YOLOv7 takes minutes; the line is the same with a smaller detector
        line = line.replace("halfbyte demo", "halfbyte demo --weights yolov5s-seg --bits 8")
    if "--annotations val.json" in line and "demo" in line:
        line += " --weights best.pt --out runs/own"
    if "cache clear" in line:
        env = {**env, "HALFBYTE_CACHE": str(tmp_path)}
    done = sandbox.run(line, place, env)
    assert done.returncode == 0, f"{line}\n{done.stdout}\n{done.stderr}"


def test_every_command_has_an_example() -> None:
    without = [name for name, text in commands() if "Example" not in text]
    assert without == []


def test_the_command_reference_shows_what_help_prints(env: dict[str, str], tmp_path: Path) -> None:
    env = {**env, "COLUMNS": "102"}  # click leaves two of them free
    done = sandbox.run("halfbyte plan --help", tmp_path, env)
    assert done.stdout.strip() == dict(commands())["halfbyte plan"].strip()


def test_the_command_reference_is_not_stale() -> None:
    assert PAGE.read_text("utf-8") == page(), "run scripts/docs"
