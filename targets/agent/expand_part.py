"""A file that is not finished yet, which one run at a time writes."""

from __future__ import annotations

import contextlib
import fcntl
import logging
import os
from typing import Optional

_log = logging.getLogger(__name__)

SPARE_BYTES = 32 << 20
"""What is left free on the file system: journals and logs are written there too."""


class Part:
    """descriptor: of the open and locked file; None while it is not open."""

    def __init__(self, path: str) -> None:
        self.path = path
        self.descriptor: Optional[int] = None

    def open(self) -> bool:
        """Make it, or empty it; whether it can be had, and nobody else is writing it now."""
        if self.descriptor is not None:
            os.ftruncate(self.descriptor, 0)
            return True
        try:
            flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
            descriptor = os.open(self.path, flags, 0o600)
        except OSError as error:
            _log.info("the expanded model cannot be kept: %s", error)
            return False
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            # Between opening and locking, its writer may have finished and renamed it.
            if os.stat(self.path).st_ino != os.fstat(descriptor).st_ino:
                raise OSError("it was finished by somebody else just now")
            os.ftruncate(descriptor, 0)
        except OSError as error:
            _log.info("the expanded model is being written by another run: %s", error)
            os.close(descriptor)
            return False
        self.descriptor = descriptor
        return True

    def has_room(self, size_bytes: int) -> bool:
        """Whether its file system does.  Raises OSError."""
        room = os.statvfs(os.path.dirname(self.path) or ".")
        if room.f_bavail * room.f_frsize >= size_bytes + SPARE_BYTES:
            return True
        _log.info("too little room to keep the expanded model; expanding to memory")
        return False

    def finish(self, path: str) -> None:
        """Give it its name.  Raises OSError."""
        assert self.descriptor is not None
        os.rename(self.path, path)
        os.close(self.descriptor)
        self.descriptor = None

    def drop(self) -> None:
        """Remove it, where it is open."""
        if self.descriptor is not None:
            with contextlib.suppress(OSError):
                os.unlink(self.path)
            os.close(self.descriptor)
            self.descriptor = None
