"""The figures of a report, frozen: what every writer shows, none of them computing anything.

APs are in points (0 to 100), times in milliseconds, memory in bytes; what is unknown is None.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from toolchain.evaluate.detections import Detections
from toolchain.report.telemetry import Watched
from toolchain.runmeta import BoardSettings, CalibrationMeta, Settings, TuningMeta

PERCENTILES: Final = (50, 90, 95, 99)  # of a latency, each with its interval


@dataclasses.dataclass(frozen=True)
class Doubt:
    """A reason not to trust a figure.  runs: keys of those concerned, empty for the whole report.

    level "warning": a figure may mislead; "note": read it with this in mind.
    """

    code: str
    text: str
    level: str = "warning"
    runs: tuple[str, ...] = ()


@dataclasses.dataclass(frozen=True)
class Latency:
    """Times of one stage.  Percentiles are interpolated linearly between the two nearest times.

    values_ms: all of them, in the order measured.  bounds_ms: by percentile (of PERCENTILES), its
    95 % interval; None for an end that so few times do not give (`report.percentiles`).
    """

    p50_ms: float
    p90_ms: float
    p95_ms: float
    p99_ms: float
    mean_ms: float
    min_ms: float
    max_ms: float
    values_ms: tuple[float, ...]
    bounds_ms: Mapping[int, tuple[float | None, float | None]]

    @property
    def samples(self) -> int:
        """How many times there are."""
        return len(self.values_ms)

    @property
    def spread(self) -> float:
        """p90 / p50: 1 where every inference takes as long."""
        return self.p90_ms / self.p50_ms


@dataclasses.dataclass(frozen=True)
class ModelFigures:
    """A model file.

    bits_per_weight: 8 x bytes of the whole file / parameters.  fp32_bytes, fp16_bytes: 4 and 2
    times the parameters.  The ratios say how many times smaller the file is.
    """

    weights: str
    recipe: str | None
    bits: int | None
    file_bytes: int
    sha256: str
    parameters: int | None
    bits_per_weight: float | None
    fp32_bytes: int | None
    fp16_bytes: int | None
    ratio_fp32: float | None
    ratio_fp16: float | None
    ratio_float_file: float | None
    source_sha256: str | None
    licence: str | None
    names: tuple[str, ...]


@dataclasses.dataclass(frozen=True)
class TargetFigures:
    """Where it ran, as the inventory and the board say.

    board: its own words; kind: as recognised ("Jetson Orin Nano").  cores: by kind and clock.
    system: JetPack and L4T.
    """

    name: str
    board: str | None
    emulated: bool | None
    loopback: bool
    runtime: str | None
    cpu: str | None
    machine: str | None
    os: str | None
    kernel: str | None
    python: str | None
    mem_total_bytes: int | None
    cpus_allowed: int | None
    governors: tuple[str, ...]
    hottest_c: float | None
    kind: str | None = None
    soc: str | None = None
    cores: str | None = None
    system: str | None = None


@dataclasses.dataclass(frozen=True)
class AccuracyFigures:
    """In points.  `ap` and its kin are over all labelled `images` that the run finished.

    ap_float, ap_lost and agreement are over the images that the float model on the same target
    finished too: `compared_images` of the labelled, `agreement_images` of all.  ap_lost_ci95: its
    95 % interval.  confident_boxes: detections with a score of 0.25 or more, on all images.
    """

    ap: float | None = None
    ap50: float | None = None
    ap75: float | None = None
    ap_small: float | None = None
    ap_medium: float | None = None
    ap_large: float | None = None
    ap_float: float | None = None
    ap_lost: float | None = None
    ap_lost_ci95: tuple[float, float] | None = None
    agreement: float | None = None
    images: int = 0
    compared_images: int = 0
    agreement_images: int = 0
    detections: int | None = None
    confident_boxes: int | None = None
    classes: Mapping[str, float | None] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(frozen=True)
class SpeedFigures:
    """fps_model: 1 / median of the timed inferences.  fps_end_to_end: 1 / mean of the four stages
    over the evaluation images.  stages_ms: mean of each stage there.  imgsz: height, width.
    cpus: that the threads kept to; empty: to none in particular.
    repeats: runs that the times are of.  burst, sustained: the first seconds and the later half of
    the runs that were long enough; the slopes there, in percent and °C a minute, and whether it had
    come to rest, both of the worst run (`report.pace`).

    The median: one inference that something else disturbed says nothing about the model.  End to
    end the mean: pictures differ, and what counts is how many are done in a time.
    """

    fps_model: float | None
    fps_end_to_end: float | None
    threads: int
    imgsz: tuple[int, int] | None
    inference: Latency | None
    stages_ms: Mapping[str, float]
    end_to_end_images: int
    warmup: int
    timed_on: str | None
    repeats: int = 1
    burst: Latency | None = None
    sustained: Latency | None = None
    latency_slope: float | None = None
    temperature_slope: float | None = None
    steady: bool | None = None
    cpus: tuple[int, ...] = ()


@dataclasses.dataclass(frozen=True)
class MemoryFigures:
    """Of the agent's process.  peak_rss: VmHWM.  peak_pss: highest of the samples between
    inferences.  load_ms: reading the file, making the interpreter, allocating.  expand_ms: turning
    a packed model into an ordinary one before that; None where it was not done in this run.
    expand_peak_rss_bytes: of the process that did it and ended before load_ms, not in the others;
    what it shares with the agent is in it.
    """

    before_rss_bytes: int | None
    load_rss_bytes: int | None
    load_pss_bytes: int | None
    peak_rss_bytes: int | None
    peak_pss_bytes: int | None
    swap_bytes: int | None
    load_ms: float | None
    expand_ms: float | None = None
    expand_peak_rss_bytes: int | None = None


@dataclasses.dataclass(frozen=True)
class SkippedImage:
    """An image that was to be evaluated and was not."""

    name: str
    reason: str


@dataclasses.dataclass(frozen=True, eq=False)
class RunFigures:
    """One model on one target.  found: its detections, for the example pictures.

    watched: series and power of the first run, and what held back any that repeats it
    (`report.watched.together`); None where no sensor was read.  board_settings: of the first run,
    None where nobody looked.  tuning: how its threads were chosen; None where they were given.
    """

    key: str
    partial: bool
    reason: str
    model: ModelFigures
    target: TargetFigures
    settings: Settings
    calibration: CalibrationMeta | None
    accuracy: AccuracyFigures
    speed: SpeedFigures
    memory: MemoryFigures
    images_done: int
    images_asked: int
    skipped: tuple[SkippedImage, ...]
    found: Detections | None = None
    watched: Watched | None = None
    board_settings: BoardSettings | None = None
    tuning: TuningMeta | None = None

    @property
    def is_float(self) -> bool:
        """Whether others are compared with it."""
        return self.model.recipe == "float32"


@dataclasses.dataclass(frozen=True)
class DatasetFigures:
    """What was evaluated on."""

    source: str
    form: str
    sha256: str | None
    images: int
    labelled_images: int
    objects: int
    categories: int
    notes: tuple[str, ...]
    excluded: tuple[SkippedImage, ...]


@dataclasses.dataclass(frozen=True)
class Example:
    """A small copy of an evaluation picture, chosen before anything ran."""

    image_id: int
    name: str
    path: Path
    width: int
    height: int


@dataclasses.dataclass(frozen=True, eq=False)
class Report:
    """All of it.  categories: names by category id, for the boxes on examples."""

    created: str
    command: tuple[str, ...]
    versions: Mapping[str, str]
    dataset: DatasetFigures | None
    categories: Mapping[int, str]
    runs: tuple[RunFigures, ...]
    doubts: tuple[Doubt, ...]
    examples: tuple[Example, ...]

    @property
    def partial(self) -> bool:
        """Whether a run ended early, or none was made."""
        return not self.runs or any(run.partial for run in self.runs)

    @property
    def nothing_detected(self) -> bool:
        """Whether some model found nothing at all on the images it was given."""
        return any(run.accuracy.detections == 0 for run in self.runs)

    def doubts_of(self, key: str) -> tuple[Doubt, ...]:
        """Those that concern one run."""
        return tuple(doubt for doubt in self.doubts if key in doubt.runs)
