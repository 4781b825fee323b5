"""Files to and from a board, over exec channels alone: no sftp, no scp, any login shell.

A file lies on the board as `ROOT/objects/SHA256`.  It is sent only if it is not there, and but for
the pieces that other files there have; it goes on after a cut at the byte where it broke off, is
hashed on the board, and gets its name only when it is whole.  Room is checked before all that.
"""

from __future__ import annotations

import logging
import secrets
from collections.abc import Iterable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path

from targets import transfer_shell, transfer_stream
from targets.deadline import Deadline
from targets.errors import CommandFailed, CorruptUpload, NoSpace
from targets.files import replaced
from targets.items import Item, changed
from targets.persisting import PATIENCE_S, persisting
from targets.progress import SILENT, Progress
from targets.ssh import Connection
from targets.store import Store, open_store
from targets.stored import Advance, Board, Room
from targets.stretches import Stretches

__all__ = ["Item", "Sent", "Store", "fetch", "open_store", "read_file", "room_at", "send"]

log = logging.getLogger(__name__)
STALL_S = 30.0
# A file takes whole blocks, and a file system that is full to the last byte helps nobody.
_BLOCK_BYTES = 4096
_SPARE_BYTES = 1024 * 1024


@dataclass(frozen=True)
class Sent:
    """What a `send` did.

    bytes_sent: of files, that crossed the link.  bytes_copied: that the board took from files that
    it had.  files_present: that were there already.
    """

    store: Store
    bytes_sent: int
    files_sent: int
    files_present: int
    bytes_copied: int = 0


@dataclass
class _Counted:
    """Over all connections that a `send` needed."""

    files_present: int | None = None
    bytes_sent: int = 0
    bytes_copied: int = 0


def send(
    connection: Connection,
    items: Iterable[Item],
    *,
    deadline: Deadline,
    store: Store | None = None,
    stall_s: float = STALL_S,
    patience_s: float = PATIENCE_S,
    progress: Progress = SILENT,
) -> Sent:
    """Put every item into the store; `Store.path(item.sha256)` is where it then is.

    A break of the link is got over: `connection` is renewed and the upload goes on at the byte.
    stall_s: the longest time without any progress.  patience_s: the longest time without a
    connection; 0: none is made anew, and the same call later goes on where this one broke off.
    Raises NoSpace (before anything is sent, where the board can tell), CorruptUpload, InputError
    if a file changes meanwhile, LinkLost, DeadlineExceeded, CommandFailed.
    """
    wanted = {item.sha256: item for item in items}
    counted = _Counted()
    token = f"halfbyte-{secrets.token_hex(8)}"

    def once() -> Store:
        place = store or open_store(connection, deadline=deadline)
        with _board(connection, place, token, stall_s, deadline) as board:
            _fill(connection, board, list(wanted.values()), counted, progress)
        return place

    if patience_s:
        place = persisting(connection, once, deadline=deadline, patience_s=patience_s)
    else:
        place = once()
    present = counted.files_present or 0
    return Sent(place, counted.bytes_sent, len(wanted) - present, present, counted.bytes_copied)


def _board(
    connection: Connection, store: Store, token: str, stall_s: float, deadline: Deadline
) -> AbstractContextManager[Board]:
    if store.python is None:
        return transfer_shell.open_board(connection, store.objects, stall_s, deadline)
    return transfer_stream.open_board(connection, store, token, stall_s, deadline)


def _fill(
    connection: Connection, board: Board, wanted: list[Item], counted: _Counted, progress: Progress
) -> None:
    """Send what is not there."""
    stored = board.ask(wanted)
    missing = [item for item in wanted if item.sha256 not in stored.have]
    if counted.files_present is None:
        counted.files_present = len(wanted) - len(missing)
    if not missing:
        return
    offsets = {item.sha256: stored.parts.get(item.sha256, 0) for item in missing}
    _check_room(connection, stored.room, missing, offsets)
    lacking = board.lacking(missing)
    left = sum(item.size_bytes - offsets[item.sha256] for item in missing)
    total = sum(lacking[item.sha256].size_bytes(offsets[item.sha256]) for item in missing)
    label = f"to {connection.name}: {len(missing)} file{'s' * (len(missing) > 1)}"
    try:
        with progress.task(label, total, "B") as task:
            _deliver(connection, board, missing, offsets, lacking, task.advance)
    finally:
        counted.bytes_sent += board.bytes_sent
    counted.bytes_copied += left - total


