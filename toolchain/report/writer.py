"""What every form of a report has in common, and the files of a whole report."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

from targets.files import write_whole
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


def write(report: Report, folder: Path, forms: Sequence[Writer] | None = None) -> list[Path]:
    """Write each form into `folder`, UTF-8 whatever the locale is; the paths written."""
    paths = []
    for form in writers() if forms is None else forms:
        path = folder / form.filename
        write_whole(path, form.render(report).encode("utf-8", "replace"))
        paths.append(path)
    return paths
