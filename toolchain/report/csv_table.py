"""`report.csv`: one line a run, for spreadsheets; an empty cell is unknown."""

from __future__ import annotations

import csv
import io
from typing import Any

from toolchain.report.figures import Report
from toolchain.report.json_report import as_json
from toolchain.report.plain import cell

_COLUMNS = {
    "model": (
        "weights", "recipe", "bits", "file_bytes", "bits_per_weight", "ratio_fp32", "ratio_fp16",
        "sha256",
    ),
    "target": ("name", "board", "emulated", "runtime"),
    "accuracy": (
        "ap", "ap50", "ap_float", "ap_lost", "ap_lost_ci95", "agreement", "confident_boxes",
        "images",
    ),
    "speed": ("fps_model", "fps_end_to_end", "threads", "imgsz", "inference_ms"),
    "memory": (
        "load_rss_bytes", "peak_rss_bytes", "peak_pss_bytes", "load_ms", "expand_ms",
        "expand_peak_rss_bytes",
    ),
    "telemetry": ("hottest_c", "clock_mhz", "cpu_load", "power", "throttling", "sampler_share"),
}  # fmt: skip
_PARTS = {
    "ap_lost_ci95": ("low", "high"),
    "imgsz": ("height", "width"),
    "clock_mhz": ("low", "high"),
    "power": ("mean_w", "energy_j"),
    "inference_ms": ("p50", "p90", "p95", "p99", "samples"),
}


class CsvWriter:
    """RFC 4180; names are those of report.json, joined by underscores."""

    filename = "report.csv"

    def render(self, report: Report) -> str:
        """A header, then the runs."""
        stream = io.StringIO()
        rows = [_row({**run, "telemetry": _telemetry(run)}) for run in as_json(report)["runs"]]
        writer = csv.DictWriter(stream, fieldnames=_header(), lineterminator="\r\n")
        writer.writeheader()
        writer.writerows(rows)
        return stream.getvalue()


def _header() -> list[str]:
    names = ["partial", "doubts"]
    for block, columns in _COLUMNS.items():
        for column in columns:
            parts = _PARTS.get(column)
            names += [f"{block}_{column}_{p}" for p in parts] if parts else [f"{block}_{column}"]
    return names


def _telemetry(run: dict[str, Any]) -> dict[str, Any]:
    """Series as single figures: the highest, the range, the mean."""
    told = run["telemetry"] or {}
    series = told.get("series", [])
    clocks = [s for s in series if s["quantity"] == "clock" and s["name"] != "GPU"]
    flags = told.get("throttling")
    return {
        "hottest_c": run["target"]["hottest_c"],
        "clock_mhz": {
            "low": min((s["low"] for s in clocks if s["low"] is not None), default=None),
            "high": max((s["high"] for s in clocks if s["high"] is not None), default=None),
        },
        "cpu_load": next((s["mean"] for s in series if s["name"] == "all cores"), None),
        "power": told.get("power"),
        "throttling": None if flags is None else ", ".join(flags) or "none",
        "sampler_share": told.get("sampler_share"),
    }


def _row(run: dict[str, Any]) -> dict[str, Any]:
    row = {"partial": cell(run["partial"]), "doubts": " ".join(run["doubts"])}
    for block, columns in _COLUMNS.items():
        for column in columns:
            value = run[block][column]
            for index, part in enumerate(_PARTS.get(column, ())):
                of_part = value.get(part) if isinstance(value, dict) else value and value[index]
                row[f"{block}_{column}_{part}"] = cell(of_part)
            if column not in _PARTS:
                row[f"{block}_{column}"] = cell(value)
    return row
