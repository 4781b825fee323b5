"""How values read in a report for people; what is unknown is a dash, never "nan" or 0."""

from __future__ import annotations

import datetime as dt
import unicodedata
from collections.abc import Sequence

from toolchain.report.figures import RunFigures

UNKNOWN = "–"
_MIB = 2**20
_MOST_DIGITS = 6
_MONTHS = (  # not the locale's
    "January", "February", "March", "April", "May", "June", "July", "August", "September",
    "October", "November", "December",
)  # fmt: skip
# Bidirectional controls can make a line read otherwise than it is.
_REORDERING = "\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069"


def clean(text: str) -> str:
    """Foreign text for one line: control, reordering and undecodable characters are dropped."""
    return "".join(
        " " if character in "\t\n\r" else character
        for character in text
        if character in "\t\n\r"
        or (unicodedata.category(character) not in ("Cc", "Cs") and character not in _REORDERING)
    ).strip()


def number(value: float | None, digits: int = 1, unit: str = "") -> str:
    """A number with that many digits after the point, and its unit."""
    if value is None:
        return UNKNOWN
    text = f"{value:.{digits}f}"
    if float(text) == 0:
        text = text.lstrip("-")  # no "-0.0"
    return f"{text} {unit}".rstrip()


def signed(value: float | None, digits: int = 1, unit: str = "") -> str:
    """The same with its sign, a real minus."""
    if value is None:
        return UNKNOWN
    text = number(abs(value), digits)
    sign = "" if float(text) == 0 else "+" if value > 0 else "−"
    return f"{sign}{text} {unit}".rstrip()


def mib(value: float | None) -> str:
    """Bytes in MiB, three significant digits or more."""
    if value is None:
        return UNKNOWN
    size = value / _MIB
    return number(size, 0 if size >= 100 else 1 if size >= 10 else 2, "MiB")


def milliseconds(value: float | None) -> str:
    """Three significant digits or more."""
    return number(value, _digits(value), "ms")


def joule(value: float | None) -> str:
    """Three significant digits or so; small energies in millijoules."""
    if value is None or value >= 1:
        return number(value, _digits(value), "J")
    return number(value * 1000, _digits(value * 1000), "mJ")


def percent(share: float | None) -> str:
    """A share of 1, of which even small ones matter."""
    return UNKNOWN if share is None else f"{100 * share:.{1 if share >= 0.01 else 2}f} %"


def per_second(value: float | None) -> str:
    """Frames a second, without the unit."""
    return number(value, _digits(value))


def times(value: float | None) -> str:
    """A ratio."""
    return UNKNOWN if value is None else f"{value:.{1 if value >= 10 else 2}f}×"


def size(imgsz: tuple[int, int] | None) -> str:
    """Height × width, in words where they differ."""
    if imgsz is None:
        return UNKNOWN
    height, width = imgsz
    return f"{height} × {width}" if height == width else f"height {height} × width {width}"


def interval(bounds: tuple[float, float] | None) -> str:
    """Both ends with their signs: with so many digits that neither is rounded to 0."""
    return UNKNOWN if bounds is None else " to ".join(_ends(bounds))


def between(bounds: tuple[float, float]) -> str:
    """The same in a sentence: "between -0.03 and +0.89"."""
    return "between " + " and ".join(_ends(bounds))


def range_ms(bounds: tuple[float | None, float | None] | None) -> str:
    """Where a time lies: "4.90 to 5.31", or "over 4.90" where its upper end is unknown."""
    low, high = bounds or (None, None)
    if high is None:
        return UNKNOWN if low is None else f"over {number(low, _digits(low))}"
    if low is None:
        return f"under {number(high, _digits(high))}"
    digits = _digits(low)
    return f"{number(low, digits)} to {number(high, digits)}"


def _ends(bounds: tuple[float, float]) -> list[str]:
    digits = next(
        (d for d in range(1, _MOST_DIGITS) if all(round(end, d) or not end for end in bounds)),
        _MOST_DIGITS,
    )
    return [signed(end, digits) for end in bounds]


def name_of(run: RunFigures) -> str:
    """What a run is called beside others of the same weights: its recipe."""
    model = run.model
    if model.recipe is None or model.recipe == "float32" or model.bits is None:
        return clean(model.recipe or model.weights)
    if model.bits < 8:
        return clean(f"{model.bits}-bit {model.recipe}")
    return clean(f"int{model.bits} {model.recipe}")


def name_among(run: RunFigures, runs: Sequence[RunFigures]) -> str:
    """The same with weights and target where they differ among `runs`."""
    words = [name_of(run)]
    if len({other.model.weights for other in runs}) > 1 and run.model.recipe is not None:
        words.insert(0, clean(run.model.weights))
    if len({other.target.name for other in runs}) > 1:
        words.append(f"on {clean(run.target.name)}")
    return " ".join(words)


def day(stamp: str) -> str:
    """An ISO 8601 time as people read it; as it is where it is none."""
    try:
        moment = dt.datetime.fromisoformat(stamp)
    except ValueError:
        return clean(stamp)
    zone = " UTC" if moment.utcoffset() == dt.timedelta(0) else moment.strftime(" %z").rstrip()
    month = _MONTHS[moment.month - 1]
    return f"{moment.day} {month} {moment.year}, {moment.hour:02}:{moment.minute:02}{zone}"


def counted(amount: int, noun: str) -> str:
    """ "1 image", "2 images"."""
    return f"{amount:,} {noun}" + "s" * (amount != 1)


def listed(words: Sequence[str]) -> str:
    """ "a, b and c"."""
    return " and ".join(filter(None, [", ".join(words[:-1]), *words[-1:]]))


def _digits(value: float | None) -> int:
    magnitude = abs(value or 0)
    return 0 if magnitude >= 1000 else 1 if magnitude >= 10 else 2
