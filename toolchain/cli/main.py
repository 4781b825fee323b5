"""The group of all commands, and the one place where errors are shown."""

from __future__ import annotations

import difflib
import importlib
import logging
import os
import sys
from typing import Any

import click

from targets.errors import HalfbyteError
from toolchain import __version__
from toolchain.cli.errors import Interrupted, UsageError
from toolchain.cli.loudness import accept_verbose
from toolchain.cli.words import sparing_last, spread

# Name of the command -> module in toolchain.cli that defines it; imported when it is used, so that
# `halfbyte --help` stays quick.
COMMANDS = {
    "run": "run",
    "demo": "demo",
    "convert": "make",
    "deploy": "board",
    "bench": "board",
    "evaluate": "board",
    "sweep": "sweep",
    "detect": "detect",
    "report": "report",
    "compare": "compare",
    "check": "check",
    "runs": "runs",
    "inspect": "make",
    "plan": "plan",
    "expand": "expand",
    "lint": "lint",
    "verify": "verify",
    "study": "study",
    "target": "target",
    "firmware": "firmware",
    "doctor": "doctor",
    "cache": "cache",
}


class Commands(click.Group):
    """Loads commands when they are asked for, and suggests names for mistyped ones."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002
        """In the order in which people meet them."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002
        """The command object, or None."""
        if cmd_name not in COMMANDS:
            return None
        module = importlib.import_module(f"toolchain.cli.{COMMANDS[cmd_name]}")
        command = getattr(module, cmd_name)
        assert isinstance(command, click.Command)
        accept_verbose(command)
        return command

    def resolve_command(self, ctx: click.Context, args: list[str]) -> Any:
        """As click does, with the nearest names in the error."""
        try:
            return super().resolve_command(ctx, args)
        except click.UsageError as error:
            near = difflib.get_close_matches(args[0], list(COMMANDS), n=2) if args else []
            if not near:
                raise
            message = f"No such command '{args[0]}'. Did you mean: {', '.join(near)}?"
            raise click.UsageError(message, ctx) from error


def _show_version(context: click.Context, _option: click.Parameter, wanted: bool) -> None:
    if not wanted or context.resilient_parsing:
        return
    from toolchain.cli import console

    console.show(
        {"name": "halfbyte", "version": __version__},
        as_json=context.params["as_json"],
        text=lambda value: f"{value['name']}, version {value['version']}",
    )
    context.exit()


@click.group(
    cls=Commands,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    epilog="Exit codes: 0 fine, 1 conversion failed or a fault of ours, 2 usage, 3 input, "
    "4 connection, 5 board, 6 download, 7 run incomplete, 8 check failed, 130 interrupted, "
    "141 nobody reads the output any more.",
)
@click.option(
    "--version",
    is_flag=True,
    expose_value=False,
    callback=_show_version,
    help="Show the version and exit.",
)
@click.option("--json", "as_json", is_flag=True, is_eager=True, help="With --version: as JSON.")
def cli(as_json: bool) -> None:
    """Quantize YOLO detectors to 4 or 8 bits, run them on small boards, report what was measured.

    \b
    Examples:
      halfbyte demo
      halfbyte detect photo.jpg
      halfbyte run --weights best.pt --bits 4 8 --target garage-pi \\
          --images val/ --annotations val.json --calibration train/
    """
    if as_json:
        raise click.UsageError("--json goes after the command")


accept_verbose(cli)


def main(arguments: list[str] | None = None) -> None:
    """Entry point: never a traceback for what a user can meet."""
    arguments = sys.argv[1:] if arguments is None else arguments
    sys.exit(_run(arguments))


def _run(arguments: list[str]) -> int:
    from toolchain.cli import console

    as_json = "--json" in arguments
    try:
        code = _invoke(arguments)
        sys.stdout.flush()
    except click.exceptions.Exit as stop:
        return stop.exit_code
    except click.exceptions.NoArgsIsHelpError as error:
        error.show()
        return 2
    except click.ClickException as error:
        console.show_error(_from_click(error, arguments), as_json=as_json)
        return 2
    except (KeyboardInterrupt, click.Abort):
        stopped = Interrupted(
            "interrupted. What was made or measured is kept.",
            hint="With the same --out the same command goes on from there.",
        )
        console.show_error(stopped, as_json=as_json)
        return stopped.exit_code
    except HalfbyteError as error:
        console.show_error(error, as_json=as_json)
        return error.exit_code
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 141
    except OSError as error:
        console.show_error(_from_os(error), as_json=as_json)
        return 3
    return code if isinstance(code, int) else 0


def _invoke(arguments: list[str]) -> Any:
    """What the command returns.  A word that an option took is a path where one is missing."""
    try:
        return _called(spread(arguments))
    except click.MissingParameter as error:
        spared = sparing_last(arguments)
        if spared is None or not isinstance(error.param, click.Argument):
            raise
        if not os.path.lexists(spared.word):
            message = error.format_message().rstrip(".")
            raise UsageError(
                f"{message}: {spared.option} took every such word after it, {spared.word} too.",
                hint=f"Name the path before {spared.option}, or write it as ./{spared.word}.",
            ) from error
        return _called(spared.words)


def _called(arguments: list[str]) -> Any:
    try:
        return cli.main(args=arguments, prog_name="halfbyte", standalone_mode=False)
    except SystemExit as stop:  # click's one way out that is no exception of its own
        raise BrokenPipeError from stop


def _from_click(error: click.ClickException, arguments: list[str]) -> HalfbyteError:
    context = getattr(error, "ctx", None)
    if context is not None:
        path = context.command_path
    else:
        path = " ".join(["halfbyte", *[word for word in arguments if word in COMMANDS][:1]])
    return UsageError(error.format_message(), hint=f"`{path} --help` shows what it takes.")


def _from_os(error: OSError) -> HalfbyteError:
    from targets.errors import InputError

    logging.getLogger(__name__).debug("operating system error", exc_info=error)
    where = f": {error.filename}" if error.filename else ""
    return InputError(
        f"{error.strerror or error}{where}",
        hint="Check that the path exists, may be read or written, and that the disk has room.",
    )
