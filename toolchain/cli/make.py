"""`halfbyte convert` and `halfbyte inspect`: models from weights, and what is in a model."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from toolchain.cli import console
from toolchain.cli.options import (
    height_width,
    imgsz_option,
    json_option,
    names_option,
    weights_option,
)
from toolchain.cli.paths import existing_file, existing_folder, new_folder
from toolchain.cli.quantizing import making_of, quantizing_options


@click.command()
@weights_option
@quantizing_options
@imgsz_option
@names_option
@click.option(
    "--calibration",
    type=existing_folder(),
    required=True,
    help="Folder of typical pictures (32 to 128), none of which is scored later.",
)
@click.option("--calibration-limit", type=click.IntRange(1), help="At most that many of them.")
@click.option(
    "--out",
    type=new_folder(),
    default=Path("models"),
    show_default=True,
)
@json_option
def convert(
    weights: str,
    imgsz: tuple[int, ...],
    names: Path | None,
    calibration: Path,
    calibration_limit: int | None,
    out: Path,
    as_json: bool,
    **asked: Any,
) -> None:
    """Make the float model and the quantized ones, as .tflite files.

    \b
    Examples:
      halfbyte convert --weights best.pt --calibration photos/ --bits 8
      halfbyte convert --weights yolov5s-seg --calibration photos/ --imgsz 480 640
    """
    from toolchain import pipeline

    size = height_width(imgsz)
    asked_for = making_of(
        asked,
        weights=weights,
        imgsz=size,
        calibration=calibration,
        limit=calibration_limit,
        names=names,
    )
    if not as_json:
        console.note(f"network input: height {size[0]}, width {size[1]}")
    bar = console.progress()
    result = pipeline.convert(
        asked_for,
        out,
        progress=bar,
    )
    console.show(result, as_json=as_json, text=_converted)


def _converted(result: Any) -> Any:
    from rich import box
    from rich.console import Group
    from rich.table import Table

    table = Table(box=box.SIMPLE_HEAD)
    for column in ("recipe", "MB", "bits per weight", "against fp16", "file"):
        table.add_column(column, justify="left" if column in ("recipe", "file") else "right")
    for model in result.models:
        bits = model.bits_per_weight
        table.add_row(
            model.recipe,
            f"{model.file_bytes / 1e6:.2f}",
            f"{bits:.3f}" if bits else "-",
            f"{16 / bits:.2f}x" if bits else "-",
            str(model.path),
        )
    agreement = result.agreement
    lines = [
        (
            f"{result.weights}: {result.family}, {len(result.names)} classes, "
            f"{result.parameters:,} parameters, licence {result.licence or 'not stated'}"
        ),
        *(f"  {line}" for line in result.notes),
        (
            f"float model against torch on {agreement.images} pictures: at most "
            f"{agreement.max_abs:.2g}, {agreement.mean_abs:.2g} on average"
        ),
        *predicted_lines(result.predicted),
    ]
    return Group(*(console.plain_text(line) for line in lines), table)


def predicted_lines(predicted: Any) -> list[str]:
    """How --max-ap-drop found its model; nothing where it was not asked for."""
    if predicted is None:
        return []
    lines = [
        f"predicted on {predicted.pictures} pictures kept back, {predicted.boxes} boxes there:"
    ]
    for one in predicted.tries:
        words = one.problem
        if one.agreement is not None:
            words = f"agreement {one.agreement:.1f}, likely to lose at most "
            words += f"{one.predicted_points:.2f} points"
        lines.append(f"  {one.budget:g} bits per weight: {words}")
    return [*lines, f"  taken: {predicted.budget:g}; the loss on labels is for `run` to measure"]


@click.command()
@click.argument("model", type=existing_file())
@json_option
def inspect(model: Path, as_json: bool) -> None:
    """Say what is in MODEL, any .tflite file: size, operators, inputs, outputs, labels.

    \b
    Example:
      halfbyte inspect models/best-640x640-w8c-a8.tflite
    """
    from toolchain import pipeline

    console.show(pipeline.inspect(model), as_json=as_json, text=_inspected)


def _packed_line(facts: Any) -> list[str]:
    if facts.packed_bits is None:
        return []
    count = facts.weights["packed"]
    return [f"{count:,} packed weights of {facts.packed_bits:.3f} bits, expanded before it runs"]


def _inspected(found: Any) -> Any:
    from rich import box
    from rich.console import Group
    from rich.table import Table

    facts = found.facts
    bits = f"{facts.bits_per_weight:.3f}" if facts.bits_per_weight else "-"
    lines = [
        (
            f"{facts.file_bytes / 1e6:.2f} MB, {facts.parameters or 0:,} parameters, "
            f"{bits} bits per weight"
        ),
        f"sha256 {facts.sha256}",
        *_packed_line(facts),
        "operators: " + ", ".join(f"{n} {name}" for name, n in facts.operators.items()),
        f"outputs are {found.layout}",
    ]
    if found.names:
        shown = ", ".join(found.names[:8]) + (" ..." if len(found.names) > 8 else "")
        lines.append(f"{len(found.names)} classes: {shown}")
    table = Table(box=box.SIMPLE_HEAD)
    for column in ("", "tensor", "shape", "type", "scale", "zero point"):
        table.add_column(column)
    for kind, tensors in (("input", facts.inputs), ("output", facts.outputs)):
        for tensor in tensors:
            table.add_row(
                kind,
                console.plain_text(tensor.name),
                " x ".join(map(str, tensor.shape)),
                tensor.dtype,
                f"{tensor.scale:.6g}" if tensor.scale else "-",
                str(tensor.zero_point) if tensor.scale else "-",
            )
    return Group(*(console.plain_text(line) for line in lines), table)
