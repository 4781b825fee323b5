"""What differs between two runs beside the models: reasons not to compare their figures."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Final

from targets.agent import wire
from toolchain.compare.sides import Side
from toolchain.report import settings, text
from toolchain.runmeta import SettingMeta
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

    @property
    def of_settings(self) -> bool:
        """Whether it is a difference between the two, not a doubt about one."""
        return not self.side


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
    ("profile", "profile of settings", lambda side: side.run.meta.profile or "none"),
    ("overrides", "settings laid over the profile", lambda side: _listed(side.run.meta.overrides)),
    (
        "config",
        "file of settings (sha256)",
        lambda side: (side.run.meta.config_sha256 or "none")[:8],
    ),
    ("cpus", "CPUs allowed", lambda side: side.figures.target.cpus_allowed),
    ("kernel", "kernel", lambda side: side.figures.target.kernel),
    ("python", "Python", lambda side: side.figures.target.python),
    ("fed", "timed on", lambda side: side.figures.speed.timed_on),
    ("warm-up", "warm-up asked for", lambda side: side.figures.settings.warmup),
    ("steady", "wait for a steady state, s", lambda side: side.figures.settings.steady_s),
    ("int4", "INT4 tensors expanded", lambda side: side.figures.settings.expand_int4),
    ("kept", "expanded model kept", lambda side: side.figures.settings.keep_expanded),
    ("pages", "pages of the file dropped", lambda side: side.figures.settings.drop_pages),
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
     "throttled", "over-current", "restarted", "sampling-cost", "not-steady", "settings",
     "settings-changed", "settings-differ", "settings-not-put-back")
)  # fmt: skip


def reasons(a: Side, b: Side) -> tuple[Reason, ...]:
    """Settings that differ, then doubts about either side."""
    differences = (
        Reason(code, f"Different {name}: A {ours}, B {theirs}.")
        for code, name, ours, theirs in _apart(a, b)
    )
    return (*differences, *_of_side(a, "a"), *_of_side(b, "b"))


def _apart(a: Side, b: Side) -> Iterator[tuple[str, str, str, str]]:
    """Code and name of what is not the same, and what it is in each."""
    for code, name, value in _SETTINGS:
        ours, theirs = value(a), value(b)
        if ours != theirs:
            yield code, name, _said(ours), _said(theirs)
    yield from _in_force(a, b)
    if _images(a) != _images(b):
        yield "images", "images finished", str(_images(a)), str(_images(b))


def _in_force(a: Side, b: Side) -> Iterator[tuple[str, str, str, str]]:
    """What the boards really were set to, whatever was asked; nothing where nobody looked."""
    told = [side.figures.board_settings for side in (a, b)]
    if told[0] is None or told[1] is None:
        if told[0] is not told[1]:
            ours, theirs = ("not read" if one is None else "read" for one in told)
            yield "in-force", "settings in force", ours, theirs
        return
    mine, others = (settings.in_force(one) for one in told)
    governor = _governors(a) != _governors(b)  # told already
    for place in dict.fromkeys((*mine, *others)):
        one, other = mine.get(place), others.get(place)
        key = place[0]
        if one != other and not (governor and key == "cpu.governor"):
            code = "power-mode" if key == "jetson.power_mode" else "in-force"
            yield code, text.clean(settings.name(SettingMeta(*place))), _said(one), _said(other)


def _of_side(side: Side, letter: str) -> Iterator[Reason]:
    name = letter.upper()
    for other in side.others:
        for code, what, here, there in _apart(side, other):
            yield Reason(code, f"{name}'s own runs differ in {what}: {here} and {there}.", letter)
    found = [doubt for one in (side, *side.others) for doubt in one.doubts]
    for doubt in dict.fromkeys(dataclasses.replace(doubt, runs=()) for doubt in found):
        if doubt.level == "warning" and doubt.code in _DOUBTS:
            yield Reason(doubt.code, f"{name}: {text.clean(doubt.text)}", letter)


def _images(side: Side) -> int:
    return len({record.image for record in side.run.of(wire.Detected)})


def _listed(words: Sequence[str]) -> str:
    return ", ".join(words) or "none"


def _said(value: Any) -> str:
    return text.UNKNOWN if value in (None, "") else text.clean(str(value))
