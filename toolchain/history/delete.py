"""Taking away a run folder, and nothing else."""

from __future__ import annotations

import dataclasses
import fnmatch
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from targets.errors import InputError
from toolchain.claims import LOCK
from toolchain.history import index
from toolchain.runs import RunFolder

# What halfbyte writes into a run folder; all else is somebody's own.
_OURS: Final = {
    "": ("dataset.json", "report.json", "report.html", "report.csv", "compare.html", "run.lock"),
    "records": ("*.jsonl",),
    "examples": ("*.jpg",),
    "detections": ("*.json",),
    "models": ("*.tflite", "*.onnx", "*.record.json", "*.plan.svg", "*.plan.toml",
               "run_without_halfbyte.py"),
}  # fmt: skip
_LAST: Final = "run.json"  # as long as it is there, deleting can be done again


@dataclasses.dataclass(frozen=True)
class Removal:
    """What would go, and what would stay because it is not of ours."""

    folder: Path
    files: tuple[Path, ...]
    folders: tuple[Path, ...]
    stays: tuple[Path, ...]
    bytes: int


def plan(folder: Path) -> Removal:
    """What deleting this run folder takes away.

    Raises RunFolderError: it is none of ours, or a command is at work in it; InputError: it is a
    link.
    """
    if folder.is_symlink():
        raise InputError(
            f"{folder} is a link", hint=f"Name the folder itself: {os.path.realpath(folder)}."
        )
    lock = folder / LOCK
    ours = RunFolder.open(folder)
    if lock.is_file() and not lock.is_symlink():
        with ours.claimed():
            pass
    files, folders, stays = [], [], []
    for name, patterns in _OURS.items():
        place = folder / name
        if name and (place.is_symlink() or not place.is_dir()):
            continue
        folders.append(place)
        for entry in _inside(place):
            known = any(fnmatch.fnmatchcase(entry.name, pattern) for pattern in patterns)
            if known and (entry.is_symlink() or entry.is_file(follow_symlinks=False)):
                files.append(place / entry.name)
            elif name or not _expected(entry):
                stays.append(place / entry.name)
    files.append(folder / _LAST)
    size = sum(path.lstat().st_size for path in files)
    return Removal(folder, tuple(files), tuple(reversed(folders)), tuple(stays), size)


def delete(removal: Removal) -> None:
    """Remove it: links themselves, never what they lead to; folders only once they are empty.

    Raises RunFolderError: a command is at work in it.
    """
    lock = removal.folder / LOCK
    if lock.is_symlink():
        lock.unlink()
    with RunFolder.open(removal.folder).claimed():
        for path in (*removal.files[:-1], lock, removal.files[-1]):
            path.unlink(missing_ok=True)
        kept = {path.parent for path in removal.stays}
        for place in removal.folders:
            if place not in kept and not (place == removal.folder and kept):
                place.rmdir()
    index.forget(removal.folder.resolve())


def _inside(folder: Path) -> Iterator[os.DirEntry[str]]:
    with os.scandir(folder) as entries:
        yield from sorted(entries, key=lambda entry: entry.name)


def _expected(entry: os.DirEntry[str]) -> bool:
    """Whether the entry of the run folder itself is dealt with elsewhere."""
    return entry.name == _LAST or (entry.name in _OURS and entry.is_dir(follow_symlinks=False))
