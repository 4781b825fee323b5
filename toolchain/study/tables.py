"""Results as tables of text, which the terminal and Markdown show alike."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence

from rich import box
from rich.console import Console, Group, RenderableType
from rich.measure import Measurement
from rich.table import Table as Grid
from rich.text import Text

from toolchain.report import text
from toolchain.study.folder import State
from toolchain.study.made import Made
from toolchain.study.results import FP16_BITS, FP32_BITS, PAPER, Results, saved
from toolchain.study.scoring import Figures


@dataclasses.dataclass(frozen=True)
class Table:
    """title: a line above.  The first column is of words, the others of numbers."""

    title: str
    header: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


_SIZE = ("bits", "fp16 / fp32", "file bits", "fp16 / fp32")
_FIGURES = ("AP", "AP50", "AP lost (95 %)", "agreement", "boxes")


def tables(results: Results) -> list[Table]:
    """The paper's table beside ours; then every cell as far as it came."""
    found = [_paper(results)]
    if results.finals:
        images = text.counted(results.images, "image")
        found.append(_figures(f"On all {images}", results.finals, screened=False))
    if results.screened_only:
        some = results.screened_only[0].screened
        count = text.counted(some.images if some else 0, "image")
        found.append(_figures(f"Screened on {count}", results.screened_only, screened=True))
    if results.made_only:
        rows = tuple(
            (state.cell.name, *_size(state.made), f"{state.made.proxy:.3g}")
            for state in results.made_only
            if state.made is not None
        )
        title = "Left by the proxy (predicted squared error at the outputs)"
        found.append(Table(title, ("weights", *_SIZE, "proxy"), rows))
    if results.refused:
        rows = tuple((state.cell.name, text.clean(state.refused)) for state in results.refused)
        found.append(Table("Could not be made", ("weights", "why"), rows))
    return found


def notes(results: Results) -> list[str]:
    """What the numbers are, for below the tables."""
    weights, size = text.clean(results.weights), text.size(results.imgsz)
    calibration = text.counted(results.calibration_images, "calibration image")
    warning = f"{results.scored_too} of the calibration images are scored too: ours look better."
    return [
        f"{weights} at {size}, {calibration}, grid {text.clean(results.grid)}.",
        *([warning] if results.scored_too else []),
        "bits: of codes, of all that is needed to read them, and of biases, a weight or bias.",
        "file bits: of a whole packed file. fp16 / fp32: times less memory than these.",
        "boxes: how many score 0.25 or more. agreement: AP with the float model's as truth.",
        "Piecewise linear at b bits stores b + 1: which side of the break point is one more.",
        "Activations are float, but for cells named a8, which run as int8 models.",
    ]


def drawn(table: Table, console: Console) -> RenderableType:
    """For a terminal: as a table, or where it is too narrow for that row by row."""
    grid = Grid(box=box.SIMPLE_HEAD, title=table.title, title_justify="left", pad_edge=False)
    for place, name in enumerate(table.header):
        grid.add_column(name, justify="right" if place else "left", no_wrap=True)
    for row in table.rows:
        grid.add_row(*(Text(cell) for cell in row))
    unlimited = console.options.update(width=10_000)
    if Measurement.get(console, unlimited, grid).maximum <= console.width:
        return grid
    lines = [Text(f"\n{table.title}", "italic")]
    for name, *cells in table.rows:
        pairs = zip(table.header[1:], cells, strict=True)
        lines.append(Text(name, "bold"))
        lines.append(Text("; ".join(f"{what} {value}" for what, value in pairs)))
    return Group(*lines)


def markdown(results: Results) -> str:
    """All tables and notes as a page to be pasted."""
    parts = []
    for table in tables(results):
        lines = [f"**{table.title}**", ""]
        rows = [table.header, tuple("---" for _ in table.header), *table.rows]
        lines += ["| " + " | ".join(_escaped(cell) for cell in row) + " |" for row in rows]
        parts.append("\n".join(lines))
    return "\n\n".join([*parts, "\n".join(f"- {note}" for note in notes(results))]) + "\n"


def _paper(results: Results) -> Table:
    """Lines of the paper, what of ours means the same, and the best of ours in the same bits."""
    rows: list[tuple[str, ...]] = [
        (
            f"{line.name} ({line.source})",
            f"{line.bits_per_weight:.2f}",
            f"{line.memory_saved:.2f}x",
            f"{line.lost_percent:.1f}",
            text.UNKNOWN,
        )
        for line in PAPER
    ]
    for state in results.finals:
        cell = state.cell
        if cell.scheme in ("uniform", "piecewise") and cell.bits == 4 and _is_plain(state):
            rows.append(_paper_row(results, state, cell.name))
    for line in PAPER:
        best = results.within(line.bits_per_weight)
        if best is not None:
            name = f"best within {line.bits_per_weight:.2f} bits: {best.cell.name}"
            rows.append(_paper_row(results, best, name))
    return Table(
        "The paper's table beside ours",
        ("weights", "bits", "vs fp16", "lost, % of AP", "AP lost (95 %)"),
        tuple(rows),
    )


def _is_plain(state: State) -> bool:
    """As the paper has it: rounded to nearest, every layer alike, float activations."""
    cell = state.cell
    return cell.recovery == "nearest" and cell.activations == "float" and not cell.spare_ends


def _paper_row(results: Results, state: State, name: str) -> tuple[str, ...]:
    assert state.made is not None
    bits = state.made.bits_per_weight
    return (
        name,
        f"{bits:.2f}",
        _times(saved(bits, FP16_BITS)),
        text.number(results.lost_percent(state)),
        _lost(state.final),
    )


def _figures(title: str, states: Sequence[State], *, screened: bool) -> Table:
    rows = tuple(_row(state, state.screened if screened else state.final) for state in states)
    first = states[0].screened if screened else states[0].final
    if first is not None:
        ap, boxes = text.number(first.ap + first.ap_lost), first.confident_boxes_float
        title = f"{title}, where the float model has AP {ap} and {boxes} boxes above 0.25"
    return Table(title, ("weights", *_SIZE, *_FIGURES), rows)


def _row(state: State, figures: Figures | None) -> tuple[str, ...]:
    assert figures is not None
    return (
        state.cell.name,
        *_size(state.made),
        text.number(figures.ap),
        text.number(figures.ap50),
        _lost(figures),
        text.number(figures.agreement),
        f"{figures.confident_boxes}",
    )


def _size(made: Made | None) -> Iterator[str]:
    bits = None if made is None else made.bits_per_weight
    file_bits = None if made is None else made.file_bits_per_weight
    for value in (bits, file_bits):
        yield text.number(value, 2)
        ratios = (saved(value, against) for against in (FP16_BITS, FP32_BITS))
        yield text.UNKNOWN if value is None else " / ".join(_times(ratio) for ratio in ratios)


def _times(ratio: float | None) -> str:
    return text.UNKNOWN if ratio is None else f"{ratio:.2f}x"


def _lost(figures: Figures | None) -> str:
    if figures is None:
        return text.UNKNOWN
    lost = text.number(figures.ap_lost, 2)
    if figures.ap_lost_ci95 is None:
        return lost
    low, high = figures.ap_lost_ci95
    return f"{lost} ({text.number(low, 2)} to {text.number(high, 2)})"


def _escaped(cell: str) -> str:
    return cell.replace("|", "\\|")
