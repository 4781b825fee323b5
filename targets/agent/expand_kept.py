"""An expanded model kept as a file next to the packed one, so that it is expanded once.

The file is named by the packed model's hash and this expander's version; a record of its size and
hash lies beside it, and both are checked before it is used.  It is written under another name,
and renamed when it is synced: that waits until the model has run once (`settle`), because the
first boxes should not wait for a slow card.
"""

from __future__ import annotations

import contextlib
import dataclasses
import fcntl
import hashlib
import json
import logging
import mmap
import os
import threading
import time
from typing import Any, Dict, Optional, Tuple

from . import pages
from .faults import FileMissing, ModelRefused
from .flat import Malformed, is_packed
from .plan import PlanFile

_log = logging.getLogger(__name__)

SCHEMA = "halfbyte.expanded"
EXPANDER = 1
"""Version of what `expand` writes: another one expands anew."""
SPARE_BYTES = 32 << 20
"""What is left free on the file system: journals and logs are written there too."""
_MAX_RECORD_BYTES = 4096
_PIECE_BYTES = 1 << 18
FOUND, MADE, MEMORY = "found", "made", "memory"


@dataclasses.dataclass(frozen=True)
class Kept:
    """An expanded model that a runtime can read: a file's path, or the bytes themselves.

    how: "found" (made by an earlier run), "made" or "memory".  expand_ns: what expanding took,
    None where it was found.
    """

    how: str
    size_bytes: int
    path: str = ""
    content: Optional[bytes] = None
    expand_ns: Optional[int] = None


