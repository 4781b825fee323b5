"""Many files in one stream, taken apart by a receiver that the board's own Python runs."""

from __future__ import annotations

import contextlib
import json
import re
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Executor, Future, ThreadPoolExecutor, wait
from importlib.resources import files
from types import MappingProxyType
from typing import Any

from targets import pieces
from targets.deadline import Deadline
from targets.errors import CommandFailed, NoSpace
from targets.items import Item
from targets.process import Process
from targets.ssh import Connection
from targets.stalling import unstalled
from targets.store import Store
from targets.stored import Advance, Room, Stored
from targets.stretches import Stretches

_MODULES = ("targets.receiver_part", "targets.receiver_pieces", "targets.receiver")
_BOOT = """
import json, os, sys, types, zlib
left, parts = int(sys.argv[1]), []
while left:
    parts.append(os.read(0, left))
    left -= len(parts[-1]) or sys.exit(1)
for name, text in json.loads(zlib.decompress(b"".join(parts)).decode()):
    module = sys.modules[name] = types.ModuleType(name)
    exec(text, module.__dict__)
module.main(*sys.argv[2:])
"""
_LINE_BYTES = 16 * 1024 * 1024
_SIGN_EVERY_S = 3.0  # the receiver ends when it hears nothing


@contextlib.contextmanager
def open_board(
    connection: Connection, store: Store, token: str, stall_s: float, deadline: Deadline
) -> Iterator[Receiver]:
    """The receiver, started; it goes on until the block ends.

    token: a word of this upload's; an older receiver that was given the same is ended.
    """
    assert store.python is not None
    sources = program()
    command = [store.python, "-I", "-S", "-c", _BOOT, str(len(sources)), store.objects, token]
    beside = ThreadPoolExecutor(1)
    try:
        with connection.start(command, deadline=deadline.sooner(stall_s), stdin=True) as process:
            process.write(sources, deadline=deadline.sooner(stall_s))
            yield Receiver(connection, process, beside, stall_s, deadline)
            process.close_stdin()
            process.wait(deadline=deadline.sooner(stall_s))
    finally:
        beside.shutdown(wait=False, cancel_futures=True)


def program(changes: Mapping[str, str] = MappingProxyType({})) -> bytes:
    """The receiver's modules, for `_BOOT`; `changes` are for tests of boards that behave badly."""
    folder = files("targets")
    modules = []
    for name in _MODULES:
        text = folder.joinpath(name.rpartition(".")[2] + ".py").read_text()
        for old, new in changes.items():
            text = text.replace(old, new)
        modules.append((name, text))
    return zlib.compress(json.dumps(modules).encode(), 9)


