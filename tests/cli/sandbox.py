"""A folder in which every example of the command line can be run as it is printed."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from tests.detector import authors
from toolchain import demo, weights
from toolchain.cli.reference import commands

CLASSES = ("person", "chair", "bird")


def examples() -> Iterator[str]:
    """Every example of every --help, continued lines joined."""
    for _, text in commands():
        section = re.search(r"Examples?:\n((?: {4,}\S.*\n?)+)", text)
        if section is not None:
            joined = re.sub(r"\\\n\s+", "", section[1] + "\n")
            yield from (line.strip() for line in joined.splitlines() if line.strip())


def furnish(place: Path) -> None:
    """The files that examples name: a checkpoint of the user's, pictures, annotations."""
    data = demo.material()
    for name, kind in (("val", data.images), ("train", data.calibration)):
        shutil.copytree(kind, place / name)
    shutil.copy(data.images / "000000000139.jpg", place / "photo.jpg")
    shutil.copytree(data.images, place / "photos")
    truth = json.loads(data.annotations.read_text())
    kept = [category for category in truth["categories"] if category["name"] in CLASSES]
    ids = {category["id"] for category in kept}
    boxes = [box for box in truth["annotations"] if box["category_id"] in ids]
    truth |= {"categories": kept, "annotations": boxes}
    (place / "val.json").write_text(json.dumps(truth))
    fine_tuned(place / "best.pt")


def fine_tuned(path: Path, *, blind: bool = False) -> Path:
    """Real YOLOv5s weights as a checkpoint of three classes, in the authors' training form.

    blind: its objectness is so low that it never sees anything.
    """
    model = authors.load(weights.resolve("yolov5s-seg").path)["model"].float()
    labels = list(model.names.values() if isinstance(model.names, dict) else model.names)
    head = model.model[-1]
    rows = [0, 1, 2, 3, 4, *(5 + labels.index(name) for name in CLASSES)]
    kept = [117 * anchor + row for anchor in range(3) for row in rows]
    for conv in head.m:
        conv.weight.data, conv.bias.data = conv.weight[kept], conv.bias[kept]
    if blind:
        for conv in head.m:
            conv.bias.data[4 :: 5 + len(CLASSES)] = -30
            conv.weight.data[4 :: 5 + len(CLASSES)] = 0
    del head.proto  # the mask branch
    head.__class__ = authors.Detect
    head.nc, head.no, model.nc = len(CLASSES), 5 + len(CLASSES), len(CLASSES)
    model.names, model.yaml = list(CLASSES), {"nc": len(CLASSES)}
    return authors.save(path, {"model": model, "ema": None})


def run(line: str, place: Path, env: dict[str, str]) -> subprocess.CompletedProcess[str]:
    """One command line, by a shell, as a user would type it."""
    halfbyte = f'"{sys.executable}" -m toolchain.cli'
    return subprocess.run(
        ["bash", "-c", line.replace("halfbyte", halfbyte, 1)],
        cwd=place,
        env=env,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=900,
        check=False,
    )
