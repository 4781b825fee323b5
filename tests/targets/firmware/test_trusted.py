"""Tools that root runs on a board: where a system installs them, and only root's to change."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from targets.provision.on_board import trusted
from targets.provision.on_board.trusted import changeable, program_of
from tests.targets.firmware import played
from tests.targets.firmware.played import GOVERNOR, Played

NOBODY = 65534
as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root's runs are refused")


@pytest.fixture
def tool(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = tmp_path / "bin" / "nvpmodel"
    path.parent.mkdir()
    path.write_text("#!/bin/sh\n")
    path.chmod(0o755)
    monkeypatch.setattr(trusted, "FOLDERS", str(path.parent))
    return path


def test_no_tool_is_looked_for_where_others_than_root_may_write() -> None:
    assert not [f for f in f"{trusted.FOLDERS}:{trusted.PATH}".split(":") if "local" in f]


def test_a_tool_of_the_system_is_run() -> None:
    path = program_of("sh")
    assert path.endswith("/sh")
    assert os.geteuid() != 0 or changeable(path) is None


@as_root
def test_a_tool_of_roots_is_run(tool: Path) -> None:
    assert program_of("nvpmodel") == str(tool)


@as_root
@pytest.mark.parametrize("mode", [0o775, 0o757])
@pytest.mark.parametrize("part", ["the tool", "its folder", "where a link leads"])
def test_a_tool_that_others_may_write_is_not(tool: Path, part: str, mode: int) -> None:
    at = tool if part == "the tool" else tool.parent
    if part == "where a link leads":
        at = tool.parent.parent / "elsewhere"
        at.mkdir()
        tool.rename(at / "nvpmodel")
        tool.symlink_to("../elsewhere/nvpmodel")
    os.chown(at, 0, NOBODY)
    at.chmod(mode)
    with pytest.raises(PermissionError, match=f"{at} can be changed by others than root"):
        program_of("nvpmodel")


@as_root
def test_a_tool_of_somebody_else_is_not(tool: Path) -> None:
    os.chown(tool, NOBODY, 0)
    with pytest.raises(PermissionError):
        program_of("nvpmodel")


@as_root
def test_who_is_on_a_list_may_write_too(tool: Path) -> None:
    if shutil.which("setfacl") is None:
        pytest.skip("no setfacl here")
    done = subprocess.run(["setfacl", "-m", f"u:{NOBODY}:rwx", str(tool)], check=False)
    if done.returncode:
        pytest.skip("the file system has no such lists")
    assert changeable(str(tool)) == str(tool)


@as_root
def test_links_that_lead_to_each_other_end(tool: Path) -> None:
    tool.unlink()
    tool.symlink_to(tool)
    assert changeable(str(tool)) == str(tool)


@pytest.fixture
def board(tmp_path: Path) -> Iterator[Played]:
    with played.board(tmp_path / "board") as found:
        yield found


@as_root
def test_a_board_says_why_a_tool_was_not_run(board: Played) -> None:
    board.tool("nvpmodel", 'touch "$HERE/was-run"\n')
    (board.folder / "bin").chmod(0o777)
    asked = {"files": [GOVERNOR], "commands": ["nvpmodel -q"]}
    answer = board.ask({"do": "look", "folder": str(board.folder / "user"), "look": asked})
    said = answer["commands"]["nvpmodel -q"]
    assert said["status"] is None
    assert "can be changed by others than root" in said["text"]
    assert not (board.folder / "was-run").exists()