def _deliver(
    connection: Connection,
    board: Board,
    missing: list[Item],
    offsets: dict[str, int],
    lacking: Mapping[str, Stretches],
    advance: Advance,
) -> None:
    """Send, and once more all of what was not as wanted in the end."""
    bad = board.put(missing, offsets, lacking, advance)
    for item in bad:
        if not item.is_unchanged():
            raise changed(item.label)
    again = [item for item in bad if _was_in_part(item, offsets, lacking)]
    if len(again) == len(bad) and again:
        log.info("%d files had a bad beginning on %s: sent again", len(again), connection.name)
        bad = board.put(again, {}, {}, advance)
    if bad:
        raise CorruptUpload(
            f"{bad[0].label} did not arrive on {connection.name} as it was sent "
            f"(SHA-256 {bad[0].sha256[:12]}...).",
            hint="Try again; if it happens again, check the board's storage and memory.",
        )


def _was_in_part(item: Item, offsets: dict[str, int], lacking: Mapping[str, Stretches]) -> bool:
    """Whether some of the bytes were the board's, not ours."""
    is_whole = lacking[item.sha256].size_bytes() == item.size_bytes
    return offsets[item.sha256] > 0 or not is_whole


def _check_room(
    connection: Connection, room: Room, missing: list[Item], offsets: dict[str, int]
) -> None:
    needed = sum(
        -(-(item.size_bytes - offsets[item.sha256]) // _BLOCK_BYTES) * _BLOCK_BYTES
        for item in missing
    )
    if missing and room.free_bytes is not None and needed + _SPARE_BYTES > room.free_bytes:
        raise NoSpace(
            f"{connection.name} has too little room on {room.file_system}: {needed:,} bytes "
            f"are needed, {room.free_bytes:,} are free. Nothing was sent.",
            hint="Remove files there, or set `root` of this target to another file system.",
        )
    if room.free_files is not None and room.free_files < len(missing):
        raise NoSpace(
            f"{connection.name} has too few inodes on {room.file_system}: {len(missing)} "
            f"are needed, {room.free_files} are free. Nothing was sent.",
            hint="Remove files there, or set `root` of this target to another file system.",
        )


def room_at(connection: Connection, path: str, *, deadline: Deadline) -> Room:
    """The file system under an existing path of the board, and what is free on it."""
    return transfer_shell.room(connection, path, deadline)


def read_file(
    connection: Connection, path: str, *, deadline: Deadline, limit_bytes: int = 1024 * 1024
) -> bytes:
    """A small file of the board.  Raises CommandFailed if it is not there or too large."""
    done = connection.run(
        'exec head -c "$2" -- "$1"', path, str(limit_bytes + 1), deadline=deadline, check=True
    )
    if len(done.stdout) > limit_bytes:
        raise _too_large(connection, path, limit_bytes)
    return done.stdout


def fetch(
    connection: Connection,
    path: str,
    into: Path,
    *,
    deadline: Deadline,
    limit_bytes: int,
    stall_s: float = STALL_S,
    progress: Progress = SILENT,
) -> int:
    """A file of the board as the local file `into`, whole or not at all; its bytes.

    Raises CommandFailed if it is not there or larger than `limit_bytes`, LinkLost,
    DeadlineExceeded.
    """
    count = 0
    with (
        progress.task(f"from {connection.name}: {into.name}", None, "B") as task,
        connection.start(["cat", "--", path], deadline=deadline) as process,
        replaced(into) as stream,
    ):
        while data := process.read(deadline=deadline.sooner(stall_s)):
            count += len(data)
            if count > limit_bytes:
                raise _too_large(connection, path, limit_bytes)
            stream.write(data)
            task.advance(len(data))
        done = process.wait(deadline=deadline)
        if not done.ok:
            raise CommandFailed(
                f"{path} on {connection.name} cannot be read: {done.complaint or done.how}",
                hint="Is the path right, and may the user read it?",
            )
    return count


def _too_large(connection: Connection, path: str, limit_bytes: int) -> CommandFailed:
    return CommandFailed(
        f"{path} on {connection.name} is larger than {limit_bytes:,} bytes.",
        hint="It is not what was expected there; look at it on the board.",
    )
