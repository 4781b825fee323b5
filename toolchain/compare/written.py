"""A comparison as JSON and as Markdown."""

from __future__ import annotations

import json
from typing import Any

from targets.agent import wire
from toolchain.compare import words
from toolchain.compare.pairs import Comparison
from toolchain.compare.sides import Side
from toolchain.compare.verdicts import Pair, Verdict
from toolchain.report.plain import rounded

SCHEMA = "halfbyte.comparison"
VERSION = 1


def as_json(comparison: Comparison) -> dict[str, Any]:
    """Plain JSON values; what is unknown is null."""
    return {
        "schema": SCHEMA,
        "version": VERSION,
        "confidence": 0.95,
        "different": comparison.different,
        "pairs": [_pair(pair) for pair in comparison.pairs],
        "alone": list(comparison.alone),
    }


def to_json(comparison: Comparison) -> str:
    """Strict JSON."""
    return json.dumps(wire.plain(as_json(comparison)), allow_nan=False, indent=1) + "\n"


def to_markdown(comparison: Comparison) -> str:
    """A table for each pair, reasons to doubt it above."""
    return "\n".join("\n".join(_section(pair)) for pair in comparison.pairs)


def cell(text: str) -> str:
    """Foreign text in a Markdown table: nothing in it is markup, or ends the cell."""
    escaped = "".join(f"\\{c}" if c in "\\`*_{}[]<>#|~" else c for c in text)
    return escaped.replace("\n", " ")


def _section(pair: Pair) -> list[str]:
    lines = [f"### {cell(words.title(pair))}", ""]
    lines += [f"**{cell(words.headline(pair))}**", ""]
    lines += [f"- {cell(words.of_side(pair, letter))}" for letter in "AB"]
    lines += [f"- :warning: {cell(reason.text)}" for reason in pair.reasons]
    lines += ["", f"| {' | '.join(words.COLUMNS)} |", "| --- | --: | --: | --: | --- |"]
    lines += [f"| {' | '.join(map(cell, words.row(verdict)))} |" for verdict in pair.verdicts]
    return [*lines, ""]


def _pair(pair: Pair) -> dict[str, Any]:
    return {
        "a": _side(pair.a),
        "b": _side(pair.b),
        "different": [verdict.figure for verdict in pair.different],
        "same_file": pair.same_file,
        "agreement": rounded(pair.agreement),
        "reasons": [{"code": r.code, "text": r.text, "side": r.side or None} for r in pair.reasons],
        "verdicts": [_verdict(verdict) for verdict in pair.verdicts],
    }


def _side(side: Side) -> dict[str, Any]:
    return {
        "folder": str(side.folder),
        "key": side.key,
        "runs": [run.key for run in side.runs],
        "weights": side.figures.model.weights,
        "recipe": side.figures.model.recipe,
        "sha256": side.figures.model.sha256,
        "target": side.figures.target.name,
    }


def _verdict(verdict: Verdict) -> dict[str, Any]:
    return {
        "figure": verdict.figure,
        "outcome": str(verdict.outcome),
        "unit": str(verdict.unit),
        "a": rounded(verdict.a),
        "b": rounded(verdict.b),
        "by": "ratio" if verdict.unit.by_ratio else "difference",
        "difference": rounded(verdict.difference),
        "ci95": None
        if verdict.low is None or verdict.high is None
        else [rounded(verdict.low), rounded(verdict.high)],
        "better": verdict.better,
        "blunt": verdict.blunt,
        "why": verdict.why,
    }
