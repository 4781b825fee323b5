"""How verdicts read, alike in the terminal, Markdown and HTML."""

from __future__ import annotations

from typing import Final

from toolchain.compare.verdicts import Outcome, Pair, Unit, Verdict
from toolchain.report import text

COLUMNS: Final = ("figure", "A", "B", "B against A (95 %)", "verdict")
_TITLES: Final = {
    "AP": "AP",
    "latency": "latency, p25",
    "end to end": "end to end, mean",
    "peak memory": "peak memory",
    "file": "file",
}
_MOST: Final = 999.0  # a factor beyond which nobody asks


def row(verdict: Verdict) -> tuple[str, str, str, str, str]:
    """The cells below COLUMNS."""
    return (
        _TITLES[verdict.figure],
        value(verdict, verdict.a),
        value(verdict, verdict.b),
        against(verdict),
        outcome(verdict),
    )


def value(verdict: Verdict, figure: float | None) -> str:
    """One side's figure with its unit."""
    if verdict.unit is Unit.MS:
        return text.milliseconds(figure)
    if verdict.unit is Unit.BYTES:
        return text.mib(figure)
    return text.number(figure)


def against(verdict: Verdict) -> str:
    """The difference and its interval: "+1.2 (-0.3 to +2.6)", "0.27x (0.25 to 0.30)"."""
    if verdict.difference is None:
        return text.UNKNOWN
    if verdict.unit.by_ratio:
        middle = text.times(verdict.difference)
        ends = [f"{end:.2f}" for end in (verdict.low, verdict.high) if end is not None]
        return f"{middle} ({' to '.join(ends)})" if ends else middle
    if verdict.low is None or verdict.high is None:
        return _amount(verdict, verdict.difference)
    if verdict.unit is Unit.POINTS:
        bounds = text.interval((verdict.low, verdict.high))
        return f"{text.signed(verdict.difference)} ({bounds})"
    half = text.number((verdict.high - verdict.low) / 2 / 2**20, 1, "MiB")
    return f"{_amount(verdict, verdict.difference)} (± {half})"


def outcome(verdict: Verdict) -> str:
    """The verdict, with what would have been seen where no difference was."""
    if verdict.outcome is Outcome.SAME:
        limit = least(verdict)
        if not limit:
            return "no difference at all"
        if verdict.blunt:
            return f"no difference that these runs can tell: only one beyond {limit}; repeat them"
        return f"no difference (one beyond {limit} would show)"
    if verdict.outcome is Outcome.DIFFERENT:
        better = verdict.better
        word = {"AP": ("better", "worse"), "latency": ("faster", "slower")}.get(
            verdict.figure,
            ("faster", "slower") if verdict.unit is Unit.MS else ("smaller", "larger"),
        )
        return f"different: B is {word[0 if better else 1]}"
    return f"{verdict.outcome}: {text.clean(verdict.why)}" if verdict.why else verdict.outcome


def least(verdict: Verdict) -> str:
    """The difference that the interval cannot hide; empty where the figure is exact."""
    if verdict.low is None or verdict.high is None or verdict.low == verdict.high:
        return ""
    middle = verdict.difference or 0
    if not verdict.unit.by_ratio:
        return _amount(verdict, max(middle - verdict.low, verdict.high - middle)).lstrip("+")
    factor = min(max(verdict.high / middle, middle / verdict.low), _MOST)
    return f"{100 * (factor - 1):.0f} %" if factor < 2 else f"{text.times(factor)}"


def headline(pair: Pair) -> str:
    """What there is to know first."""
    found = pair.different
    if not found:
        unknown = [v.figure for v in pair.verdicts if v.outcome in (Outcome.UNKNOWN, Outcome.ERROR)]
        rest = f"; {text.listed(unknown)} cannot be compared" if unknown else ""
        return f"No difference that is more than noise{rest}."
    differing = "; ".join([f"{v.figure}, {against(v)}" for v in found])
    return f"Different: {differing}."


def title(pair: Pair) -> str:
    """Which two."""
    return f"{pair.a.name} and {pair.b.name}"


def of_side(pair: Pair, letter: str) -> str:
    """ "A: yolov5s float32 on loopback, runs/one, 3 runs"."""
    side = pair.a if letter == "A" else pair.b
    runs = f", {text.counted(len(side.runs), 'run')}" if len(side.runs) > 1 else ""
    return f"{letter}: {side.name}, {text.clean(str(side.folder))}:{text.clean(side.key)}{runs}"


def _amount(verdict: Verdict, figure: float) -> str:
    if verdict.unit is Unit.BYTES:
        mib = figure / 2**20
        return text.signed(mib, 0 if abs(mib) >= 100 else 1 if abs(mib) >= 10 else 2, "MiB")
    return text.signed(figure, 1, "points")
