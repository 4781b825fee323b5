"""Gives a board its own Python environment: the right runtime, numpy and Pillow, nothing else.

    board = provision(connection, deadline=Deadline.after(600))

The host decides, fetches, checks; the board's own interpreter only unpacks.  Neither pip, venv,
ensurepip nor a network is needed there, and what an earlier try left half-made is made again.
"""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from targets.deadline import Deadline
from targets.errors import CommandFailed, CorruptUpload, NoMemory, NoPython, NoSpace
from targets.progress import SILENT, Progress
from targets.provision import asking, on_board
from targets.provision.answers import checked
from targets.provision.asking import Answers
from targets.provision.catalogue import catalogue
from targets.provision.choose import RuntimeSet, choose_best
from targets.provision.interpreter import Interpreter
from targets.provision.on_board.place import ROOTS_FOLDER
from targets.provision.refusals import refusal
from targets.provision.wheels import Parcel, parcels
from targets.ssh import Connection
from targets.transfer import Store, open_store, send

log = logging.getLogger(__name__)
QUESTION_S = 60.0
_SPARE_BYTES = 16 * 1024 * 1024
# What is ours below the root, for `clean`.
OURS = ("envs", "objects", "runs", "tmp", "firmware")
# What unpacking takes, and then the import of all three packages: 45 MB at its height.
_MEMORY_BYTES = 64 * 1024 * 1024
_CLEAN = """
root=$1
cd "$root" || exit 1
shift
held=$(du -sk . 2>/dev/null) && echo "${held%%[!0-9]*}"
rm -rf -- "$@" && cd / && { rmdir -- "$root" 2>/dev/null || true; }
"""


@dataclass(frozen=True)
class BoardPython:
    """An interpreter on the board with an environment of ours that was imported there.

    versions: by import name, as the modules say themselves.  size_bytes: of the environment's
    files.  made: whether it was made just now.  sent_bytes: what crossed the link for it.
    """

    interpreter: Interpreter
    runtime: RuntimeSet
    store: Store
    key: str
    versions: Mapping[str, str | None]
    size_bytes: int
    made: bool
    sent_bytes: int = 0

    @property
    def python(self) -> str:
        """The program to start."""
        return self.interpreter.executable or self.interpreter.path

    @property
    def folder(self) -> str:
        """Where the environment lies on the board."""
        return f"{self.store.root}/envs/{self.key}"

    @property
    def path(self) -> tuple[str, ...]:
        """What goes on `sys.path` before the standard library."""
        return (self.folder, *_board_folders(self.runtime))

    def __str__(self) -> str:
        version = ".".join(map(str, self.interpreter.version))
        return (
            f"Python {version} with {self.runtime.named}, numpy {self.versions.get('numpy')}, "
            f"Pillow {self.versions.get('PIL')}"
        )


def provision(
    connection: Connection,
    *,
    deadline: Deadline,
    wheelhouse: Path | None = None,
    progress: Progress = SILENT,
) -> BoardPython:
    """The board's environment, made if it is not there.

    wheelhouse: a folder with the wheels, for a host without a network.
    Raises NoPython, NoRuntime, NoSpace and NoMemory (before anything is sent), CorruptUpload,
    FetchError, LinkLost, DeadlineExceeded, CommandFailed.
    """
    board, seen = look(connection, deadline=deadline)
    if board.versions:
        return board
    log.info("%s: %s, %s", connection.name, board.interpreter.named, board.runtime.named)
    wanted = parcels(board.runtime.wheels, wheelhouse=wheelhouse, progress=progress)
    _check_room(connection.name, wanted, seen)
    _check_memory(connection.name, seen)
    return _make(connection, board, wanted, deadline, progress)


def look(connection: Connection, *, deadline: Deadline) -> tuple[BoardPython, dict[str, Any]]:
    """What would be made, with `versions` if it is there and whole; and the room there.

    The room: "free_bytes" and "free_inodes" (or None) of the file system "mount", and the memory
    that is free, "available_bytes" (or None).
    Raises NoPython, NoRuntime, NoSpace, LinkLost, DeadlineExceeded, CommandFailed.
    """
    interpreter, runtime = _chosen(connection, deadline)
    store = open_store(connection, deadline=deadline)
    key = environment_key(interpreter, runtime)
    board = BoardPython(interpreter, runtime, store, key, {}, 0, made=False)
    request = {"do": "look", "root": store.root, "key": key}
    seen = _tell(connection, board.python, request, deadline.sooner(QUESTION_S))
    return (_with_stamp(board, seen["stamp"]) if seen.get("stamp") else board), seen


def ask(connection: Connection, *, deadline: Deadline) -> Answers:
    """Which interpreters the board has (or the one that the target names), and its home folder.

    Raises NoPython if it did not answer, LinkLost, DeadlineExceeded.
    """
    question = asking.question(connection.target.python)
    done = connection.run(
        'exec sh -s -- "$1" "$2"',
        *question.arguments,
        stdin=question.script.encode(),
        deadline=deadline.sooner(QUESTION_S),
    )
    return asking.answers(done.stdout.decode("utf-8", "replace"), question.marker)


