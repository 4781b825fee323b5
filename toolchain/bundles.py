"""Bundles of one command: what they share is hashed once, for however many boards."""

from __future__ import annotations

import threading

from targets.items import Item
from toolchain.bundle import Bundle, Picture, Settings
from toolchain.evaluate.truth import Dataset
from toolchain.runmeta import RunMeta
from toolchain.subject import Subject


class Bundles:
    """Bundles over one data set, each made once for all boards.  Safe for several threads."""

    def __init__(self, dataset: Dataset | None) -> None:
        self.dataset = dataset
        self._lock = threading.Lock()
        self._pictures: tuple[Picture, ...] | None = None
        self._models: dict[str, Item] = {}

    def of(self, subject: Subject, meta: RunMeta) -> Bundle:
        """What a board needs to run `subject`.  Raises InputError."""
        from targets import zipapp
        from targets.places import cache_dir

        with self._lock:
            if self._pictures is None:
                images = () if self.dataset is None else self.dataset.images
                self._pictures = tuple(
                    Picture(str(image.id), Item.of_file(image.path)) for image in images
                )
            if subject.meta.sha256 not in self._models:
                self._models[subject.meta.sha256] = Item.of_file(subject.path)
            agent = zipapp.build(cache_dir())
        asked = meta.settings
        return Bundle(
            self._models[subject.meta.sha256],
            Item.of_file(agent.path, sha256=agent.sha256),
            self._pictures,
            Settings(
                threads=asked.threads,
                cpus=asked.cpus,
                warmup=asked.warmup,
                timed_runs=asked.timed_runs,
                imgsz=subject.meta.imgsz,
                head=subject.head,
                confidence=asked.confidence,
                fps_confidence=asked.fps_confidence,
                iou=asked.iou,
                max_detections=asked.max_detections,
                multi_label=asked.multi_label,
                steady_s=asked.steady_s,
                expand_int4=asked.expand_int4,
                keep_expanded=asked.keep_expanded,
                drop_pages=asked.drop_pages,
            ),
        )
