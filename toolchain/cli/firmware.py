"""`halfbyte firmware`: what boards are set to for measuring, put in force and put back."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from toolchain.cli import console
from toolchain.cli import firmware_text as as_text
from toolchain.cli.options import accept_new_option, json_option
from toolchain.cli.paths import existing_file

if TYPE_CHECKING:
    from targets.firmware.look import Board
    from targets.firmware.resolve import Library, Settings

_WORK_S = 600.0
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
    console.show(rows, as_json=as_json, text=as_text.boards)


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
    console.show(found, as_json=as_json, text=as_text.settings)


ask_sudo_option = click.option(
    "--ask-sudo", is_flag=True, help="Ask for the password of sudo on the board, if it wants one."
)
board_option = click.option("--board", help="The settings of this board, whatever it says it is.")


@firmware.command()
@click.argument("name")
@profile_option
@board_option
@laid_over_options
@ask_sudo_option
@accept_new_option
@json_option
def diff(name: str, profile: str, as_json: bool, **asked: Any) -> None:
    """Show what a profile would change on the target NAME; nothing is changed.

    \b
    Examples:
      halfbyte firmware diff garage-pi --profile benchmark
      halfbyte firmware diff garage-pi --profile quiet --set cpu.max_khz=1200000
    """
    from targets.firmware.boot import plan
    from targets.firmware.diff import compare, unexpected

    with _seen(name, asked) as board:
        settings = _settings_for(board, profile, asked)
        boot = plan(board, settings)
        result = {
            "target": name,
            "board": settings.board,
            "profile": profile,
            "held": board.held,
            "boot_changed": board.boot_changed,
            "boot_diff": boot.diff if boot is not None else "",
            "differences": compare(settings, board.seen),
            "doubts": unexpected(settings, board.seen),
            "not_permitted": as_text.refusal(board.not_permitted),
        }
    console.show(result, as_json=as_json, text=as_text.differences)


@firmware.command("apply")
@click.argument("name")
@profile_option
@board_option
@click.option(
    "--for",
    "hold",
    default="24h",
    show_default=True,
    help="Put everything back by itself after so long: 90s, 30m, 24h, 7d.",
)
@click.option(
    "--reboot",
    is_flag=True,
    help="Change config.txt too, where the profile asks for it, and restart the board for that.",
)
@laid_over_options
@ask_sudo_option
@accept_new_option
@json_option
def apply_(name: str, profile: str, hold: str, reboot: bool, as_json: bool, **asked: Any) -> int:
    """Put a profile in force on the target NAME, read it back, and leave a guard.

    Everything goes back as it was with `halfbyte firmware restore`, by itself after --for, and
    when the board restarts.  Exits with 8 if something that was asked for is not in force.

    \b
    Example:
      halfbyte firmware apply garage-pi --profile benchmark --for 30m
    """
    from targets.deadline import Deadline
    from targets.firmware.apply import apply
    from targets.firmware.boot import plan, try_out

    lease_s = _seconds(hold)
    with _seen(name, asked) as board:
        settings = _settings_for(board, profile, asked)
        boot = plan(board, settings) if reboot else None
        if boot is not None and boot.changes:
            console.note(boot.diff)
            work = Deadline.after(_WORK_S)
            board = try_out(board, boot, deadline=work, tell=console.note)  # noqa: PLW2901
        done = apply(board, settings, deadline=Deadline.after(_WORK_S), lease_s=lease_s)
    result = {
        "target": name,
        **{key: getattr(done, key) for key in ("board", "profile", "before", "after", "held")},
        "held_for_s": lease_s,
        "doubts": done.doubts,
        "not_permitted": as_text.refusal(done.not_permitted),
        "backup": done.kept_at,
    }
    console.show(result, as_json=as_json, text=lambda _: as_text.applied(name, done, hold))
    return 0 if done.in_force else 8


@firmware.command()
@click.argument("name")
@click.option("--reboot", is_flag=True, help="Restart the board if its config.txt was put back.")
@ask_sudo_option
@accept_new_option
@json_option
def restore(name: str, reboot: bool, as_json: bool, **asked: Any) -> None:
    """Put back what the settings of the target NAME were, config.txt too.

    \b
    Example:
      halfbyte firmware restore garage-pi
    """
    from targets.deadline import Deadline
    from targets.firmware import boot
    from targets.firmware.restore import restore as put_back

    with _seen(name, asked) as board:
        deadline = Deadline.after(_WORK_S)
        done = put_back(board, deadline=deadline)
        if board.boot_changed:
            others = boot.put_back(board, deadline=deadline)
            console.note(
                "config.txt is without our lines; what others changed in it since stays"
                if others
                else "config.txt is as it was before"
            )
            if reboot:
                boot.restarted(board, board.seen.boot_id, trial=False, deadline=deadline)
            else:
                console.note("that is in force after the next start of the board")
    console.show(done, as_json=as_json, text=lambda _: as_text.restored(name, done))


@contextlib.contextmanager
def _seen(name: str, asked: dict[str, Any]) -> Iterator[Board]:
    """The target, reached and looked at."""
    from targets.deadline import Deadline
    from targets.firmware.look import look
    from targets.loopback import reachable
    from targets.privilege import Privilege
    from toolchain import measuring
    from toolchain.cli.options import targets_of
    from toolchain.cli.trust import trust

    allowed = trust(accept_new=asked["accept_new"])
    password = allowed.password if asked["ask_sudo"] else None
    with (
        reachable(targets_of([name])[0]) as target,
        measuring.connected(target, allowed) as connection,
    ):
        deadline = Deadline.after(_WORK_S)
        privilege = Privilege.of(connection, password, deadline=deadline)
        yield look(connection, privilege, deadline=deadline)


def _settings_for(board: Board, profile: str, asked: dict[str, Any]) -> Settings:
    """Chosen by what the board says it is, and not by its name."""
    from targets.firmware.resolve import board_of, override, resolve

    known = _library(asked["config"])
    name = asked["board"] or board_of(board.compatible, known, board.model)
    return resolve(known, name, profile, dict(override(text) for text in asked["overrides"]))


def _seconds(written: str) -> float:
    match = re.fullmatch(r"([0-9]{1,6})([smhd])", written)
    seconds = int(match[1]) * {"s": 1, "m": 60, "h": 3600, "d": 86400}[match[2]] if match else 0
    if not 1 <= seconds <= 366 * 86400:
        raise click.BadParameter(f"{written!r} is no time such as 30m or 24h", param_hint="--for")
    return float(seconds)


def _library(config: Path | None) -> Library:
    from targets.firmware.resolve import library

    return library(named=config)
