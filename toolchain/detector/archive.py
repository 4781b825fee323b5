"""The two containers that torch.save has written: a zip of records, and a run of pickles before it.

Source: torch/serialization.py (`_save`, `_legacy_save`).  Only what a detector needs is copied
out, and no more of any part than the file states and our limits allow.
"""

from __future__ import annotations

import io
import pickle
import struct
import zipfile
import zlib
from collections.abc import Iterable, Iterator
from typing import IO, Protocol

from toolchain.detector.unpickling import ITEM_BYTES, RestrictedUnpickler, Storage
from toolchain.detector.views import Malformed

MAX_PICKLE_BYTES = 64 << 20
MAX_RECORDS = 200_000
_LEGACY_MAGIC = 0x1950A86A20F9469CFC6C
_LEGACY_PROTOCOL = 1001


class Unreadable(Exception):
    """Bytes that are no checkpoint of torch, or only part of one."""


class NotACheckpoint(Exception):
    """A file of a known kind that holds no pickled weights."""


class Container(Protocol):
    """An opened checkpoint."""

    top: object
    storages: dict[str, Storage]

    def contents(self, wanted: Iterable[Storage]) -> Iterator[tuple[Storage, Iterator[bytes]]]:
        """The bytes of those storages, in the file's order."""


def open_container(stream: IO[bytes]) -> Container:
    """Read the pickle of a checkpoint.

    Raises Unreadable, NotACheckpoint, RefusedName, Malformed.
    """
    head = stream.read(1024)
    stream.seek(0)
    if not head:
        raise Unreadable("the file is empty")
    if kind := _other_kind(head):
        raise NotACheckpoint(kind)
    if head.startswith(b"PK"):
        return _Zip(stream)
    if head.startswith(b"\x80"):
        return _Legacy(stream)
    raise Unreadable("it does not begin as torch.save begins a file")


def _other_kind(head: bytes) -> str | None:
    """What the first bytes say, where people often have the wrong file in hand."""
    start = head.lstrip()[:64].lower()
    if start.startswith((b"<!doctype", b"<html", b"<?xml")):
        return "a web page, not the file behind it"
    if start.startswith(b"version https://git-lfs"):
        return "a Git LFS pointer; `git lfs pull` fetches the file itself"
    if head[4:8] == b"TFL3":
        return "a TFLite model"
    if head[8:10] == b'{"':
        return "a safetensors file, which has no module tree"
    if b"ustar" in head[257:262]:
        return "a checkpoint in the tar form of torch before 0.1.10"
    return None


class _Zip:
    """`<root>/data.pkl`, `<root>/data/<key>`, written without compression."""

    def __init__(self, stream: IO[bytes]) -> None:
        try:
            self._zip = zipfile.ZipFile(stream)
        except (zipfile.BadZipFile, OSError, ValueError) as error:
            raise Unreadable("the zip container is cut off or damaged") from error
        infos = self._zip.infolist()
        self._records = {info.filename: info for info in infos}
        if len(infos) > MAX_RECORDS or len(self._records) != len(infos):
            raise Malformed("the zip container names a record twice, or has too many")
        self._root = self._find_root()
        order = self._root + "byteorder"
        if order in self._records and self._read(order, 16) != b"little":
            raise Unreadable("its numbers are big-endian")
        pickled = self._read(self._root + "data.pkl", MAX_PICKLE_BYTES)
        self.top, self.storages = _load(io.BytesIO(pickled))

    def contents(self, wanted: Iterable[Storage]) -> Iterator[tuple[Storage, Iterator[bytes]]]:
        """The records of those storages."""
        for storage in wanted:
            name = f"{self._root}data/{storage.key}"
            size_bytes = storage.numbers * ITEM_BYTES[storage.dtype]
            if name not in self._records:
                raise Unreadable(f"record {name} is missing")
            if self._records[name].file_size != size_bytes:
                raise Malformed(
                    f"record {name} has {self._records[name].file_size} bytes, "
                    f"its tensors need {size_bytes}"
                )
            yield storage, self._chunks(name)

    def _find_root(self) -> str:
        pickles = [name for name in self._records if name.rpartition("/")[2] == "data.pkl"]
        if any(name.rpartition("/")[2] == "constants.pkl" for name in self._records):
            raise NotACheckpoint("a TorchScript export, not the .pt file that training wrote")
        if len(pickles) != 1:
            raise NotACheckpoint("a zip file without a torch checkpoint in it")
        return pickles[0].removesuffix("data.pkl")

    def _read(self, name: str, limit_bytes: int) -> bytes:
        if self._records[name].file_size > limit_bytes:
            raise Malformed(f"record {name} states {self._records[name].file_size} bytes")
        return b"".join(self._chunks(name))

    def _chunks(self, name: str) -> Iterator[bytes]:
        try:
            with self._zip.open(name) as record:  # gives no more than the stated size
                while chunk := record.read(1 << 20):
                    yield chunk
        except (zipfile.BadZipFile, zlib.error, EOFError, OSError, RuntimeError) as error:
            raise Unreadable(f"record {name} is cut off or damaged") from error


class _Legacy:
    """Magic number, protocol, writer's facts, the object, keys; then each storage's numbers."""

    def __init__(self, stream: IO[bytes]) -> None:
        self._stream = stream
        magic, _ = _load(stream)
        if magic != _LEGACY_MAGIC:
            raise NotACheckpoint("a plain pickle, not a file of torch.save")
        protocol, _ = _load(stream)
        facts, _ = _load(stream)
        if protocol != _LEGACY_PROTOCOL or not isinstance(facts, dict):
            raise Unreadable("its header is not one that torch.save writes")
        if facts.get("little_endian") is not True:
            raise Unreadable("its numbers are big-endian")
        self.top, self.storages = _load(stream)
        keys, _ = _load(stream)
        if not isinstance(keys, list) or set(keys) != set(self.storages):
            raise Malformed("the list of storages is not that of the tensors")
        self._keys: list[str] = keys

    def contents(self, wanted: Iterable[Storage]) -> Iterator[tuple[Storage, Iterator[bytes]]]:
        """The storages in the order of the file; those not wanted are passed over."""
        kept = {storage.key for storage in wanted}
        for key in self._keys:
            storage = self.storages[key]
            size_bytes = storage.numbers * ITEM_BYTES[storage.dtype]
            count = self._stream.read(8)
            if len(count) != 8 or struct.unpack("<q", count)[0] != storage.numbers:
                raise Unreadable(f"storage {key} is cut off or damaged")
            if key in kept:
                yield storage, self._chunks(key, size_bytes)
            else:
                self._stream.seek(size_bytes, 1)

    def _chunks(self, key: str, size_bytes: int) -> Iterator[bytes]:
        while size_bytes:
            chunk = self._stream.read(min(size_bytes, 1 << 20))
            if not chunk:
                raise Unreadable(f"storage {key} is cut off")
            size_bytes -= len(chunk)
            yield chunk


def _load(stream: IO[bytes]) -> tuple[object, dict[str, Storage]]:
    unpickler = RestrictedUnpickler(stream)
    try:
        return unpickler.load(), unpickler.storages
    except (
        pickle.UnpicklingError, EOFError, ValueError, TypeError, AttributeError, IndexError,
        KeyError, OverflowError, NotImplementedError, RecursionError, ImportError,
    ) as error:  # fmt: skip
        raise Unreadable(f"its pickle is cut off or damaged ({type(error).__name__})") from error
