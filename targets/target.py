"""A board's address and the choices made for it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

LOOPBACK = "loopback"


@dataclass(frozen=True)
class Target:
    """One board; None: whatever OpenSSH's configuration says, or decided by looking at the board.

    `known_hosts` and `ssh_config` are never read from targets.toml: they let the loopback target
    and tests keep to files of their own.
    """

    name: str
    host: str
    port: int | None = None
    user: str | None = None
    key: Path | None = None  # then the only key that is tried
    board: str | None = None
    notes: str = ""
    python: str | None = None  # the interpreter to start from
    runtime: str | None = None
    threads: int | None = None
    root: str | None = None  # folder of ours on the board
    known_hosts: Path | None = None  # then the only such file
    ssh_config: Path | None = None  # instead of ~/.ssh/config and the system's; openssh.NO_CONFIG

    @property
    def is_loopback(self) -> bool:
        """The embedded server on this machine (`targets.loopback`)."""
        return self.name == LOOPBACK

    def __str__(self) -> str:
        return self.name
