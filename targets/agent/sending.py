"""Where records go: a pipe to the host, or the journal of a run that goes on by itself."""

from __future__ import annotations

import errno
import os
import time
from typing import Any, Optional

from . import wire

FULL_WAIT_S = 30.0
"""Somebody may be about to remove what filled the disk."""


class HostGone(Exception):
    """Nobody reads the stream any more."""


class NoRoom(Exception):
    """The disk of the journal is full."""


class Wire:
    """The stream of records on a file descriptor of its own.

    boot_id: told with each record, so that times of different boots are never compared.
    first_seq: the number of the first record, more than 0 in a run that goes on after a restart.
    """

    def __init__(self, descriptor: int, *, boot_id: Optional[str] = None) -> None:
        self._descriptor = descriptor
        self._boot = boot_id[:8] if boot_id else None
        self._seq = self._first_seq = 0
        os.set_blocking(descriptor, True)  # some servers hand over a non-blocking pipe

    @property
    def sent(self) -> int:
        """How many records were sent."""
        return self._seq - self._first_seq

    def begin_at(self, seq: int) -> None:
        """The number of the first record."""
        self._seq = self._first_seq = seq

    def mark(self, marker: str) -> None:
        """The line after which records start; whatever was printed before is closed by a newline.

        Raises HostGone.
        """
        self._write(b"\n" + marker.encode("ascii") + b"\n")

    def send(self, record: Any) -> None:
        """One record, whole.  Raises HostGone, NoRoom."""
        line = wire.encode(record, self._seq, time.monotonic_ns(), self._boot)
        self._seq += 1
        self._write(line)

    def _write(self, data: bytes) -> None:
        view, full_since_s = memoryview(data), 0.0
        while view:
            try:
                view = view[os.write(self._descriptor, view) :]
                full_since_s = 0.0
            except (BrokenPipeError, ConnectionError) as error:
                raise HostGone from error
            except OSError as error:
                if error.errno not in (errno.ENOSPC, errno.EDQUOT):
                    raise
                full_since_s = full_since_s or time.monotonic()
                if time.monotonic() - full_since_s > FULL_WAIT_S:
                    raise NoRoom(error.strerror) from error
                time.sleep(0.25)
