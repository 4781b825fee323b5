"""A data set kept beside a run, so that its figures can be made again without the user's files.

The form is COCO's, with a block of our own named "halfbyte": other tools open it.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from toolchain.errors import DataError
from toolchain.evaluate.coco_reader import Reader
from toolchain.evaluate.truth import Box, Dataset, Excluded, Picture

SCHEMA = "halfbyte.dataset"
VERSION = 1


def dump(dataset: Dataset) -> bytes:
    """Strict JSON.  Paths are cut to what lies below the folder that all pictures share."""
    parents = {str(picture.path.parent) for picture in dataset.images}
    shared = Path(os.path.commonpath(parents)) if parents else Path()
    content = {
        "halfbyte": {
            "schema": SCHEMA,
            "version": VERSION,
            "form": dataset.form,
            "source": dataset.source,
            "sha256": dataset.sha256,
            "notes": list(dataset.notes),
            "excluded": [{"name": e.name, "reason": e.reason} for e in dataset.excluded],
        },
        "images": [
            {
                "id": picture.id,
                "file_name": picture.path.relative_to(shared).as_posix(),
                "width": picture.width,
                "height": picture.height,
                "labelled": picture.labelled,
            }
            for picture in dataset.images
        ],
        "categories": [{"id": c.id, "name": c.name} for c in dataset.categories],
        "annotations": [_annotation(box) for box in dataset.boxes],
    }
    return json.dumps(content, allow_nan=False, separators=(",", ":")).encode("ascii")


def parse(encoded: bytes, file: str = "dataset.json") -> Dataset:
    """The data set in a snapshot; picture paths are relative names.  Raises DataError."""
    reader = Reader(file)
    content = reader.parse(encoded)
    own = content.get("halfbyte")
    if not isinstance(own, dict) or own.get("schema") != SCHEMA:
        reader.fail("no data set of ours", "Give the run folder as it was written.")
    if own.get("version") != VERSION:
        reader.fail(f"version {own.get('version')!r}", f"This halfbyte reads version {VERSION}.")
    try:
        pictures = tuple(_picture(entry) for entry in reader.images(content))
        categories = reader.categories(content) if content.get("categories") else ()
        boxes = reader.boxes(content, {p.id for p in pictures}, {c.id for c in categories})
        return Dataset(
            form=own["form"],
            source=str(own["source"]),
            images=pictures,
            categories=categories,
            boxes=tuple(boxes),
            sha256=own["sha256"],
            notes=tuple(str(note) for note in own["notes"]),
            excluded=tuple(Excluded(str(e["name"]), str(e["reason"])) for e in own["excluded"]),
        )
    except (KeyError, TypeError) as error:
        raise DataError(f"{file}: {error}", hint="The run folder is damaged.") from error


def _picture(entry: Mapping[str, Any]) -> Picture:
    width, height = entry["size"]
    if width is None or height is None:
        raise KeyError("width")
    return Picture(entry["id"], Path(entry["file_name"]), width, height, entry["labelled"])


def _annotation(box: Box) -> dict[str, Any]:
    return {
        "id": box.id,
        "image_id": box.image_id,
        "category_id": box.category_id,
        "bbox": [box.x, box.y, box.width, box.height],
        "area": box.area,
        "iscrowd": int(box.crowd),
    }
