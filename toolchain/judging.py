"""How far a model agrees with the float one on pictures without labels, on this machine."""

from __future__ import annotations

import dataclasses
import functools
import importlib.metadata
import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final

from targets.agent.records import Detected
from targets.files import write_whole
from targets.places import cache_dir
from targets.progress import SILENT, Progress
from toolchain.cache import Cache, content_key
from toolchain.errors import EmptyCalibration, ImageUnreadable, UnsupportedModel
from toolchain.evaluate.agreement import TRUTH_SCORE, agreement
from toolchain.evaluate.classes import match_classes, model_categories
from toolchain.evaluate.detections import Detections, from_records
from toolchain.evaluate.pictures import upright_size
from toolchain.evaluate.truth import Dataset, Picture
from toolchain.subject import Subject, subject

if TYPE_CHECKING:
    from toolchain.bundle import Bundle

LEAST_BOXES: Final = 20
"""Fewer boxes of the float model say too little."""

_RECORDS: Final = "detected.json"


class Judge:
    """The float model's detections on some pictures, and what other models are worth beside it.

    What a model detected is kept under the hash of model, pictures, agent and runtime.
    Raises EmptyCalibration where the float model sees too little there, UnsupportedModel where
    its outputs are no boxes.
    """

    def __init__(
        self, reference: Path, pictures: Sequence[Path], *, progress: Progress = SILENT
    ) -> None:
        self._progress = progress
        found = subject(reference)
        if found.head is None:
            raise UnsupportedModel(
                f"{reference.name}: its outputs are not understood, so no boxes can be compared",
                hint="Leave --max-ap-drop out, and give --bits or --budget.",
            )
        self._dataset = dataclasses.replace(
            _dataset(pictures), categories=model_categories(found.head.names)
        )
        self._reference = self._found(found)
        self.boxes = len(self._reference.above(TRUTH_SCORE))
        if self.boxes < LEAST_BOXES:
            raise EmptyCalibration(
                f"the float model sees {self.boxes} boxes on the {len(self._dataset.images)} "
                f"calibration pictures that judge; {LEAST_BOXES} are the least",
                hint="Give more pictures with objects on them.",
            )

    @property
    def images(self) -> int:
        """Pictures that could be read."""
        return len(self._dataset.images)

    def agreement(self, model: Path) -> float:
        """AP with the float model's boxes for truth, 0 to 100.  Raises RunIncomplete."""
        found = agreement(self._dataset, self._reference, self._found(subject(model)))
        return 100 * (found.ap or 0.0) if found else 0.0

    def _found(self, model: Subject) -> Detections:
        assert model.head is not None
        from targets import zipapp
        from toolchain import bundle

        agent = zipapp.build(cache_dir())
        job = bundle.bundle(
            model.path,
            agent,
            pictures=[(str(picture.id), picture.path) for picture in self._dataset.images],
            settings=bundle.Settings(
                threads=_cpus(), warmup=0, timed_runs=0, imgsz=model.meta.imgsz, head=model.head
            ),
        )
        runtime = importlib.metadata.version("ai-edge-litert")
        key = content_key({"bundle": job.sha256, "runtime": runtime})

        def make(folder: Path) -> None:
            records = [dataclasses.asdict(record) for record in self._detected(job)]
            write_whole(folder / _RECORDS, json.dumps(records, allow_nan=False).encode())

        entry = Cache(cache_dir(), "judged").get_or_make(key, make)
        kept = [Detected(**one) for one in json.loads((entry.folder / _RECORDS).read_bytes())]
        return from_records(kept, self._dataset, match_classes(model.head.names, self._dataset))

    def _detected(self, job: Bundle) -> list[Detected]:
        from toolchain import onhost

        found = []
        with self._progress.task("judging", total=self.images, unit="pictures") as task:
            for envelope in onhost.run(job):
                if isinstance(envelope.record, Detected):
                    found.append(envelope.record)
                    task.advance()
        return found


def _dataset(paths: Sequence[Path]) -> Dataset:
    pictures: list[Picture] = []
    for path in paths:
        try:
            size = upright_size(path)
        except ImageUnreadable:
            continue  # calibration has told of it
        pictures.append(Picture(len(pictures) + 1, path, size.width, size.height))
    return Dataset(form="folder", source="calibration", images=tuple(pictures))


@functools.cache
def _cpus() -> int:
    import os

    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else 1
