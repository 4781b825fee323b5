"""Makes docs/commands.md out of every command's --help."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import click

from targets import errors as targets_errors
from targets.errors import HalfbyteError
from targets.files import write_whole
from toolchain import errors as toolchain_errors
from toolchain.cli import console, errors
from toolchain.cli.main import cli

_CODES = {
    0: "fine",
    1: "conversion failed, or a fault of ours",
    2: "the command line was not understood",
    3: "input: a path, weights, models, pictures, annotations, settings",
    4: "the way to the board: connection, host key, login",
    5: "the board: no Python, no runtime, no space",
    6: "download: not reachable, or not what it should be",
    7: "a run ended early; what was measured is kept, and the report is marked partial",
    8: "a check failed: nothing detected, float model off, `doctor` found something bad",
    130: "interrupted; the same command goes on from there",
    141: "whoever read the output has gone (`halfbyte ... \\| head`)",
}
PAGE = Path("docs/commands.md")
_HEAD = """# Commands
Made from `--help` by `scripts/docs`; do not edit by hand.

Every command takes `--help`. Those that give a result take `--json`: then standard output is one
JSON value and nothing else, an error is `{"error": {"kind", "message", "hint", "exit_code"}}`, and
progress is not shown. `kind` is one of the names below. Progress bars appear on standard error at a
terminal only; `NO_COLOR` is honoured. Questions (a host key, a password) are asked at a terminal
only: in a script they are errors that say what to do.

| exit code | meaning | `kind` of an error |
| --- | --- | --- |
{codes}
`-v` and `-vv` say more on standard error, before the command or after it.

Environment: `HALFBYTE_CACHE` and `HALFBYTE_CONFIG` move the cache and settings folders,
`HALFBYTE_TARGETS` names the inventory, `HALFBYTE_INDEX_URL` another package index.
"""


def page() -> str:
    """The whole page."""
    head = _HEAD.replace("{codes}", "".join(_code(number) for number in _CODES))
    return head + "".join(_sections(cli, "halfbyte"))


def kinds() -> dict[str, int]:
    """Exit codes by the names that errors have with --json."""
    found = {}
    for module in (errors, targets_errors, toolchain_errors):
        for name, item in sorted(vars(module).items()):
            if isinstance(item, type) and issubclass(item, HalfbyteError):
                found[name] = item.exit_code
    found.pop("HalfbyteError")
    return found


def _code(number: int) -> str:
    names = ", ".join(f"`{name}`" for name, code in kinds().items() if code == number)
    return f"| {number} | {_CODES[number]} | {names} |\n"


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
    context = click.Context(
        command,
        info_name=name,
        terminal_width=100,
        **{"max_content_width": 100, **cli.context_settings},
    )
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
