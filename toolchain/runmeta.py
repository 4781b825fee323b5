"""What the host knows of one run before the board says a word: kept in `run.json`.

Everything that a report needs beside the board's records, so that it can be made again from the
run folder alone.  What is not known is None.
"""

from __future__ import annotations

import dataclasses
import types
import typing
from collections.abc import Mapping
from typing import Any, Final

from toolchain.errors import RunFolderError


@dataclasses.dataclass(frozen=True)
class ModelMeta:
    """The model file that runs.

    weights: the name or file that it was made from ("yolov7-seg", "best.pt"): models with the
    same `weights` are compared with each other.  recipe: "float32", "w8c-a8", ...; None for a
    file that was not made here.  bits: of most weights (32, 8, 4).  parameters: weights and
    biases of the deployed detector.  imgsz: height, width.  names: class names in order.
    understood: its outputs become boxes.
    """

    weights: str
    recipe: str | None
    bits: int | None
    file_bytes: int
    sha256: str
    parameters: int | None = None
    imgsz: tuple[int, int] | None = None
    names: tuple[str, ...] = ()
    understood: bool = True
    source_sha256: str | None = None
    licence: str | None = None


@dataclasses.dataclass(frozen=True)
class TargetMeta:
    """Where it runs.  board: the inventory's word; the board's own facts come by record.

    emulated: True where somebody said so; the agent may find out too.  loopback: the host itself.
    """

    name: str
    board: str | None = None
    emulated: bool | None = None
    loopback: bool = False


@dataclasses.dataclass(frozen=True)
class Settings:
    """What the plan asked for: the thresholds are scores and IoU, 0 to 1.

    steady_s: how long the warm-up was allowed to wait for a steady state; 0: it did not wait.
    cpus: that the threads were to keep to; empty: to none in particular.
    expand_int4, keep_expanded, drop_pages: what becomes of filters of few bits and of the file's
    memory (`targets.agent.plan.Plan`).
    """

    threads: int
    warmup: int
    timed_runs: int
    confidence: float = 0.001
    fps_confidence: float = 0.25
    iou: float = 0.65
    max_detections: int = 300
    multi_label: bool = True
    steady_s: float = 0.0
    cpus: tuple[int, ...] = ()
    expand_int4: bool = False
    keep_expanded: bool = True
    drop_pages: bool = False


FEW_CALIBRATION_IMAGES: Final = 16


@dataclasses.dataclass(frozen=True)
class CalibrationMeta:
    """Images that the ranges were measured on.  scored_too: how many are evaluated as well."""

    images: int
    scored_too: int | None = None
    sha256: str | None = None

    @property
    def few(self) -> bool:
        """Whether they are too few to stand for what a camera will see."""
        return self.images < FEW_CALIBRATION_IMAGES


@dataclasses.dataclass(frozen=True)
class RunMeta:
    """One model on one target.  images: how many the plan asked to detect on.

    profile: of board settings that was asked for.  overrides: single values laid over it, as
    "key=value" in the order of keys.  config_sha256: of the file laid over it; None: there is none.
    """

    model: ModelMeta
    target: TargetMeta
    settings: Settings
    images: int = 0
    calibration: CalibrationMeta | None = None
    profile: str | None = None
    overrides: tuple[str, ...] = ()
    config_sha256: str | None = None


@dataclasses.dataclass(frozen=True)
class SettingMeta:
    """One setting of a board.  where: the policy, fan or swap area; "" where there is only one.

    before, during, after: the runs; None where it could not be read.  wanted: None where nothing
    was asked for, or the board lacks it (then `note` says why).  origin: where the wanted value
    comes from.
    """

    key: str
    where: str = ""
    before: str | None = None
    wanted: str | None = None
    during: str | None = None
    after: str | None = None
    origin: str = ""
    note: str = ""


@dataclasses.dataclass(frozen=True)
class BoardSettings:
    """What a board was set to around a run.  board: of firmware_configs.  profile: None: none was
    asked for.  doubts: sentences on what was asked for and was not so.  permit: how to permit what
    was not permitted.  hold: the name on the board by which it knows how these settings ended.
    """

    board: str
    profile: str | None = None
    settings: tuple[SettingMeta, ...] = ()
    doubts: tuple[str, ...] = ()
    permit: str | None = None
    hold: str | None = None


@dataclasses.dataclass(frozen=True)
class TriedMeta:
    """One way to place a model's threads, as it was tried.  cpus: that they kept to; empty: none.

    median_ms: of the medians of its runs the geometric mean.  runs: fewer than of others where it
    was clearly slower.
    """

    threads: int
    cpus: tuple[int, ...]
    median_ms: float
    runs: int


@dataclasses.dataclass(frozen=True)
class TuningMeta:
    """Threads and CPUs that were chosen by measuring.

    noise: by which share two ways must differ for the difference to be real (95 %); None where
    there was only one.  measured: when, ISO 8601, UTC.  remembered: from an earlier command.
    """

    threads: int
    cpus: tuple[int, ...]
    tried: tuple[TriedMeta, ...]
    noise: float | None
    measured: str
    remembered: bool = False


@dataclasses.dataclass(frozen=True)
class Outcome:
    """How a run ended.  reason: one line for people, empty where it is whole."""

    whole: bool
    reason: str = ""


def built(cls: type[Any], raw: Any, where: str) -> Any:
    """A frozen dataclass out of plain JSON; unknown keys are passed over.

    Raises RunFolderError, naming `where` and the field.
    """
    if not isinstance(raw, Mapping):
        raise _bad(where, "an object", raw)
    hints = typing.get_type_hints(cls)
    values = {}
    for field in dataclasses.fields(cls):
        if field.name in raw:
            values[field.name] = _value(hints[field.name], raw[field.name], f"{where}.{field.name}")
        elif field.default is dataclasses.MISSING:
            raise _bad(f"{where}.{field.name}", "there", None)
    return cls(**values)


def _value(hint: Any, raw: Any, where: str) -> Any:
    if isinstance(hint, types.UnionType):
        inner = next(kind for kind in typing.get_args(hint) if kind is not types.NoneType)
        return None if raw is None else _value(inner, raw, where)
    if typing.get_origin(hint) is tuple:
        return _tuple(typing.get_args(hint), raw, where)
    if dataclasses.is_dataclass(hint) and isinstance(hint, type):
        return built(hint, raw, where)
    if hint is float and type(raw) is int:
        return float(raw)
    if type(raw) is not hint:
        raise _bad(where, f"{hint.__name__}", raw)
    return raw


def _tuple(kinds: tuple[Any, ...], raw: Any, where: str) -> tuple[Any, ...]:
    if not isinstance(raw, list):
        raise _bad(where, "a list", raw)
    if kinds[1:] == (...,):
        kinds = kinds[:1] * len(raw)
    if len(raw) != len(kinds):
        raise _bad(where, f"a list of {len(kinds)}", raw)
    return tuple(
        _value(kind, item, f"{where}[{index}]")
        for index, (kind, item) in enumerate(zip(kinds, raw, strict=True))
    )


def _bad(where: str, wanted: str, raw: Any) -> RunFolderError:
    return RunFolderError(
        f"run.json: {where} should be {wanted}, and is {raw!r:.60}",
        hint="The folder is damaged or of another version; run again into a new one.",
    )
