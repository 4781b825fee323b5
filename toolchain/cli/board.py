"""`halfbyte deploy`, `bench` and `evaluate`: any .tflite model on a target."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import click

from toolchain.cli import console
from toolchain.cli.measuring import measuring_of, measuring_options
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
    targets_option,
    wheelhouse_option,
)
from toolchain.cli.paths import existing_file

_models = click.argument(
    "models",
    nargs=-1,
    required=True,
    type=existing_file(),
)


@click.command()
@_models
@targets_option
@wheelhouse_option
@accept_new_option
@json_option
def deploy(
    models: tuple[Path, ...],
    target_names: tuple[str, ...],
    wheelhouse: Path | None,
    accept_new: bool,
    as_json: bool,
) -> None:
    """Put the agent, its environment and MODELS on targets; send only what is not there.

    \b
    Example:
      halfbyte deploy models/best-640x640-w8c-a8.tflite --target garage-pi
    """
    from toolchain import pipeline
    from toolchain.cli.trust import trust

    targets = targets_of(target_names)
    done, faults = pipeline.deploy(
        models,
        targets,
        wheelhouse=wheelhouse,
        trust=trust(accept_new=accept_new),
        progress=console.progress(),
    )
    shown = done[0] if len(targets) == 1 else done
    if not (as_json and faults):  # an error is the one thing that is printed then
        console.show(shown, as_json=as_json, text=_deployed)
    if faults:
        raise faults[0]


def _deployed(result: Any) -> str:
    if isinstance(result, list):
        return "\n".join(map(_deployed, result))
    lines = [f"{result.target}: {result.environment}"]
    lines += [f"  {path}" for path in result.paths]
    lines.append(
        f"{result.bytes_sent / 1e6:.1f} MB sent in {result.files_sent} files, "
        f"{result.files_present} were there"
    )
    return "\n".join(lines)


@click.command()
@_models
@targets_option
@data_options
@names_option
@measuring_options
@again_option
@out_option("runs/bench-<time>")
@accept_new_option
@json_option
def bench(
    models: tuple[Path, ...],
    target_names: tuple[str, ...],
    names: Path | None,
    out: Path | None,
    accept_new: bool,
    as_json: bool,
    **asked: Any,
) -> None:
    """Time MODELS on a target and measure their memory; any .tflite file will do.

    With --images the pictures run end to end too. A model whose outputs are not understood is
    still timed.

    \b
    Example:
      halfbyte bench models/best-640x640-w8c-a8.tflite --target garage-pi
    """
    dataset = dataset_of(asked) if asked["images"] or asked["annotations"] else None
    _measure(models, target_names, names, dataset, out, "bench", accept_new, as_json, asked)


@click.command()
@_models
@targets_option
@data_options
@names_option
@measuring_options
@again_option
@out_option("runs/evaluate-<time>")
@accept_new_option
@json_option
def evaluate(
    models: tuple[Path, ...],
    target_names: tuple[str, ...],
    names: Path | None,
    out: Path | None,
    accept_new: bool,
    as_json: bool,
    **asked: Any,
) -> None:
    """Detect on pictures with MODELS on a target, and score them against ground truth.

    Give the float model among MODELS to see what the others lose against it.

    \b
    Example:
      halfbyte evaluate models/*.tflite --images val/ --annotations val.json --target garage-pi
    """
    _measure(
        models, target_names, names, dataset_of(asked), out, "evaluate", accept_new, as_json, asked
    )


def _measure(
    models: tuple[Path, ...],
    target_names: tuple[str, ...],
    names: Path | None,
    dataset: Any,
    out: Path | None,
    kind: str,
    accept_new: bool,
    as_json: bool,
    asked: dict[str, Any],
) -> None:
    from toolchain import making, pipeline
    from toolchain.cli.compare import differences
    from toolchain.cli.trust import trust
    from toolchain.subject import subject

    labels = None if names is None else making.read_labels(names)
    measured = pipeline.measure(
        [subject(path, names=labels) for path in models],
        targets_of(target_names),
        dataset,
        measuring_of(asked),
        out or Path("runs") / time.strftime(f"{kind}-%Y%m%d-%H%M%S"),
        command=command_line(),
        trust=trust(accept_new=accept_new),
        begun=_tell if out is None else None,
        progress=console.progress(),
    )
    console.show_report(measured, as_json=as_json)
    if asked["repeat"] > 1 and not as_json:
        differences(measured.folder)
    pipeline.check_measured(measured, strict=asked["strict"])


def _tell(folder: Path) -> None:
    """A folder that nobody named."""
    console.note(f"run folder: {folder} (stopped half way? --out {folder} goes on)")
