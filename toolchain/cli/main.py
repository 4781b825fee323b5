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

# Name of the command -> module in toolchain.cli that defines it; imported when it is used, so that
# `halfbyte --help` stays quick.
COMMANDS = {
    "run": "run",
    "demo": "demo",
    "convert": "make",
    "deploy": "board",
    "bench": "board",
    "evaluate": "board",
    "detect": "detect",
    "report": "report",
    "inspect": "make",
    "plan": "plan",
    "expand": "expand",
    "lint": "lint",
    "verify": "verify",
    "study": "study",
    "target": "target",
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


@click.group(
    cls=Commands,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    epilog="Exit codes: 0 fine, 2 usage, 3 input, 4 connection, 5 board, 6 download, "
    "7 run incomplete, 8 check failed, 130 interrupted.",
)
@click.version_option(__version__, prog_name="halfbyte")
@click.option("-v", "--verbose", count=True, help="Say more on stderr (-vv: everything).")
def cli(verbose: int) -> None:
    """Quantize YOLO detectors to 4 or 8 bits, run them on small boards, report what was measured.

    \b
    Examples:
      halfbyte demo
      halfbyte detect photo.jpg
      halfbyte run --weights best.pt --bits 4 8 --target garage-pi \\
          --images val/ --annotations val.json --calibration train/
    """
    level = [logging.WARNING, logging.INFO, logging.DEBUG][min(verbose, 2)]
    logging.basicConfig(
        level=level, stream=sys.stderr, format="%(levelname)s %(name)s: %(message)s"
    )
    if verbose < 2:
        for name in ("paramiko", "asyncssh", "PIL", "tensorflow", "h5py"):
            logging.getLogger(name).setLevel(logging.ERROR)


def main(arguments: list[str] | None = None) -> None:
    """Entry point: never a traceback for what a user can meet."""
    arguments = sys.argv[1:] if arguments is None else arguments
    sys.exit(_run(arguments))


def _run(arguments: list[str]) -> int:
    from toolchain.cli import console

    as_json = "--json" in arguments
    try:
        code = cli.main(args=_spread(arguments), prog_name="halfbyte", standalone_mode=False)
    except click.exceptions.Exit as stop:
        return stop.exit_code
    except click.ClickException as error:
        if as_json:
            console.show_error(_from_click(error), as_json=True)
        else:
            error.show()
        return 2
    except (KeyboardInterrupt, click.Abort):
        stopped = _Interrupted(
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


class _UsageError(HalfbyteError):
    exit_code = 2


class _Interrupted(HalfbyteError):
    exit_code = 130


def _from_click(error: click.ClickException) -> HalfbyteError:
    context = getattr(error, "ctx", None)
    path = context.command_path if context is not None else "halfbyte"
    return _UsageError(error.format_message(), hint=f"{path} --help shows what it takes.")


def _from_os(error: OSError) -> HalfbyteError:
    from targets.errors import InputError

    logging.getLogger(__name__).debug("operating system error", exc_info=error)
    where = f": {error.filename}" if error.filename else ""
    return InputError(
        f"{error.strerror or error}{where}",
        hint="Check that the path exists, may be read or written, and that the disk has room.",
    )


def _spread(arguments: list[str]) -> list[str]:
    """`--bits 4 8` as `--bits 4 --bits 8`: the form people type, which click does not know."""
    spread: list[str] = []
    option = ""
    for word in arguments:
        name = word.split("=", 1)[0]
        if name in ("--bits", "--imgsz"):
            spread += [name, word[len(name) + 1 :]] if "=" in word else [word]
            option = name
            continue
        if not word.isdigit():
            option = ""
        elif option and spread[-1] != option:
            spread.append(option)
        spread.append(word)
    return spread
