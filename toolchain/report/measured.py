"""Size, speed and memory of one run, from what the board recorded."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Sequence
from typing import TypeVar

import numpy as np

from targets.agent import wire
from targets.agent.telemetry import tells_no_temperature
from targets.boards import cores, recognise
from toolchain.recorded import Run
from toolchain.report.figures import (
    PERCENTILES,
    Latency,
    MemoryFigures,
    ModelFigures,
    SpeedFigures,
    TargetFigures,
)
from toolchain.report.pace import pace, pooled
from toolchain.report.percentiles import interval
from toolchain.runmeta import ModelMeta

_NS_PER_MS = 1e6
_N = TypeVar("_N", int, float)


def model_figures(model: ModelMeta, float_model: ModelMeta | None) -> ModelFigures:
    """Sizes; `float_model` is the file that the run is compared with, None where there is none."""
    count, size = model.parameters or None, model.file_bytes
    fp32, fp16 = (4 * count, 2 * count) if count else (None, None)
    return ModelFigures(
        weights=model.weights,
        recipe=model.recipe,
        bits=model.bits,
        file_bytes=size,
        sha256=model.sha256,
        parameters=count,
        bits_per_weight=8 * size / count if count else None,
        fp32_bytes=fp32,
        fp16_bytes=fp16,
        ratio_fp32=_ratio(fp32, size),
        ratio_fp16=_ratio(fp16, size),
        ratio_float_file=_ratio(float_model.file_bytes if float_model else None, size),
        source_sha256=model.source_sha256,
        licence=model.licence,
        names=model.names,
    )


def target_figures(runs: Sequence[Run]) -> TargetFigures:
    """Where it ran; what the board says of itself goes before what the inventory says.

    runs: one, and those that repeat it: hottest of all.
    """
    run = runs[0]
    target, facts = run.meta.target, run.last(wire.Facts) or wire.Facts()
    temps = [
        temp
        for one in runs
        for sample in one.of(wire.Sample)
        for zone, temp in sample.temps_c.items()
        if temp is not None and not tells_no_temperature(zone, temp)
    ]
    known = [word for word in (target.emulated, facts.emulated) if word is not None]
    board = recognise(facts) if facts.compatible or facts.nv_tegra_release else None
    return TargetFigures(
        name=target.name,
        board=facts.board_model or target.board,
        emulated=any(known) if known else None,
        loopback=target.loopback,
        runtime=facts.runtime,
        cpu=facts.cpu_model,
        machine=facts.machine,
        os=facts.os_name,
        kernel=facts.kernel,
        python=facts.python,
        mem_total_bytes=facts.mem_total_bytes,
        cpus_allowed=facts.cpus_allowed,
        governors=tuple(sorted(set(facts.governors.values()))),
        hottest_c=max(temps, default=None),
        kind=board.name if board else None,
        soc=board.soc if board else None,
        cores=cores(facts.clusters),
        system=board.system if board else None,
    )


def speed_figures(runs: Sequence[Run]) -> SpeedFigures:
    """Model alone over the timed inferences, end to end over the evaluation images.

    runs: one, and those that repeat it, whose times are put together.
    """
    run = runs[0]
    inference = latency([timed.inference_ns for one in runs for timed in one.of(wire.Timed)])
    images = [r for one in runs for r in one.of(wire.Detected) if r.boxes_ns is not None]
    stages = _stages(images)
    found = pooled([pace(one) for one in runs])
    loaded = run.last(wire.Loaded)
    fed = run.last(wire.TimedInput)
    return SpeedFigures(
        fps_model=_per_second(inference.p50_ms if inference else None),
        fps_end_to_end=_per_second(sum(stages.values()) if stages else None),
        threads=loaded.threads if loaded else run.meta.settings.threads,
        imgsz=run.meta.model.imgsz or _input_size(loaded),
        inference=inference,
        stages_ms=stages,
        end_to_end_images=len(images),
        warmup=len(run.of(wire.Warmed)),
        timed_on=fed.source if fed and fed.source else None,
        repeats=len(runs),
        burst=latency(found.burst_ns),
        sustained=latency(found.sustained_ns),
        latency_slope=found.latency_slope,
        temperature_slope=found.temperature_slope,
        steady=found.steady,
        cpus=loaded.cpus if loaded else run.meta.settings.cpus,
    )


def memory_figures(runs: Sequence[Run]) -> MemoryFigures:
    """From the last word on each; of a run cut short the highest that was seen.

    runs: one, and those that repeat it: of these the highest of each.
    """
    every = [_memory(run) for run in runs]
    return MemoryFigures(
        **{
            field.name: _highest(getattr(figures, field.name) for figures in every)
            for field in dataclasses.fields(MemoryFigures)
        }
    )


def _memory(run: Run) -> MemoryFigures:
    loaded, peak = run.last(wire.Loaded), run.last(wire.Peak)
    loading = run.last(wire.Loading)
    seen = [sample.memory for sample in run.of(wire.Sample)]
    if loaded:
        seen.append(loaded.after)
    if peak:
        seen.append(peak.memory)
    before = loaded.before if loaded else loading.memory if loading else wire.Memory()
    after = loaded.after if loaded else wire.Memory()
    pss = [memory.pss_bytes for memory in seen] + [peak.peak_pss_bytes if peak else None]
    return MemoryFigures(
        before_rss_bytes=before.rss_bytes,
        load_rss_bytes=after.rss_bytes,
        load_pss_bytes=after.pss_bytes,
        peak_rss_bytes=_highest(memory.hwm_bytes for memory in seen),
        peak_pss_bytes=_highest(pss),
        swap_bytes=_highest(memory.swap_bytes for memory in seen),
        load_ms=loaded.load_ns / _NS_PER_MS if loaded and loaded.load_ns > 0 else None,
        expand_ms=loaded.expand_ns / _NS_PER_MS if loaded and loaded.expand_ns else None,
        expand_peak_rss_bytes=loaded.expand_peak_rss_bytes if loaded else None,
    )


def latency(times_ns: Sequence[int]) -> Latency | None:
    """Percentiles of times in nanoseconds; None without any, or where a clock stood still."""
    values = np.asarray(times_ns, np.float64) / _NS_PER_MS
    if not values.size or values.min() <= 0:
        return None
    p50, p90, p95, p99 = np.percentile(values, (50, 90, 95, 99))
    return Latency(
        p50_ms=float(p50),
        p90_ms=float(p90),
        p95_ms=float(p95),
        p99_ms=float(p99),
        mean_ms=float(values.mean()),
        min_ms=float(values.min()),
        max_ms=float(values.max()),
        values_ms=tuple(values.tolist()),
        bounds_ms={share: interval(values.tolist(), share / 100) for share in PERCENTILES},
    )


def _stages(images: Sequence[wire.Detected]) -> dict[str, float]:
    if not images:
        return {}
    return {
        stage: float(np.mean([getattr(image, f"{stage}_ns") for image in images])) / _NS_PER_MS
        for stage in ("decode", "letterbox", "inference", "boxes")
    }


def _per_second(time_ms: float | None) -> float | None:
    return 1000 / time_ms if time_ms and time_ms > 0 else None


def _ratio(larger: int | None, smaller: int) -> float | None:
    return larger / smaller if larger and smaller else None


def _highest(values: Iterable[_N | None]) -> _N | None:
    return max((value for value in values if value is not None), default=None)


def _input_size(loaded: wire.Loaded | None) -> tuple[int, int] | None:
    """Height and width of a picture-shaped input: [1, H, W, 3], or [1, 3, H, W]."""
    shapes = [tensor.shape for tensor in loaded.inputs] if loaded else []
    for shape in shapes:
        if len(shape) == 4 and shape[3] in (1, 3):
            return shape[1], shape[2]
        if len(shape) == 4 and shape[1] in (1, 3):
            return shape[2], shape[3]
    return None
