"""What is known of one run folder, in a few figures."""

from __future__ import annotations

import dataclasses
import hashlib
import os
import shlex
from pathlib import Path
from typing import Final

from toolchain.errors import RunFolderError
from toolchain.report.figures import RunFigures
from toolchain.runs import RunFolder

_LOOKED_AT: Final = ("run.json", "dataset.json", "records")


@dataclasses.dataclass(frozen=True)
class Line:
    """One model on one target.  ap in points, times in milliseconds; None where unknown."""

    key: str
    weights: str
    recipe: str | None
    target: str
    whole: bool
    file_bytes: int
    ap: float | None
    p50_ms: float | None
    fps_end_to_end: float | None
    peak_bytes: int | None


@dataclasses.dataclass(frozen=True)
class Entry:
    """A run folder.  problem: why it cannot be read, empty where it can; then lines is empty."""

    folder: Path
    stamp: str
    created: str = ""
    command: str = ""
    images: int = 0
    problem: str = ""
    lines: tuple[Line, ...] = ()


def stamp(folder: Path) -> str | None:
    """Changes where a file of the folder's does; None where it is gone or no run folder."""
    if not (folder / "run.json").is_file():
        return None
    digest = hashlib.sha256()
    for name in _LOOKED_AT:
        for path in (folder / name, *_files(folder / name)):
            try:
                found = path.stat()
            except OSError:
                continue
            line = f"{path.name} {found.st_size} {found.st_mtime_ns}\n"
            digest.update(line.encode("utf-8", "replace"))
    return digest.hexdigest()


def read(folder: Path, at: str) -> Entry:
    """The folder as it is now: its figures are made from its records.  at: its stamp."""
    from toolchain.report.summarise import summarise

    try:
        recorded = RunFolder.open(folder).load()
        report = summarise(recorded)
    except RunFolderError as error:
        return Entry(folder, at, problem=error.message)
    return Entry(
        folder,
        at,
        created=recorded.created,
        command=shlex.join(recorded.command),
        images=len(recorded.dataset.images) if recorded.dataset else 0,
        lines=tuple(_line(run) for run in report.runs),
    )


def _line(run: RunFigures) -> Line:
    inference = run.speed.inference
    return Line(
        key=run.key,
        weights=run.model.weights,
        recipe=run.model.recipe,
        target=run.target.name,
        whole=not run.partial,
        file_bytes=run.model.file_bytes,
        ap=run.accuracy.ap,
        p50_ms=inference.p50_ms if inference else None,
        fps_end_to_end=run.speed.fps_end_to_end,
        peak_bytes=run.memory.peak_rss_bytes,
    )


def _files(folder: Path) -> list[Path]:
    try:
        with os.scandir(folder) as entries:
            return sorted(folder / entry.name for entry in entries)
    except OSError:
        return []
