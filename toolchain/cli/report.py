"""`halfbyte report`: the report of a run folder, made again from its records."""

from __future__ import annotations

from pathlib import Path

import click

from toolchain.cli import console
from toolchain.cli.options import json_option
from toolchain.cli.paths import existing_folder


@click.command()
@click.argument("folder", type=existing_folder())
@json_option
def report(folder: Path, as_json: bool) -> None:
    """Make the report of FOLDER again: report.json, report.html, report.csv, and a table here.

    \b
    Example:
      halfbyte report runs/demo
    """
    from toolchain import pipeline

    console.show_report(pipeline.report(folder, progress=console.progress()), as_json=as_json)
