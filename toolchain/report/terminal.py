"""The table that a run ends with in the terminal."""

from __future__ import annotations

import dataclasses
import io
from collections.abc import Callable, Iterator, Sequence

from rich import box
from rich.console import Console
from rich.measure import Measurement
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from toolchain.report import placed, settings, text, traces
from toolchain.report.figures import Report, RunFigures

_Column = tuple[str, Callable[[RunFigures], str]]


def _lost(run: RunFigures) -> str:
    lost, bounds = run.accuracy.ap_lost, run.accuracy.ap_lost_ci95
    if lost is None or bounds is None:
        return text.signed(lost)
    return f"{text.signed(lost)} ({text.interval(bounds)})"


def _latencies(run: RunFigures) -> str:
    latency = run.speed.inference
    if latency is None:
        return text.UNKNOWN
    return " / ".join(
        text.number(value, 0 if value >= 100 else 1 if value >= 10 else 2)
        for value in (latency.p50_ms, latency.p90_ms, latency.p99_ms)
    )


_COLUMNS: tuple[_Column, ...] = (
    ("file", lambda run: text.mib(run.model.file_bytes)),
    ("bits per weight", lambda run: text.number(run.model.bits_per_weight, 2)),
    ("AP", lambda run: text.number(run.accuracy.ap)),
    ("AP50", lambda run: text.number(run.accuracy.ap50)),
    ("AP lost (95 %)", _lost),
    ("agreement", lambda run: text.number(run.accuracy.agreement)),
    ("FPS model", lambda run: text.per_second(run.speed.fps_model)),
    ("FPS end to end", lambda run: text.per_second(run.speed.fps_end_to_end)),
    ("p50 / p90 / p99 ms", _latencies),
    ("peak memory", lambda run: text.mib(run.memory.peak_rss_bytes)),
)
_PLAIN = {"–": "-", "−": "-", "×": "x", "·": "."}
_BREAKS = {
    "agreement": "agree-\nment",
    "bits per weight": "bits per\nweight",
    "AP lost (95 %)": "AP lost\n(95 %)",
    "FPS model": "FPS\nmodel",
    "FPS end to end": "FPS\nend to end",
    "p50 / p90 / p99 ms": "p50 / p90 / p99\nms",
    "peak memory": "peak\nmemory",
}


