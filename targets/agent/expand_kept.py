"""An expanded model kept as a file next to the packed one, so that it is expanded once.

The file is named by the packed model's hash and this expander's version; a record of its size and
hash lies beside it, and both are checked before it is used.  It is written under another name,
and renamed when it is synced: that waits until the model has run once (`settle`), because the
first boxes should not wait for a slow card.  A process of its own expands it (`expand_apart`);
where there can be none, this one does.
"""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import json
import logging
import mmap
import os
import time
from typing import Any, Callable, Dict, Optional, Tuple

from . import expand_apart, pages
from .expand_part import Part
from .faults import FileMissing, ModelRefused
from .flat import Malformed, has_int4, is_packed
from .plan import PlanFile

_log = logging.getLogger(__name__)

SCHEMA = "halfbyte.expanded"
EXPANDER = 1
"""Version of what `expand` writes: another one expands anew."""
_MAX_RECORD_BYTES = 4096
_PIECE_BYTES = 1 << 18
FOUND, MADE, MEMORY = "found", "made", "memory"


@dataclasses.dataclass(frozen=True)
class Kept:
    """An expanded model that a runtime can read: a file's path, or the bytes themselves.

    how: "found" (made by an earlier run), "made" or "memory".  expand_ns: what was waited for it,
    None where it was found.  peak_rss_bytes: of the process that did it, None where it was this.
    """

    how: str
    size_bytes: int
    path: str = ""
    content: Optional[bytes] = None
    expand_ns: Optional[int] = None
    peak_rss_bytes: Optional[int] = None


class Keeper:
    """The kept file of one packed model.

    keep: whether a file may be written; else the expanded model lives in memory only.
    asked_to_stop: the name of a signal that came, or None.
    """

    def __init__(
        self,
        model: PlanFile,
        *,
        keep: bool,
        int4: bool,
        asked_to_stop: Callable[[], Optional[str]] = lambda: None,
    ) -> None:
        self._model, self._keep, self._int4 = model, keep, int4
        self._asked_to_stop = asked_to_stop
        folder = os.path.dirname(model.path)
        name = f"{model.sha256}.expanded-{EXPANDER}"
        self._path = os.path.join(folder, name + ".tflite")
        self._record_path = os.path.join(folder, name + ".json")
        self._part = Part(self._path + ".part")  # what is not settled yet
        self._memory: Optional[int] = None  # the descriptor of an expanded model without a name
        self._packed = False
        self._expander: Optional[expand_apart.Expander] = None

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
        """Start a process that expands the model beside what else there is to do meanwhile.

        What is wrong is told by `make`.
        """
        with contextlib.suppress(OSError, ValueError, Malformed):
            packed = self._mapped()
            if not self._is_to_expand(packed) or not expand_apart.is_possible():
                return
            self._memory = expand_apart.memory_file()
            self._expander = expand_apart.Expander(
                packed,
                int4=self._int4,
                part=self._part.descriptor if self._keep and self._part.open() else None,
                memory=self._memory,
                has_room=self._part.has_room,
            )

    def make(self) -> Optional[Kept]:
        """Expand the model; None where there is nothing to expand.

        Raises ModelRefused, FileMissing, MemoryError, Interrupted.
        """
        start_ns = time.perf_counter_ns()
        try:
            kept = self._made_apart() if self._expander is not None else self._made_here()
        except Malformed as error:
            raise ModelRefused(f"a damaged model: {error}") from None
        if kept is None:
            return None
        return dataclasses.replace(kept, expand_ns=time.perf_counter_ns() - start_ns)

    def settle(self) -> None:
        """Give what was made its name, for the next run.  Without room for it, it is let go."""
        if self._part.descriptor is None:
            return
        try:
            os.fsync(self._part.descriptor)
            size, digest = _measured(self._part.path)
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
            self._part.finish(self._path)
        except OSError as error:
            _log.info("the expanded model is not kept: %s", error)
            self.close()

    def close(self) -> None:
        """Remove what was made and not settled; who mapped it may go on reading."""
        if self._expander is not None:
            self._expander.end()
            self._expander = None
        self._part.drop()
        self._drop_memory()

    @property
    def is_at_work(self) -> bool:
        """Whether a process has been started that expands."""
        return self._expander is not None

    @property
    def paths(self) -> Tuple[str, ...]:
        """Names that the file has or had."""
        return self._path, self._part.path

    def _mapped(self) -> Any:
        with open(self._model.path.encode("utf-8"), "rb") as stream:
            return mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ)

    def _is_to_expand(self, packed: Any) -> bool:
        return is_packed(packed) or (self._int4 and has_int4(packed))

    def _made_apart(self) -> Optional[Kept]:
        expander, self._expander = self._expander, None
        assert expander is not None
        try:
            made = expander.make(self._asked_to_stop)
        except expand_apart.Unable as error:
            _log.info("expanding in this process, because in another one: %s", error)
            self._drop_memory()
            return self._made_here()
        self._packed = made.packed
        if made.where != expand_apart.FILE:
            self._part.drop()
        if made.where != expand_apart.MEMORY:
            self._drop_memory()
        how, path = MADE, self._part.path
        if self._memory is not None:
            how, path = MEMORY, expand_apart.path_of(self._memory)
        elif self._part.descriptor is None:
            return None
        return Kept(how, os.stat(path).st_size, path, peak_rss_bytes=made.peak_rss_bytes)

    def _made_here(self) -> Optional[Kept]:
        try:
            packed = self._mapped()
        except OSError as error:
            raise FileMissing(f"the model: {error.strerror}") from error
        except ValueError:
            raise ModelRefused("the model is empty") from None
        if not self._is_to_expand(packed):
            return None
        from . import expand  # plain models need not wait for it

        pages.share_heap()
        expansion = expand.read(packed, int4=self._int4)
        if expansion is None:
            return None
        self._packed = expansion.packed
        kept = self._written(expansion)
        if kept is None:
            kept = Kept(MEMORY, expansion.total_bytes, content=expand.to_bytes(expansion))
        pages.trim()
        return kept

    def _written(self, expansion: Any) -> Optional[Kept]:
        """None where there is no room for it, or no file to be had."""
        from . import expand

        size = expansion.total_bytes
        if not self._keep or not self._part.open():
            return None
        assert self._part.descriptor is not None
        try:
            if self._part.has_room(size):
                expand.write(expansion, self._part.descriptor)
                return Kept(MADE, size, self._part.path)
        except OSError as error:  # the file system's word is better than our estimate
            _log.info("expanding to a file: %s; expanding to memory", error)
        self._part.drop()
        return None

    def _drop_memory(self) -> None:
        if self._memory is not None:
            os.close(self._memory)
            self._memory = None

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
