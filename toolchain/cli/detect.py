"""`halfbyte detect`: what a model sees on pictures."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from toolchain.cli import console
from toolchain.cli.options import (
    accept_new_option,
    height_width,
    imgsz_option,
    json_option,
    names_option,
    targets_of,
    weights_option,
)
from toolchain.cli.paths import existing, existing_file, new_folder


@click.command()
@click.argument("images", type=existing())
@click.option(
    "--model",
    type=existing_file(),
    help="A .tflite model.  [default: the float model of --weights]",
)
@weights_option
@imgsz_option
@names_option
@click.option("--target", "target_name", help="A target to run on.  [default: this machine]")
@click.option("--confidence", type=click.FloatRange(0, 1, max_open=True), default=0.25)
@click.option("--threads", type=click.IntRange(1, 64))
@click.option(
    "--out",
    type=new_folder(),
    default=Path("detections"),
    show_default=True,
)
@accept_new_option
@json_option
def detect(
    images: Path,
    model: Path | None,
    weights: str,
    imgsz: tuple[int, ...],
    names: Path | None,
    target_name: str | None,
    confidence: float,
    threads: int | None,
    out: Path,
    accept_new: bool,
    as_json: bool,
) -> None:
    """Detect objects on IMAGES, a picture or a folder of them; save annotated copies and JSON.

    \b
    Examples:
      halfbyte detect photo.jpg
      halfbyte detect photos/ --model models/best-640x640-w8c-a8.tflite --target garage-pi
    """
    from toolchain import detecting, making
    from toolchain.cli.trust import trust
    from toolchain.evaluate import datasets
    from toolchain.subject import subject

    if model is not None and imgsz:
        raise click.UsageError("--imgsz is for --weights: a --model has the size it was made for")
    given = click.get_current_context().get_parameter_source("weights")
    if model is not None and given is click.core.ParameterSource.COMMANDLINE:
        raise click.UsageError("give --model or --weights, not both")
    bar = console.progress()
    labels = None if names is None else making.read_labels(names)
    if model is None:
        source = making.read_weights(weights, names=names, progress=bar)
        model = making.make_float(source, height_width(imgsz), progress=bar).tflite
    result = detecting.detect(
        subject(model, names=labels),
        datasets.load(None, images),
        out,
        target=None if target_name is None else targets_of([target_name])[0],
        confidence=confidence,
        threads=threads,
        trust=trust(accept_new=accept_new),
        progress=bar,
    )
    console.show(result, as_json=as_json, text=_text)


def _text(result: Any) -> str:
    lines = []
    for picture in result.pictures:
        lines.append(
            f"{picture.image} ({picture.width} x {picture.height}, "
            f"{picture.inference_ms:.0f} ms): {len(picture.objects)} objects"
        )
        lines += [
            f"  {item.score:.2f} {item.label:16} at {item.x1:.0f},{item.y1:.0f} "
            f"to {item.x2:.0f},{item.y2:.0f}"
            for item in picture.objects
        ]
        lines.append(f"  drawn in {picture.annotated}")
    lines += [f"left out {name}: {reason}" for name, reason in result.skipped]
    if result.skipped:
        count = len(result.pictures) + len(result.skipped)
        lines.append(f"{len(result.skipped)} of {count} pictures left out, see above")
    lines.append(f"all of it: {result.json}")
    return console.printable("\n".join(lines))
