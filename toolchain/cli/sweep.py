"""`halfbyte sweep`: models by threads by power modes, in one picture."""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import Any

import click

from toolchain.cli import console
from toolchain.cli.measuring import measuring_of, timing_options
from toolchain.cli.options import (
    accept_new_option,
    again_option,
    command_line,
    data_options,
    dataset_of,
    json_option,
    names_option,
    out_option,
    targets_of,
)
from toolchain.cli.paths import existing_file

_MOST_THREADS = 64


@click.command()
@click.argument("models", nargs=-1, required=True, type=existing_file())
@click.option(
    "--target",
    "target_names",
    default="loopback",
    show_default=True,
    callback=lambda _ctx, _param, value: (value.strip(),),
    help="One target of targets.toml, user@host, or loopback.",
)
@click.option(
    "--threads",
    metavar="LIST",
    callback=lambda _ctx, _param, value: _threads(value),
    help="Numbers of threads, such as 1,2,4.  [default: 1 to the board's CPUs]",
)
@click.option(
    "--power-mode",
    "modes",
    metavar="LIST",
    callback=lambda _ctx, _param, value: _modes(value),
    help="Power modes of a Jetson by name, such as 15W,MAXN; put back afterwards.  Needs root "
    "there; the rest of the profile benchmark is set too.  [default: the mode that it is in]",
)
@click.option(
    "--all-images",
    is_flag=True,
    help="Detect on every picture in every combination, and not just once for each model.",
)
@data_options
@names_option
@timing_options
@again_option
@out_option("runs/sweep-<time>")
@accept_new_option
@json_option
def sweep(
    models: tuple[Path, ...],
    target_names: tuple[str, ...],
    threads: tuple[int, ...],
    modes: tuple[str, ...],
    all_images: bool,
    names: Path | None,
    out: Path | None,
    accept_new: bool,
    as_json: bool,
    **asked: Any,
) -> None:
    """Measure MODELS on a target with every number of threads and in every power mode.

    Give models of several sizes and bit widths: a picture shows AP against frames a second, and
    against watts where the board tells them, with the combinations that nothing else is better
    than. Each combination is a run folder with its own report; the same command goes on with what
    is left. Accuracy is measured once for each model, since threads and clocks do not change it.

    \b
    Examples:
      halfbyte sweep models/best-640x640-*.tflite --images val/ --annotations val.json \\
          --threads 1,2 --runs 10 --limit 4 --out runs/sweep
    """
    from toolchain import making
    from toolchain.cli.errors import UsageError
    from toolchain.cli.trust import trust
    from toolchain.subject import subject
    from toolchain.sweep.grid import Asked
    from toolchain.sweep.sweep import sweep as swept

    targets = targets_of(target_names)
    if len(targets) != 1:
        raise UsageError("a sweep is of one target", hint="Run it once for each of them.")
    labels = None if names is None else making.read_labels(names)
    if modes:
        asked["profile"] = asked["profile"] or "benchmark"
    folder = out or Path("runs") / time.strftime("sweep-%Y%m%d-%H%M%S")
    if out is None:
        console.note(f"folder: {folder} (stopped half way? --out {folder} goes on)")
    done = swept(
        [subject(path, names=labels) for path in models],
        targets[0],
        dataset_of(asked),
        measuring_of(asked),
        Asked(threads, modes, all_images),
        folder,
        command=command_line(),
        trust=trust(accept_new=accept_new),
        progress=console.progress(),
    )
    _show(done, as_json=as_json)
    _check(done, strict=asked["strict"])


def _show(done: Any, *, as_json: bool) -> None:
    from toolchain.sweep.terminal import drawn

    if as_json:
        sys.stdout.write((done.folder / "sweep.json").read_text("utf-8"))
        return
    console.out().print(drawn(done.results))
    for one in done.left_out:
        console.note(f"left out: {one.combination}: {one.reason}")
    sys.stdout.write("".join(f"wrote {path}\n" for path in done.files))


def _check(done: Any, *, strict: bool) -> None:
    """Raises what cut the sweep short, and with `strict` CheckFailed for doubts or gaps."""
    from targets.errors import CheckFailed

    if done.faults:
        raise done.faults[0]
    doubted = [row for row in done.results.rows if row.doubts]
    if strict and (doubted or done.left_out):
        said = [f"{len(doubted)} of {len(done.results.rows)} figures are doubted"] * bool(doubted)
        said += [f"{len(done.left_out)} combinations were left out"] * bool(done.left_out)
        raise CheckFailed(" and ".join(said), hint="sweep.json and the reports name the reasons.")


def _threads(text: str | None) -> tuple[int, ...]:
    words = [] if text is None else [word.strip() for word in text.split(",")]
    if any(not word.isdecimal() or not 1 <= int(word) <= _MOST_THREADS for word in words):
        raise click.BadParameter(f"{text!r} is no list of numbers from 1 to {_MOST_THREADS}")
    return tuple(dict.fromkeys(int(word) for word in words))


def _modes(text: str | None) -> tuple[str, ...]:
    from targets.firmware.resolve import override

    words = [] if text is None else [word.strip() for word in text.split(",")]
    for word in words:
        override(f"jetson.power_mode={word}")  # raises FirmwareConfigError for what is no name
    return tuple(dict.fromkeys(words))
