"""A comparison as one page, opened from disk, nothing fetched, no script."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

from markupsafe import Markup

from toolchain.compare import words
from toolchain.compare.pairs import Comparison
from toolchain.compare.picture import intervals
from toolchain.compare.verdicts import Outcome, Pair, Verdict
from toolchain.report import text
from toolchain.report.html import environment

_CLASSES = {
    Outcome.DIFFERENT: "real",
    Outcome.SAME: "same",
    Outcome.UNKNOWN: "soft",
    Outcome.ERROR: "lost",
}


@dataclasses.dataclass(frozen=True)
class _Row:
    verdict: Verdict
    cells: Sequence[str]
    kind: str


@dataclasses.dataclass(frozen=True)
class _Section:
    pair: Pair
    title: str
    headline: str
    sides: Sequence[str]
    rows: Sequence[_Row]
    picture: Markup | None


def to_html(comparison: Comparison) -> str:
    """The whole page; the template escapes all that it shows."""
    page = environment("toolchain.compare").get_template("compare.html.j2")
    sections = [_section(pair) for pair in comparison.pairs]
    title = sections[0].title if len(sections) == 1 else f"{len(sections)} pairs of models"
    rendered: str = page.render(
        title=title,
        sections=sections,
        columns=words.COLUMNS,
        alone=[text.clean(name) for name in comparison.alone],
    )
    return rendered


def _section(pair: Pair) -> _Section:
    return _Section(
        pair,
        words.title(pair),
        words.headline(pair),
        [words.of_side(pair, letter) for letter in "AB"],
        [_Row(v, words.row(v), "blunt" if v.blunt else _CLASSES[v.outcome]) for v in pair.verdicts],
        intervals(pair.verdicts),
    )
