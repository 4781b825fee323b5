"""Rows of sweeps that were never made."""

from __future__ import annotations

from toolchain.sweep.grid import Combination
from toolchain.sweep.results import Model, Row


def model(name: str = "float32", size: int = 640) -> Model:
    return Model(name, "best", name, 8, (size, size), 1000, f"{abs(hash((name, size))):064x}"[:64])


def row(
    ap: float | None = 40.0,
    fps: float | None = 10.0,
    watts: float | None = None,
    *,
    of: Model | None = None,
    threads: int = 1,
    mode: str | None = None,
    doubts: tuple[str, ...] = (),
) -> Row:
    return Row(
        model=of or model(),
        combination=Combination(threads, mode),
        folder="x",
        partial=False,
        ap=ap,
        ap_lost=None if ap is None else 1.0,
        ap_lost_ci95=None if ap is None else (0.5, 1.5),
        agreement=None,
        fps_model=fps,
        fps_end_to_end=fps,
        p50_ms=None if not fps else 1000 / fps,
        p50_ci95=(1.0, None),
        watts=watts,
        joule=None if watts is None or not fps else watts / fps,
        power_is=None if watts is None else "the module's input",
        peak_rss_bytes=None,
        doubts=doubts,
    )
