"""What differs between two runs beside the models: reasons not to compare their figures."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator
from typing import Any, Final

from targets.agent import wire
from toolchain.compare.sides import Side
from toolchain.report import text
from toolchain.tuning.candidates import ranges


@dataclasses.dataclass(frozen=True)
class Reason:
    """Why a figure may differ that has nothing to do with the models.

    code: "threads", "board", ... for a difference of settings, a report's code for a doubt about
    one side.  side: "a", "b", or empty for both.
    """

    code: str
    text: str
    side: str = ""


def _governors(side: Side) -> str:
    return ", ".join(side.figures.target.governors)


def _place(side: Side) -> str:
    target = side.figures.target
    return target.board or target.cpu or ""


_SETTINGS: Final[tuple[tuple[str, str, Callable[[Side], Any]], ...]] = (
    ("target", "target", lambda side: side.figures.target.name),
    ("board", "board", _place),
    ("threads", "threads", lambda side: side.figures.speed.threads),
    (
        "placement",
        "CPUs that threads kept to",
        lambda side: ranges(side.figures.speed.cpus) or "any",
    ),
    ("image-size", "image size", lambda side: text.size(side.figures.speed.imgsz)),
    ("runtime", "runtime", lambda side: side.figures.target.runtime),
    ("governor", "CPU governor", _governors),
    ("cpus", "CPUs allowed", lambda side: side.figures.target.cpus_allowed),
    ("kernel", "kernel", lambda side: side.figures.target.kernel),
    ("python", "Python", lambda side: side.figures.target.python),
    ("fed", "timed on", lambda side: side.figures.speed.timed_on),
    ("warm-up", "warm-up asked for", lambda side: side.figures.settings.warmup),
    ("steady", "wait for a steady state, s", lambda side: side.figures.settings.steady_s),
    ("confidence", "confidence", lambda side: side.figures.settings.confidence),
    ("fps-confidence", "confidence of FPS", lambda side: side.figures.settings.fps_confidence),
    ("iou", "IoU of suppression", lambda side: side.figures.settings.iou),
    ("boxes", "most boxes", lambda side: side.figures.settings.max_detections),
    ("multi-label", "several labels a box", lambda side: side.figures.settings.multi_label),
)
# Doubts of a report that speak of time or of what is missing; the others are in the reports.
_DOUBTS: Final = frozenset(
    ("partial", "emulated", "not-timed", "hot", "slowed", "busy", "swapped", "too-many-threads",
     "few-timed", "scattered", "unsteady", "calibration-scored", "clock-drop", "held-back",
     "throttled", "over-current", "restarted", "sampling-cost")
)  # fmt: skip


def reasons(a: Side, b: Side) -> tuple[Reason, ...]:
    """Settings that differ, then doubts about either side."""
    return (*_differences(a, b), *_of_side(a, "a"), *_of_side(b, "b"))


def _differences(a: Side, b: Side) -> Iterator[Reason]:
    for code, name, value in _SETTINGS:
        ours, theirs = value(a), value(b)
        if ours != theirs:
            yield Reason(code, f"Different {name}: A {_said(ours)}, B {_said(theirs)}.")
    if _images(a) != _images(b):
        yield Reason("images", f"Different images: A finished {_images(a)}, B {_images(b)}.")


def _of_side(side: Side, letter: str) -> Iterator[Reason]:
    for doubt in side.doubts:
        if doubt.level == "warning" and doubt.code in _DOUBTS:
            yield Reason(doubt.code, f"{letter.upper()}: {text.clean(doubt.text)}", letter)


def _images(side: Side) -> int:
    return len({record.image for record in side.run.of(wire.Detected)})


def _said(value: Any) -> str:
    return text.UNKNOWN if value in (None, "") else text.clean(str(value))
