"""`halfbyte runs`: the run folders of this machine."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click

from toolchain.cli import console
from toolchain.cli.attach import attach
from toolchain.cli.options import json_option
from toolchain.cli.paths import existing_folder


@click.group()
def runs() -> None:
    """List, show, delete and go on with run folders: what was measured, where and when.

    \b
    Examples:
      halfbyte runs list
      halfbyte runs show runs/best
      halfbyte runs attach runs/best
    """


runs.add_command(attach)


@runs.command(name="list")
@click.option(
    "--in",
    "inside",
    type=existing_folder(),
    multiple=True,
    help="Look through this folder too; what is found is known from then on.",
)
@json_option
def list_(inside: tuple[Path, ...], as_json: bool) -> None:
    """List the run folders that commands on this machine wrote, oldest first.

    They are read from the folders themselves and kept in an index, which can be removed at any
    time. Folders that are gone are left out.

    \b
    Examples:
      halfbyte runs list
      halfbyte runs list --in runs
    """
    from toolchain.history.find import find
    from toolchain.history.index import entries

    more = [folder for root in inside for folder in find(root)]
    found = entries(more, progress=console.progress())
    console.show(found, as_json=as_json, text=_listed)


@runs.command()
@click.argument("folder")
@json_option
def show(folder: str, as_json: bool) -> None:
    """Show the doubts and figures of a run folder; nothing is written.

    FOLDER may be FOLDER:RUN for one model of several.

    \b
    Example:
      halfbyte runs show runs/best
    """
    import dataclasses

    from toolchain.compare.sides import named, sides
    from toolchain.report.json_report import JsonWriter
    from toolchain.report.summarise import summarise
    from toolchain.runs import RunFolder

    asked = named(folder)
    report = summarise(RunFolder.open(asked.folder).load(), progress=console.progress())
    if asked.key is not None:
        keys = {run.key for side in sides(asked) for run in side.runs}
        report = dataclasses.replace(
            report,
            runs=tuple(run for run in report.runs if run.key in keys),
            doubts=tuple(d for d in report.doubts if not d.runs or keys & {*d.runs}),
        )
    if as_json:
        sys.stdout.write(JsonWriter().render(report))
    else:
        sys.stdout.write(console.table_of(report))


@runs.command()
@click.argument("folders", nargs=-1, required=True, type=existing_folder())
@click.option("--yes", is_flag=True, help="Do not ask.")
@json_option
def delete(folders: tuple[Path, ...], yes: bool, as_json: bool) -> None:
    """Delete run folders: what halfbyte wrote into them, and the folder if nothing else is there.

    Links are removed, never followed.

    \b
    Example:
      halfbyte runs delete runs/best --yes
    """
    from toolchain.history import delete as removing

    planned = [removing.plan(folder) for folder in folders]  # all are checked before any goes
    for removal in planned:
        if not yes:
            size = f"{len(removal.files)} files, {removal.bytes / 1e6:.1f} MB"
            click.confirm(f"Delete {removal.folder} ({size})?", abort=True, err=True)
        removing.delete(removal)
    console.show(planned, as_json=as_json, text=_deleted)


def _deleted(planned: Sequence[Any]) -> str:
    lines = []
    for removal in planned:
        lines.append(f"deleted {removal.folder}: {removal.bytes / 1e6:.1f} MB")
        lines += [f"  left, as it is not halfbyte's: {path}" for path in removal.stays]
    return console.printable("\n".join(lines))


def _listed(found: Sequence[Any]) -> Any:
    from rich.table import Table

    from toolchain.report import text

    if not found:
        return "no run folders are known; `halfbyte runs list --in DIR` looks through a folder"
    table = Table(box=None, pad_edge=False, header_style="bold", padding=(0, 2, 0, 0))
    columns = ("when", "model", "target", "AP", "p50", "peak memory", "folder")
    for name in columns:
        right = name in ("AP", "p50", "peak memory")
        table.add_column(name, justify="right" if right else "left", overflow="fold")
    for entry in found:
        folder = console.plain_text(_short(entry.folder))
        if not entry.lines:
            why = console.plain_text(entry.problem or "no run")
            table.add_row(console.plain_text(text.day(entry.created)), why, "", "", "", "", folder)
        for at, line in enumerate(entry.lines):
            table.add_row(
                console.plain_text(text.day(entry.created) if not at else ""),
                console.plain_text(_model(line)),
                console.plain_text(line.target),
                text.number(line.ap),
                text.milliseconds(line.p50_ms),
                text.mib(line.peak_bytes),
                folder if not at else "",
            )
    return table


def _model(line: Any) -> str:
    return f"{line.weights} {line.recipe or ''}".strip() + " (partial)" * (not line.whole)


def _short(folder: Path) -> str:
    here = Path.cwd()
    return str(folder.relative_to(here)) if folder.is_relative_to(here) else str(folder)
