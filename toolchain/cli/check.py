"""`halfbyte check`: limits on what was measured, for continuous integration."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import click

from toolchain.cli import console
from toolchain.cli.amounts import PERCENT, SIZE, TIME
from toolchain.cli.options import json_option
from toolchain.cli.paths import new_file


@click.command()
@click.argument("run")
@click.option("--max-ap-drop", type=float, metavar="POINTS", help="AP lost, in points of 100.")
@click.option("--min-ap", type=float, metavar="POINTS", help="AP at least.")
@click.option("--min-fps", type=float, help="Images a second, end to end, at least.")
@click.option("--max-memory", "max_memory_bytes", type=SIZE, help="Peak memory (VmHWM), as 200MB.")
@click.option(
    "--max-latency-p50", "max_latency_p50_ms", type=TIME, help="Of the model alone, as 100ms."
)
@click.option(
    "--max-latency-p95", "max_latency_p95_ms", type=TIME, help="Of the model alone, as 100ms."
)
@click.option("--max-file", "max_file_bytes", type=SIZE, help="Size of the model file, as 8MB.")
@click.option(
    "--max-slowdown",
    "max_slowdown_percent",
    type=PERCENT,
    help="How much slower than the baseline the model alone may be, as 5%.",
)
@click.option("--against", metavar="FOLDER", help="Baseline.  [default: the run's float model]")
@click.option("--strict", is_flag=True, help="A doubt about a figure fails too.")
@click.option("--junit", type=new_file(), help="Write JUnit XML too.")
@click.option("--markdown", type=new_file(), help="Write a table for a pull request too.")
@json_option
def check(
    run: str,
    against: str | None,
    junit: Path | None,
    markdown: Path | None,
    as_json: bool,
    **limits: Any,
) -> int:
    """Check the figures of RUN against limits; exit code 8 where one is not kept.

    RUN is a run folder: its quantized models are checked. FOLDER:RUN checks one model. A figure
    that is unknown fails. Where a limit lies inside a figure's 95 % interval the line says so;
    what decides is the figure itself.

    \b
    Examples:
      halfbyte check runs/best --min-fps 0.5 --max-memory 2GB --junit check.xml
      halfbyte check runs/best:w8c-a8 --max-ap-drop 5 --against runs/best:float32
    """
    from targets.errors import CheckFailed
    from toolchain import gates, gates_written
    from toolchain.cli.errors import UsageError
    from toolchain.cli.files import write_text
    from toolchain.compare.sides import named

    asked = gates.Limits(**limits)
    if not asked.any:
        raise UsageError(
            "there is nothing to check",
            hint="Give a limit, such as --max-ap-drop 0.5, or --strict.",
        )
    baseline = None if against is None else named(against)
    checked = gates.check(named(run), asked, against=baseline)
    if junit is not None:
        write_text(junit, gates_written.to_junit(checked))
    if markdown is not None:
        write_text(markdown, gates_written.to_markdown(checked))
    if as_json:
        body = json.dumps(console.plain(gates_written.as_json(checked)), indent=2, allow_nan=False)
        sys.stdout.write(body + "\n")
        return 0 if checked.passed else CheckFailed.exit_code
    console.show(checked, as_json=False, text=_as_text)
    if not checked.passed:
        names = ", ".join(dict.fromkeys(gate.name for gate in checked.failed))
        raise CheckFailed(
            f"{len(checked.failed)} of {len(checked.gates)} gates failed: {names}",
            hint=f"`halfbyte runs show {run}` shows all figures and their doubts.",
        )
    return 0


def _as_text(checked: Any) -> Any:
    from rich.text import Text

    from toolchain import gates_written

    text = Text()
    for gate in checked.gates:
        text.append(*(("ok   ", "green") if gate.passed else ("fail ", "red")))
        text.append(console.printable(gates_written.line(gate)) + "\n")
    text.rstrip()
    return text
