"""Who writes into a run folder: one command at a time, whose errors are told."""

from __future__ import annotations

import contextlib
import fcntl
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from toolchain.errors import RunFolderError

LOCK: Final = "run.lock"


@contextlib.contextmanager
def claimed(folder: Path) -> Iterator[None]:
    """Nobody else writes into this folder meanwhile; records of two would be mixed up.

    Raises RunFolderError where somebody does.
    """
    with writing(folder), (folder / LOCK).open("a+") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            lock.seek(0)
            holder = lock.read(20)
            raise RunFolderError(
                f"{folder} is in use by another command (process {holder})",
                hint="Wait for its end, or name another folder with --out.",
            ) from None
        if not _is_there(lock.fileno(), folder / LOCK):
            raise RunFolderError(
                f"{folder} was deleted by another command", hint="Run this one again."
            )
        lock.truncate(0)
        lock.write(str(os.getpid()))
        lock.flush()
        yield


@contextlib.contextmanager
def writing(path: Path) -> Iterator[None]:
    """Raises RunFolderError where the block could not write into the folder."""
    try:
        yield
    except OSError as error:
        raise RunFolderError(
            f"{path} cannot be written: {error.strerror or error}",
            hint="Free some space, or name a folder that can be written.",
        ) from error


def _is_there(descriptor: int, path: Path) -> bool:
    """Whether an open file is still the one of this name."""
    try:
        return os.path.samestat(os.fstat(descriptor), path.stat())
    except FileNotFoundError:
        return False
