"""A sweep over power modes of an emulated Jetson: each in force for its runs, all put back."""

from __future__ import annotations

import json
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest

from tests.agent import small_models
from tests.lab import hosts
from tests.lab.boards import Board
from tests.lab.cli import Host
from tests.lab.test_firmware import (  # noqa: F401
    NOT_THE_BOARDS,
    furnished,
    state,
)

MODEL = "cells.tflite"
STUBBORN = "40W"  # in the board's list of modes, and refused by its tool


@pytest.fixture
def root(tmp_path: Path) -> Host:
    """A user who is root on the Jetson, with a model and pictures that it sees something in."""
    host = Host.made(tmp_path)
    targets = tmp_path / "targets.toml"
    targets.write_text(targets.read_text().replace('user = "pi"', 'user = "root"'))
    (tmp_path / MODEL).write_bytes(small_models.int8_detector())
    (tmp_path / "pictures").mkdir()
    images, boxes = [], []
    for number in (1, 2, 3):
        picture = small_models.coloured_cell(number, number, number % 3)
        name = small_models.save_picture(tmp_path / "pictures" / f"{number}.png", picture).name
        images.append({"id": number, "file_name": name, "height": 64, "width": 96})
        place = {"bbox": [number * 16, number * 16, 16, 16], "area": 256, "iscrowd": 0}
        boxes.append({"id": number, "image_id": number, "category_id": number % 3, **place})
    names = [{"id": place, "name": name} for place, name in enumerate(small_models.NAMES)]
    truth = {"images": images, "annotations": boxes, "categories": names}
    (tmp_path / "truth.json").write_text(json.dumps(truth))
    return host


@pytest.mark.parametrize("furnished", ["jetson"], indirect=True)
def test_power_modes_are_swept_and_put_back(
    furnished: Board,  # noqa: F811
    root: Host,
) -> None:
    hosts.run_as_root(
        furnished, f"echo '< POWER_MODEL ID=9 NAME={STUBBORN} >' >> /etc/nvpmodel.conf"
    )
    before = state(furnished)
    words = ["sweep", MODEL, "--target", furnished.name, "--threads", "1,2", "--accept-new"]
    words += ["--power-mode", f"7W,15W,{STUBBORN},NONE", "--runs", "5", "--warmup", "1"]
    words += ["--images", "pictures", "--annotations", "truth.json", "--out", "swept", "--json"]
    words += [word for key in NOT_THE_BOARDS for word in ("--set", f"{key}=keep")]
    done = root.halfbyte(*words)
    assert done.status == 0, done.stderr
    assert state(furnished) == before
    rows = done.value["rows"]
    threads = [1, 2] if {row["threads"] for row in rows} == {1, 2} else [1]  # of this machine
    assert [(row["power_mode"], row["threads"]) for row in rows] == [
        (mode, count) for mode in ("7W", "15W") for count in threads
    ]
    for row in rows:
        assert row["ap"] is not None
        assert row["watts"] == pytest.approx(5.072 * 1.035, rel=0.01)
        report = json.loads((root.home / "swept" / row["folder"] / "report.json").read_text())
        settings = report["runs"][0]["board_settings"]["settings"]
        [mode] = [one for one in settings if one["key"] == "jetson.power_mode"]
        assert (mode["before"], mode["during"], mode["after"]) == (
            "MAXN_SUPER",
            row["power_mode"],
            "MAXN_SUPER",
        )
    reasons = {one["power_mode"]: one["reason"] for one in done.value["left_out"]}
    assert reasons.keys() >= {STUBBORN, "NONE"}
    assert f"not {STUBBORN}" in reasons[STUBBORN]
    assert "the board has 15W" in reasons["NONE"]
    svg = ET.parse(root.home / "swept" / "sweep.svg")
    said = {word.text for word in svg.iter("{http://www.w3.org/2000/svg}text")}
    assert "watts (the module's input)" in said


@pytest.mark.parametrize("furnished", ["jetson"], indirect=True)
def test_without_root_no_power_mode_is_measured_and_the_reason_is_told(
    furnished: Board,  # noqa: F811
    root: Host,
) -> None:
    targets = root.home / "targets.toml"
    targets.write_text(targets.read_text().replace('user = "root"', 'user = "pi"'))
    before = state(furnished)
    words = ["sweep", MODEL, "--target", furnished.name, "--threads", "1", "--accept-new"]
    words += ["--power-mode", "7W", "--images", "pictures", "--annotations", "truth.json"]
    words += [word for key in NOT_THE_BOARDS for word in ("--set", f"{key}=keep")]
    done = root.halfbyte(*words, "--out", "swept", "--json")
    assert done.status == 8
    assert "not permitted" in done.error["message"]
    assert state(furnished) == before
