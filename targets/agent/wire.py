"""Records from the board to the host: one JSON object a line, ASCII only, after a marker line.

An envelope surrounds each record: `seq` counts from 0 without gaps, `monotonic_ns` is the board's
CLOCK_MONOTONIC, `record` names the type.  Unknown records and unknown keys are skipped by readers;
bytes and nanoseconds on the wire, MiB and milliseconds only in reports; what could not be read is
None, never 0.  NaN and infinity never appear (they become null).
"""

from __future__ import annotations

import dataclasses
import json
import math
from typing import Any, Dict, List, Optional, Tuple

SCHEMA = "halfbyte.wire"
VERSION = 1
MAX_LINE_BYTES = 4 * 1024 * 1024


@dataclasses.dataclass(frozen=True)
class Memory:
    """Memory of the agent's own process (procfs).  Bytes; None where the kernel does not say."""

    rss_bytes: Optional[int] = None  # VmRSS
    pss_bytes: Optional[int] = None  # Pss of smaps_rollup
    hwm_bytes: Optional[int] = None  # VmHWM: highest RSS so far
    swap_bytes: Optional[int] = None  # VmSwap


@dataclasses.dataclass(frozen=True)
class TensorFacts:
    """One input or output as the runtime reports it."""

    name: str = ""
    shape: Tuple[int, ...] = ()
    dtype: str = ""
    scale: float = 0.0  # 0 means: not quantized
    zero_point: int = 0


@dataclasses.dataclass(frozen=True)
class Hello:
    """Always the first record."""

    schema: str = SCHEMA
    version: int = VERSION
    agent_sha256: str = ""
    pid: int = 0
    boot_id: Optional[str] = None
    plan_sha256: str = ""


@dataclasses.dataclass(frozen=True)
class Facts:
    """What the board is, as far as plain procfs and sysfs say."""

    board_model: Optional[str] = None  # device tree or DMI
    machine: Optional[str] = None  # uname -m: the kernel's word, not the userland's
    cpu_model: Optional[str] = None
    cpu_features: Tuple[str, ...] = ()
    cpus_online: Optional[int] = None
    cpus_allowed: Optional[int] = None  # sched_getaffinity
    cpu_max_khz: Dict[str, int] = dataclasses.field(default_factory=dict)  # by cpufreq policy
    governors: Dict[str, str] = dataclasses.field(default_factory=dict)  # by cpufreq policy
    mem_total_bytes: Optional[int] = None
    mem_available_bytes: Optional[int] = None
    swap_total_bytes: Optional[int] = None
    page_size_bytes: Optional[int] = None
    kernel: Optional[str] = None
    os_name: Optional[str] = None
    userland_bits: Optional[int] = None  # of the interpreter itself
    soabi: Optional[str] = None
    libc: Optional[str] = None
    python: Optional[str] = None
    numpy: Optional[str] = None
    pillow: Optional[str] = None
    runtime: Optional[str] = None  # "ai-edge-litert 2.3.0" or "tflite-runtime 2.14.0"
    emulated: Optional[bool] = None  # True where the agent can tell (qemu), else None


@dataclasses.dataclass(frozen=True)
class Loaded:
    """The model is in memory and allocated."""

    load_ns: int = 0  # read + create + allocate
    before: Memory = Memory()
    after: Memory = Memory()
    inputs: Tuple[TensorFacts, ...] = ()
    outputs: Tuple[TensorFacts, ...] = ()
    threads: int = 1


@dataclasses.dataclass(frozen=True)
class Warmed:
    """One warm-up inference (not counted in figures)."""

    index: int = 0
    inference_ns: int = 0


@dataclasses.dataclass(frozen=True)
class Timed:
    """One timed inference of the model alone: set input, invoke, nothing else."""

    index: int = 0
    inference_ns: int = 0


@dataclasses.dataclass(frozen=True)
class Detected:
    """One evaluation image, end to end.  `boxes_ns` is decode + NMS at `Plan.fps_confidence`."""

    index: int = 0
    image: str = ""  # Plan image id
    width: int = 0  # of the upright picture
    height: int = 0
    decode_ns: int = 0
    letterbox_ns: int = 0
    inference_ns: int = 0
    boxes_ns: Optional[int] = None  # None where the output is not understood
    # [x1, y1, x2, y2, score, class] in pixels of the upright picture, best first
    detections: Tuple[Tuple[float, ...], ...] = ()


@dataclasses.dataclass(frozen=True)
class Skipped:
    """An image that could not be used, and why."""

    index: int = 0
    image: str = ""
    reason: str = ""


