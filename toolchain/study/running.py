"""A model on pictures, on this machine, through the very code that runs on a board."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Sequence

from targets.agent.decoding import OutputMismatch, OutputNotFinite
from targets.agent.detect import Detection
from targets.agent.faults import Fault
from targets.agent.frames import FrameUnreadable
from targets.agent.pictures import PictureInput
from targets.agent.plan import Plan, PlanFile
from targets.agent.records import Detected
from targets.agent.runtime import Model, find_runtime
from targets.progress import SILENT, Progress
from toolchain.errors import DoesNotRun
from toolchain.tflite.metadata import Metadata
from toolchain.tflite.quietly import quietly


def detect(
    model: bytes,
    images: Sequence[PlanFile],
    facts: Metadata,
    *,
    threads: int,
    progress: Progress = SILENT,
) -> tuple[Detected, ...]:
    """What the model finds on each image, at a plan's usual thresholds; unreadable ones are absent.

    model: an ordinary .tflite.  facts: of its outputs.  Raises DoesNotRun.
    """
    plan = Plan(PlanFile("", ""), head=facts.head)
    found: list[Detected] = []
    try:
        with quietly():
            running = Model("", threads=threads, runtime=find_runtime(), content=model)
        detection = Detection(plan, running, PictureInput(running.inputs, facts.imgsz))
        with progress.task("detecting", total=len(images), unit="images") as task:
            for index, image in enumerate(images):
                with contextlib.suppress(FrameUnreadable):  # the float model leaves it out too
                    found.append(detection.of(index, image))
                task.advance()
    except (Fault, OutputMismatch, OutputNotFinite) as error:
        raise DoesNotRun(
            f"{facts.recipe}: the model does not run here: {error}",
            hint="`halfbyte doctor` says which runtime this machine has.",
        ) from error
    return tuple(found)


def cpus() -> int:
    """Those that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else 1
