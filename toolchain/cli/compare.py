"""`halfbyte compare`: which differences between two models, or two runs, are real."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import click

from toolchain.cli import console
from toolchain.cli.files import write_text
from toolchain.cli.options import F, json_option
from toolchain.cli.paths import new_file


def _repeats(letter: str) -> Callable[[F], F]:
    return click.option(
        f"--more-{letter}",
        f"more_{letter}",
        metavar="FOLDER",
        multiple=True,
        help=f"Another run of the same model as {letter.upper()}; may be given several times.",
    )


def differences(folder: Path) -> None:
    """After runs with --repeat: which models of a run folder really differ, here and as a page.

    Nothing where the folder holds one model.
    """
    from toolchain.compare.html import to_html
    from toolchain.compare.pairs import within
    from toolchain.compare.sides import Named, sides
    from toolchain.compare.terminal import drawn

    if len(sides(Named(folder))) < 2:
        return
    found = within(Named(folder))
    page = folder / "compare.html"
    write_text(page, to_html(found))
    console.out().print(drawn(found))
    console.note(f"wrote {page}")


@click.command()
@click.argument("a", metavar="A")
@click.argument("b", metavar="[B]", required=False)
@_repeats("a")
@_repeats("b")
@click.option("--html", type=new_file(), help="Write a page too.")
@click.option("--markdown", type=new_file(), help="Write a table for a pull request too.")
@json_option
def compare(
    a: str,
    b: str | None,
    more_a: tuple[str, ...],
    more_b: tuple[str, ...],
    html: Path | None,
    markdown: Path | None,
    as_json: bool,
) -> None:
    """Say in which figures the models of two run folders really differ, and what is noise.

    A and B are run folders, or FOLDER:RUN for one model of several. Models of the same weights
    and recipe are compared with each other; with A alone, every model of it with its float
    model. AP is compared over the same pictures; latency takes into account that times within a
    run hang together and that runs drift. Intervals are of 95 %.

    \b
    Examples:
      halfbyte compare runs/best
      halfbyte compare runs/best:w8c-a8 runs/best:w4e-a8 --html compare.html
    """
    from toolchain.cli.errors import UsageError
    from toolchain.compare import pairs, written
    from toolchain.compare.sides import named

    if b is None:
        if more_a or more_b:
            raise UsageError("--more-a and --more-b need A and B", hint="Name both folders.")
        found = pairs.within(named(a))
    else:
        found = pairs.compare(
            named(a), named(b), [named(one) for one in more_a], [named(one) for one in more_b]
        )
    files = {}
    if html is not None:
        from toolchain.compare.html import to_html

        files[html] = to_html(found)
    if markdown is not None:
        files[markdown] = written.to_markdown(found)
    for path, content in files.items():
        write_text(path, content)
    if as_json:
        sys.stdout.write(written.to_json(found))
        return
    from toolchain.compare.terminal import drawn

    console.out().print(drawn(found))
    for path in files:
        console.note(f"wrote {path}")