class Keeper:
    """The kept file of one packed model.

    keep: whether a file may be written; else the expanded model lives in memory only.
    """

    def __init__(self, model: PlanFile, *, keep: bool, int4: bool) -> None:
        self._model, self._keep, self._int4 = model, keep, int4
        folder = os.path.dirname(model.path)
        name = f"{model.sha256}.expanded-{EXPANDER}"
        self._path = os.path.join(folder, name + ".tflite")
        self._record_path = os.path.join(folder, name + ".json")
        self._part: Optional[int] = None  # the descriptor of what is not settled yet
        self._packed = False
        self._reader: Optional[_Reader] = None

    def find(self) -> Optional[Kept]:
        """What an earlier run kept, if it is whole and what it was; else it is removed."""
        record = self._record() if self._keep else None
        if record is None:
            return None
        if not record.get("packed") and not self._int4:
            return None  # an INT4 model that this run wants as it is
        size, digest = _measured(self._path)
        if (size, digest) == (record.get("size_bytes"), record.get("sha256")):
            return Kept(FOUND, size, self._path)
        _log.info("the expanded model that was kept is damaged; it is made again")
        for path in (self._path, self._record_path):
            with contextlib.suppress(OSError):
                os.unlink(path)
        return None

    def prepare(self) -> None:
        """Import what expanding needs, and read the tables, beside what else there is to do.

        Compiling it takes as long as expanding a small model.  What is wrong is told by `make`.
        """
        with contextlib.suppress(OSError, ValueError, Malformed):
            packed = self._mapped()
            if self._int4 or is_packed(packed):
                pages.share_heap()
                self._reader = _Reader(packed, int4=self._int4)
                self._reader.start()

    def make(self) -> Optional[Kept]:
        """Expand the model; None where there is nothing to expand.

        Raises ModelRefused, FileMissing, MemoryError.
        """
        try:
            packed = self._mapped()
        except OSError as error:
            raise FileMissing(f"the model: {error.strerror}") from error
        except ValueError:
            raise ModelRefused("the model is empty") from None
        # The map ends with its last view; an error's traceback may hold one for a while.
        try:
            kept = self._made(packed)
        except Malformed as error:
            raise ModelRefused(f"a damaged model: {error}") from None
        if kept is not None:
            pages.trim()
        return kept

    def settle(self) -> None:
        """Give what was made its name, for the next run.  Without room for it, it is let go."""
        if self._part is None:
            return
        try:
            os.fsync(self._part)
            size, digest = _measured(self._part_path)
            record = {
                "schema": SCHEMA,
                "version": 1,
                "expander": EXPANDER,
                "packed_sha256": self._model.sha256,
                "packed": self._packed,
                "size_bytes": size,
                "sha256": digest,
            }
            self._write_record(json.dumps(record).encode("ascii"))
            os.rename(self._part_path, self._path)
            os.close(self._part)
            self._part = None
        except OSError as error:
            _log.info("the expanded model is not kept: %s", error)
            self.close()

    def close(self) -> None:
        """Remove what was made and not settled; who mapped it may go on reading."""
        if self._part is not None:
            with contextlib.suppress(OSError):
                os.unlink(self._part_path)
            os.close(self._part)
            self._part = None

    @property
    def paths(self) -> Tuple[str, ...]:
        """Names that the file has or had."""
        return self._path, self._part_path

    @property
    def _part_path(self) -> str:
        return self._path + ".part"

    def _mapped(self) -> Any:
        with open(self._model.path.encode("utf-8"), "rb") as stream:
            return mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ)

    def _made(self, packed: Any) -> Optional[Kept]:
        start_ns = time.perf_counter_ns()
        if not self._int4 and not is_packed(packed):
            return None
        from . import expand  # plain models need not wait for it

        pages.share_heap()
        expansion = self._read_ahead()
        if expansion is None:
            expansion = expand.read(packed, int4=self._int4)
        if expansion is None:
            return None
        self._packed = expansion.packed
        size, how, content = expansion.total_bytes, MEMORY, None
        if self._keep and self._open_part(size):
            assert self._part is not None
            try:
                expand.write(expansion, self._part)
                how = MADE
            except OSError as error:  # the file system's word is better than our estimate
                _log.info("expanding to a file: %s; expanding to memory", error)
                self.close()
        if how == MEMORY:
            content = expand.to_bytes(expansion)
        path = self._part_path if how == MADE else ""
        return Kept(how, size, path, content, time.perf_counter_ns() - start_ns)

    def _read_ahead(self) -> Any:
        """What `prepare` has read of the file, once."""
        reader, self._reader = self._reader, None
        if reader is None:
            return None
        reader.join()
        return reader.expansion

    def _open_part(self, size_bytes: int) -> bool:
        """Whether there is room, and nobody else is writing the same now."""
        try:
            room = os.statvfs(os.path.dirname(self._path) or ".")
            if room.f_bavail * room.f_frsize < size_bytes + SPARE_BYTES:
                _log.info("too little room to keep the expanded model; expanding to memory")
                return False
            flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
            part = os.open(self._part_path, flags, 0o600)
        except OSError as error:
            _log.info("the expanded model cannot be kept: %s", error)
            return False
        try:
            fcntl.flock(part, fcntl.LOCK_EX | fcntl.LOCK_NB)
            # Between opening and locking, its writer may have finished and renamed it.
            if os.stat(self._part_path).st_ino != os.fstat(part).st_ino:
                raise OSError("it was finished by somebody else just now")
            os.ftruncate(part, 0)
        except OSError as error:
            _log.info("the expanded model is being written by another run: %s", error)
            os.close(part)
            return False
        self._part = part
        return True

    def _record(self) -> Optional[Dict[str, Any]]:
        try:
            with open(self._record_path, "rb") as stream:
                record = json.loads(stream.read(_MAX_RECORD_BYTES))
        except (OSError, ValueError, RecursionError):
            return None
        due = {"schema": SCHEMA, "version": 1, "packed_sha256": self._model.sha256}
        if not isinstance(record, dict) or any(record.get(k) != v for k, v in due.items()):
            return None
        return record

    def _write_record(self, content: bytes) -> None:
        part = self._record_path + ".part"
        with open(part, "wb") as stream:
            stream.write(content)
            stream.flush()
            os.fsync(stream.fileno())
        os.rename(part, self._record_path)


class _Reader(threading.Thread):
    """Reads the tables of a model; `expansion` stays None where that does not go well."""

    def __init__(self, packed: Any, *, int4: bool) -> None:
        super().__init__(daemon=True)
        self._packed, self._int4 = packed, int4
        self.expansion: Any = None

    def run(self) -> None:
        """What is read may be damaged, or not what was sent: nothing of that is told here."""
        with contextlib.suppress(Exception):
            from . import expand

            self.expansion = expand.read(self._packed, int4=self._int4)


def _measured(path: str) -> Tuple[int, str]:
    """Size and sha256 of a file; (-1, "") where it cannot be read."""
    digest, size = hashlib.sha256(), 0
    buffer = memoryview(bytearray(_PIECE_BYTES))
    try:
        with open(path, "rb", buffering=0) as stream:
            for count in iter(lambda: stream.readinto(buffer), 0):
                digest.update(buffer[:count])
                size += count
    except OSError:
        return -1, ""
    return size, digest.hexdigest()