@dataclasses.dataclass(frozen=True)
class Sample:
    """A reading of sensors between inferences."""

    memory: Memory = Memory()
    mem_available_bytes: Optional[int] = None
    temps_c: Dict[str, Optional[float]] = dataclasses.field(default_factory=dict)
    cpu_khz: Dict[str, Optional[int]] = dataclasses.field(default_factory=dict)
    load_1min: Optional[float] = None


@dataclasses.dataclass(frozen=True)
class Peak:
    """Memory at the end: VmHWM covers the whole run; PSS is the highest of the samples."""

    memory: Memory = Memory()
    peak_pss_bytes: Optional[int] = None


@dataclasses.dataclass(frozen=True)
class Failed:
    """Why the agent stopped early."""

    kind: str = ""  # exception class name, or "out-of-memory", "no-runtime", ...
    message: str = ""
    traceback: str = ""


@dataclasses.dataclass(frozen=True)
class Finished:
    """The last record of a whole run."""


RECORDS = {
    cls.__name__.lower(): cls
    for cls in (
        Hello, Facts, Loaded, Warmed, Timed, Detected, Skipped, Sample, Peak, Failed, Finished,
    )
}  # fmt: skip
_NESTED = {"before": Memory, "after": Memory, "memory": Memory}


def plain(value: Any) -> Any:
    """Dataclasses, tuples and numpy scalars as plain JSON values; NaN and infinity as None."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {f.name: plain(getattr(value, f.name)) for f in dataclasses.fields(value)}
    if isinstance(value, dict):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if hasattr(value, "item") and not isinstance(value, (str, bytes)):
        return plain(value.item())
    return value


def encode(record: Any, seq: int, monotonic_ns: int) -> bytes:
    """One line of the stream, newline included."""
    envelope = {"seq": seq, "monotonic_ns": monotonic_ns, "record": type(record).__name__.lower()}
    envelope.update(plain(record))
    return json.dumps(envelope, allow_nan=False, separators=(",", ":")).encode("ascii") + b"\n"


@dataclasses.dataclass(frozen=True)
class Envelope:
    """A record as it arrived."""

    seq: int
    monotonic_ns: int
    record: Any


class WireError(ValueError):
    """A line that is no record of this schema."""


def decode(line: bytes) -> Optional[Envelope]:
    """The record in one line; None for a type that this version does not know.

    Raises WireError for anything that is not an envelope of ours.
    """
    if len(line) > MAX_LINE_BYTES:
        raise WireError(f"a record of {len(line)} bytes")
    try:
        raw = json.loads(line.decode("utf-8"), parse_constant=_no_constants)
    except (ValueError, RecursionError) as error:
        raise WireError(f"not a record: {error}") from None
    if not isinstance(raw, dict) or not isinstance(raw.get("record"), str):
        raise WireError("not a record")
    seq, at = raw.get("seq"), raw.get("monotonic_ns")
    if not isinstance(seq, int) or not isinstance(at, int):
        raise WireError("a record without seq or monotonic_ns")
    cls = RECORDS.get(raw["record"])
    return None if cls is None else Envelope(seq, at, _build(cls, raw))


def _no_constants(name: str) -> None:
    raise ValueError(f"{name} is not JSON")


def _build(cls: Any, raw: Dict[str, Any]) -> Any:
    known = {}  # type: Dict[str, Any]
    for field in dataclasses.fields(cls):
        if field.name not in raw:
            continue
        value = raw[field.name]
        default = field.default
        if field.default_factory is not dataclasses.MISSING:
            default = field.default_factory()
        known[field.name] = _checked(cls.__name__, field.name, value, default)
    return cls(**known)


def _checked(record: str, name: str, value: Any, default: Any) -> Any:
    if name in _NESTED:
        if not isinstance(value, dict):
            raise WireError(f"{record}.{name} is no object")
        return _build(Memory, value)
    if name in ("inputs", "outputs"):
        return tuple(_build(TensorFacts, item) for item in _list(record, name, value))
    if isinstance(default, tuple):
        return _frozen(_list(record, name, value))
    if default is not None and not isinstance(value, _like(default)):
        raise WireError(f"{record}.{name} is a {type(value).__name__}")
    return value


def _like(default: Any) -> Tuple[type, ...]:
    return (int, float) if isinstance(default, float) else (type(default),)


def _list(record: str, name: str, value: Any) -> List[Any]:
    if not isinstance(value, list):
        raise WireError(f"{record}.{name} is no list")
    return value


def _frozen(value: Any) -> Any:
    return tuple(_frozen(item) for item in value) if isinstance(value, list) else value
