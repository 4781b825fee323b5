"""`halfbyte run`: weights to report in one command."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from toolchain.cli import console
from toolchain.cli.make import predicted_lines
from toolchain.cli.measuring import measuring_of, measuring_options
from toolchain.cli.options import (
    accept_new_option,
    again_option,
    command_line,
    data_options,
    dataset_of,
    height_width,
    imgsz_option,
    json_option,
    names_option,
    out_option,
    targets_of,
    targets_option,
    weights_option,
)
from toolchain.cli.paths import existing_folder
from toolchain.cli.quantizing import making_of, quantizing_options


@click.command()
@weights_option
@quantizing_options
@targets_option
@data_options
@click.option(
    "--calibration",
    type=existing_folder(),
    required=True,
    help="Folder of typical pictures (32 to 128), none of which is scored.",
)
@click.option("--calibration-limit", type=click.IntRange(1), help="At most that many of them.")
@imgsz_option
@names_option
@measuring_options
@again_option
@out_option("runs/<weights>-<height>x<width>")
@accept_new_option
@json_option
def run(
    weights: str,
    target_names: tuple[str, ...],
    calibration: Path,
    calibration_limit: int | None,
    imgsz: tuple[int, ...],
    names: Path | None,
    out: Path | None,
    accept_new: bool,
    as_json: bool,
    **asked: Any,
) -> None:
    """Quantize, send to a target, run there over pictures, and report: everything in one.

    The float model runs too, on the same target and pictures, so that what is lost is measured
    and not taken from elsewhere. What was made or measured before is not done again.

    \b
    Example:
      halfbyte run --weights best.pt --bits 4 8 --target garage-pi --images val/ \\
          --annotations val.json --calibration train/ --out runs/best
    """
    from toolchain import pipeline
    from toolchain.cli.compare import differences
    from toolchain.cli.trust import trust

    size = height_width(imgsz)
    asked_for = making_of(
        asked,
        weights=weights,
        imgsz=size,
        calibration=calibration,
        limit=calibration_limit,
        names=names,
    )
    targets = targets_of(target_names)
    dataset = dataset_of(asked)
    if not as_json:
        console.note(f"network input: height {size[0]}, width {size[1]}")
        console.note(f"evaluating on {len(dataset.images)} pictures of {dataset.source}")
        for line in dataset.notes:
            console.note(f"  {line}")
    measured = pipeline.run(
        asked_for,
        targets,
        dataset,
        measuring_of(asked),
        out or Path("runs") / f"{Path(weights).stem}-{size[0]}x{size[1]}",
        command=command_line(),
        trust=trust(accept_new=accept_new),
        progress=console.progress(),
    )
    for line in [] if as_json else predicted_lines(measured.predicted):
        console.note(line)
    console.show_report(measured, as_json=as_json)
    if asked["repeat"] > 1 and not as_json:
        differences(measured.folder)
    pipeline.check_measured(measured, strict=asked["strict"])
