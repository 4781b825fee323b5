"""`halfbyte firmware`: what boards are set to for measuring, put in force and put back."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from toolchain.cli import console
from toolchain.cli.options import json_option
from toolchain.cli.paths import existing_file

if TYPE_CHECKING:
    from targets.firmware.resolve import Library, Settings

F = TypeVar("F", bound=Callable[..., Any])

profile_option = click.option(
    "--profile", default="benchmark", show_default=True, help="benchmark, field, quiet, or yours."
)
_laid_over: list[Callable[[Any], Any]] = [
    click.option("--config", type=existing_file(), help="A file of settings laid over all others."),
    click.option(
        "--set",
        "overrides",
        multiple=True,
        metavar="KEY=VALUE",
        help="One value, such as cpu.governor=performance; may be given again.",
    ),
]


def laid_over_options(function: F) -> F:
    """What counts more than the files that are there."""
    for option in reversed(_laid_over):
        function = option(function)
    return function


@click.group()
def firmware() -> None:
    """Settings of boards for measuring: governors, power modes, fans, swap, config.txt.

    \b
    Examples:
      halfbyte firmware show raspberry-pi-5 --profile benchmark
      halfbyte firmware diff garage-pi --profile benchmark
    """


@firmware.command("list")
@json_option
def list_(as_json: bool) -> None:
    """Show every board that there are settings for, and its profiles.

    \b
    Example:
      halfbyte firmware list
    """
    known = _library(None)
    rows = [
        {
            "board": board,
            "title": known.layers(board)[-1].title,
            "profiles": known.profiles(board),
            "files": [file.origin for file in known.layers(board)],
        }
        for board in known.boards()
    ]
    console.show(rows, as_json=as_json, text=_boards)


@firmware.command()
@click.argument("board")
@profile_option
@laid_over_options
@json_option
def show(
    board: str, profile: str, config: Path | None, overrides: tuple[str, ...], as_json: bool
) -> None:
    """Show what a profile asks of BOARD, why, and where each value comes from.

    \b
    Examples:
      halfbyte firmware show raspberry-pi-5
      halfbyte firmware show jetson-orin-nano --profile field --set cpu.governor=performance
    """
    from targets.firmware.resolve import override, resolve

    given = dict(override(text) for text in overrides)
    found = resolve(_library(config), board, profile, given)
    console.show(found, as_json=as_json, text=_settings)


def _library(config: Path | None) -> Library:
    from targets.firmware.resolve import library

    return library(named=config)


def _boards(rows: list[dict[str, Any]]) -> Any:
    from rich import box
    from rich.table import Table

    table = Table(box=box.SIMPLE_HEAD)
    for column in ("board", "title", "profiles"):
        table.add_column(column)
    for row in rows:
        words = (row["board"], row["title"], ", ".join(row["profiles"]))
        table.add_row(*map(console.plain_text, words))
    return table


def _settings(found: Settings) -> str:
    lines = [f"{found.title}, profile {found.profile}: {found.about}"]
    for value in (*found.values, *found.expect):
        shown = ", ".join(value.value) if isinstance(value.value, tuple) else str(value.value)
        kind = "expected: " if value in found.expect else ""
        lines += ["", f"{kind}{value.key} = {shown}   ({value.unit})", f"  from {value.origin}"]
        if value.reason:
            lines.append(f"  why: {value.reason}")
        if value.source is not None:
            lines.append(f"  source: {value.source}")
    return console.printable("\n".join(lines))
