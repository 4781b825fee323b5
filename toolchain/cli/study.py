"""`halfbyte study`: schemes of few-bit weights, each scored alike."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from toolchain.cli import console
from toolchain.cli.options import (
    dataset_of,
    height_width,
    imgsz_option,
    json_option,
    names_option,
    weights_option,
)
from toolchain.cli.paths import existing, existing_file, existing_folder, new_folder

if TYPE_CHECKING:
    from toolchain.study.engine import Engine


def _print_grid(context: click.Context, _option: click.Parameter, wanted: bool) -> None:
    if not wanted or context.resilient_parsing:
        return
    from toolchain.study import grid

    sys.stdout.write(grid.text_of("default"))
    context.exit()


@click.command()
@weights_option
@click.option(
    "--images",
    type=existing(),
    required=True,
    help="Folder of evaluation images.",
)
@click.option(
    "--annotations",
    type=existing_file(),
    required=True,
    help="Ground truth: COCO JSON, or data.yaml of a data set in YOLO form.",
)
@click.option(
    "--calibration",
    type=existing_folder(),
    required=True,
    help="Folder of typical pictures (32 to 128), none of which is scored.",
)
@click.option("--calibration-limit", type=click.IntRange(1), help="At most that many of them.")
@click.option("--limit", type=click.IntRange(1), help="Only the first N images.")
@click.option(
    "--grid",
    "grid_file",
    type=existing_file(),
    help="What to try, as TOML; --print-grid shows the form.",
)
@click.option("--quick", is_flag=True, help="A small grid: seven cells in place of some fifty.")
@click.option(
    "--print-grid",
    is_flag=True,
    is_eager=True,
    expose_value=False,
    callback=_print_grid,
    help="Print the default grid and end.",
)
@imgsz_option
@names_option
@click.option(
    "--dask",
    "address",
    metavar="ADDRESS",
    help="Spread the cells over the workers of a Dask scheduler (tcp://HOST:8786).",
)
@click.option(
    "--out",
    type=new_folder(),
    default=Path("study"),
    show_default=True,
    help="Folder for finished cells and results; the same folder goes on where it ended.",
)
@json_option
def study(
    weights: str,
    calibration: Path,
    calibration_limit: int | None,
    grid_file: Path | None,
    quick: bool,
    imgsz: tuple[int, ...],
    names: Path | None,
    address: str | None,
    out: Path,
    as_json: bool,
    **asked: Any,
) -> None:
    """Compare schemes of few-bit weights: bits that they take, AP that they lose.

    Each cell of the grid is a scheme with its granularity, bits, search and recovery. It is made,
    run on this machine and scored beside the float model on the same images. Cells that the grid
    does not always show are screened: by predicted error, then on some images, then on all.

    Every finished cell is kept: after an interruption the same command goes on.

    \b
    Examples:
      halfbyte study --print-grid
      halfbyte study --weights best.pt --images val/ --annotations val.json \\
          --calibration train/ --imgsz 320 --quick --out studies/best
    """
    from toolchain import calibrationset
    from toolchain.study import grid, written
    from toolchain.study.conduct import Asked, conduct

    if quick and grid_file is not None:
        raise click.UsageError("give --grid or --quick, not both")
    chosen = grid.load(grid_file) if grid_file else grid.built_in("quick" if quick else "default")
    size = height_width(imgsz)
    dataset = dataset_of({**asked, "more_images": None})
    if not as_json:
        console.note(f"network input: height {size[0]}, width {size[1]}")
        console.note(
            f"grid {chosen.name}: {len(chosen.cells)} cells, {len(chosen.always)} of them on all "
            f"{len(dataset.images)} images"
        )
    progress = console.progress() if sys.stderr.isatty() or as_json else _Lines()
    with _engine(address, progress) as engine:
        results = conduct(
            Asked(
                weights=weights,
                imgsz=size,
                calibration=calibrationset.find_calibration(calibration, limit=calibration_limit),
                dataset=dataset,
                grid=chosen,
                names=names,
            ),
            out,
            engine,
            progress=progress,
        )
    files = written.write(results, out)
    if as_json:
        console.show(written.as_json(results), as_json=True, text=str)
    else:
        console.show(results, as_json=False, text=_drawn)
        console.show("".join(f"wrote {path}\n" for path in files), as_json=False, text=str)


@contextlib.contextmanager
def _engine(address: str | None, progress: Any) -> Iterator[Engine]:
    from toolchain.study import engine

    if address is None:
        yield engine.Here(progress)
        return
    with engine.cluster(address) as cluster:
        yield cluster


def _drawn(results: Any) -> Any:
    from rich.console import Group

    from toolchain.study.tables import drawn, notes, tables

    where = console.out()
    lines = [console.plain_text(line) for line in notes(results)]
    return Group(*(drawn(table, where) for table in tables(results)), *lines)


class _Line:
    def __init__(self, label: str, total: float | None, unit: str) -> None:
        self._label, self._total, self._unit = label, total, unit
        self._done, self._note = 0.0, ""

    def advance(self, amount: float = 1) -> None:
        self._done += amount
        if self._unit in ("cells", "models"):
            whole = "" if self._total is None else f" of {self._total:g}"
            line = f"{self._label}: {self._done:g}{whole} {self._unit}"
            console.note("; ".join(filter(None, [line, self._note])))

    def note(self, text: str) -> None:
        self._note = text


class _Lines:
    """Progress where there is no terminal: a line a cell, with the time left."""

    @contextlib.contextmanager
    def task(self, label: str, total: float | None = None, unit: str = "") -> Iterator[_Line]:
        yield _Line(label, total, unit)
