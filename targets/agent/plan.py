"""What the host asks of the agent: one JSON object on standard input."""

from __future__ import annotations

import dataclasses
import json
import math
import re
from typing import Any, Callable, Dict, Optional, Tuple

from .faults import BadPlan
from .heads import Head, HeadError, head_from_dict, head_to_dict

SCHEMA = "halfbyte.plan"
VERSION = 1
MAX_PLAN_BYTES = 64 * 1024 * 1024
_MOST_CPUS = 1024  # what the C library's sets of CPUs hold
_MARKER = re.compile(r"[A-Za-z0-9_.:=-]{8,128}")
_SHA256 = re.compile(r"[0-9a-f]{64}")


@dataclasses.dataclass(frozen=True)
class PlanFile:
    """A file on the board.  path: absolute or from the working folder; id: the host's name for it.

    The id is told back in records and never used as a path.
    """

    path: str
    sha256: str
    id: str = ""


@dataclasses.dataclass(frozen=True)
class Plan:
    """One run.

    marker: the line after which records start, made up by the host for this run.
    cpus: the agent and the runtime's threads keep to these CPUs; empty: to none in particular.
    threads: of the runtime, at most as many as `cpus`.
    imgsz: (height, width) of the network input; None: as the model says.
    head: None where the outputs are not understood: timed and measured, nothing detected.
    warmup, timed_runs: inferences of the model alone.  images: then each of these, end to end.
    confidence: of the detections told back.  fps_confidence: at which `boxes_ns` is timed.
    probe_values: of each output, that many values at most are told after each image (0: none).
    steady_s: how long the warm-up may go on, after `warmup`, until the board is in a steady state;
    0: it is not waited for.
    sample_period_s: of the sensor readings, which a thread of its own takes.
    expand_int4: turn INT4 filters into int8 ones before the model is loaded; packed models are
    expanded always.  keep_expanded: write the expanded model next to the packed one, for the next
    run; else, and where there is no room for it, it lives in memory.  drop_pages: give back the
    pages of the model's file once the runtime has its own copy of the filters.
    first_seq, first_timed, first_image: where a run goes on after a restart: the number of the next
    record, and how many timed inferences and images were told before.
    """

    model: PlanFile
    marker: Optional[str] = None
    threads: int = 1
    cpus: Tuple[int, ...] = ()
    warmup: int = 3
    timed_runs: int = 20
    imgsz: Optional[Tuple[int, int]] = None
    head: Optional[Head] = None
    images: Tuple[PlanFile, ...] = ()
    confidence: float = 0.001
    fps_confidence: float = 0.25
    iou: float = 0.65
    max_detections: int = 300
    multi_label: bool = True
    probe_values: int = 0
    steady_s: float = 0.0
    sample_period_s: float = 0.5
    expand_int4: bool = False
    keep_expanded: bool = True
    drop_pages: bool = False
    first_seq: int = 0
    first_timed: int = 0
    first_image: int = 0

    def to_json(self) -> bytes:
        """The plan as the agent reads it (ASCII, one line)."""
        value = {"schema": SCHEMA, "version": VERSION, **dataclasses.asdict(self)}
        value["head"] = None if self.head is None else head_to_dict(self.head)
        return json.dumps(value, allow_nan=False, separators=(",", ":")).encode("ascii") + b"\n"


def parse(data: bytes) -> Plan:
    """The plan in `data`, every value checked.  Raises BadPlan."""
    return _plan(_object(data))


def marker_of(data: bytes) -> Optional[str]:
    """The marker of a plan that may be bad in all else."""
    try:
        marker = _object(data).get("marker")
    except BadPlan:
        return None
    return marker if isinstance(marker, str) and _MARKER.fullmatch(marker) else None


def is_marker(text: str) -> bool:
    """Whether `text` may be a marker: 8 to 128 letters, digits and _.:=-"""
    return _MARKER.fullmatch(text) is not None


def _object(data: bytes) -> Dict[str, Any]:
    if len(data) > MAX_PLAN_BYTES:
        raise BadPlan(f"a plan of {len(data)} bytes")
    try:
        value = json.loads(data.decode("utf-8"), parse_constant=_no_constants)
    except (ValueError, RecursionError) as error:
        raise BadPlan(f"not JSON: {error}") from None
    if not isinstance(value, dict):
        raise BadPlan("not a JSON object")
    return value


def _no_constants(name: str) -> None:
    raise ValueError(f"{name} is not JSON")