@dataclasses.dataclass(frozen=True)
class TerminalWriter:
    """colour: whether ANSI styles may be used (the caller knows NO_COLOR and pipes).

    encoding: of the terminal; what it cannot show is replaced.
    """

    width: int = 100
    colour: bool = False
    encoding: str = "utf-8"
    filename: str = "report.txt"

    def render(self, report: Report) -> str:
        """Doubts first, then the figures."""
        stream = io.StringIO()
        console = Console(
            file=stream,
            width=self.width,
            force_terminal=self.colour,
            no_color=not self.colour,
            color_system="standard" if self.colour else None,
            highlight=False,
            emoji=False,
            markup=False,
            legacy_windows=False,
        )
        for part in self._parts(report, console):
            console.print(part)
        return self._shown("".join(f"{line.rstrip()}\n" for line in stream.getvalue().splitlines()))

    def _parts(self, report: Report, console: Console) -> Iterator[Text | Table | Padding]:
        if report.partial:
            yield Text("PARTIAL: not everything that was asked for was measured.", "bold red")
        for doubt in report.doubts:
            style = "yellow" if doubt.level == "warning" else "dim"
            mark = "!" if doubt.level == "warning" else "·"
            names = [text.name_among(r, report.runs) for r in report.runs if r.key in doubt.runs]
            every = not names or len(names) == len(report.runs)
            words = text.clean(doubt.text) + ("" if every else f" [{', '.join(names)}]")
            yield Text(f"{mark} {words}", style)
        for place, runs in _by_place(report.runs):
            yield Text()
            yield Text(place, "bold")
            yield from self._figures(runs, console)
            for line in filter(None, map(placed.line, runs)):
                yield Text(text.clean(line), "dim")
            for told in dict.fromkeys(run.board_settings for run in runs if run.board_settings):
                if line := settings.words(told):
                    yield Text(text.clean(line), "dim")
            yield from self._watched(runs)

    def _figures(
        self, runs: Sequence[RunFigures], console: Console
    ) -> Iterator[Text | Table | Padding]:
        """Runs as lines, or else as columns, or else (narrow, or many) one after the other."""
        unlimited = console.options.update(width=10_000)
        for table in (self._table(runs), self._transposed(runs)):
            if Measurement.get(console, unlimited, table).maximum <= self.width:
                yield table
                return
        yield from self._blocks(runs)

    def _watched(self, runs: Sequence[RunFigures]) -> Iterator[Text | Padding]:
        """What sensors said while each ran: a quantity a line, with its course in blocks."""
        for run in runs:
            lines = list(traces.told(run.watched)) if run.watched else []
            if not lines:
                continue
            share = run.watched.sampler_share if run.watched else None
            cost = f", sampling took {text.percent(share)} of one core" if share else ""
            yield Text(f"while {text.name_of(run)} ran{cost}", "dim")
            table = Table(box=None, show_header=False, pad_edge=False, padding=(0, 2, 0, 0))
            for name, said, one in lines:
                course = traces.sparkline(one) if one else ""
                table.add_row(Text(name), Text(said), Text(course if self._can(course) else ""))
            yield Padding(table, (0, 0, 0, 2))

    def _table(self, runs: Sequence[RunFigures]) -> Table:
        table = Table(box=self._box(), pad_edge=False, header_style="bold", padding=(0, 1, 0, 0))
        table.add_column("model", no_wrap=True)
        for name, _ in _COLUMNS:
            table.add_column(_BREAKS.get(name, name), justify="right", no_wrap=True)
        for run in runs:
            cells = [Text(value(run)) for _, value in _COLUMNS]
            table.add_row(Text(text.name_of(run) + " partial" * run.partial), *cells)
        return table

    def _transposed(self, runs: Sequence[RunFigures]) -> Table:
        table = Table(box=self._box(), pad_edge=False, header_style="bold", padding=(0, 1, 0, 0))
        table.add_column("", style="dim", no_wrap=True)
        for run in runs:
            name = text.name_of(run) + " partial" * run.partial
            table.add_column(Text(name), justify="right", no_wrap=True)
        for name, value in _COLUMNS:
            table.add_row(name, *(Text(value(run)) for run in runs))
        return table

    def _blocks(self, runs: Sequence[RunFigures]) -> Iterator[Text | Table | Padding]:
        for run in runs:
            yield Text(text.name_of(run) + " (partial)" * run.partial, "bold cyan")
            table = Table(box=None, show_header=False, pad_edge=False, padding=(0, 2, 0, 0))
            table.add_column(style="dim")
            table.add_column(justify="left")
            for name, value in _COLUMNS:
                table.add_row(name, Text(value(run)))
            yield Padding(table, (0, 0, 0, 2))

    def _box(self) -> box.Box:
        return box.SIMPLE_HEAD if self._can("─") else box.ASCII2

    def _can(self, characters: str) -> bool:
        try:
            characters.encode(self.encoding)
        except (UnicodeEncodeError, LookupError):
            return False
        return True

    def _shown(self, output: str) -> str:
        if self._can(output):
            return output
        for character, plain in _PLAIN.items():
            output = output if self._can(character) else output.replace(character, plain)
        try:
            return output.encode(self.encoding, "replace").decode(self.encoding)
        except LookupError:
            return output.encode("ascii", "replace").decode("ascii")


def _by_place(runs: Sequence[RunFigures]) -> Iterator[tuple[str, list[RunFigures]]]:
    places: dict[str, list[RunFigures]] = {}
    for run in runs:
        target = run.target
        words = [
            run.model.weights,
            f"at {text.size(run.speed.imgsz)}" if run.speed.imgsz else "",
            f"on {target.name}",
            f"({target.board})" if target.board else "",
            f"with {target.runtime}," if target.runtime else "",
        ]
        places.setdefault(text.clean(" ".join(filter(None, words))), []).append(run)
    for place, here in places.items():
        yield f"{place} {placed.words(here)}", here
