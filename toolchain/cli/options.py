"""Options that several commands share, each defined once."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from targets.errors import InputError
from toolchain.cli.paths import existing, existing_file, existing_folder, new_folder

if TYPE_CHECKING:
    from targets.target import Target
    from toolchain.boardsettings import Asked
    from toolchain.evaluate.truth import Dataset
    from toolchain.measuring import Measuring

_MOST_CPUS = 1024
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

_placing: list[Callable[[Any], Any]] = [
    click.option("--threads", type=click.IntRange(1, 64), help="[default: the board's CPUs]"),
    click.option(
        "--cpus",
        metavar="LIST",
        callback=lambda _ctx, _param, value: cpus_of(value),
        help="The threads keep to these CPUs of the board, such as 4-7 or 0,2.",
    ),
    click.option(
        "--tune",
        is_flag=True,
        help="Choose threads and CPUs by short runs first; remembered for each board and model, "
        "measured anew with --again.",
    ),
]

_timing: list[Callable[[Any], Any]] = [
    click.option("--warmup", type=click.IntRange(0), default=3, show_default=True),
    click.option(
        "--runs",
        "timed_runs",
        type=click.IntRange(1),
        default=30,
        show_default=True,
        help="Timed inferences of the model alone.",
    ),
    click.option(
        "--steady",
        "steady_s",
        type=click.FloatRange(1),
        is_flag=False,
        flag_value=600.0,
        default=None,
        metavar="[SECONDS]",
        help="Warm up until latency and temperature stand still, for 600 s at most or as many as "
        "given; the report then shows the burst before beside what is sustained.",
    ),
    click.option(
        "--repeat",
        type=click.IntRange(1, 100),
        default=1,
        show_default=True,
        help="Run all models in turn this often (A B A B), so that differences can be told from "
        "drift.",
    ),
    click.option(
        "--profile",
        help="Settings to put in force on the board meanwhile, and back after: benchmark, field, "
        "quiet, or yours (`halfbyte firmware`).",
    ),
    click.option(
        "--set",
        "overrides",
        multiple=True,
        metavar="KEY=VALUE",
        help="One setting of the profile otherwise, such as cpu.governor=performance.",
    ),
    click.option(
        "--config",
        type=existing_file(),
        help="A file of board settings laid over all others.",
    ),
    click.option(
        "--ask-sudo",
        is_flag=True,
        help="Ask for the password of sudo on the board, where settings need it.",
    ),
    click.option(
        "--strict",
        is_flag=True,
        help="Fail (exit code 8) where the report doubts a figure.",
    ),
    click.option(
        "--wait",
        "busy_s",
        type=click.FloatRange(0),
        default=600.0,
        show_default=True,
        metavar="SECONDS",
        help="How long to wait for a target that another run holds.",
    ),
    wheelhouse_option,
]


def measuring_options(function: F) -> F:
    """How to measure: threads, warm-up, timed runs."""
    for option in reversed((*_placing, *_timing)):
        function = option(function)
    return function


def timing_options(function: F) -> F:
    """The same without threads and CPUs."""
    for option in reversed(_timing):
        function = option(function)
    return function


def cpus_of(text: str | None) -> tuple[int, ...]:
    """Numbers of "0-3,6".  Raises click.BadParameter."""
    found: list[int] = []
    for part in [] if text is None else text.split(","):
        match = re.fullmatch(r"(\d{1,4})(?:-(\d{1,4}))?", part.strip())
        low, high = (int(match[1]), int(match[2] or match[1])) if match else (1, 0)
        if not low <= high < _MOST_CPUS or set(found) & {*range(low, high + 1)}:
            raise click.BadParameter(f"{text!r} is no list of CPUs such as 0-3,6")
        found += range(low, high + 1)
    return tuple(sorted(found))


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


def measuring_of(asked: dict[str, Any]) -> Measuring:
    """How to measure, from `measuring_options` or `timing_options`.  Raises InputError."""
    from toolchain.measuring import Measuring

    threads, cpus, tune = asked.get("threads"), asked.get("cpus", ()), asked.get("tune", False)
    if tune and (threads or cpus):
        raise InputError(
            "--tune chooses threads and CPUs; --threads and --cpus give them",
            hint="Leave one of them out.",
        )
    if cpus and (threads or 1) > len(cpus):
        raise InputError(
            f"{threads} threads do not fit on {len(cpus)} CPUs",
            hint="Name more CPUs, or ask for fewer threads.",
        )
    return Measuring(
        threads=threads,
        cpus=cpus,
        tune=tune,
        warmup=asked["warmup"],
        timed_runs=asked["timed_runs"],
        wheelhouse=asked["wheelhouse"],
        again=asked["again"],
        busy_s=asked["busy_s"],
        steady_s=asked["steady_s"] or 0.0,
        repeat=asked["repeat"],
        asked=_board_settings(asked),
    )


def _board_settings(asked: dict[str, Any]) -> Asked:
    """Raises InputError: --set, --config or --ask-sudo without --profile."""
    from targets.firmware.resolve import override
    from toolchain.boardsettings import Asked
    from toolchain.cli.trust import trust

    if asked["profile"] is None:
        if asked["overrides"] or asked["ask_sudo"] or asked["config"]:
            raise InputError(
                "--set, --config and --ask-sudo are about the settings of a profile",
                hint="Add --profile benchmark.",
            )
        return Asked()
    password = trust(accept_new=False).password if asked["ask_sudo"] else None
    return Asked(
        asked["profile"],
        config=asked["config"],
        overrides=tuple(override(text) for text in asked["overrides"]),
        password=password,
    )


def targets_of(names: Sequence[str]) -> list[Target]:
    """Targets by name.  Raises UnknownTarget with the nearest names."""
    from targets import inventory

    return inventory.load().of(names)
