"""Many files in one stream, taken apart by a receiver that the board's own Python runs."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator, Mapping, Sequence
from importlib.resources import files
from typing import Any

from targets.deadline import Deadline
from targets.errors import CommandFailed, NoSpace
from targets.items import Item
from targets.process import Process
from targets.ssh import Connection
from targets.stored import Advance, Room, Stored

_BOOT = "import sys; exec(sys.stdin.buffer.read(int(sys.argv[1])))"
_LINE_BYTES = 16 * 1024 * 1024


@contextlib.contextmanager
def open_board(
    connection: Connection, objects: str, python: str, stall_s: float, deadline: Deadline
) -> Iterator[Receiver]:
    """The receiver, started; it goes on until the block ends."""
    source = files("targets").joinpath("receiver.py").read_bytes()
    command = [python, "-I", "-S", "-c", _BOOT, str(len(source)), objects]
    with connection.start(command, deadline=deadline.sooner(stall_s), stdin=True) as process:
        process.write(source, deadline=deadline.sooner(stall_s))
        yield Receiver(connection.name, process, stall_s, deadline)
        process.close_stdin()
        process.wait(deadline=deadline.sooner(stall_s))


class Receiver:
    """The host's side of `targets/receiver.py`."""

    def __init__(self, name: str, process: Process, stall_s: float, deadline: Deadline) -> None:
        self._name = name
        self._process = process
        self._stall_s = stall_s
        self._deadline = deadline

    def ask(self, items: Sequence[Item]) -> Stored:
        """What of these is there."""
        listing = json.dumps([[item.sha256, item.size_bytes] for item in items])
        self._write(listing.encode() + b"\n")
        try:
            answer = json.loads(self._line())
            sizes = {item.sha256: item.size_bytes for item in items}
            return _stored(answer, sizes)
        except (ValueError, KeyError, TypeError) as error:
            raise self._odd(str(error)) from error

    def put(
        self, items: Sequence[Item], offsets: Mapping[str, int], advance: Advance
    ) -> list[Item]:
        """Send all; answers are read while sending, so that neither side waits for the other."""
        answers = _Answers(items, offsets, advance)
        for item in items:
            offset = offsets.get(item.sha256, 0)
            self._write(f"{item.sha256} {item.size_bytes} {offset}\n".encode())
            for data in item.chunks(offset):
                self._write(data)
                while b"\n" in (ready := self._process.read_ready()):
                    self._take(answers, ready)
        self._write(b"settle 0 0\n")
        while answers.open:
            self._take(answers, b"")
        return answers.bad

    def _take(self, answers: _Answers, ready: bytes) -> None:
        """Answers that have come; with none, wait for one."""
        text = ready if ready.endswith(b"\n") else ready + self._line()
        for line in text.splitlines():
            word, _, rest = line.decode("utf-8", "replace").partition(" ")
            if word == "full":
                raise NoSpace(
                    f"{self._name} ran out of room while files arrived; {rest} bytes are free.",
                    hint="Remove files there and run again: it goes on where it stopped.",
                )
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

    def __init__(self, items: Sequence[Item], offsets: Mapping[str, int], advance: Advance) -> None:
        self.open = {item.sha256: item for item in items}
        self.bad: list[Item] = []
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
        self._advance(at - self._at[sha])
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
        room=Room(
            str(answer["file_system"])[:200],
            int(answer["free_bytes"]),
            None if files_left is None else int(files_left),
        ),
    )
