"""One file after the other by POSIX sh: for a board without a Python that can receive.

Needs cat, cp, wc, mv, df and one of sha256sum, busybox, shasum or openssl.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping, Sequence

from targets.deadline import Deadline
from targets.errors import CommandFailed, NoSpace
from targets.items import Item
from targets.ssh import Connection
from targets.stalling import unstalled
from targets.stored import Advance, Room, Stored
from targets.stretches import Stretches

_HASH = """
hash() {
  if has sha256sum; then sum=$(sha256sum)
  elif has busybox; then sum=$(busybox sha256sum)
  elif has shasum; then sum=$(shasum -a 256)
  elif has openssl; then sum=$(openssl dgst -sha256 -r)
  else echo "no sha256sum, busybox, shasum or openssl" >&2; exit 1
  fi
}
has() { command -v "$1" > /dev/null; }
"""
_ASK = """
cd "$1" || exit 1
while read -r sha size; do
  if [ -f "$sha" ]; then echo "have $sha $(($(wc -c < "$sha")))"; fi
  if [ -f "$sha.part" ]; then echo "part $sha $(($(wc -c < "$sha.part")))"; fi
done
"""
_PUT = (
    """
umask 077
cd "$1" || exit 1
part=$2.part
if [ "$3" = 0 ]; then rm -f "$part"; fi
touch "$part" && [ "$(($(wc -c < "$part")))" = "$3" ] || exit 1
# A copy: what an earlier `cat` that has not heard of its end may still get goes to the old one.
rm -f "$part"-*
if [ "$3" != 0 ]; then cp "$part" "$part-$$" && mv -f "$part-$$" "$part" || rm -f "$part-$$"; fi
cat >> "$part" || exit 1
# The end of the input may be that of the link: what came is a beginning then, and stays.
[ "$(($(wc -c < "$part")))" -ge "$4" ] || { echo "the rest did not come" >&2; exit 1; }
"""
    + _HASH
    + """
hash < "$part"
if [ "${sum%% *}" = "$2" ]; then mv -f "$part" "$2" && echo done
else rm -f "$part"; echo bad
fi
"""
)


@contextlib.contextmanager
def open_board(
    connection: Connection, objects: str, stall_s: float, deadline: Deadline
) -> Iterator[FileByFile]:
    """Nothing is started: each file has a command of its own."""
    yield FileByFile(connection, objects, stall_s, deadline)


def room(connection: Connection, path: str, deadline: Deadline) -> Room:
    """What `df` says of the file system under `path`; unknown where it says nothing usable."""
    done = connection.run('LC_ALL=C exec df -Pk -- "$1"', path, deadline=deadline)
    rows = done.stdout.decode("utf-8", "replace").splitlines()
    fields = rows[-1].split(None, 5) if len(rows) >= 2 else []
    if len(fields) == 6 and fields[3].isdigit():
        return Room(fields[5], int(fields[3]) * 1024)
    return Room(path, None)


class FileByFile:
    """The host's side."""

    def __init__(
        self, connection: Connection, objects: str, stall_s: float, deadline: Deadline
    ) -> None:
        self._connection = connection
        self._objects = objects
        self._stall_s = stall_s
        self._deadline = deadline
        self.bytes_sent = 0

    def ask(self, items: Sequence[Item]) -> Stored:
        """What of these is there, in one round trip."""
        listing = "".join(f"{item.sha256} {item.size_bytes}\n" for item in items)
        done = self._connection.run(
            _ASK, self._objects, stdin=listing.encode(), deadline=self._soon(), check=True
        )
        sizes = {item.sha256: item.size_bytes for item in items}
        have: set[str] = set()
        parts: dict[str, int] = {}
        for line in done.stdout.decode("ascii", "replace").splitlines():
            word, sha, count = line.split()
            if word == "have" and int(count) == sizes[sha]:
                have.add(sha)
            elif word == "part" and int(count) <= sizes[sha]:
                parts[sha] = int(count)
        where = room(self._connection, self._objects, self._soon())
        return Stored(frozenset(have), parts, where)

    def lacking(self, items: Sequence[Item]) -> Mapping[str, Stretches]:
        """All of each: sh takes no file apart."""
        return {item.sha256: Stretches.whole(item.size_bytes) for item in items}

    def put(
        self,
        items: Sequence[Item],
        offsets: Mapping[str, int],
        lacking: Mapping[str, Stretches],  # noqa: ARG002
        advance: Advance,
    ) -> list[Item]:
        """Send each from its offset on."""
        return [item for item in items if not self._put(item, offsets, advance)]

    def _soon(self) -> Deadline:
        return self._deadline.sooner(self._stall_s)

    def _put(self, item: Item, offsets: Mapping[str, int], advance: Advance) -> bool:
        offset = offsets.get(item.sha256, 0)
        words = (self._objects, item.sha256, str(offset), str(item.size_bytes))
        with self._connection.start(_PUT, *words, stdin=True, deadline=self._soon()) as process:
            awaited = f"{self._connection.name} to take data"
            with (
                contextlib.suppress(CommandFailed),  # it ended: how, is told below
                unstalled(
                    self._deadline, self._stall_s, awaited, self._connection.abort
                ) as progressed,
            ):

                def poured(size_bytes: int) -> None:
                    self.bytes_sent += size_bytes
                    advance(size_bytes)
                    progressed()

                for data in item.chunks([(offset, item.size_bytes)]):
                    process.pour(data, poured)
                process.close_stdin()
            said = b""
            while data := process.read(deadline=self._soon()):
                said += data
            done = process.wait(deadline=self._soon())
        if "No space left" in done.complaint:
            raise NoSpace(
                f"{self._connection.name} ran out of room while {item.label} arrived.",
                hint="Remove files there and run again: it goes on where it stopped.",
            )
        if said.strip() not in (b"done", b"bad"):
            raise CommandFailed(
                f"{item.label} cannot be stored on {self._connection.name}: "
                f"{done.complaint or done.how}",
                hint="`halfbyte doctor` looks at what the board has.",
            )
        return said.strip() == b"done"
