"""`halfbyte demo`: the whole line on this machine, with pictures out of published packages."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from toolchain.cli import console
from toolchain.cli.options import (
    command_line,
    json_option,
    weights_option,
)
from toolchain.cli.paths import existing, existing_folder, new_folder
from toolchain.cli.quantizing import check_recipes, making_of, quantizing_options


@click.command()
@weights_option
@quantizing_options
@click.option("--images", type=existing_folder())
@click.option("--annotations", type=existing())
@click.option("--calibration", type=existing_folder())
@click.option(
    "--out",
    type=new_folder(),
    default=Path("runs/demo"),
    show_default=True,
)
@click.option("--again", is_flag=True, help="Measure anew what the folder has.")
@json_option
def demo(
    weights: str,
    images: Path | None,
    annotations: Path | None,
    calibration: Path | None,
    out: Path,
    again: bool,
    as_json: bool,
    **asked: Any,
) -> None:
    """Quantize YOLOv7 to 8 and 4 bits and run it on this machine, over SSH, as on a board.

    Scored on five photos with ground truth and 40 street frames without any: a check, not a
    benchmark, and weights are rounded to nearest unless --recovery asks for more. Give --images,
    --annotations and --calibration for pictures of your own.

    \b
    Examples:
      halfbyte demo
      halfbyte demo --images val/ --annotations val.json --calibration train/
    """
    from targets import inventory
    from targets.errors import InputError
    from toolchain import pipeline
    from toolchain.evaluate import datasets
    from toolchain.measuring import Measuring

    recovery = click.get_current_context().get_parameter_source("recovery")
    if recovery is click.core.ParameterSource.DEFAULT:
        asked["recovery"] = "none"  # minutes that a first look should not take
    check_recipes(asked)
    bar = console.progress()
    own = (images, annotations, calibration)
    if any(own) and not all(own):
        raise InputError(
            "pictures of your own need all three of --images, --annotations, --calibration",
            hint="Leave all of them out for the pictures that the demonstration fetches.",
        )
    if images and annotations and calibration:
        dataset = datasets.load(annotations, images)
    else:
        from toolchain import demo as pictures

        data = pictures.material(progress=bar)
        dataset = datasets.with_unlabelled(
            datasets.load(data.annotations, data.images), data.more_images
        )
        calibration = data.calibration
    measured = pipeline.run(
        making_of(
            asked,
            weights=weights,
            imgsz=(640, 640),
            calibration=calibration,
        ),
        [inventory.load()["loopback"]],
        dataset,
        Measuring(again=again),
        out,
        command=command_line(),
        progress=bar,
    )
    console.show_report(measured, as_json=as_json)
    pipeline.check_measured(measured)
