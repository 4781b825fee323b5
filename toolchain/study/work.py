"""One piece of work, whole: make a cell's model if it is not there, run it on some images.

It runs in the study's own process or on a Dask worker, and takes and gives plain values.  Models
stay in the cache of the machine that made them; a machine that lacks one makes it again.
"""

from __future__ import annotations

import dataclasses
import json
import threading
import time
import zlib
from pathlib import Path
from typing import Final

from targets.agent.records import Detected
from targets.files import write_whole
from targets.places import cache_dir
from targets.progress import SILENT, Progress
from toolchain.cache import Cache
from toolchain.errors import DoesNotRun, NotFinite, OutOfRange, RecipeError, UnsupportedModel
from toolchain.runmeta import built
from toolchain.study import identity, models
from toolchain.study.cell import Cell
from toolchain.study.filters import filters
from toolchain.study.made import Made, count
from toolchain.study.material import Material, Opened, opened
from toolchain.study.running import detect

_MODEL, _MADE = "model.tflite.z", "made.json"

REFUSALS: Final = (OutOfRange, NotFinite, RecipeError, UnsupportedModel, DoesNotRun)
"""What is said of a cell and not of the study: the others go on."""

_alone = threading.Lock()
"""A process does one piece of work at a time, with all threads that it has."""


@dataclasses.dataclass(frozen=True)
class Job:
    """cell None: the float model.  images: ids; none: the model is made and not run."""

    cell: Cell | None
    images: frozenset[str] = frozenset()


@dataclasses.dataclass(frozen=True)
class Done:
    """made: None for the float model.  refused: why there is no such cell, in a sentence.

    make_seconds: 0 where the model was there.
    """

    job: Job
    made: Made | None = None
    records: tuple[Detected, ...] = ()
    refused: str = ""
    make_seconds: float = 0.0
    run_seconds: float = 0.0


def do(material: Material, job: Job, *, threads: int, progress: Progress = SILENT) -> Done:
    """Raises DataError (other files or other code than the study's), and what is no refusal."""
    with _alone:
        source = opened(material, progress=progress)
        try:
            return _do(source, job, threads, progress)
        except REFUSALS as error:
            if job.cell is None:
                raise
            return Done(job, refused=error.message)


def _do(source: Opened, job: Job, threads: int, progress: Progress) -> Done:
    start = time.monotonic()
    made, model, was_there = None, b"", True
    if job.cell is not None:
        made, folder, was_there = _made(source, job.cell, progress)
        model = zlib.decompress((folder / _MODEL).read_bytes()) if job.images else b""
    elif job.images:
        model = source.material.float_model.tflite.read_bytes()
    middle = time.monotonic()
    records: tuple[Detected, ...] = ()
    if job.images:
        images = source.material.images_of(job.images)
        records = detect(model, images, source.facts, threads=threads, progress=progress)
    return Done(
        job,
        made,
        records,
        make_seconds=0.0 if was_there else middle - start,
        run_seconds=time.monotonic() - middle,
    )


def _made(source: Opened, cell: Cell, progress: Progress) -> tuple[Made, Path, bool]:
    def make(folder: Path) -> None:
        groups = models.ranges(source, cell)
        own = filters(source, cell, groups, progress=progress)
        model = models.build(source, cell, groups, own)
        made = count(source, own, model.packed_bytes)
        write_whole(folder / _MADE, json.dumps(dataclasses.asdict(made), indent=1).encode())
        # Few values repeat all the time: a third of the room, and quick.
        write_whole(folder / _MODEL, zlib.compress(model.runs, 1))

    material = source.material
    key = identity.making_key(cell, material.float_model.tflite_sha256, material.pictures.hashes)
    entry = Cache(cache_dir(), "study").get_or_make(key, make)
    raw = json.loads((entry.folder / _MADE).read_bytes())
    made: Made = built(Made, raw, "made.json")
    return made, entry.folder, entry.found
