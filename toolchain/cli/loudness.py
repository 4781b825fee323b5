"""-v and -vv: how much of the log is shown, wherever on the line they stand."""

from __future__ import annotations

import logging
import sys

import click

from toolchain.cli.console import printable

_KEY = "halfbyte.verbose"
_CHATTY = ("paramiko", "asyncssh", "PIL", "tensorflow", "h5py")


class _Terminal(logging.Handler):
    """Lines on what is stderr now: while a progress bar is shown, that goes above the bar.

    Much of what is logged was said by a board or a file: nothing of it may move the cursor.
    """

    def emit(self, record: logging.LogRecord) -> None:
        """One line, and a traceback where there is one."""
        sys.stderr.write(printable(self.format(record)) + "\n")


def _louder(context: click.Context, _option: click.Parameter, count: int) -> None:
    context.meta[_KEY] = context.meta.get(_KEY, 0) + count
    _set(context.meta[_KEY])


def _set(verbose: int) -> None:
    root = logging.getLogger()
    if not any(isinstance(handler, _Terminal) for handler in root.handlers):
        handler = _Terminal()
        handler.setFormatter(logging.Formatter("%(levelname)s %(name)s: %(message)s"))
        root.addHandler(handler)
    root.setLevel([logging.WARNING, logging.INFO, logging.DEBUG][min(verbose, 2)])
    for name in _CHATTY:
        logging.getLogger(name).setLevel(logging.ERROR if verbose < 2 else logging.NOTSET)


def verbose_option() -> click.Option:
    """-v before or after the command; those before and after add up."""
    return click.Option(
        ["-v", "--verbose"],
        count=True,
        expose_value=False,
        callback=_louder,
        help="Say more on stderr (-vv: everything).",
    )


def accept_verbose(command: click.Command) -> None:
    """Give a command, and those in it, the option."""
    if not any("--verbose" in parameter.opts for parameter in command.params):
        command.params.append(verbose_option())
    if isinstance(command, click.Group):
        for inner in command.commands.values():
            accept_verbose(inner)