class Receiver:
    """The host's side of `targets/receiver.py`."""

    def __init__(
        self,
        connection: Connection,
        process: Process,
        beside: Executor,
        stall_s: float,
        deadline: Deadline,
    ) -> None:
        self._name = connection.name
        self._abort = connection.abort
        self._process = process
        self._beside = beside
        self._stall_s = stall_s
        self._deadline = deadline
        self.bytes_sent = 0
        self._has_pieces = False
        self._tables: dict[str, Future[bytes]] = {}

    def ask(self, items: Sequence[Item]) -> Stored:
        """What of these is there."""
        listing = json.dumps([[item.sha256, item.size_bytes] for item in items])
        self._write(listing.encode() + b"\n")
        try:
            answer = json.loads(self._line())
            stored = _stored(answer, {item.sha256: item.size_bytes for item in items})
        except (ValueError, LookupError, TypeError, AttributeError, RecursionError) as error:
            raise self._odd(str(error)) from error
        self._has_pieces = stored.pieces
        return stored

    def lacking(self, items: Sequence[Item]) -> Mapping[str, Stretches]:
        """What the board does not find in files that it has; what it finds there, it copies."""
        self._tables = {item.sha256: self._beside.submit(pieces.table, item) for item in items}
        lacking = {item.sha256: Stretches.whole(item.size_bytes) for item in items}
        if self._has_pieces:
            asked = {}
            for sha, table in self._tables.items():
                if entries := self._awaited(table):
                    self._write_table("table", sha, entries)
                    asked[sha] = entries
            for sha, entries in asked.items():
                lacking[sha] = pieces.lacking(entries, self._present(sha, entries))
            self._tables.clear()
        return lacking

    def _awaited(self, table: Future[bytes]) -> bytes:
        """What it comes to; the board is told that we are there."""
        while not wait([table], _SIGN_EVERY_S).done:
            self._write(b"wait\n")
        return table.result()

    def _write_table(self, word: str, sha: str, entries: bytes) -> None:
        self._write(f"{word} {sha} {len(entries) // pieces.ENTRY.size}\n".encode() + entries)

    def _present(self, sha: str, entries: bytes) -> list[bool]:
        line = self._line().decode("ascii", "replace")
        count = len(entries) // pieces.ENTRY.size
        if re.fullmatch(f"here {sha} [01]{{{count}}}\n", line) is None:
            raise self._odd(line[:200])
        return [bit == "1" for bit in line.split()[2]]

    def put(
        self,
        items: Sequence[Item],
        offsets: Mapping[str, int],
        lacking: Mapping[str, Stretches],
        advance: Advance,
    ) -> list[Item]:
        """Send all; answers are read while sending, so that neither side waits for the other."""
        answers = _Answers(items, offsets, lacking, advance)
        awaited = f"{self._name} to take data"
        with unstalled(self._deadline, self._stall_s, awaited, self._abort) as progressed:
            for item in items:
                self._put(item, offsets.get(item.sha256, 0), answers, progressed)
        with self._explained(answers):
            self._write(b"settle\n")
        while answers.open:
            self._take(answers, b"")
        return answers.bad

    @contextlib.contextmanager
    def _explained(self, answers: _Answers) -> Iterator[None]:
        """Around writing: a receiver that has ended said why, if it could."""
        try:
            yield
        except CommandFailed:
            while answers.open:
                self._take(answers, b"")
            raise

    def _put(
        self, item: Item, offset: int, answers: _Answers, progressed: Callable[[], None]
    ) -> None:
        with self._explained(answers):
            if item.sha256 in answers.anew:
                self._write(f"forget {item.sha256}\n".encode())
            self._write(f"{item.sha256} {item.size_bytes} {offset}\n".encode())

        def poured(size_bytes: int) -> None:
            self.bytes_sent += size_bytes
            progressed()

        for data in item.chunks(answers.stretches[item.sha256].beyond(offset)):
            with self._explained(answers):
                self._process.pour(data, poured)
            while b"\n" in (ready := self._process.read_ready()):
                self._take(answers, ready)
        # Made while the file was sent, as nobody waits for it.
        if (table := self._tables.pop(item.sha256, None)) and (entries := self._awaited(table)):
            with self._explained(answers):
                self._write_table("keep", item.sha256, entries)
            progressed()

    def _take(self, answers: _Answers, ready: bytes) -> None:
        """Answers that have come; with none, wait for one."""
        from targets.transport import link_lost

        text = ready if ready.endswith(b"\n") else ready + self._line()
        for line in text.splitlines():
            word, _, rest = line.decode("utf-8", "replace").partition(" ")
            if word == "full":
                raise NoSpace(
                    f"{self._name} ran out of room while files arrived; {rest} bytes are free.",
                    hint="Remove files there and run again: it goes on where it stopped.",
                )
            if word == "idle":
                raise link_lost(self._name, "the board waited for data in vain")
            if not answers.count(word, rest):
                raise self._odd(f"{word} {rest}"[:200])

    def _write(self, data: bytes) -> None:
        self._process.write(data, deadline=self._deadline.sooner(self._stall_s))

    def _line(self) -> bytes:
        line = self._process.readline(
            deadline=self._deadline.sooner(self._stall_s),
            limit=_LINE_BYTES,
            awaited=f"{self._name} to take what was sent",
        )
        if not line.endswith(b"\n"):
            ended = self._process.wait(deadline=self._deadline.sooner(self._stall_s))
            raise self._odd(ended.complaint or ended.how)
        return line

    def _odd(self, what: str) -> CommandFailed:
        return CommandFailed(
            f"The receiver on {self._name} failed: {what}",
            hint="`halfbyte doctor` looks at what the board has.",
        )


class _Answers:
    """Which files are still open, and how far each is."""

    def __init__(
        self,
        items: Sequence[Item],
        offsets: Mapping[str, int],
        lacking: Mapping[str, Stretches],
        advance: Advance,
    ) -> None:
        self.open = {item.sha256: item for item in items}
        self.bad: list[Item] = []
        self.anew = self.open.keys() - lacking.keys()
        self.stretches = {
            item.sha256: lacking.get(item.sha256) or Stretches.whole(item.size_bytes)
            for item in items
        }
        self._at = {item.sha256: offsets.get(item.sha256, 0) for item in items}
        self._advance = advance

    def count(self, word: str, rest: str) -> bool:
        """Note one answer; False if it makes no sense."""
        sha, _, at = rest.partition(" ")
        item = self.open.get(sha)
        if item is None or word not in ("at", "done", "bad"):
            return False
        if word == "at":
            if not at.isdigit() or not self._at[sha] <= int(at) <= item.size_bytes:
                return False
            self._move(sha, int(at))
            return True
        self._move(sha, item.size_bytes)
        del self.open[sha]
        if word == "bad":
            self.bad.append(item)
        return True

    def _move(self, sha: str, at: int) -> None:
        stretches = self.stretches[sha]
        self._advance(stretches.size_bytes(self._at[sha]) - stretches.size_bytes(at))
        self._at[sha] = at


def _stored(answer: Any, sizes: Mapping[str, int]) -> Stored:
    """The board's word, checked: only what was asked for, only sizes that can be."""
    parts = {sha: int(size) for sha, size in answer["parts"].items()}
    if not all(0 <= size <= sizes[sha] for sha, size in parts.items()):
        raise ValueError("a part is larger than its file")
    files_left = answer["free_files"]
    return Stored(
        have=frozenset(answer["have"]) & sizes.keys(),
        parts=parts,
        pieces=answer["pieces"] is True,
        room=Room(
            str(answer["file_system"])[:200],
            int(answer["free_bytes"]),
            None if files_left is None else int(files_left),
        ),
    )
