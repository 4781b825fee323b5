"""The table that a sweep ends with in the terminal."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Final

from rich import box
from rich.table import Table
from rich.text import Text

from toolchain.report import text
from toolchain.sweep.results import Results, Row

_BEST: Final = "*"


def drawn(found: Results) -> Table:
    """A line a row, models in the order in which they were given; `*`: on the front."""
    columns = list(_columns(found))
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, header_style="bold", padding=(0, 1, 0, 0))
    table.add_column("model", no_wrap=True)
    for name, _ in columns:
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("", no_wrap=True)
    order = {row.model.sha256: place for place, row in enumerate(reversed(found.rows))}
    last = None
    for row in sorted(found.rows, key=lambda row: -order[row.model.sha256]):
        style = "bold" if row.best else ""
        model = "" if row.model == last else row.model.name
        marks = " ".join(filter(None, [_BEST * row.best, "partial" * row.partial, _doubted(row)]))
        cells = [Text(value(row), style) for _, value in columns]
        table.add_row(Text(text.clean(model)), *cells, Text(marks, "dim"))
        last = row.model
    return table


def _doubted(row: Row) -> str:
    """Codes of what says least for itself; all are in sweep.json."""
    shown = [code for code in row.doubts if code not in ("loopback", "emulated", "incomplete")]
    return f"! {', '.join(shown)}" if shown else ""


def _columns(found: Results) -> Iterator[tuple[str, Callable[[Row], str]]]:
    if any(row.combination.mode is not None for row in found.rows):
        yield "mode", lambda row: text.clean(row.combination.mode or text.UNKNOWN)
    yield "threads", lambda row: str(row.combination.threads)
    if found.by == "AP":
        yield "AP", lambda row: text.number(row.ap)
    else:
        yield "agreement", lambda row: text.number(row.agreement)
    yield "FPS model", lambda row: text.per_second(row.fps_model)
    yield "FPS end to end", lambda row: text.per_second(row.fps_end_to_end)
    yield "p50 (95 %) ms", _latency
    if any(row.watts is not None for row in found.rows):
        yield "W", lambda row: text.number(row.watts, 2)
        yield "an inference", lambda row: text.joule(row.joule)
    yield "peak memory", lambda row: text.mib(row.peak_rss_bytes)


def _latency(row: Row) -> str:
    if row.p50_ms is None:
        return text.UNKNOWN
    middle = text.milliseconds(row.p50_ms).removesuffix(" ms")
    return middle if row.p50_ci95 is None else f"{middle} ({text.range_ms(row.p50_ci95)})"
