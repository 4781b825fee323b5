"""A file that arrives: written by one receiver at a time, synced, named when it is whole.

Part of `targets/receiver.py`: sent to the board, Python 3.7 or newer there.
"""

from __future__ import annotations

import fcntl
import os
import threading
import time
from pathlib import Path
from typing import Any

LOOK_EVERY_S = 0.25


def taken(path: Path, ends_at_s: float) -> Any:
    """The file, open and locked; None if another receiver writes it, or at `ends_at_s` holds it."""
    size = -1
    while True:
        stream = path.open("ab+", buffering=0)
        try:
            fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if path.exists() and os.path.samestat(path.stat(), os.fstat(stream.fileno())):
                return stream
            # Its holder has given it its name meanwhile: that file is no longer ours to write.
        except BlockingIOError:
            before, size = size, os.fstat(stream.fileno()).st_size
            if 0 <= before < size or time.monotonic() > ends_at_s:
                stream.close()
                return None
            time.sleep(LOOK_EVERY_S)
        stream.close()


def sweep(whole: Path) -> None:
    """Remove what receivers of a second host left behind when they were ended."""
    for path in whole.parent.glob(whole.name + ".part-*"):
        stream = taken(path, 0.0)
        if stream is not None:
            path.unlink()
            stream.close()


class Part:
    """A file under way, which nobody else writes.

    It has another name while a second host is sending the same: until `ends_at_s` we wait whether
    one that holds it writes, as it may be a receiver that has not heard yet that its host is gone.
    """

    def __init__(self, whole: Path, ends_at_s: float) -> None:
        self.whole = whole
        self._syncing = threading.Thread()
        self._failure: OSError | None = None
        for suffix in (".part", f".part-{os.getpid()}"):
            self.path = whole.with_name(whole.name + suffix)
            stream = taken(self.path, ends_at_s)
            if stream is not None:
                self.stream = stream
                return
        raise OSError(f"{whole} is locked")

    @property
    def size_bytes(self) -> int:
        """What is there so far."""
        return os.fstat(self.stream.fileno()).st_size

    def write(self, data: memoryview) -> None:
        """Append all of it."""
        while data:
            data = data[self.stream.write(data) :]

    def remove(self) -> None:
        """It is no beginning of what is wanted."""
        self.path.unlink()
        self.stream.close()

    def sync_beside(self) -> None:
        """Onto the disk while more comes, so that little is left to do at the end."""
        if not self._syncing.is_alive():
            self._syncing = threading.Thread(target=self._sync, daemon=True)
            self._syncing.start()

    def _sync(self) -> None:
        try:
            os.fsync(self.stream.fileno())
        except OSError as error:
            self._failure = error

    def sync(self) -> None:
        """Onto the disk."""
        if self._syncing.is_alive():
            self._syncing.join()
        self._sync()
        if self._failure is not None:
            raise self._failure

    def rename(self) -> None:
        """It is whole, and synced."""
        self.path.rename(self.whole)
        self.stream.close()
