"""`report.html`: one file, opened from disk, nothing fetched, no script.

The template only shows what is made ready here; it escapes all of it.
"""

from __future__ import annotations

import base64
import dataclasses
import shlex
from collections.abc import Iterator, Sequence
from typing import Any

from markupsafe import Markup

from toolchain.evaluate.agreement import TRUTH_SCORE
from toolchain.report import charts, placed, settings, text, traces
from toolchain.report.figures import Doubt, Example, Report, RunFigures
from toolchain.report.overlay import overlay
from toolchain.runmeta import BoardSettings, SettingMeta
from toolchain.tuning.candidates import ranges

_MOST_CLASSES = 200


class HtmlWriter:
    """The report for people."""

    filename = "report.html"

    def render(self, report: Report) -> str:
        """The whole page."""
        page = environment("toolchain.report").get_template("report.html.j2")
        rendered: str = page.render(
            report=report,
            title=_title(report),
            command=shlex.join(report.command),
            groups=[_Group.of(runs, report) for runs in _grouped(report)],
            tags={doubt: _tags(doubt, report) for doubt in report.doubts},
            pictures={e.image_id: _data_uri(e) for e in report.examples},
        )
        return rendered


def environment(*packages: str) -> Any:
    """Jinja's environment for pages of ours: all values escaped, the style sheet at hand.

    packages: in whose folder `page` templates are looked for.
    """
    import jinja2

    places = dict.fromkeys((*packages, "toolchain.report"))
    made = jinja2.Environment(
        loader=jinja2.ChoiceLoader([jinja2.PackageLoader(name, "page") for name in places]),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        finalize=lambda value: text.UNKNOWN if value is None else value,
    )
    made.filters |= {
        "clean": text.clean,
        "number": text.number,
        "signed": text.signed,
        "mib": text.mib,
        "ms": text.milliseconds,
        "fps": text.per_second,
        "times": text.times,
        "size": text.size,
        "interval": text.interval,
        "range_ms": text.range_ms,
        "name": text.name_of,
        "name_among": text.name_among,
        "counted": text.counted,
        "day": text.day,
        "joule": text.joule,
        "percent": text.percent,
        "ranges": ranges,
    }
    return made


@dataclasses.dataclass(frozen=True)
class _Group:
    """Models of the same weights on the same target, in one set of charts and tables."""

    heading: str
    setting: str
    runs: Sequence[RunFigures]
    reference: RunFigures | None
    charts: Sequence[tuple[str, str, Markup]]
    examples: Sequence[tuple[Example, Sequence[tuple[RunFigures, Markup, int]]]]
    classes: Sequence[tuple[str, Sequence[float | None]]]
    traces: Sequence[tuple[RunFigures, Sequence[tuple[str, str, Markup]]]]
    settings: Sequence[tuple[str, BoardSettings, Sequence[SettingMeta]]]
    tuned: Sequence[tuple[RunFigures, Sequence[placed.Row], str]]

    @classmethod
    def of(cls, runs: Sequence[RunFigures], report: Report) -> _Group:
        """All that the template shows of these runs."""
        return cls(
            heading=text.clean(f"{runs[0].model.weights} on {runs[0].target.name}"),
            setting=_setting(runs),
            runs=runs,
            reference=next((run for run in runs if run.is_float), None),
            charts=list(_charts(runs)),
            examples=[
                (example, list(_found(example, runs, report))) for example in report.examples
            ],
            classes=_classes(runs),
            settings=settings.tables(runs),
            tuned=[
                (run, placed.rows(run.tuning), placed.how(run.tuning))
                for run in runs
                if run.tuning is not None
            ],
            traces=[(run, list(traces.charts(run.watched))) for run in runs if run.watched],
        )

    def series(self, run: RunFigures) -> int:
        """The number of the run's colour."""
        return self.runs.index(run) % 6

    @property
    def long(self) -> bool:
        """Whether some run was long enough for a sustained figure."""
        return any(run.speed.sustained is not None for run in self.runs)

    def faster(self, run: RunFigures) -> float | None:
        """How many times the frames of the float model."""
        theirs = self.reference.speed.fps_model if self.reference else None
        return _quotient(run.speed.fps_model, theirs)

    def less_memory(self, run: RunFigures) -> float | None:
        """The float model's peak as a multiple of this one's."""
        theirs = self.reference.memory.peak_rss_bytes if self.reference else None
        return _quotient(theirs, run.memory.peak_rss_bytes)


def _grouped(report: Report) -> list[list[RunFigures]]:
    groups: dict[tuple[Any, ...], list[RunFigures]] = {}
    for run in report.runs:
        key = (run.model.weights, run.target.name, run.speed.imgsz)
        groups.setdefault(key, []).append(run)
    return list(groups.values())


