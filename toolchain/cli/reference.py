"""Makes docs/commands.md out of every command's --help."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import click

from targets.files import write_whole
from toolchain.cli import console
from toolchain.cli.main import cli

PAGE = Path("docs/commands.md")
_HEAD = """# Commands
Made from `--help` by `scripts/docs`; do not edit by hand.

Every command takes `--help`. Those that give a result take `--json`: then standard output is one
JSON value and nothing else, an error is `{"error": {"kind", "message", "hint", "exit_code"}}`, and
progress is not shown. Progress bars appear on standard error at a terminal only; `NO_COLOR` is
honoured. Questions (a host key, a password) are asked at a terminal only: in a script they are
errors that say what to do.

| exit code | meaning |
| --- | --- |
| 0 | fine |
| 1 | conversion failed, or a fault of ours |
| 2 | the command line was not understood |
| 3 | input: weights, models, pictures, annotations, settings |
| 4 | the way to the board: connection, host key, login |
| 5 | the board: no Python, no runtime, no space |
| 6 | download: not reachable, or not what it should be |
| 7 | a run ended early; what was measured is kept, and the report is marked partial |
| 8 | a check failed: nothing detected, float model off, `doctor` found something bad |
| 130 | interrupted; the same command goes on from there |

Environment: `HALFBYTE_CACHE` and `HALFBYTE_CONFIG` move the cache and settings folders,
`HALFBYTE_TARGETS` names the inventory, `HALFBYTE_INDEX_URL` another package index.
"""


def page() -> str:
    """The whole page."""
    return _HEAD + "".join(_sections(cli, "halfbyte"))


def commands(group: click.Command = cli, name: str = "halfbyte") -> Iterator[tuple[str, str]]:
    """Every command's full name and its --help, groups before what is in them."""
    yield name, _help(group, name)
    if isinstance(group, click.Group):
        context = click.Context(group)
        for word in group.list_commands(context):
            command = group.get_command(context, word)
            assert command is not None
            yield from commands(command, f"{name} {word}")


def _sections(group: click.Command, name: str) -> Iterator[str]:
    for full, text in commands(group, name):
        yield f"\n## {full}\n```\n{text}\n```\n"


def _help(command: click.Command, name: str) -> str:
    context = click.Context(command, info_name=name, terminal_width=100, max_content_width=100)
    text = command.get_help(context)
    return "\n".join(line.rstrip() for line in text.splitlines())


def main(arguments: list[str]) -> int:
    """Write the page, or with --check compare it; the exit status."""
    made = page()
    if "--check" not in arguments:
        write_whole(PAGE, made.encode())
        return 0
    if PAGE.is_file() and PAGE.read_text("utf-8") == made:
        return 0
    console.note(f"{PAGE} is stale: run scripts/docs")
    return 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
