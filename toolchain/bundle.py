"""All that one run needs on a board, named by content: model, pictures, agent, and what to do.

Ids of pictures are the host's names for them; on the board a file is known by its hash alone.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from targets.agent.heads import Head, head_to_dict
from targets.agent.plan import Plan, PlanFile
from targets.items import Item
from targets.zipapp import AgentFile

SCHEMA = "halfbyte.bundle"
VERSION = 1


@dataclass(frozen=True)
class Settings:
    """What the agent does with the model; the words are those of `targets.agent.plan.Plan`.

    imgsz: (height, width), None: as the model says.  head None: timed, nothing detected.
    """

    threads: int = 1
    cpus: tuple[int, ...] = ()
    warmup: int = 3
    timed_runs: int = 20
    imgsz: tuple[int, int] | None = None
    head: Head | None = None
    confidence: float = 0.001
    fps_confidence: float = 0.25
    iou: float = 0.65
    max_detections: int = 300
    multi_label: bool = True
    probe_values: int = 0
    steady_s: float = 0.0
    sample_period_s: float = 0.5
    expand_int4: bool = False
    keep_expanded: bool = True
    drop_pages: bool = False


@dataclass(frozen=True)
class Picture:
    """One picture and the host's name for it."""

    id: str
    item: Item


@dataclass(frozen=True)
class Bundle:
    """Content-addressed: equal bundles have equal `sha256`, wherever their files lie."""

    model: Item
    agent: Item
    pictures: tuple[Picture, ...] = ()
    settings: Settings = Settings()

    @property
    def items(self) -> tuple[Item, ...]:
        """Every file that has to be on the board."""
        return (self.agent, self.model, *(picture.item for picture in self.pictures))

    def manifest(self) -> dict[str, Any]:
        """What the bundle is, as plain JSON values; no path of this host is in it."""
        settings = dataclasses.asdict(dataclasses.replace(self.settings, head=None))
        head = self.settings.head
        return {
            "schema": SCHEMA,
            "version": VERSION,
            "model": {"sha256": self.model.sha256, "size_bytes": self.model.size_bytes},
            "agent": {"sha256": self.agent.sha256, "size_bytes": self.agent.size_bytes},
            "pictures": [{"id": p.id, "sha256": p.item.sha256} for p in self.pictures],
            "settings": {**settings, "head": None if head is None else head_to_dict(head)},
        }

    @cached_property
    def sha256(self) -> str:
        """Of the manifest."""
        text = json.dumps(self.manifest(), sort_keys=True, allow_nan=False, separators=(",", ":"))
        return hashlib.sha256(text.encode("ascii")).hexdigest()

    def plan(self, path: Callable[[str], str], marker: str | None = None) -> Plan:
        """What the agent is told; path: where the board has the file with a hash.

        marker: the line before the first record, where something else may print before it.
        """
        named = {
            field.name: getattr(self.settings, field.name)
            for field in dataclasses.fields(self.settings)
        }
        return Plan(
            model=PlanFile(path(self.model.sha256), self.model.sha256),
            marker=marker,
            images=tuple(PlanFile(path(p.item.sha256), p.item.sha256, p.id) for p in self.pictures),
            **named,
        )


def bundle(
    model: Path,
    agent: AgentFile,
    *,
    pictures: Sequence[tuple[str, Path]] = (),
    settings: Settings | None = None,
) -> Bundle:
    """Hash the files and put them together.  pictures: (id, file).  Raises InputError."""
    return Bundle(
        model=Item.of_file(model),
        agent=Item.of_file(agent.path, sha256=agent.sha256),
        pictures=tuple(Picture(name, Item.of_file(path)) for name, path in pictures),
        settings=settings or Settings(),
    )