def clean(connection: Connection, *, deadline: Deadline) -> int:
    """Remove all that is ours on the board; the bytes that it held.

    Raises BoardBusy while a run is on or settings of ours are in force, LinkLost,
    DeadlineExceeded, CommandFailed.
    """
    store = open_store(connection, deadline=deadline)
    if store.python is None:  # then nothing of ours can be running there
        words = (store.root, *OURS, "lock")
        done = connection.run(_CLEAN, *words, deadline=deadline, check=True)
        held_kib = done.stdout.strip() or b"0"
        return int(held_kib) * 1024 if held_kib.isdigit() and len(held_kib) < 20 else 0
    request = {
        "do": "clean",
        "root": store.root,
        "ours": list(OURS),
        "roots_folder": ROOTS_FOLDER,
    }
    return int(_tell(connection, store.python, request, deadline)["removed_bytes"])


def _chosen(connection: Connection, deadline: Deadline) -> tuple[Interpreter, RuntimeSet]:
    target = connection.target
    answers = ask(connection, deadline=deadline)
    if target.python and not answers.interpreters:
        raise NoPython(
            f"{target.python} on {connection.name} "
            + ("does not run." if answers.silent else "is not there."),
            hint="Correct `python` of this target in targets.toml, or leave it out: then the "
            "board's interpreters are looked through.",
        )
    return choose_best(answers.interpreters, answers.silent, catalogue().only(target.runtime))


def environment_key(interpreter: Interpreter, runtime: RuntimeSet) -> str:
    """The environment's name: what decides its content, hashed."""
    decides = [
        [interpreter.executable, list(interpreter.version), interpreter.soabi, interpreter.bits],
        [[wheel.sha256, list(wheel.omit)] for wheel in runtime.wheels],
        [[name, package.folder, package.version] for name, package in runtime.from_board],
    ]
    return hashlib.sha256(json.dumps(decides).encode()).hexdigest()[:16]


def _make(
    connection: Connection,
    board: BoardPython,
    wanted: Sequence[Parcel],
    deadline: Deadline,
    progress: Progress,
) -> BoardPython:
    request = {
        "do": "make",
        "root": board.store.root,
        "key": board.key,
        "runtime": board.runtime.named,
        "wheels": [
            {
                "name": parcel.name,
                "path": board.store.path(parcel.item.sha256),
                "sha256": parcel.item.sha256,
            }
            for parcel in wanted
        ],
        "board_folders": list(_board_folders(board.runtime)),
        "imports": ["numpy", "PIL", "PIL.Image", f"{board.runtime.module}.interpreter"],
    }
    sent_bytes = 0
    for last_try in (False, True):
        sent = send(
            connection,
            [parcel.item for parcel in wanted],
            store=board.store,
            deadline=deadline,
            progress=progress,
        )
        sent_bytes += sent.bytes_sent
        with progress.task(f"Unpacking on {connection.name}"):
            try:
                told = _tell(connection, board.python, request, deadline)
            except CorruptUpload as error:
                # A file that lay in the store was changed there: send it anew, once.
                if last_try:
                    raise
                log.warning("%s: %s", connection.name, error.message)
                continue
        break
    return replace(_with_stamp(board, told["stamp"]), made=True, sent_bytes=sent_bytes)


def _with_stamp(board: BoardPython, stamp: Mapping[str, Any]) -> BoardPython:
    return replace(board, versions=dict(stamp["versions"]), size_bytes=int(stamp["size_bytes"]))


def _check_room(name: str, wanted: Sequence[Parcel], seen: Mapping[str, Any]) -> None:
    """Before the upload: archives and what comes out of them are there at the same time."""
    needed = sum(p.item.size_bytes + p.unpacked_bytes for p in wanted) + _SPARE_BYTES
    free, inodes, mount = seen["free_bytes"], seen["free_inodes"], seen["mount"]
    hint = "Remove files there, or set `root` of this target to another file system."
    if needed > free:
        raise NoSpace(
            f"{name} has too little room on {mount} for the runtime: {needed:,} bytes are "
            f"needed, {free:,} are free. Nothing was sent.",
            hint=hint,
        )
    files = sum(parcel.files for parcel in wanted)
    if inodes is not None and files > inodes:
        raise NoSpace(
            f"{name} has too few inodes on {mount} for the runtime: {files} are needed, "
            f"{inodes} are free. Nothing was sent.",
            hint=hint,
        )


def _check_memory(name: str, seen: Mapping[str, Any]) -> None:
    available = seen.get("available_bytes")
    if available is not None and available < _MEMORY_BYTES:
        raise NoMemory(
            f"{name} has too little memory to start the runtime: {_MEMORY_BYTES:,} bytes are "
            f"needed, {available:,} are free. Nothing was sent.",
            hint="End other programs there, or add swap space.",
        )


def _board_folders(runtime: RuntimeSet) -> tuple[str, ...]:
    return tuple(dict.fromkeys(package.folder for _, package in runtime.from_board))


def _tell(
    connection: Connection, python: str, request: Mapping[str, Any], deadline: Deadline
) -> dict[str, Any]:
    """What the program on the board answers; its refusals become errors of ours."""
    words, stdin = on_board.invocation("environment", python, request)
    done = connection.run(words, stdin=stdin, deadline=deadline)
    try:
        answer = json.loads(done.stdout.splitlines()[-1])
        if not isinstance(answer, dict):
            raise TypeError
    except (ValueError, IndexError, TypeError, RecursionError):
        raise CommandFailed(
            f"{python} on {connection.name} did not answer ({done.how})"
            + (f": {done.complaint}" if done.complaint else "."),
            hint="Does this interpreter start there by hand?",
        ) from None
    if "problem" in answer:
        raise refusal(connection.name, answer)
    return checked(connection.name, request["do"], answer)
