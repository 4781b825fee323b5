"""A comparison in the terminal: reasons for doubt first, then a table for each pair."""

from __future__ import annotations

from collections.abc import Iterator

from rich import box
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from toolchain.compare import words
from toolchain.compare.pairs import Comparison
from toolchain.compare.verdicts import Outcome, Pair, Verdict
from toolchain.report.text import clean

_STYLES = {
    Outcome.DIFFERENT: "bold",
    Outcome.SAME: "green",
    Outcome.UNKNOWN: "dim",
    Outcome.ERROR: "red",
}


def drawn(comparison: Comparison) -> Group:
    """Something that rich prints."""
    parts: list[RenderableType] = []
    for pair in comparison.pairs:
        parts += _pair(pair)
    parts += [Text(f"not compared: {clean(name)}", "dim") for name in comparison.alone]
    return Group(*parts)


def _pair(pair: Pair) -> Iterator[RenderableType]:
    for letter in "AB":
        yield Text(words.of_side(pair, letter), "bold")
    for reason in pair.reasons:
        yield Text(f"! {reason.text}", "yellow")
    yield Text(words.headline(pair), "bold cyan" if pair.different else "bold green")
    yield _table(pair)


def _table(pair: Pair) -> Table:
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, header_style="bold", padding=(0, 1, 0, 0))
    for name in words.COLUMNS:
        left = name in (words.COLUMNS[0], words.COLUMNS[-1])
        table.add_column(name, justify="left" if left else "right", no_wrap=not left)
    for verdict in pair.verdicts:
        table.add_row(*_cells(verdict))
    return table


def _cells(verdict: Verdict) -> list[Text]:
    *cells, outcome = words.row(verdict)
    return [
        *map(Text, cells),
        Text(outcome, "yellow" if verdict.blunt else _STYLES[verdict.outcome]),
    ]
