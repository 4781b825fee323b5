"""Answers as a page of Markdown."""

from __future__ import annotations

import dataclasses
import datetime as dt
import platform
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from scripts.probes.cases import Case

BEGIN, END = "<!-- probe: begin -->", "<!-- probe: end -->"
CLOSE = 1  # quantized steps: kernels round differently


@dataclasses.dataclass(frozen=True)
class Column:
    """One runtime.  python: version that ran it; None where no wheel fits, with pip's reasons."""

    title: str
    python: str | None
    reasons: Mapping[str, str]
    answers: Mapping[str, dict[str, Any]]


def page(cases: Sequence[Case], columns: Sequence[Column]) -> str:
    """The table, and under it what was refused, with which words."""
    tried = [column for column in columns if column.python]
    titles = {case.name: case.title for case in cases}
    lines = [
        f"Probed on {dt.datetime.now(dt.UTC):%Y-%m-%d}, {_machine()}, one thread.",
        "",
        "| | " + " | ".join(f"{c.title} (Python {c.python})" for c in tried) + " |",
        "| --- " * (len(tried) + 1) + "|",
    ]
    for case in cases:
        cells = [_cell(case, column.answers) for column in tried]
        lines.append(f"| {case.title} | " + " | ".join(cells) + " |")
    notes = _notes(titles, tried)
    missing = [
        f"- {column.title} was not tried: no wheel for {', '.join(sorted(column.reasons))} here."
        for column in columns
        if not column.python
    ]
    return "\n".join([*lines, *([""] if notes or missing else []), *notes, *missing])


def replace_between_markers(path: Path, text: str) -> None:
    """Renews the made part of a page; what people wrote around it stays."""
    before, rest = path.read_text(encoding="utf-8").split(BEGIN)
    after = rest.split(END)[1]
    path.write_text(f"{before}{BEGIN}\n{text}\n{END}{after}", encoding="utf-8")


def _cell(case: Case, answers: Mapping[str, dict[str, Any]]) -> str:
    answer = answers[case.name]
    if "refused" in answer:
        return "refused"
    if "broke" in answer:
        return answer["broke"]
    if case.expected is None:
        return "**runs**"
    where = {True: "XNNPACK", False: "built-in kernel", None: "unknown kernel"}[answer["delegated"]]
    return f"{_verdict(case, answer)}, {where}, {_speed(case, answer, answers)}"


def _verdict(case: Case, answer: dict[str, Any]) -> str:
    assert case.expected is not None
    if tuple(answer["shape"]) != case.expected.shape or answer["off_by"] > CLOSE:
        return f"**wrong** (by up to {answer['off_by']} steps)"
    return "exact" if answer["off_by"] == 0 else "right"


def _speed(case: Case, answer: dict[str, Any], answers: Mapping[str, dict[str, Any]]) -> str:
    baseline = answers.get(case.baseline or "", {}).get("fastest_ms")
    text = f"{answer['fastest_ms']:.2f} ms"
    return text if baseline is None else f"{text} ({answer['fastest_ms'] / baseline:.1f}x)"


def _notes(titles: Mapping[str, str], columns: Sequence[Column]) -> list[str]:
    """Each refusal in the runtime's own words; the same words once."""
    said: dict[tuple[str, str], list[str]] = {}
    for column in columns:
        for name, answer in column.answers.items():
            if "refused" in answer:
                # The words without the place in the runtime's own source, which moves.
                words = re.sub(r"^\S+\.cc:\d+ ", "", " ".join(answer["refused"].split()))
                said.setdefault((titles[name], words), []).append(column.title)
    return [
        f"- {title}, {', '.join(runtimes)}: `{words}`" for (title, words), runtimes in said.items()
    ]


def _machine() -> str:
    model = "an unknown CPU"
    flags: set[str] = set()
    info = Path("/proc/cpuinfo")
    for line in info.read_text().splitlines() if info.exists() else []:
        key, _, value = line.partition(":")
        if key.strip() == "model name":
            model = value.strip()
        if key.strip() in {"flags", "Features"}:
            flags = set(value.split())
    able = [flag for flag in ("avx2", "avx512_vnni", "avx_vnni", "asimddp") if flag in flags]
    return f"{platform.machine()}, {model} ({', '.join(able) or 'no vector features told'})"
