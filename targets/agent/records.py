"""The records that the board sends, in the order in which they come.

Bytes and nanoseconds; what could not be read is None, never 0.
"""

from __future__ import annotations

import dataclasses
from typing import Dict, Optional, Tuple

SCHEMA = "halfbyte.wire"
VERSION = 1


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
class Cluster:
    """Cores of one kind that share a clock.

    implementer, part: of their MIDR_EL1.  max_khz: the limit in force; hardware_max_khz: what
    the cores can do.
    """

    cpus: Tuple[int, ...] = ()
    kind: Optional[str] = None  # "Cortex-A76"; where the part is unknown, its numbers
    implementer: Optional[int] = None
    part: Optional[int] = None
    max_khz: Optional[int] = None
    hardware_max_khz: Optional[int] = None
    governor: Optional[str] = None


@dataclasses.dataclass(frozen=True)
class Disk:
    """A whole disk or card of the board ("mmcblk0", "nvme0n1")."""

    name: str = ""
    model: Optional[str] = None
    size_bytes: Optional[int] = None


@dataclasses.dataclass(frozen=True)
class Facts:
    """What the board is, as far as plain procfs and sysfs say."""

    board_model: Optional[str] = None  # device tree or DMI
    machine: Optional[str] = None  # uname -m: the kernel's word, not the userland's
    cpu_model: Optional[str] = None
    cpu_features: Tuple[str, ...] = ()
    cpus_online: Optional[int] = None
    cpus_allowed: Optional[int] = None  # sched_getaffinity
    allowed_cpus: Tuple[int, ...] = ()  # their numbers
    cpu_max_khz: Dict[str, int] = dataclasses.field(default_factory=dict)  # by cpufreq policy
    governors: Dict[str, str] = dataclasses.field(default_factory=dict)  # by cpufreq policy
    mem_total_bytes: Optional[int] = None
    mem_available_bytes: Optional[int] = None
    memory_limit_bytes: Optional[int] = None  # of the control groups, where there is one
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
    compatible: Tuple[str, ...] = ()  # device tree, most special first
    nv_tegra_release: Optional[str] = None  # a Jetson's file of that name, as it is
    clusters: Tuple[Cluster, ...] = ()
    disks: Tuple[Disk, ...] = ()
    home_free_bytes: Optional[int] = None  # of the file system with the user's home


@dataclasses.dataclass(frozen=True)
class Loading:
    """The last record before the model is read: what an agent that is killed there leaves."""

    file_bytes: int = 0
    memory: Memory = Memory()
    mem_available_bytes: Optional[int] = None


@dataclasses.dataclass(frozen=True)
class Loaded:
    """The model is in memory and allocated.

    A packed model is expanded first: `before` is the memory before that.  cpus: that the runtime's
    threads may run on, where the plan named some; else empty.
    """

    load_ns: int = 0  # read + create + allocate, the file being in the page cache
    expand_ns: Optional[int] = None  # waited, before load_ns; None where nothing was expanded now
    # Highest RSS of the process that expanded it, and ended then; None where the agent did
    expand_peak_rss_bytes: Optional[int] = None
    expanded_bytes: Optional[int] = None  # of the model as loaded; None: loaded as it was sent
    # Of the expanded model: "found" from an earlier run, "made" now, or only in "memory"
    kept: Optional[str] = None
    before: Memory = Memory()
    after: Memory = Memory()
    inputs: Tuple[TensorFacts, ...] = ()
    outputs: Tuple[TensorFacts, ...] = ()
    threads: int = 1
    cpus: Tuple[int, ...] = ()


@dataclasses.dataclass(frozen=True)
class TimedInput:
    """What the warm-up and timed inferences are fed with, from here on.

    source "picture": the first readable image of the plan (`image` is its id); "synthetic":
    seeded noise.
    """

    source: str = ""
    image: Optional[str] = None


@dataclasses.dataclass(frozen=True)
class Warmed:
    """One warm-up inference (not counted in figures)."""

    index: int = 0
    inference_ns: int = 0


@dataclasses.dataclass(frozen=True)
class Steady:
    """The end of a warm-up that waited for a steady state (`steady.py` has the rule).

    reached: False where the time was up first.  inferences: of the warm-up.  latency_change,
    temp_change_c: over the last window, as the rule took them; None where it never was full, or
    where no zone can be read.
    """

    reached: bool = False
    waited_ns: int = 0
    inferences: int = 0
    window_ns: int = 0
    latency_change: Optional[float] = None
    temp_change_c: Optional[float] = None


@dataclasses.dataclass(frozen=True)
class Timed:
    """One timed inference of the model alone: set input, invoke, nothing else."""

    index: int = 0
    inference_ns: int = 0


