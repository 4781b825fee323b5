"""`halfbyte runs attach`: what boards measured while this host was away."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from toolchain.cli import console
from toolchain.cli.options import accept_new_option, json_option
from toolchain.cli.paths import existing_folder


@click.command()
@click.argument("folder", type=existing_folder())
@click.option("--stop", is_flag=True, help="End runs that are still on, then fetch what they told.")
@accept_new_option
@json_option
def attach(folder: Path, stop: bool, accept_new: bool, as_json: bool) -> None:
    """Fetch the rest of runs that were cut off from this machine, and follow those still on.

    A run goes on by itself on its board when the link breaks or this machine goes down. FOLDER is
    the run folder that was begun; what comes is added to it, and its report is made again. The
    command that began it does the same, and then whatever else is left. Ctrl-C here leaves the run
    on.

    \b
    Examples:
      halfbyte runs attach runs/best
      halfbyte runs attach runs/best --stop
    """
    from targets import inventory
    from targets.errors import RunIncomplete
    from toolchain import attaching, pipeline
    from toolchain.cli.trust import trust

    known = inventory.load()
    attached = attaching.attach(
        folder,
        known.__getitem__,
        stop=stop,
        trust=trust(accept_new=accept_new),
        progress=console.progress(),
    )
    if attached:
        pipeline.report(folder, progress=console.progress())
    console.show(attached, as_json=as_json, text=lambda found: _told(found, folder))
    failed = [one for one in attached if one.fault is not None]
    if failed:
        raise RunIncomplete(
            f"{failed[0].key} is not whole: {failed[0].fault}",
            hint="Run the command that began it again for the rest.",
        )


def _told(attached: Any, folder: Path) -> str:
    if not attached:
        return f"every run in {folder} is whole\n"
    lines = [
        f"{one.key}: {one.records} records came" + (f"; {one.fault}" if one.fault else ", whole")
        for one in attached
    ]
    return "\n".join([*lines, f"report: {folder / 'report.html'}"]) + "\n"
