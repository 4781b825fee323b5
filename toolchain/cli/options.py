"""Options that several commands share, each defined once."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from targets.errors import InputError
from toolchain.cli.paths import existing, existing_file, existing_folder, new_folder

if TYPE_CHECKING:
    from targets.target import Target
    from toolchain.evaluate.truth import Dataset

F = TypeVar("F", bound=Callable[..., Any])

json_option = click.option("--json", "as_json", is_flag=True, help="Print the result as JSON.")

weights_option = click.option(
    "--weights",
    default="yolov7-seg",
    show_default=True,
    help="A published name (yolov7-seg, yolov5s-seg, yolov7) or the path of a checkpoint.",
)

imgsz_option = click.option(
    "--imgsz",
    type=click.IntRange(min=32),
    multiple=True,
    help="Size of the network input: one number, or HEIGHT WIDTH; multiples of 32.  [default: 640]",
)

names_option = click.option(
    "--names",
    type=existing_file(),
    help="Labels, one a line, where the checkpoint's own are wrong.  Their number must fit.",
)

accept_new_option = click.option(
    "--accept-new", is_flag=True, help="Trust the host key of a board seen for the first time."
)

wheelhouse_option = click.option(
    "--wheelhouse",
    type=existing_folder(),
    help="Take the board's packages from this folder instead of the network.",
)

_data: list[Callable[[Any], Any]] = [
    click.option(
        "--images",
        type=existing(),
        help="Folder of evaluation images.",
    ),
    click.option(
        "--annotations",
        type=existing_file(),
        help="Ground truth: COCO JSON, or data.yaml of a data set in YOLO form.",
    ),
    click.option(
        "--more-images",
        type=existing_folder(),
        help="Folder of pictures without ground truth: they count for agreement with float.",
    ),
    click.option("--limit", type=click.IntRange(1), help="Only the first N images."),
]


def data_options(function: F) -> F:
    """What to evaluate on."""
    for option in reversed(_data):
        function = option(function)
    return function


def height_width(imgsz: tuple[int, ...]) -> tuple[int, int]:
    """(height, width) from one or two numbers.  Raises click.BadParameter."""
    if len(imgsz) > 2:
        raise click.BadParameter("give one number, or HEIGHT WIDTH", param_hint="--imgsz")
    wrong = [n for n in imgsz if n % 32]
    if wrong:
        low = max(32, wrong[0] // 32 * 32)
        raise click.BadParameter(
            f"{wrong[0]} is no multiple of 32; the nearest are {low} and {low + 32}",
            param_hint="--imgsz",
        )
    if not imgsz:
        return 640, 640
    return imgsz[0], imgsz[-1]


again_option = click.option(
    "--again", is_flag=True, help="Measure anew what the run folder already has."
)

targets_option = click.option(
    "--target",
    "target_names",
    default="loopback",
    show_default=True,
    callback=lambda _ctx, _param, value: tuple(name.strip() for name in value.split(",")),
    help="Targets or groups of targets.toml, user@host, or loopback; several with commas, "
    "side by side.",
)


def out_option(default: str) -> Callable[[F], F]:
    """Where the run folder goes; a default with <time> in it is made when it is used."""
    moving = "<" in default
    return click.option(
        "--out",
        type=new_folder(),
        default=None if moving else Path(default),
        show_default=default,
        help="Run folder: records, report.json, report.html, report.csv.",
    )


def command_line() -> tuple[str, ...]:
    """What the user typed, for the report."""
    return ("halfbyte", *sys.argv[1:])


def dataset_of(asked: dict[str, Any]) -> Dataset:
    """The data set that --images, --annotations, --more-images and --limit describe.

    Raises InputError: none of them is given; DataError.
    """
    from toolchain.evaluate import datasets

    if not (asked["images"] or asked["annotations"]):
        raise InputError(
            "there is nothing to evaluate on",
            hint="Give --images DIR, and --annotations FILE to score against ground truth "
            "(a data.yaml may name the images itself).",
        )
    dataset = datasets.load(asked["annotations"], asked["images"])
    if asked["limit"] is not None:
        dataset = dataset.only([picture.id for picture in dataset.images[: asked["limit"]]])
    if asked["more_images"] is not None:
        dataset = datasets.with_unlabelled(dataset, asked["more_images"])
    return dataset


def targets_of(names: Sequence[str]) -> list[Target]:
    """Targets by name.  Raises UnknownTarget with the nearest names."""
    from targets import inventory

    return inventory.load().of(names)
