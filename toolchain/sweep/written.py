"""`sweep.json` and `sweep.csv`: the figures of a sweep for other programs."""

from __future__ import annotations

import csv
import datetime as dt
import io
import json
from collections.abc import Sequence
from typing import Any, Final

from targets.agent import wire
from toolchain.report.plain import cell, rounded
from toolchain.sweep.grid import LeftOut
from toolchain.sweep.results import Results, Row

SCHEMA: Final = "halfbyte.sweep"
VERSION: Final = 1
_COLUMNS: Final = (
    "model", "weights", "recipe", "bits", "imgsz_height", "imgsz_width", "file_bytes", "sha256",
    "power_mode", "threads", "ap", "ap_lost", "ap_lost_low", "ap_lost_high", "agreement",
    "fps_model", "fps_end_to_end", "p50_ms", "p50_low_ms", "p50_high_ms", "watts", "joule",
    "peak_rss_bytes", "best", "partial", "doubts", "folder",
)  # fmt: skip


def to_json(found: Results, left_out: Sequence[LeftOut], command: Sequence[str]) -> str:
    """Strict JSON: what is unknown is null.  APs are points, times milliseconds."""
    document = {
        "schema": SCHEMA,
        "version": VERSION,
        "created": dt.datetime.now(dt.UTC).isoformat(timespec="seconds"),
        "command": list(command),
        "target": found.target,
        "board": found.board,
        "runtime": found.runtime,
        "images": found.images,
        "rows": [_plain(row) for row in found.rows],
        "left_out": [
            {
                "power_mode": one.combination.mode,
                "threads": one.combination.threads,
                "reason": one.reason,
            }
            for one in left_out
        ],
    }
    return json.dumps(wire.plain(document), indent=1, allow_nan=False) + "\n"


def to_csv(found: Results) -> str:
    """RFC 4180, a line a row; an empty cell is unknown."""
    stream = io.StringIO()
    writer = csv.DictWriter(stream, fieldnames=_COLUMNS, lineterminator="\r\n")
    writer.writeheader()
    for row in found.rows:
        plain = _plain(row)
        for pair, parts in (
            (plain.pop("imgsz"), ("imgsz_height", "imgsz_width")),
            (plain.pop("ap_lost_ci95"), ("ap_lost_low", "ap_lost_high")),
            (plain.pop("p50_ci95_ms"), ("p50_low_ms", "p50_high_ms")),
        ):
            plain |= dict(zip(parts, pair or (None, None), strict=True))
        plain["doubts"] = " ".join(plain["doubts"])
        writer.writerow({name: cell(plain[name]) for name in _COLUMNS})
    return stream.getvalue()


def _plain(row: Row) -> dict[str, Any]:
    model = row.model
    return {
        "model": model.name,
        "weights": model.weights,
        "recipe": model.recipe,
        "bits": model.bits,
        "imgsz": model.imgsz,
        "file_bytes": model.file_bytes,
        "sha256": model.sha256,
        "power_mode": row.combination.mode,
        "threads": row.combination.threads,
        "ap": rounded(row.ap),
        "ap_lost": rounded(row.ap_lost),
        "ap_lost_ci95": _pair(row.ap_lost_ci95),
        "agreement": rounded(row.agreement),
        "fps_model": rounded(row.fps_model),
        "fps_end_to_end": rounded(row.fps_end_to_end),
        "p50_ms": rounded(row.p50_ms),
        "p50_ci95_ms": _pair(row.p50_ci95),
        "watts": rounded(row.watts),
        "joule": rounded(row.joule, 6),
        "power_is": row.power_is,
        "peak_rss_bytes": row.peak_rss_bytes,
        "best": row.best,
        "saving": row.saving,
        "partial": row.partial,
        "doubts": list(row.doubts),
        "folder": row.folder,
    }


def _pair(bounds: tuple[float | None, float | None] | None) -> list[float | None] | None:
    return None if bounds is None else [rounded(bound) for bound in bounds]
