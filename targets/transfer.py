"""Files to and from a board, over exec channels alone: no sftp, no scp, any login shell.

A file lies on the board as `ROOT/objects/SHA256`.  It is sent only if it is not there, continues
after a cut at the byte where it broke off, is hashed on the board, and gets its name only when it
is whole.  Room is checked before the first byte.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Iterable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path

from targets import transfer_shell, transfer_stream
from targets.deadline import Deadline
from targets.errors import CommandFailed, CorruptUpload, NoSpace
from targets.files import replaced
from targets.items import Item, changed
from targets.progress import SILENT, Progress
from targets.ssh import Connection
from targets.stored import Advance, Board, Room

__all__ = ["Item", "Sent", "Store", "fetch", "open_store", "read_file", "room_at", "send"]

log = logging.getLogger(__name__)
DEFAULT_ROOT = "~/.halfbyte"
STALL_S = 30.0
# A file takes whole blocks, and a file system that is full to the last byte helps nobody.
_BLOCK_BYTES = 4096
_SPARE_BYTES = 1024 * 1024
_SHA256 = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True)
class Store:
    """Our folder on a board: `root` is absolute; `python` can run the receiver, if there is one."""

    root: str
    python: str | None

    @property
    def objects(self) -> str:
        """Where files lie under their hashes."""
        return f"{self.root}/objects"

    def path(self, sha256: str) -> str:
        """Where the file with this content is, once it was sent."""
        if _SHA256.fullmatch(sha256) is None:
            raise ValueError(f"{sha256!r} is no SHA-256")
        return f"{self.objects}/{sha256}"


@dataclass(frozen=True)
class Sent:
    """What a `send` did: bytes that crossed the link, files that were there already."""

    store: Store
    bytes_sent: int
    files_sent: int
    files_present: int


_OPEN = """
umask 077
[ -n "$HOME" ] || { echo "HOME is not set" >&2; exit 1; }
case "$1" in
  /*) root=$1 ;;
  "~") root=$HOME ;;
  "~/"*) root=$HOME/${1#"~/"} ;;
  *) root=$HOME/$1 ;;
esac
mkdir -p "$root/objects" || exit 1
[ -O "$root" ] || { echo "$root belongs to somebody else" >&2; exit 1; }
chmod 700 "$root" "$root/objects" && cd "$root" && pwd -P || exit 1
for python in "$2" python3 /usr/bin/python3 /usr/local/bin/python3; do
  [ -n "$python" ] || continue
  if "$python" -I -S -c "import fcntl, hashlib, json, sys; sys.exit(sys.version_info < (3, 7))"
  then echo "$python"; break; fi
done </dev/null 2>/dev/null
"""


def open_store(connection: Connection, *, deadline: Deadline) -> Store:
    """Our folder on the board (mode 0700), made if need be; home is what the board says.

    Raises NoSpace, CommandFailed, LinkLost, DeadlineExceeded.
    """
    target = connection.target
    done = connection.run(
        _OPEN, target.root or DEFAULT_ROOT, target.python or "", deadline=deadline
    )
    lines = done.stdout.decode("utf-8", "surrogateescape").splitlines()
    if "No space left" in done.complaint:
        raise NoSpace(
            f"{target.name} has no room for a folder of ours: {done.complaint}",
            hint="Remove files there, or set `root` of this target to another file system.",
        )
    if not lines or not lines[0].startswith("/") or len(lines) > 2:
        raise CommandFailed(
            f"{target.name} has no folder for us: {done.complaint or done.how}",
            hint="Set `root` of this target in targets.toml to a folder that its user may write.",
        )
    store = Store(lines[0], lines[1] if len(lines) == 2 else None)
    log.debug("%s: %s", target.name, store)
    return store


def send(
    connection: Connection,
    items: Iterable[Item],
    *,
    deadline: Deadline,
    store: Store | None = None,
    stall_s: float = STALL_S,
    progress: Progress = SILENT,
) -> Sent:
    """Put every item into the store; `Store.path(item.sha256)` is where it then is.

    stall_s: the longest time without any progress.  After LinkLost or DeadlineExceeded the same
    call on a new connection goes on where this one broke off.
    Raises NoSpace (before anything is sent, where the board can tell), CorruptUpload, InputError
    if a file changes meanwhile, LinkLost, DeadlineExceeded, CommandFailed.
    """
    wanted = {item.sha256: item for item in items}
    store = store or open_store(connection, deadline=deadline)
    with _board(connection, store, stall_s, deadline) as board:
        stored = board.ask(list(wanted.values()))
        missing = [item for item in wanted.values() if item.sha256 not in stored.have]
        offsets = {item.sha256: stored.parts.get(item.sha256, 0) for item in missing}
        _check_room(connection, stored.room, missing, offsets)
        total = sum(item.size_bytes - offsets[item.sha256] for item in missing)
        if missing:
            label = f"to {connection.name}: {len(missing)} file{'s' * (len(missing) > 1)}"
            with progress.task(label, total, "B") as task:
                total += _deliver(connection, board, missing, offsets, task.advance)
    return Sent(store, total, len(missing), len(wanted) - len(missing))


def _board(
    connection: Connection, store: Store, stall_s: float, deadline: Deadline
) -> AbstractContextManager[Board]:
    if store.python is None:
        return transfer_shell.open_board(connection, store.objects, stall_s, deadline)
    return transfer_stream.open_board(connection, store.objects, store.python, stall_s, deadline)


def _deliver(
    connection: Connection,
    board: Board,
    missing: list[Item],
    offsets: dict[str, int],
    advance: Advance,
) -> int:
    """Send, and once more from the start what had a bad beginning; the bytes of that."""
    bad = board.put(missing, offsets, advance)
    for item in bad:
        if not item.is_unchanged():
            assert isinstance(item.source, Path)
            raise changed(item.source)
    again = [item for item in bad if offsets[item.sha256] > 0]
    if len(again) == len(bad) and again:
        log.info("%d files had a bad beginning on %s: sent again", len(again), connection.name)
        bad = board.put(again, {}, advance)
    if bad:
        raise CorruptUpload(
            f"{bad[0].label} did not arrive on {connection.name} as it was sent "
            f"(SHA-256 {bad[0].sha256[:12]}...).",
            hint="Try again; if it happens again, check the board's storage and memory.",
        )
    return sum(item.size_bytes for item in again)


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
