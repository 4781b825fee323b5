"""Where records go: the stream to the host and, if asked for, a file on the board."""

from __future__ import annotations

import logging
import os
import time
from typing import Any, List, Optional

from . import wire

_log = logging.getLogger(__name__)


class HostGone(Exception):
    """Nobody reads the stream any more."""


class Wire:
    """The stream of records on a file descriptor of its own."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._journal: Optional[Journal] = None
        self._seq = 0
        os.set_blocking(descriptor, True)  # some servers hand over a non-blocking pipe

    @property
    def sent(self) -> int:
        """How many records were sent."""
        return self._seq

    def mark(self, marker: str) -> None:
        """The line after which records start; whatever was printed before is closed by a newline.

        Raises HostGone.
        """
        self._write(b"\n" + marker.encode("ascii") + b"\n")

    def keep(self, journal: Journal) -> None:
        """Every record from here on goes to `journal` too."""
        self._journal = journal

    def send(self, record: Any) -> None:
        """One record, whole.  Raises HostGone."""
        line = wire.encode(record, self._seq, time.monotonic_ns())
        self._seq += 1
        if self._journal is not None:
            self._journal.add(line)
        self._write(line)

    def close(self) -> None:
        """What the journal still holds back is written."""
        if self._journal is not None:
            self._journal.close()

    def _write(self, data: bytes) -> None:
        view = memoryview(data)
        try:
            while view:
                view = view[os.write(self._descriptor, view) :]
        except (BrokenPipeError, ConnectionError) as error:
            raise HostGone from error


class Journal:
    """A new file on the board; lines are written in groups, since cards are slow and wear out.

    At most `period_s` of records is lost with the process, and more with the power.
    """

    def __init__(self, path: str, *, period_s: float = 1.0) -> None:
        """Raises OSError, also where `path` exists."""
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND | os.O_CLOEXEC
        # As bytes: the locale may have no letter for a folder's name.
        self._descriptor = os.open(path.encode("utf-8"), flags, 0o600)
        self._period_ns = int(period_s * 1e9)
        self._held: List[bytes] = []
        self._written_ns = time.monotonic_ns()

    def add(self, line: bytes) -> None:
        """Keep `line`, now or with the next group."""
        self._held.append(line)
        if time.monotonic_ns() - self._written_ns >= self._period_ns:
            self._flush()

    def close(self) -> None:
        """All lines are on the card."""
        self._flush()
        try:
            os.fsync(self._descriptor)
        except OSError as error:
            _log.warning("journal: %s", error)
        os.close(self._descriptor)

    def _flush(self) -> None:
        view = memoryview(b"".join(self._held))
        self._held = []
        try:
            while view:
                view = view[os.write(self._descriptor, view) :]
        except OSError as error:  # a full card must not cost the run: the host has the records
            _log.warning("journal: %s", error)
        self._written_ns = time.monotonic_ns()
