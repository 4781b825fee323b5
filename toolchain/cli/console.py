"""The only place that writes to the terminal: results on stdout, everything else on stderr."""

from __future__ import annotations

import dataclasses
import json
import math
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from targets.errors import HalfbyteError
from targets.progress import SILENT, Progress

if TYPE_CHECKING:
    from rich.console import Console


PIPE_COLUMNS = 200  # a file has no edge: paths in tables are not cut short


def out() -> Console:
    """Results.  Colour only on a terminal and without NO_COLOR."""
    from rich.console import Console

    if sys.stdout.isatty():
        return Console(highlight=False)
    return Console(highlight=False, soft_wrap=True, width=PIPE_COLUMNS)


def err() -> Console:
    """Progress, notes, warnings, errors."""
    from rich.console import Console

    return Console(stderr=True, highlight=False, soft_wrap=not sys.stderr.isatty())


def show(value: Any, *, as_json: bool, text: Callable[[Any], Any]) -> None:
    """One result: as strict JSON, or as `text` makes it (a str or something rich can draw)."""
    if as_json:
        sys.stdout.write(json.dumps(plain(value), indent=2, allow_nan=False) + "\n")
        return
    drawn = text(value)
    if isinstance(drawn, str):
        sys.stdout.write(drawn.rstrip("\n") + "\n")
    else:
        out().print(drawn)


def show_report(measured: Any, *, as_json: bool) -> None:
    """The table of a report and where its files are, or the JSON report itself."""
    if as_json:
        from toolchain.report.json_report import JsonWriter

        sys.stdout.write(JsonWriter().render(measured.report))
        return
    sys.stdout.write(table_of(measured.report))
    sys.stdout.write("".join(f"wrote {path}\n" for path in measured.files))


def table_of(report: Any) -> str:
    """Doubts and figures of a report as this terminal, or pipe, can show them."""
    from toolchain.report.terminal import TerminalWriter

    console = out()
    writer = TerminalWriter(
        width=console.width if sys.stdout.isatty() else 120,
        colour=sys.stdout.isatty() and not console.no_color,
        encoding=sys.stdout.encoding or "utf-8",
    )
    return writer.render(report)


def note(text: str) -> None:
    """A line for people, on stderr, so that pipes stay clean."""
    sys.stderr.write(printable(text) + "\n")


def show_error(error: HalfbyteError, *, as_json: bool) -> None:
    """What happened and what to do: two lines on stderr, or an object on stdout with --json."""
    if as_json:
        body = {
            "kind": type(error).__name__,
            "message": error.message,
            "hint": error.hint,
            "exit_code": error.exit_code,
        }
        sys.stdout.write(json.dumps({"error": body}, indent=2) + "\n")
        return
    console = err()
    console.print("error:", style="bold red", end=" ")
    console.print(printable(error.message), markup=False)
    if error.hint:
        console.print("  try:", style="bold", end=" ")
        console.print(printable(error.hint), markup=False)


def printable(text: str) -> str:
    """Text from models and boards without control characters, which could move the cursor."""
    return "".join(c if c.isprintable() or c == "\n" else "\N{REPLACEMENT CHARACTER}" for c in text)


def plain_text(text: str) -> Any:
    """Text for rich, nothing in it taken for markup or control characters."""
    from rich.text import Text

    return Text(printable(text))


def plain(value: Any) -> Any:
    """Dataclasses, paths and tuples as JSON values; NaN and infinity as null."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {f.name: plain(getattr(value, f.name)) for f in dataclasses.fields(value)}
    if isinstance(value, dict):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [plain(item) for item in value]
    if isinstance(value, Path):
        return str(value)
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value


def progress() -> Progress:
    """Bars on a terminal, nothing in a pipe."""
    if not sys.stderr.isatty():
        return SILENT
    from toolchain.cli.bars import Bars

    return Bars(err())
