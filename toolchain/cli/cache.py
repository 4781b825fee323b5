"""`halfbyte cache`: what is kept on this machine, and how to be rid of it."""

from __future__ import annotations

import shutil
from pathlib import Path

import click

from toolchain.cli import console
from toolchain.cli.options import json_option


@click.group()
def cache() -> None:
    """Show or clear what halfbyte keeps and can make again.

    \b
    Examples:
      halfbyte cache show
      halfbyte cache clear --yes
    """


@cache.command()
@json_option
def show(as_json: bool) -> None:
    """Say where the cache is and what each part takes.

    \b
    Example:
      halfbyte cache show
    """
    from targets.places import cache_dir

    folder = cache_dir()
    parts = {item.name: _size_bytes(item) for item in sorted(folder.iterdir())}
    console.show(
        {"folder": folder, "bytes": parts},
        as_json=as_json,
        text=lambda value: "\n".join(
            [str(folder), *(f"{n / 1e6:10.1f} MB  {name}" for name, n in value["bytes"].items())]
        ),
    )


@cache.command()
@click.option("--yes", is_flag=True, help="Do not ask.")
def clear(yes: bool) -> None:
    """Remove all of it: weights, converted models, packages, the loopback target's home.

    \b
    Example:
      halfbyte cache clear --yes
    """
    from targets.places import cache_dir

    folder = cache_dir()
    if not yes:
        click.confirm(f"Remove everything in {folder}?", abort=True, err=True)
    for item in folder.iterdir():
        if item.is_dir():
            shutil.rmtree(item)
        else:
            item.unlink()
    console.note(f"cleared {folder}")


def _size_bytes(path: Path) -> int:
    if path.is_file():
        return path.stat().st_size
    return sum(item.lstat().st_size for item in path.rglob("*") if item.is_file())
