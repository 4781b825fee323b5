"""What every form of a report has in common, and the files of a whole report."""

from __future__ import annotations

from pathlib import Path
from typing import Protocol

from targets.files import write_whole
from targets.progress import SILENT, Progress
from toolchain.report.figures import Report


class Writer(Protocol):
    """One form.  `filename` is what it is called in a run folder."""

    @property
    def filename(self) -> str:
        """Name of the file."""

    def render(self, report: Report) -> str:
        """The whole text; the same report gives the same text."""


def writers() -> tuple[Writer, ...]:
    """The forms that a report is written in."""
    from toolchain.report.csv_table import CsvWriter
    from toolchain.report.html import HtmlWriter
    from toolchain.report.json_report import JsonWriter

    return JsonWriter(), HtmlWriter(), CsvWriter()


def make(folder: Path, *, progress: Progress = SILENT) -> tuple[Report, list[Path]]:
    """The report of a run folder, written into it; made again it is the same.

    Raises RunFolderError.
    """
    from toolchain.report.summarise import summarise
    from toolchain.runs import RunFolder

    report = summarise(RunFolder.open(folder).load(), progress=progress)
    return report, write(report, folder)


def write(report: Report, folder: Path) -> list[Path]:
    """Write each form into `folder`, UTF-8 whatever the locale is; the paths written.

    Beside them `detections/<run key>.json` holds what each model found, in COCO's results form.
    """
    from toolchain.evaluate.detections import write_coco

    for run in report.runs:
        if run.found is not None:
            write_coco(run.found, folder / "detections" / f"{run.key}.json")
    paths = []
    for form in writers():
        path = folder / form.filename
        write_whole(path, form.render(report).encode("utf-8", "replace"))
        paths.append(path)
    return paths
