"""Run folders of real runs over the loopback target: a float model and its int8 form."""

from __future__ import annotations

import dataclasses
import shutil
from pathlib import Path

from targets import inventory
from toolchain import demo, making, pipeline
from toolchain.evaluate import datasets
from toolchain.measuring import Measuring
from toolchain.quantize import W8C_A8, Options, calibrate, quantize
from toolchain.subject import Subject, subject

SIZE = (96, 128)


@dataclasses.dataclass(frozen=True)
class Folders:
    """first, second: both models, over the same pictures, asked the same.  others: the int8 model
    with one warm-up fewer over other pictures.
    """

    first: Path
    second: Path
    others: Path


def models(folder: Path) -> tuple[Subject, Subject]:
    """YOLOv5s, float and int8, rounded to nearest."""
    data = demo.material()
    made = making.make_float(making.read_weights("yolov5s-seg"), SIZE)
    frames = sorted(data.calibration.iterdir())[:4]
    calibration = calibrate(made.tflite, frames)
    codes = quantize(
        made.tflite.read_bytes(), calibration, W8C_A8, options=Options(recovery=None)
    ).model
    paths = [folder / f"yolov5s-seg-{SIZE[0]}x{SIZE[1]}-{r}.tflite" for r in ("float32", "w8c-a8")]
    shutil.copy(made.tflite, paths[0])
    paths[1].write_bytes(codes)
    plain, few = (subject(path) for path in paths)
    return plain, few


def measured(folder: Path) -> Folders:
    """Three folders; the whole takes some seconds once the float model is made."""
    data = demo.material()
    subjects = models(folder)
    scored = datasets.load(data.annotations, data.images)
    unlabelled = datasets.load(None, data.more_images)
    asked = Measuring(threads=1, warmup=3, timed_runs=30, busy_s=120.0)
    found = Folders(folder / "first", folder / "second", folder / "others")
    target = inventory.load()["loopback"]
    for out in (found.first, found.second):
        pipeline.measure(subjects, [target], scored, asked, out)
    fewer = dataclasses.replace(asked, warmup=2, timed_runs=20)
    pipeline.measure(subjects[1:], [target], unlabelled, fewer, found.others)
    return found
