"""Pictures in, annotated pictures and JSON out."""

from __future__ import annotations

import dataclasses
import json
import logging
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, Final

from targets.agent.wire import Detected, Envelope, Skipped
from targets.deadline import Deadline
from targets.files import replaced, write_whole
from targets.progress import SILENT, Progress
from targets.target import Target
from toolchain.errors import ImageUnreadable, UnsupportedModel
from toolchain.evaluate.truth import Dataset
from toolchain.measuring import Trust, ready
from toolchain.subject import Subject

SCHEMA: Final = "halfbyte.detections"
VERSION: Final = 1
ALONE_S: Final = 120.0
"""Boxes that nobody waits for any more are worth nothing."""
_log = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True)
class Object:
    """One object: corners in pixels of the upright picture, best first."""

    label: str
    score: float
    x1: float
    y1: float
    x2: float
    y2: float


@dataclasses.dataclass(frozen=True)
class Found:
    """What was seen on one picture.  annotated: the picture with the boxes drawn on it."""

    image: str
    width: int
    height: int
    inference_ms: float
    objects: tuple[Object, ...]
    annotated: Path | None


@dataclasses.dataclass(frozen=True)
class Detections:
    """All of it.  where: "host", or the target's name.  skipped: picture and reason."""

    model: str
    model_sha256: str
    where: str
    confidence: float
    pictures: tuple[Found, ...]
    skipped: tuple[tuple[str, str], ...]
    json: Path | None = None


def detect(
    subject: Subject,
    dataset: Dataset,
    out: Path,
    *,
    target: Target | None = None,
    confidence: float = 0.25,
    threads: int | None = None,
    trust: Trust | None = None,
    progress: Progress = SILENT,
) -> Detections:
    """Run `subject` over pictures, on the host or a target, and draw what it found into `out`.

    Raises UnsupportedModel (outputs not understood), ImageUnreadable (no picture could be read),
    the errors of a target, RunIncomplete.
    """
    if subject.head is None:
        raise UnsupportedModel(
            f"{subject.path.name}: its outputs are not understood, so it detects nothing",
            hint="`halfbyte bench` times it all the same; `halfbyte inspect` shows its outputs.",
        )
    pictures: list[Found] = []
    skipped = [(excluded.name, excluded.reason) for excluded in dataset.excluded]
    names = {str(picture.id): picture.path for picture in dataset.images}
    with progress.task("detecting", len(names), "pictures") as task:
        records = _records(subject, dataset, target, confidence, threads, trust, progress)
        for record in (envelope.record for envelope in records):
            if isinstance(record, Skipped):
                skipped.append((names[record.image].name, record.reason))
                task.advance()
            elif isinstance(record, Detected):
                path = names[record.image]
                pictures.append(_found(record, path, subject.head.names, out))
                task.advance()
    if not pictures:
        raise _none_read(skipped)
    result = Detections(
        model=str(subject.path),
        model_sha256=subject.meta.sha256,
        where="host" if target is None else target.name,
        confidence=confidence,
        pictures=tuple(pictures),
        skipped=tuple(skipped),
        json=out / "detections.json",
    )
    write_whole(out / "detections.json", as_json(result))
    return result


def _none_read(skipped: Sequence[tuple[str, str]]) -> ImageUnreadable:
    name, reason = skipped[0]
    if len(skipped) == 1:
        return ImageUnreadable(f"{name} cannot be read: {reason}", hint="Replace the file.")
    return ImageUnreadable(
        f"none of the {len(skipped)} pictures can be read; the first, {name}: {reason}",
        hint="Replace the files, or name other ones.",
    )


def as_json(detections: Detections) -> bytes:
    """Strict JSON, with schema and version."""
    body = dataclasses.asdict(dataclasses.replace(detections, json=None))
    body.pop("json")
    document = {"schema": SCHEMA, "version": VERSION, **body}
    return json.dumps(document, indent=1, allow_nan=False, default=str).encode() + b"\n"


def _records(
    subject: Subject,
    dataset: Dataset,
    target: Target | None,
    confidence: float,
    threads: int | None,
    trust: Trust | None,
    progress: Progress,
) -> Iterator[Envelope]:
    from targets import session
    from toolchain import onhost

    if target is None:
        yield from onhost.run(_job(subject, dataset, confidence, threads or _host_cpus()))
        return
    with ready(target, trust=trust, progress=progress) as board:
        job = _job(subject, dataset, confidence, threads or target.threads or board.cpus)
        yield from session.run(
            board.connection,
            board.python,
            job,
            deadline=Deadline.after(24 * 3600),
            patience=session.Patience(linger_s=ALONE_S),
            progress=progress,
        )


def _job(subject: Subject, dataset: Dataset, confidence: float, threads: int) -> Any:
    from targets import zipapp
    from targets.places import cache_dir
    from toolchain import bundle

    return bundle.bundle(
        subject.path,
        zipapp.build(cache_dir()),
        pictures=[(str(picture.id), picture.path) for picture in dataset.images],
        settings=bundle.Settings(
            threads=threads,
            warmup=0,
            timed_runs=0,
            imgsz=subject.meta.imgsz,
            head=subject.head,
            confidence=confidence,
            fps_confidence=confidence,
        ),
    )


def _host_cpus() -> int:
    import os

    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else 1


def _found(record: Detected, path: Path, names: Sequence[str], out: Path) -> Found:
    return Found(
        image=str(path),
        width=record.width,
        height=record.height,
        inference_ms=record.inference_ns / 1e6,
        objects=tuple(_objects(record.detections, names)),
        annotated=_draw(path, record, names, out / f"{record.image}-{path.stem}.jpg"),
    )


def _objects(rows: Iterable[Sequence[float]], names: Sequence[str]) -> Iterator[Object]:
    for x1, y1, x2, y2, score, index in rows:
        number = int(index)
        label = names[number] if 0 <= number < len(names) else str(number)
        yield Object(label, score, x1, y1, x2, y2)


def _draw(path: Path, record: Detected, names: Sequence[str], to: Path) -> Path:
    import numpy as np

    from targets.agent.frames import read_picture
    from toolchain.report.draw import annotate

    rows = np.array(record.detections, np.float32).reshape(-1, 6)
    image = annotate(read_picture(path), rows, names, min_score=0)
    with replaced(to) as stream:
        image.save(stream, "JPEG", quality=92)
    return to
