"""What halfbyte does with each board of the lab, by its own commands, over SSH."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.lab.boards import Board
from tests.lab.cli import Ended, Host
from tests.lab.places import client_key

QUICK = ("--runs", "3", "--warmup", "1", "--json", "--accept-new")


@pytest.fixture
def checked(host: Host, board: Board) -> Ended:
    assert host.halfbyte("target", "provision", board.name, "--accept-new").status == 0
    return host.halfbyte("target", "check", board.name, "--json")


def test_a_board_is_added_and_its_key_recorded(board: Board, tmp_path: Path) -> None:
    host = Host.made(tmp_path)
    (tmp_path / "targets.toml").unlink()
    key = ["--key", str(client_key())]
    refused = host.halfbyte("target", "add", f"pi@{board.address}", *key, "--json")
    assert refused.status == 4
    assert refused.error["kind"] == "HostKeyUnknown"
    words = ["target", "add", f"pi@{board.address}", "--name", "shed", *key, "--accept-new"]
    assert host.halfbyte(*words).status == 0
    (shed,) = (t for t in host.halfbyte("target", "list", "--json").value["targets"] if t["key"])
    assert (shed["name"], shed["host"]) == ("shed", board.address)


def test_a_model_is_timed_and_every_report_says_emulated(
    host: Host, board: Board, model: Path, tmp_path: Path
) -> None:
    out = tmp_path / "run"
    done = host.halfbyte("bench", str(model), "--target", board.name, "--out", str(out), *QUICK)
    assert done.status == 0, done.stderr
    report = json.loads((out / "report.json").read_text())
    (run,) = report["runs"]
    assert run["target"]["board"] == board.model
    assert run["target"]["emulated"] is True
    assert run["speed"]["inference_ms"]["p50"] > 0
    assert "emulated" in [doubt["code"] for doubt in report["doubts"]]
    assert "An emulated board" in (out / "report.html").read_text()
    assert "An emulated board" in done.stderr + done.stdout