@dataclasses.dataclass(frozen=True)
class Detected:
    """One evaluation image, end to end.

    `decode_ns`: from the file's bytes in memory to upright RGB (a card's reading speed is not the
    detector's).  `letterbox_ns`: resize, pad and pack into the input's type.  `inference_ns`: set
    input and invoke.  `boxes_ns`: fetch the outputs, decode, suppress at `Plan.fps_confidence`.
    """

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
class Probed:
    """A sample of one output after an image, where `Plan.probe_values` asks for it.

    output: its place in `Loaded.outputs`.  values: how many the tensor has.  step: each step-th of
    them, in C order, is in `sample` (base64 of little-endian numbers of type `dtype`).
    """

    index: int = 0
    image: str = ""  # Plan image id
    output: int = 0
    tensor: str = ""
    dtype: str = ""
    values: int = 0
    step: int = 1
    sample: str = ""


@dataclasses.dataclass(frozen=True)
class Skipped:
    """An image that could not be used, and why."""

    index: int = 0
    image: str = ""
    reason: str = ""


@dataclasses.dataclass(frozen=True)
class Sample:
    """One reading of the sensors, at `at_ns` of the board's CLOCK_MONOTONIC.

    The sampler's thread takes most of them, also while the model runs, and they are told between
    inferences.  A few come from between inferences and hold `memory` alone, with its costly PSS.
    What was not read then is None or not in its dictionary.
    """

    memory: Memory = Memory()
    mem_available_bytes: Optional[int] = None
    temps_c: Dict[str, Optional[float]] = dataclasses.field(default_factory=dict)
    cpu_khz: Dict[str, Optional[int]] = dataclasses.field(default_factory=dict)
    load_1min: Optional[float] = None
    at_ns: Optional[int] = None  # None in runs before it was told: when the record came
    # Share of the time since the sample before in which the core worked, 0 to 1, by "cpu0"
    cpu_load: Dict[str, Optional[float]] = dataclasses.field(default_factory=dict)
    swap_free_bytes: Optional[int] = None  # of the whole system
    gpu_load: Optional[float] = None  # 0 to 1
    gpu_hz: Optional[int] = None
    rail_mv: Dict[str, Optional[int]] = dataclasses.field(default_factory=dict)
    rail_ma: Dict[str, Optional[int]] = dataclasses.field(default_factory=dict)
    # State of cooling devices that hold clocks back (above 0: they do), by the kernel's name
    cooling: Dict[str, Optional[int]] = dataclasses.field(default_factory=dict)
    # How often a Jetson has seen over-current since it started ("oc1_event_cnt")
    alerts: Dict[str, Optional[int]] = dataclasses.field(default_factory=dict)
    cpu_ns: Optional[int] = None  # processor time of the agent so far, all its threads


@dataclasses.dataclass(frozen=True)
class ToolSaid:
    """What a board's own tool printed, as it is; the host makes sense of it.

    tool: the name of its reading ("throttled").  exit_code: None where it was ended or runs on.
    """

    tool: str = ""
    text: str = ""
    exit_code: Optional[int] = None
    at_ns: Optional[int] = None


@dataclasses.dataclass(frozen=True)
class Noted:
    """A reading that is not to be had, told once.  about: "thermal zone cv0-thermal"."""

    about: str = ""
    reason: str = ""
    at_ns: Optional[int] = None


@dataclasses.dataclass(frozen=True)
class Sampled:
    """What the sampling itself took, once, at the end.

    period_ns: as asked.  wall_ns: how long the thread ran.  cpu_ns: processor time of the thread;
    tool_runs, tools_cpu_ns: of the tools that it started.  pss_reads, pss_ns: readings of PSS,
    between inferences on the main thread, and their time.
    """

    period_ns: int = 0
    samples: int = 0
    wall_ns: int = 0
    cpu_ns: int = 0
    tool_runs: int = 0
    tools_cpu_ns: int = 0
    pss_reads: int = 0
    pss_ns: int = 0


@dataclasses.dataclass(frozen=True)
class Peak:
    """Memory at the end: VmHWM covers the whole run; PSS is the highest of the samples.

    The samples lie between inferences, so PSS inside one may have been higher.  Sent by an
    interrupted run too.
    """

    memory: Memory = Memory()
    peak_pss_bytes: Optional[int] = None


@dataclasses.dataclass(frozen=True)
class Failed:
    """Why the agent stopped early."""

    # "bad-plan", "cpus-refused", "no-runtime", "model-refused", "out-of-memory", "interrupted",
    # "agent-changed", "file-missing", "file-changed", "output-not-understood", or an exception's
    # class name
    kind: str = ""
    message: str = ""
    traceback: str = ""


@dataclasses.dataclass(frozen=True)
class Finished:
    """The last record of a whole run."""


RECORDS = {
    cls.__name__.lower(): cls
    for cls in (
        Hello, Facts, Loading, Loaded, TimedInput, Warmed, Steady, Timed, Detected, Probed, Skipped,
        Sample, ToolSaid, Noted, Sampled, Peak, Failed, Finished,
    )
}  # fmt: skip
