"""A board as it is now: which one it is, and what its settings are."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from targets.deadline import Deadline
from targets.errors import BoardError, NoPython
from targets.firmware import program
from targets.firmware.settings import KINDS
from targets.firmware.settings.kind import Said, Seen
from targets.firmware.settings.pi_config import COMPATIBLE
from targets.privilege import NotPermitted, Privilege
from targets.ssh import Connection
from targets.transfer import open_store

LOOK_S: Final = 120.0
_MODEL: Final = "/sys/firmware/devicetree/base/model"
ROOTS_FOLDER: Final = "/var/lib/halfbyte"
"""Where root keeps what settings were (targets/provision/on_board/place.py)."""


@dataclass(frozen=True)
class Held:
    """Settings that are in force for now.  guard: somebody is there to put them back.

    restarted: the board was restarted meanwhile, so most of them are gone.  lease: the file whose
    touching renews it.
    """

    id: str
    label: str
    by_root: bool
    guard: bool
    restarted: bool
    before: tuple[tuple[str, str, str], ...]  # kind, path, value
    lease: str | None = None
    holder: Mapping[str, Any] | None = None  # user, host, since

    @property
    def is_left_over(self) -> bool:
        """Nobody will put them back: the power was cut, or the guard was killed."""
        return not self.guard


@dataclass(frozen=True)
class Board:
    """What was seen, and how to go on from there.

    folder: of ours on the board, for settings.  run_lock: is held there while a run is on.
    boot_changed: config.txt has lines of ours, and what it was is kept there.  not_permitted: why
    root's view is missing.
    """

    connection: Connection
    python: str
    folder: str
    privilege: Privilege
    seen: Seen
    held: Held | None
    boot_changed: bool
    not_permitted: NotPermitted | None

    @property
    def kept_in(self) -> str:
        """The folder on the board where what is held is kept."""
        return ROOTS_FOLDER if self.held is None or self.held.by_root else self.folder

    @property
    def run_lock(self) -> str:
        """Of `targets/provision/on_board/start.py`."""
        return f"{self.folder.rpartition('/')[0]}/lock"

    @property
    def compatible(self) -> tuple[str, ...]:
        """Words of its device tree, the most special first; none where it has none."""
        for path in COMPATIBLE:
            if text := self.seen.text(path):
                return tuple(word for word in text.split("\0") if word)
        return ()

    @property
    def model(self) -> str:
        """As its device tree calls it; "" where it has none."""
        return self.seen.text(_MODEL) or ""


def wanted() -> dict[str, list[str]]:
    """Files and commands that all kinds of settings are read from, and which board it is."""
    return {
        "files": [*_once(path for kind in KINDS.values() for path in kind.files), _MODEL],
        "commands": _once(words for kind in KINDS.values() for words in kind.commands),
    }


def look(connection: Connection, privilege: Privilege, *, deadline: Deadline) -> Board:
    """Read everything, as root where that is permitted.

    Raises NoPython, BoardError, CommandFailed, LinkLost, DeadlineExceeded.
    """
    store = open_store(connection, deadline=deadline)
    if store.python is None:
        raise NoPython(
            f"{connection.name} has no Python 3.8 or newer, which reads its settings.",
            hint="Install python3 there.",
        )
    folder = f"{store.root}/firmware"
    answer = program.ask(
        connection,
        {"do": "look", "folder": folder, "look": wanted()},
        python=store.python,
        privilege=privilege,
        deadline=deadline.sooner(LOOK_S),
    )
    if answer.problem:
        raise BoardError(
            f"The settings of {connection.name} cannot be read: {answer.problem}.",
            hint="The words after the colon are the board's own; without root there, `--ask-sudo`.",
        )
    return Board(
        connection=connection,
        python=store.python,
        folder=folder,
        privilege=privilege,
        seen=seen_of(answer.value),
        held=_held(answer.value),
        boot_changed=isinstance(answer.value.get("boot"), dict),
        not_permitted=answer.refused,
    )


def seen_of(answer: Mapping[str, Any]) -> Seen:
    """From what the program on the board said."""
    return Seen(
        files=dict(answer["files"]),
        commands={
            words: Said(said["status"], said["text"]) for words, said in answer["commands"].items()
        },
        boot_id=answer["boot_id"],
        uid=answer["uid"],
    )


def _held(answer: Mapping[str, Any]) -> Held | None:
    for who in ("root", "user"):
        status = answer["held"][who]
        backup = status["backup"]
        if isinstance(backup, dict):
            return Held(
                id=backup["id"],
                label=backup["label"],
                by_root=who == "root",
                guard=status["guard"] is not None,
                restarted=backup["boot_id"] != status["boot_id"],
                lease=backup.get("lease"),
                holder=backup.get("holder"),
                before=tuple((kind, path, value) for kind, path, value in backup["before"]),
            )
    return None


def _once(words: Iterable[str]) -> list[str]:
    return list(dict.fromkeys(words))