def _plan(value: Dict[str, Any]) -> Plan:
    if value.get("schema") != SCHEMA or value.get("version") != VERSION:
        raise BadPlan(
            f"schema {value.get('schema')!r} version {value.get('version')!r}; "
            f"this agent reads {SCHEMA} version {VERSION}"
        )
    known = {field.name for field in dataclasses.fields(Plan)} | {"schema", "version"}
    unknown = sorted(set(value) - known)
    if unknown:
        raise BadPlan(f"unknown keys: {', '.join(unknown)[:200]}")
    read: Dict[str, Callable[[Any], Any]] = {
        "model": lambda item: _file(item, "model"),
        "marker": lambda item: _text(item, _MARKER, "marker"),
        "threads": lambda item: _whole(item, "threads", 1, 256),
        "cpus": _cpus,
        "warmup": lambda item: _whole(item, "warmup", 0, 100_000),
        "timed_runs": lambda item: _whole(item, "timed_runs", 0, 10_000_000),
        "imgsz": _imgsz,
        "head": _head,
        "images": _images,
        "confidence": lambda item: _fraction(item, "confidence"),
        "fps_confidence": lambda item: _fraction(item, "fps_confidence"),
        "iou": lambda item: _real(item, "iou", 0, 1),
        "max_detections": lambda item: _whole(item, "max_detections", 1, 10_000),
        "multi_label": lambda item: _flag(item, "multi_label"),
        "probe_values": lambda item: _whole(item, "probe_values", 0, 1_000_000),
        "steady_s": lambda item: _real(item, "steady_s", 0, 86_400),
        "sample_period_s": lambda item: _real(item, "sample_period_s", 0.01, 86_400),
        "expand_int4": lambda item: _flag(item, "expand_int4"),
        "keep_expanded": lambda item: _flag(item, "keep_expanded"),
        "drop_pages": lambda item: _flag(item, "drop_pages"),
        "first_seq": lambda item: _whole(item, "first_seq", 0, 100_000_000),
        "first_timed": lambda item: _whole(item, "first_timed", 0, 10_000_000),
        "first_image": lambda item: _whole(item, "first_image", 0, 10_000_000),
    }
    optional = {"marker", "imgsz", "head"}
    if "model" not in value:
        raise BadPlan("no model")
    fields: Dict[str, Any] = {
        name: None if name in optional and value[name] is None else read[name](value[name])
        for name in read
        if name in value
    }
    return _consistent(Plan(**fields))


def _consistent(found: Plan) -> Plan:
    if found.cpus and found.threads > len(found.cpus):
        raise BadPlan(f"{found.threads} threads on {len(found.cpus)} CPUs")
    return found


def _file(value: Any, where: str) -> PlanFile:
    if not isinstance(value, dict) or not {"path", "sha256"} <= set(value) <= {
        "path",
        "sha256",
        "id",
    }:
        raise BadPlan(f"{where} needs path and sha256")
    name = value.get("id", "")
    if not isinstance(name, str) or len(name) > 4096:
        raise BadPlan(f"{where}: id is no short text")
    return PlanFile(
        path=_path(value["path"], where),
        sha256=_text(value["sha256"], _SHA256, f"{where}: sha256"),
        id=name,
    )


def _images(value: Any) -> Tuple[PlanFile, ...]:
    if not isinstance(value, list):
        raise BadPlan("images is no list")
    return tuple(_file(item, "an image") for item in value)


def _head(value: Any) -> Head:
    try:
        return head_from_dict(value)
    except HeadError as error:
        raise BadPlan(str(error)) from None


def _cpus(value: Any) -> Tuple[int, ...]:
    if not isinstance(value, list) or len(value) > _MOST_CPUS:
        raise BadPlan("cpus is no list of numbers")
    numbers = tuple(_whole(item, "a CPU", 0, _MOST_CPUS - 1) for item in value)
    if len(set(numbers)) < len(numbers):
        raise BadPlan("cpus names a CPU twice")
    return numbers


def _imgsz(value: Any) -> Tuple[int, int]:
    if not isinstance(value, list) or len(value) != 2:
        raise BadPlan("imgsz is no [height, width]")
    return _whole(value[0], "height", 1, 16_384), _whole(value[1], "width", 1, 16_384)


def _path(value: Any, where: str) -> str:
    if not isinstance(value, str) or not value or "\0" in value or len(value) > 4096:
        raise BadPlan(f"{where}: no usable path")
    try:
        value.encode("utf-8")
    except UnicodeEncodeError:
        raise BadPlan(f"{where}: no usable path") from None
    return value


def _text(value: Any, pattern: Any, where: str) -> str:
    if not isinstance(value, str) or not pattern.fullmatch(value):
        raise BadPlan(f"{where} is not of the form {pattern.pattern}")
    return value


def _whole(value: Any, where: str, low: int, high: int) -> int:
    if type(value) is not int or not low <= value <= high:
        raise BadPlan(f"{where} is no whole number from {low} to {high}")
    return value


def _real(value: Any, where: str, low: float, high: float) -> float:
    if type(value) not in (int, float) or not low <= value <= high or not math.isfinite(value):
        raise BadPlan(f"{where} is no number from {low} to {high}")
    return float(value)


def _fraction(value: Any, where: str) -> float:
    if _real(value, where, 0, 1) == 1:
        raise BadPlan(f"{where} is 1: nothing is above it")
    return float(value)


def _flag(value: Any, where: str) -> bool:
    if type(value) is not bool:
        raise BadPlan(f"{where} is neither true nor false")
    return value
