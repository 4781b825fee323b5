"""Boot settings of a Raspberry Pi: tried once, kept if the board comes back, put back on request.

The firmware reads tryboot.txt instead of config.txt for one start after `reboot "0 tryboot"`
(Raspberry Pi Documentation, "Fail-safe OS updates (tryboot)").  A board that does not come back
boots its old config.txt at the next start: when it resets by itself, or somebody unplugs it.
"""

from __future__ import annotations

import difflib
import hashlib
import re
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

from targets.deadline import Deadline
from targets.errors import BoardError, DeadlineExceeded, LinkLost, NotRestored, Unreachable
from targets.firmware import program
from targets.firmware.config_txt import effective, with_block, without_block
from targets.firmware.look import Board, look, seen_of
from targets.firmware.resolve import Settings, keeps
from targets.firmware.settings.pi_config import PI_CONFIG, TRIED, config_file

BACK_S: Final = 300.0
"""A Pi with a slow card and a long start is back within this time."""
_ASK_S: Final = 60.0
_PAUSE_S: Final = 2.0

Tell = Callable[[str], None]


@dataclass(frozen=True)
class Plan:
    """What would become of config.txt."""

    path: str
    before: str
    after: str
    lines: tuple[str, ...]

    @property
    def folder(self) -> str:
        """Of both files."""
        return self.path.rpartition("/")[0]

    @property
    def changes(self) -> bool:
        """There is something to do."""
        return self.before != self.after

    @property
    def diff(self) -> str:
        """A unified diff."""
        found = "".join(
            f"{line.rstrip()}\n"
            for line in difflib.unified_diff(
                self.before.splitlines(keepends=True),
                self.after.splitlines(keepends=True),
                self.path,
                f"{self.path} with the profile",
            )
        )
        return found.encode("utf-8", "replace").decode("utf-8")


def plan(board: Board, settings: Settings) -> Plan | None:
    """What the profile wants in config.txt; None where the board has none or nothing is wanted."""
    values = [value.value for value in settings.values if value.key == PI_CONFIG.key]
    if not values or keeps(values[0]):
        return None
    found = config_file(board.seen)
    if found is None:
        return None
    path, text = found
    assert isinstance(values[0], tuple)
    clean = without_block(text)
    missing = [ln for ln in values[0] if effective(clean, ln, board.compatible) != ln]
    return Plan(path, text, with_block(text, missing), values[0])


def try_out(board: Board, wanted: Plan, *, deadline: Deadline, tell: Tell) -> Board:
    """Restart the board once with the new lines, and keep them if it comes back; the board then.

    Raises BoardError where it did not come back by the new file (the old one is still in place),
    Unreachable where it did not come back at all, CommandFailed, LinkLost, DeadlineExceeded.
    """
    seen = {"folder": wanted.folder, "seen_sha256": _sha256(wanted.before)}
    text = {"text": wanted.after}
    before = _asked(board, {"do": "boot-prepare", **seen, **text}, deadline)["boot_id"]
    tell(f"{board.connection.name} restarts, once with {wanted.folder}/tryboot.txt")
    back = restarted(board, before, trial=True, deadline=deadline)
    tried = _was_tried(back)
    if tried is None:
        tried = _reads_back(back, wanted, deadline)
    if not tried:
        _asked(back, {"do": "boot-settle", **seen, "keep": False}, deadline)
        how = "by its old config.txt" if tried is False else "and does not say by which file"
        raise BoardError(
            f"{board.connection.name} came back {how}, so the new lines were not kept.",
            hint="Its firmware may be too old for tryboot: `sudo rpi-eeprom-update`.",
        )
    _asked(back, {"do": "boot-settle", **seen, **text, "keep": True}, deadline)
    tell(f"{board.connection.name} came back: {wanted.path} has the new lines")
    return look(back.connection, back.privilege, deadline=deadline)


def put_back(board: Board, *, deadline: Deadline) -> bool:
    """config.txt as it was before us; whether lines that others changed since were kept.

    In force after the next start.  Raises NotRestored, CommandFailed, LinkLost, DeadlineExceeded.
    """
    found = config_file(board.seen)
    if found is None:
        raise NotRestored(
            f"The firmware partition of {board.connection.name} is not mounted.",
            hint="Mount it there, and run the command again.",
        )
    _, text = found
    clean = without_block(text)
    request = {
        "do": "boot-restore",
        "seen_sha256": _sha256(text),
        "unmarked_sha256": _sha256(clean),
        "text": clean,
    }
    return bool(_asked(board, request, deadline).get("others"))


def restarted(board: Board, boot_id: str, *, trial: bool, deadline: Deadline) -> Board:
    """The board after a restart.  Raises Unreachable if it does not come back in BACK_S."""
    connection = board.connection
    _asked(board, {"do": "boot-restart", "trial": trial}, deadline)
    wait = deadline.sooner(BACK_S)
    while True:
        time.sleep(min(_PAUSE_S, wait.remaining_s()))
        try:
            connection.renew(deadline=wait.sooner(30))
            again = look(connection, board.privilege, deadline=wait)
            if again.seen.boot_id != boot_id:
                return again
        except (Unreachable, LinkLost, DeadlineExceeded) as error:
            if wait.remaining_s() < _PAUSE_S:
                raise Unreachable(
                    f"{connection.name} did not come back after its restart: {error.message}",
                    hint="Unplug it and plug it in again: it then boots its old config.txt.",
                ) from error
        if wait.expired:
            raise Unreachable(
                f"{connection.name} does not restart.", hint="Restart it by hand: `sudo reboot`."
            )


def _was_tried(board: Board) -> bool | None:
    """Whether this start was by tryboot.txt; None where the firmware does not say."""
    said = board.seen.files.get(TRIED)
    return None if said is None else said.endswith("\x01")


def _reads_back(board: Board, wanted: Plan, deadline: Deadline) -> bool | None:
    """Whether the firmware has the new numbers, by `vcgencmd get_config`; None: it cannot tell."""
    numbers = dict(line.split("=") for line in wanted.lines if not line.startswith("dtparam"))
    if not numbers:
        return None
    commands = [f"vcgencmd get_config {name}" for name in numbers]
    request = {"do": "look", "look": {"files": [], "commands": commands}}
    said = seen_of(_asked(board, request, deadline)).commands
    found = [said[f"vcgencmd get_config {name}"].text.strip() for name in numbers]
    if not all(re.fullmatch(r"\w+=\d+", text) for text in found):
        return None
    return found == [f"{name}={value}" for name, value in numbers.items()]


def _asked(board: Board, request: dict[str, Any], deadline: Deadline) -> dict[str, Any]:
    """The answer of the program as root.  Raises BoardError where it refuses."""
    answer = program.ask(
        board.connection,
        {
            "folder": board.folder,
            "users_folder": board.folder,
            "run_lock": board.run_lock,
            **request,
        },
        python=board.python,
        privilege=board.privilege,
        deadline=deadline.sooner(_ASK_S),
    )
    if answer.refused is not None:
        raise BoardError(
            f"config.txt of {board.connection.name} was not changed: {answer.refused}.",
            hint=answer.refused.hint,
        )
    if answer.problem:
        raise BoardError(
            f"config.txt of {board.connection.name} was not changed: {answer.problem}.",
            hint=f"`halfbyte firmware diff {board.connection.name}` shows what is there.",
        )
    return dict(answer.value)


def _sha256(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogateescape")).hexdigest()