def _setting(runs: Sequence[RunFigures]) -> str:
    run = runs[0]
    words = [
        f"Image size {text.size(run.speed.imgsz)}" if run.speed.imgsz else "",
        placed.words(runs),
        text.clean(run.target.runtime or ""),
        text.clean(run.target.board or run.target.cpu or ""),
    ]
    return ", ".join(filter(None, words))


def _title(report: Report) -> str:
    weights = dict.fromkeys(text.clean(run.model.weights) for run in report.runs)
    targets = dict.fromkeys(text.clean(run.target.name) for run in report.runs)
    if not weights:
        return "No runs"
    return f"{text.listed(list(weights))} on {text.listed(list(targets))}"


def _tags(doubt: Doubt, report: Report) -> list[str]:
    """Names of the runs concerned; none where it is all of them."""
    concerned = [run for run in report.runs if run.key in doubt.runs]
    if len(concerned) == len(report.runs):
        return []
    return [text.name_among(run, report.runs) for run in concerned]


def _charts(runs: Sequence[RunFigures]) -> Iterator[tuple[str, str, Markup]]:
    """Title, what to read in it, and the chart."""
    numbered = [(run, index % 6, text.name_of(run)) for index, run in enumerate(runs)]
    scored = next((run.accuracy.images for run in runs if run.is_float), runs[0].accuracy.images)
    comparable = [item for item in numbered if item[0].accuracy.images == scored]
    if len(points := [p for item in comparable if (p := _point(*item))]) > 1:
        yield (
            "Accuracy and size",
            "Up and to the left is better. Whiskers: the float model's AP less the interval lost.",
            charts.plane(points, x_label="file, MiB", y_label="AP"),
        )
    times = [
        charts.Times(name, series, run.speed.inference)
        for run, series, name in numbered
        if run.speed.inference is not None
    ]
    if times:
        yield (
            "Latency of the model alone",
            "Each around its own median; lines mark p50, p90 and p99.",
            charts.histograms(times),
        )
    memory = [
        charts.Bar(
            name,
            series,
            tuple(
                value and value / 2**20
                for value in (
                    run.memory.before_rss_bytes,
                    run.memory.load_rss_bytes,
                    run.memory.peak_rss_bytes,
                )
            ),
            text.mib(run.memory.peak_rss_bytes),
        )
        for run, series, name in numbered
        if run.memory.peak_rss_bytes
    ]
    if memory:
        yield (
            "Memory of the process, MiB",
            "Resident: Python and libraries, with the model loaded, and the highest (VmHWM).",
            charts.bars(memory, unit="", shades=("before loading", "loaded", "peak")),
        )
    stages = [
        charts.Bar(
            name,
            series,
            tuple(run.speed.stages_ms.values()),
            text.milliseconds(sum(run.speed.stages_ms.values())),
        )
        for run, series, name in numbered
        if run.speed.stages_ms
    ]
    if stages:
        yield (
            "Where an image's time goes",
            "Mean over the evaluation images; the whole bar is one image, end to end.",
            charts.stacked(stages, shades=("decode", "letterbox", "inference", "boxes")),
        )


def _point(run: RunFigures, series: int, name: str) -> charts.Point | None:
    ap, bounds, reference = run.accuracy.ap, run.accuracy.ap_lost_ci95, run.accuracy.ap_float
    if ap is None:
        return None
    ends = (reference - bounds[1], reference - bounds[0]) if bounds and reference else (None, None)
    return charts.Point(name, series, run.model.file_bytes / 2**20, ap, *ends)


def _found(
    example: Example, runs: Sequence[RunFigures], report: Report
) -> Iterator[tuple[RunFigures, Markup, int]]:
    for run in runs:
        if run.found is not None:
            seen = run.found.on([example.image_id]).above(TRUTH_SCORE)
            yield run, overlay(seen, report.categories, example), len(seen)


def _classes(runs: Sequence[RunFigures]) -> list[tuple[str, list[float | None]]]:
    """AP by class and run, the class that lost most first."""
    names = dict.fromkeys(name for run in runs for name in run.accuracy.classes)
    rows = [(name, [run.accuracy.classes.get(name) for run in runs]) for name in names]
    rows.sort(key=lambda row: (_lost(row[1]), row[0]))
    return rows[:_MOST_CLASSES]


def _lost(aps: Sequence[float | None]) -> float:
    known = [ap for ap in aps if ap is not None]
    return min(known) - known[0] if known else 0.0


def _quotient(one: float | None, other: float | None) -> float | None:
    return one / other if one and other else None


def _data_uri(example: Example) -> str:
    encoded = base64.b64encode(example.path.read_bytes()).decode("ascii")
    return f"data:image/jpeg;base64,{encoded}"
