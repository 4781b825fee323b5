"""A board looked at over SSH, before anything of ours is there, and in words."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from typing import Any

from targets.boards import Board, recognise
from targets.deadline import Deadline
from targets.readings import Reading
from targets.readings.machine import MACHINE
from targets.readings.nvpmodel import POWER_MODE
from targets.readings.vcgencmd import THROTTLED
from targets.ssh import Connection

TOOL_S = 15.0


@dataclasses.dataclass(frozen=True)
class Said:
    """One line about a board.  good None: worth a look, and `hint` says at what."""

    name: str
    detail: str
    good: bool | None = True
    hint: str = ""


def look(connection: Connection, *, deadline: Deadline) -> Board:
    """Which board it is.  Raises LinkLost, DeadlineExceeded, CommandFailed."""
    return recognise(ask(connection, MACHINE, deadline=deadline))


def ask(connection: Connection, reading: Reading[Any], *, deadline: Deadline) -> Any:
    """One reading there; a tool that is missing or complains is for the parser to make out.

    Raises LinkLost, DeadlineExceeded, CommandFailed.
    """
    done = connection.run(list(reading.command), deadline=deadline)
    return reading.parse((done.stdout + done.stderr).decode("utf-8", "replace"))


def in_words(board: Board) -> Iterator[Said]:
    """Board, cores, memory, storage and system; what it does not say is left out."""
    facts = board.facts
    own = board.model if board.model and board.model != board.name else None
    yield Said("board", _joined(board.name, board.soc, own))
    if board.cores:
        yield Said("cores", board.cores)
    if facts.mem_total_bytes:
        yield Said("RAM", f"{facts.mem_total_bytes / 2**30:.1f} GiB")
    if board.storage or facts.home_free_bytes is not None:
        free = facts.home_free_bytes
        told = None if free is None else f"{free / 1e9:.1f} GB free where the home folder is"
        yield Said("storage", _joined(board.storage, told))
    bits = facts.userland_bits
    yield Said(
        "software",
        _joined(
            facts.os_name,
            board.system,
            f"kernel {facts.kernel} ({facts.machine})" if facts.kernel else None,
            f"{bits}-bit userland" if bits else None,
            facts.libc,
            f"pages of {facts.page_size_bytes // 1024} KiB" if facts.page_size_bytes else None,
        ),
    )
    if facts.governors:
        yield Said("governor", ", ".join(f"{k}: {v}" for k, v in sorted(facts.governors.items())))


def of_tools(connection: Connection, board: Board) -> Iterator[Said]:
    """What its own tools say of its state.  Raises LinkLost, DeadlineExceeded, CommandFailed."""
    if THROTTLED in board.kind.readings:
        yield _throttled(ask(connection, THROTTLED, deadline=Deadline.after(TOOL_S)))
    if POWER_MODE in board.kind.readings:
        mode = ask(connection, POWER_MODE, deadline=Deadline.after(TOOL_S))
        number = "" if mode.number is None else f" ({mode.number})"
        known = mode.name is not None
        yield Said("power mode", f"{mode.name}{number}" if known else "unknown", known or None)


def as_facts(board: Board) -> dict[str, Any]:
    """The same for programs."""
    facts, release = board.facts, board.release
    return {
        "name": board.name,
        "family": board.kind.family,
        "model": board.model,
        "soc": board.soc,
        "cores": board.cores,
        "clusters": [dataclasses.asdict(cluster) for cluster in facts.clusters],
        "ram_bytes": facts.mem_total_bytes,
        "disks": [dataclasses.asdict(disk) for disk in facts.disks],
        "home_free_bytes": facts.home_free_bytes,
        "os": facts.os_name,
        "kernel": facts.kernel,
        "machine": facts.machine,
        "userland_bits": facts.userland_bits,
        "libc": facts.libc,
        "page_size_bytes": facts.page_size_bytes,
        "l4t": release.l4t if release else None,
        "jetpack": release.jetpack if release else None,
        "compatible": list(facts.compatible),
    }


def _throttled(told: Any) -> Said:
    if told.bits is None:
        hint = "sudo usermod -aG video $USER, then log in again." if "video" in told.reason else ""
        return Said("throttling", f"unknown: {told.reason}", None, hint)
    if told.now or told.since_boot:
        now = f"now: {', '.join(told.now)}" if told.now else "not now"
        before = f"since it started: {', '.join(told.since_boot)}" if told.since_boot else ""
        return Said(
            "throttling",
            _joined(now, before, by="; "),
            None,
            "Under-voltage wants a better supply and cable, heat a cooler or a fan.",
        )
    return Said("throttling", "none since it started")


def _joined(*words: str | None, by: str = ", ") -> str:
    return by.join(word for word in words if word)
