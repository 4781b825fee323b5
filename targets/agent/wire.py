"""Records from the board to the host: one JSON object a line, ASCII only, after a marker line.

An envelope surrounds each record: `seq` counts from 0 without gaps, `monotonic_ns` is the board's
CLOCK_MONOTONIC in the boot whose id begins with `boot`, `record` names the type.  Unknown records
and unknown keys are skipped by readers; a missing key means the field's default.  NaN and infinity
never appear (they become null), and null is read only where a field may be unknown.
"""

from __future__ import annotations

import dataclasses
import json
import math
import typing
from typing import Any, Dict, Optional

from .records import (
    RECORDS,
    SCHEMA,
    VERSION,
    Cluster,
    Detected,
    Disk,
    Facts,
    Failed,
    Finished,
    Hello,
    Loaded,
    Loading,
    Memory,
    Noted,
    Peak,
    Probed,
    Sample,
    Sampled,
    Skipped,
    Steady,
    TensorFacts,
    Timed,
    TimedInput,
    ToolSaid,
    Warmed,
)

__all__ = [
    "MAX_LINE_BYTES",
    "RECORDS",
    "SCHEMA",
    "VERSION",
    "Cluster",
    "Detected",
    "Disk",
    "Envelope",
    "Facts",
    "Failed",
    "Finished",
    "Hello",
    "Loaded",
    "Loading",
    "Memory",
    "Noted",
    "Peak",
    "Probed",
    "Sample",
    "Sampled",
    "Skipped",
    "Steady",
    "TensorFacts",
    "Timed",
    "TimedInput",
    "ToolSaid",
    "Warmed",
    "WireError",
    "decode",
    "encode",
    "plain",
]

MAX_LINE_BYTES = 4 * 1024 * 1024
MAX_TEXT = 64 * 1024  # characters of one string
MAX_ITEMS = 10_000  # of one list or object
_MAX_INT = 2**63 - 1


class WireError(ValueError):
    """A line that is no record of this schema, or a record that no line can hold."""


@dataclasses.dataclass(frozen=True)
class Envelope:
    """A record as it arrived."""

    seq: int
    monotonic_ns: int
    record: Any
    boot: Optional[str] = None


def plain(value: Any) -> Any:
    """Dataclasses, tuples, numpy scalars and arrays as plain JSON values.

    NaN and infinity become None; text that UTF-8 cannot hold gets U+FFFD in its place.
    """
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {f.name: plain(getattr(value, f.name)) for f in dataclasses.fields(value)}
    if isinstance(value, dict):
        return {plain(str(key)): plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    if isinstance(value, str):
        return value.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    if isinstance(value, float):
        return float(value) if math.isfinite(value) else None  # numpy.float64 is a float
    if hasattr(value, "tolist"):
        return plain(value.tolist())
    return value


def encode(record: Any, seq: int, monotonic_ns: int, boot: Optional[str] = None) -> bytes:
    """One line of the stream, newline included.  Raises WireError where it would be too long."""
    envelope: Dict[str, Any] = {"seq": seq, "monotonic_ns": monotonic_ns}
    if boot is not None:
        envelope["boot"] = boot
    envelope["record"] = type(record).__name__.lower()
    envelope.update(plain(record))
    line = json.dumps(envelope, allow_nan=False, separators=(",", ":")).encode("ascii") + b"\n"
    if len(line) > MAX_LINE_BYTES:
        raise WireError(f"a {type(record).__name__} of {len(line)} bytes")
    return line


def decode(line: bytes) -> Optional[Envelope]:
    """The record in one line; None for a type that this version does not know.

    The line comes from a board and is believed in nothing: every field has the type that
    `records` gives it (no bool for an int, no null where a value is due, nothing infinite, no
    lone surrogates), and lists, objects and text are capped.  Raises WireError and nothing else.
    """
    if len(line) > MAX_LINE_BYTES:
        raise WireError(f"a record of {len(line)} bytes")
    try:
        raw = json.loads(line.decode("utf-8"), parse_constant=_no_constants)
    except (ValueError, RecursionError) as error:
        raise WireError(f"not a record: {_short(error)}") from None
    if not isinstance(raw, dict) or not isinstance(raw.get("record"), str):
        raise WireError("not a record")
    seq = _typed(int, raw.get("seq"), "seq")
    at = _typed(int, raw.get("monotonic_ns"), "monotonic_ns")
    boot = raw.get("boot")
    if seq < 0:
        raise WireError("seq is negative")
    if boot is not None:
        boot = _typed(str, boot, "boot")
    cls = RECORDS.get(raw["record"])
    if cls is None:
        return None
    record = _record(cls, raw, cls.__name__)
    if isinstance(record, Detected):
        _check_detections(record)
    return Envelope(seq, at, record, boot)


def _no_constants(name: str) -> None:
    raise ValueError(f"{name} is not JSON")


def _short(error: BaseException) -> str:
    return str(error)[:200]


def _record(cls: Any, raw: Any, where: str) -> Any:
    if not isinstance(raw, dict):
        raise WireError(f"{where} is no object")
    hints = _hints(cls)
    return cls(
        **{
            name: _typed(hint, raw[name], f"{where}.{name}")
            for name, hint in hints.items()
            if name in raw
        }
    )


_HINTS: Dict[Any, Dict[str, Any]] = {}


def _hints(cls: Any) -> Dict[str, Any]:
    if cls not in _HINTS:  # resolving them is slow, and a run has thousands of records
        _HINTS[cls] = typing.get_type_hints(cls)
    return _HINTS[cls]


def _typed(hint: Any, value: Any, where: str) -> Any:
    """`value` from JSON as the type `hint`; the hints are those that `records` uses."""
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin is typing.Union:  # Optional[X]
        return None if value is None else _typed(arguments[0], value, where)
    if origin is tuple:
        _sized(list, value, where)
        return tuple(_typed(arguments[0], item, where) for item in value)
    if origin is dict:
        _sized(dict, value, where)
        return {
            _typed(str, key, where): _typed(arguments[1], item, where)
            for key, item in value.items()
        }
    if dataclasses.is_dataclass(hint):
        return _record(hint, value, where)
    return _scalar(hint, value, where)


def _scalar(kind: Any, value: Any, where: str) -> Any:
    number = type(value) is int and abs(value) <= _MAX_INT
    if kind is float:
        if number or (type(value) is float and math.isfinite(value)):
            return float(value)
    elif kind is int:
        if number:
            return value
    elif kind is bool:
        if type(value) is bool:
            return value
    elif type(value) is str and len(value) <= MAX_TEXT and not _has_surrogates(value):
        return value
    raise WireError(f"{where} is no {kind.__name__} that fits")


def _has_surrogates(text: str) -> bool:
    return not text.isascii() and any("\ud800" <= letter <= "\udfff" for letter in text)


def _sized(kind: Any, value: Any, where: str) -> None:
    if not isinstance(value, kind) or len(value) > MAX_ITEMS:
        raise WireError(f"{where} is no {kind.__name__} that fits")


def _check_detections(record: Detected) -> None:
    for row in record.detections:
        if len(row) != 6 or row[5] < 0 or row[5] != int(row[5]):
            raise WireError("Detected.detections: not x1, y1, x2, y2, score, class")
