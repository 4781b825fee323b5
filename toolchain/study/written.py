"""Results as files: study.csv, study.md, study.svg, and study.json of schema "halfbyte.study"."""

from __future__ import annotations

import csv
import dataclasses
import io
import json
from pathlib import Path
from typing import Any, Final

from targets.files import write_whole
from toolchain.study import cell as cells
from toolchain.study.folder import State
from toolchain.study.made import Made
from toolchain.study.picture import picture
from toolchain.study.results import FP16_BITS, FP32_BITS, PAPER, Results, saved
from toolchain.study.scoring import Figures
from toolchain.study.tables import markdown

SCHEMA: Final = "halfbyte.study"
VERSION: Final = 1


def write(results: Results, out: Path) -> tuple[Path, ...]:
    """All four; the paths."""
    document = json.dumps(as_json(results), indent=1, allow_nan=False) + "\n"
    contents = {
        "study.json": document,
        "study.csv": as_csv(results),
        "study.md": markdown(results),
        "study.svg": picture(results),
    }
    for name, content in contents.items():
        write_whole(out / name, content.encode())
    return tuple(out / name for name in contents)


def as_json(results: Results) -> dict[str, Any]:
    """Strict JSON data; None where something is not known."""
    return {
        "schema": SCHEMA,
        "version": VERSION,
        "weights": results.weights,
        "grid": results.grid,
        "imgsz": list(results.imgsz),
        "images": results.images,
        "calibration_images": results.calibration_images,
        "scored_too": results.scored_too,
        "float_ap": results.float_ap,
        "paper": [
            {**dataclasses.asdict(line), "bits_per_weight": line.bits_per_weight} for line in PAPER
        ],
        "cells": [_cell(results, state) for state in results.states],
    }


def as_csv(results: Results) -> str:
    """RFC 4180: a header, then the cells; an empty field is not known."""
    rows = [_flat(results, state) for state in results.states]
    stream = io.StringIO()
    writer = csv.DictWriter(stream, fieldnames=list(rows[0]), lineterminator="\r\n")
    writer.writeheader()
    writer.writerows(rows)
    return stream.getvalue()


def _cell(results: Results, state: State) -> dict[str, Any]:
    return {
        "name": state.cell.name,
        **cells.to_json(state.cell),
        **_size(state.made),
        "lost_percent": results.lost_percent(state),
        "final": None if state.final is None else dataclasses.asdict(state.final),
        "screened": None if state.screened is None else dataclasses.asdict(state.screened),
        "refused": state.refused or None,
        "make_seconds": state.make_seconds,
        "run_seconds": state.run_seconds,
        "layers": [] if state.made is None else [dataclasses.asdict(x) for x in state.made.layers],
    }


def _size(made: Made | None) -> dict[str, Any]:
    bits = None if made is None else made.bits_per_weight
    file_bits = None if made is None else made.file_bits_per_weight
    return {
        "bits_per_weight": bits,
        "ratio_fp16": saved(bits, FP16_BITS),
        "ratio_fp32": saved(bits, FP32_BITS),
        "file_bytes": None if made is None else made.file_bytes,
        "file_bits_per_weight": file_bits,
        "file_ratio_fp16": saved(file_bits, FP16_BITS),
        "file_ratio_fp32": saved(file_bits, FP32_BITS),
        "proxy": None if made is None else made.proxy,
    }


def _flat(results: Results, state: State) -> dict[str, Any]:
    row = {key: value for key, value in _cell(results, state).items() if key != "layers"}
    for stage in ("final", "screened"):
        row.pop(stage)
        figures: Figures | None = getattr(state, stage)
        for field in dataclasses.fields(Figures):
            value = None if figures is None else getattr(figures, field.name)
            if field.name == "ap_lost_ci95":
                low, high = value or (None, None)
                row[f"{stage}_ap_lost_low"], row[f"{stage}_ap_lost_high"] = low, high
            else:
                row[f"{stage}_{field.name}"] = value
    return row
