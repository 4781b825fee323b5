"""`report.json`: strict JSON for other tools; its form is in docs/report.schema.json."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from typing import Any

from targets.agent import wire
from toolchain.report.figures import (
    PERCENTILES,
    DatasetFigures,
    Latency,
    Report,
    RunFigures,
)
from toolchain.report.plain import rounded
from toolchain.report.telemetry import Watched

SCHEMA = "halfbyte.report"
VERSION = 1
UNITS = {
    "ap": "points, 0 to 100 (COCO: mean over IoU 0.50 to 0.95); likewise ap50 to ap_large, "
    "ap_float, ap_lost, ap_lost_ci95, agreement, classes",
    "bits_per_weight": "8 x file_bytes / parameters",
    "bytes": "bytes, wherever a name ends so",
    "fps": "images a second: fps_model 1 / median time, fps_end_to_end 1 / mean time",
    "imgsz": "[height, width] in pixels",
    "ci95": "95 % interval [low, high]; null for an end that so few values do not give",
    "ms": "milliseconds, wherever a name holds it",
    "ratio": "how many times smaller the file is",
    "telemetry": "series hold [seconds from the run's start, value] with their unit; w is watts, "
    "j joules; sampler_share is of one core",
    "unknown": "null",
}
_PERCENTILES = {f"p{share}": share for share in PERCENTILES}


class JsonWriter:
    """Names that stand once stay; new ones may be added without a new version."""

    filename = "report.json"

    def render(self, report: Report) -> str:
        """One object.  What is not a finite number is null, undecodable text is replaced."""
        return json.dumps(wire.plain(as_json(report)), allow_nan=False, indent=1) + "\n"


def as_json(report: Report) -> dict[str, Any]:
    """The report as plain JSON values."""
    return {
        "schema": SCHEMA,
        "version": VERSION,
        "partial": report.partial,
        "nothing_detected": report.nothing_detected,
        "created": report.created,
        "command": list(report.command),
        "versions": dict(report.versions),
        "units": UNITS,
        "dataset": _dataset(report.dataset) if report.dataset else None,
        "doubts": [
            {"code": d.code, "level": d.level, "text": d.text, "runs": list(d.runs)}
            for d in report.doubts
        ],
        "runs": [_run(report, run) for run in report.runs],
    }


def _dataset(dataset: DatasetFigures) -> dict[str, Any]:
    return {
        "source": dataset.source,
        "form": dataset.form,
        "sha256": dataset.sha256,
        "images": dataset.images,
        "labelled_images": dataset.labelled_images,
        "objects": dataset.objects,
        "categories": dataset.categories,
        "notes": list(dataset.notes),
        "excluded": [{"name": e.name, "reason": e.reason} for e in dataset.excluded],
    }


def _run(report: Report, run: RunFigures) -> dict[str, Any]:
    calibration = run.calibration
    return {
        "key": run.key,
        "partial": run.partial,
        "reason": run.reason or None,
        "model": _model(run),
        "target": _target(run),
        "settings": {
            "warmup": run.settings.warmup,
            "timed_runs": run.settings.timed_runs,
            "confidence": run.settings.confidence,
            "fps_confidence": run.settings.fps_confidence,
            "iou": run.settings.iou,
            "max_detections": run.settings.max_detections,
            "multi_label": run.settings.multi_label,
            "expand_int4": run.settings.expand_int4,
            "keep_expanded": run.settings.keep_expanded,
            "drop_pages": run.settings.drop_pages,
        },
        "board_settings": None
        if run.board_settings is None
        else dataclasses.asdict(run.board_settings),
        "tuning": None if run.tuning is None else dataclasses.asdict(run.tuning),
        "calibration": None
        if calibration is None
        else {
            "images": calibration.images,
            "scored_too": calibration.scored_too,
            "sha256": calibration.sha256,
        },
        "accuracy": _accuracy(run),
        "speed": _speed(run),
        "memory": _memory(run),
        "telemetry": _watched(run.watched) if run.watched else None,
        "skipped": [{"name": s.name, "reason": s.reason} for s in run.skipped],
        "doubts": [doubt.code for doubt in report.doubts_of(run.key)],
    }


def _model(run: RunFigures) -> dict[str, Any]:
    model = run.model
    return {
        "weights": model.weights,
        "recipe": model.recipe,
        "bits": model.bits,
        "file_bytes": model.file_bytes,
        "bits_per_weight": rounded(model.bits_per_weight),
        "sha256": model.sha256,
        "parameters": model.parameters,
        "fp32_bytes": model.fp32_bytes,
        "fp16_bytes": model.fp16_bytes,
        "ratio_fp32": rounded(model.ratio_fp32),
        "ratio_fp16": rounded(model.ratio_fp16),
        "ratio_float_file": rounded(model.ratio_float_file),
        "classes": len(model.names) or None,
        "source_sha256": model.source_sha256,
        "licence": model.licence,
    }


def _target(run: RunFigures) -> dict[str, Any]:
    target = run.target
    return {
        "name": target.name,
        "board": target.board,
        "emulated": target.emulated,
        "runtime": target.runtime,
        "loopback": target.loopback,
        "cpu": target.cpu,
        "machine": target.machine,
        "os": target.os,
        "kernel": target.kernel,
        "python": target.python,
        "mem_total_bytes": target.mem_total_bytes,
        "cpus_allowed": target.cpus_allowed,
        "governors": list(target.governors),
        "hottest_c": rounded(target.hottest_c),
        "kind": target.kind,
        "soc": target.soc,
        "cores": target.cores,
        "system": target.system,
    }


def _accuracy(run: RunFigures) -> dict[str, Any]:
    accuracy = run.accuracy
    interval = accuracy.ap_lost_ci95
    return {
        "ap": rounded(accuracy.ap),
        "ap50": rounded(accuracy.ap50),
        "ap_float": rounded(accuracy.ap if run.is_float else accuracy.ap_float),
        "ap_lost": rounded(accuracy.ap_lost),
        "ap_lost_ci95": [rounded(bound) for bound in interval] if interval else None,
        "agreement": rounded(accuracy.agreement),
        "images": accuracy.images,
        "ap75": rounded(accuracy.ap75),
        "ap_small": rounded(accuracy.ap_small),
        "ap_medium": rounded(accuracy.ap_medium),
        "ap_large": rounded(accuracy.ap_large),
        "compared_images": accuracy.compared_images,
        "agreement_images": accuracy.agreement_images,
        "detections": accuracy.detections,
        "confident_boxes": accuracy.confident_boxes,
        "classes": _rounded_all(accuracy.classes),
    }


def _speed(run: RunFigures) -> dict[str, Any]:
    speed = run.speed
    return {
        "fps_model": rounded(speed.fps_model),
        "fps_end_to_end": rounded(speed.fps_end_to_end),
        "threads": speed.threads,
        "imgsz": list(speed.imgsz) if speed.imgsz else None,
        "inference_ms": _latency(speed.inference),
        "stages_ms": _rounded_all(speed.stages_ms),
        "end_to_end_images": speed.end_to_end_images,
        "warmup": speed.warmup,
        "timed_on": speed.timed_on,
        "repeats": speed.repeats,
        "burst_ms": _latency(speed.burst),
        "sustained_ms": _latency(speed.sustained),
        "latency_slope_percent_per_minute": rounded(speed.latency_slope),
        "temperature_slope_c_per_minute": rounded(speed.temperature_slope),
        "steady": speed.steady,
        "cpus": list(speed.cpus),
    }


def _latency(latency: Latency | None) -> dict[str, Any]:
    if latency is None:
        known = (*_PERCENTILES, "mean", "min", "max", *(f"{name}_ci95" for name in _PERCENTILES))
        return {**dict.fromkeys(known), "samples": 0}
    return {
        "p50": rounded(latency.p50_ms),
        "p90": rounded(latency.p90_ms),
        "p95": rounded(latency.p95_ms),
        "p99": rounded(latency.p99_ms),
        "mean": rounded(latency.mean_ms),
        "min": rounded(latency.min_ms),
        "max": rounded(latency.max_ms),
        "samples": latency.samples,
        **{
            f"{name}_ci95": [rounded(bound) for bound in latency.bounds_ms[share]]
            for name, share in _PERCENTILES.items()
        },
    }


def _memory(run: RunFigures) -> dict[str, Any]:
    memory = run.memory
    return {
        "load_rss_bytes": memory.load_rss_bytes,
        "peak_rss_bytes": memory.peak_rss_bytes,
        "peak_pss_bytes": memory.peak_pss_bytes,
        "before_rss_bytes": memory.before_rss_bytes,
        "load_pss_bytes": memory.load_pss_bytes,
        "swap_bytes": memory.swap_bytes,
        "load_ms": rounded(memory.load_ms),
        "expand_ms": rounded(memory.expand_ms),
        "expand_peak_rss_bytes": memory.expand_peak_rss_bytes,
    }


def _watched(watched: Watched) -> dict[str, Any]:
    power = watched.power
    return {
        "readings": watched.readings,
        "period_s": rounded(watched.period_s),
        "sampler_share": rounded(watched.sampler_share, 6),
        "throttling": list(watched.throttling) if watched.knows_throttling else None,
        "throttled_before": list(watched.throttled_before) if watched.knows_throttling else None,
        "held_back": dict(watched.held_back),
        "over_current": watched.over_current,
        "power": None
        if power is None
        else {
            "rails": list(power.rails),
            "meaning": power.meaning,
            "mean_w": rounded(power.mean_w),
            "energy_j": rounded(power.energy_j, 6),
            "readings": power.readings,
        },
        "series": [
            {
                "quantity": one.quantity,
                "name": one.name,
                "unit": one.unit,
                "low": rounded(one.low),
                "mean": rounded(one.mean),
                "high": rounded(one.high),
                "points": [[rounded(at_s, 3), rounded(value)] for at_s, value in one.points],
            }
            for one in watched.series
        ],
        "notes": [{"about": about, "reason": reason} for about, reason in watched.notes],
    }


def _rounded_all(values: Mapping[str, float | None]) -> dict[str, float | None]:
    return {name: rounded(value) for name, value in values.items()}
