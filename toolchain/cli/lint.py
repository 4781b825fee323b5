"""`halfbyte lint`: what is wrong with the quantization of a model."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from toolchain.cli import console
from toolchain.cli.checks import limit_option, model_argument, pictures, threads_option
from toolchain.cli.options import json_option
from toolchain.cli.paths import existing, existing_file

_STYLES = {"error": "bold red", "warning": "yellow", "note": "cyan"}
_SHOWN = 4


@click.command()
@model_argument
@click.option(
    "--images",
    type=existing(),
    help="Typical pictures: what only they show is looked for too.",
)
@limit_option
@click.option(
    "--against",
    type=existing_file(),
    help="The float .tflite that MODEL was made from.",
)
@threads_option
@click.option("--strict", is_flag=True, help="Fail (8) on warnings, not on errors alone.")
@json_option
def lint(
    model: Path,
    images: Path | None,
    limit: int,
    against: Path | None,
    threads: int,
    strict: bool,
    as_json: bool,
) -> int:
    """Look for faults in the quantization of MODEL, any .tflite file, and name them.

    From the file alone: scales that are shared, unequal, zero or out of range, dead filters,
    biases that overflow, what runs slowly.  With --images: ranges that collapse or cut off,
    channels that never change, and whether anything is detected; with --against too: how many
    boxes above 0.25 the float model finds.

    \b
    Exit code: 0 no errors (with --strict: no warnings either), 8 otherwise.

    \b
    Examples:
      halfbyte lint models/best-640x640-w8c-a8.tflite
      halfbyte lint models/best-640x640-w8c-a8.tflite --images val/ \\
          --against models/best-640x640-float32.tflite
    """
    from toolchain.tflite import lint as linter

    found = linter.lint(
        model,
        images=pictures(images, limit),
        against=against,
        threads=threads,
        progress=console.progress(),
    )
    shown: Any = linter.to_json(found) if as_json else found
    console.show(shown, as_json=as_json, text=_text)
    return 8 if found.failed(strict=strict) else 0


def _text(found: Any) -> Any:
    from rich.text import Text

    text = Text()
    for finding in found.findings:
        text.append(f"{finding.severity:8}", _STYLES[finding.severity])
        text.append(console.printable(f"{finding.code}  {_where(finding)}\n"))
        text.append(console.printable(f"        {finding.message}\n"))
        text.append(console.printable(f"        try: {finding.advice}\n"), "dim")
    counts = [_counted(found.count(kind), kind) for kind in ("error", "warning", "note")]
    text.append(console.printable(f"{found.model}: {', '.join(counts)}\n"), "bold")
    if found.boxes is not None:
        beside = "" if found.boxes_against is None else f", the float model {found.boxes_against}"
        text.append(f"boxes above 0.25 on {found.images} pictures: {found.boxes}{beside}\n")
    for name, reason in found.left_out:
        text.append(console.printable(f"left out {name}: {reason}\n"))
    for words in found.unchecked:
        text.append(console.printable(f"not checked: {words}\n"), "dim")
    text.rstrip()
    return text


def _counted(number: int, what: str) -> str:
    return f"{number} {what}" + "s" * (number != 1)


def _where(finding: Any) -> str:
    others = finding.others
    more = len(others) - _SHOWN
    names = [finding.where, *others[:_SHOWN]]
    return ", ".join(names) + (f" and {more} more" if more > 0 else "")
