"""`halfbyte plan`: what a quantization did to each layer, as a table, JSON or a picture."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from toolchain.cli import console
from toolchain.cli.options import json_option
from toolchain.cli.paths import existing_file, new_file


@click.command()
@click.argument("file", type=existing_file())
@click.option(
    "--picture",
    type=new_file(),
    help="Draw it as SVG too, into this file.",
)
@json_option
def plan(file: Path, picture: Path | None, as_json: bool) -> None:
    """Show how each layer was quantized, or is to be.

    FILE is the NAME.record.json or NAME.plan.toml that convert and run write beside each quantized
    model, or the model itself with its record beside it. An edited plan is rerun with --plan.

    \b
    Examples:
      halfbyte plan models/yolov5s-seg-480x640-w4e-a8.record.json
      halfbyte plan models/yolov5s-seg-480x640-w4e-a8.plan.toml --json
    """
    from toolchain.quantize import layertable

    table = layertable.read(file)
    if picture is not None:
        from targets.files import write_whole
        from toolchain.report import plan_picture

        write_whole(picture, plan_picture.picture(table).encode())
    console.show(table, as_json=as_json, text=_text)
    if picture is not None and not as_json:
        console.note(f"wrote {picture}")


def _text(table: Any) -> Any:
    from rich import box
    from rich.console import Group
    from rich.table import Table

    shown = Table(box=box.SIMPLE_HEAD)
    for column in ("layer", "shape", "scheme"):
        shown.add_column(column)
    for column in ("bits", "of weights", "of file", "weight dB", "error left", "sensitivity"):
        shown.add_column(column, justify="right")
    shown.add_column("output")
    for row in table.layers:
        shown.add_row(
            console.plain_text(row.layer),
            " x ".join(map(str, row.shape)) if row.shape else "-",
            console.plain_text(_scheme(row)),
            _number(row.bits if row.packed_bits is None else row.packed_bits, "{:.3f}"),
            _number(row.weight_share, "{:.2%}"),
            _number(row.file_share, "{:.2%}"),
            _number(row.weight_sqnr_db, "{:.1f}"),
            _number(row.error_left, "{:.2f}"),
            _number(row.sensitivity, "{:.1e}"),
            "float32" if row.float_output else "",
        )
    return Group(shown, console.plain_text(_sentence(table)))


def _scheme(row: Any) -> str:
    """With what is not usual about it."""
    words = [row.stored_as]
    if row.bits is not None and row.stored_as not in ("entropy", "float32"):
        words.append(f"{row.bits:g}")
    if row.granularity != "channel":
        words.append(f"a {row.granularity}")
    return " ".join(words)


def _sentence(table: Any) -> str:
    words = [f"{table.source}: {table.recipe}, {len(table.layers)} layers"]
    if table.file_bytes is not None:
        words.append(f"{table.file_bytes / 1e6:.2f} MB")
    if table.bits_per_weight is not None:
        words.append(f"{table.bits_per_weight:.3f} bits per weight")
    if table.budget is not None:
        words.append(f"budget {table.budget:.3f}")
    return ", ".join(words)


def _number(value: float | None, form: str) -> str:
    return "-" if value is None else form.format(value)
