"""A data set in COCO form: the annotation file, and the pictures that go with it.

The user's files are never rewritten; what was mended is said in `Dataset.notes`, and a picture
that its boxes cannot be laid on is left out and named.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Any

from toolchain.errors import DataError, ImageUnreadable
from toolchain.evaluate.coco_reader import Reader
from toolchain.evaluate.pictures import Size, upright_size
from toolchain.evaluate.truth import Dataset, Excluded, Picture

_TOLERANCE_PX = 1  # between the annotated size and the picture's: tools round differently


def read_coco(path: Path, images: Path | None = None) -> Dataset:
    """The data set in the COCO file at `path`.  Raises DataError, with the file and the field."""
    encoded = path.read_bytes()
    reader = Reader(path.name)
    content = reader.parse(encoded)
    entries = reader.images(content)
    categories = reader.categories(content)
    boxes = reader.boxes(content, {entry["id"] for entry in entries}, {c.id for c in categories})
    folder = _folder_of(path, images, entries)
    pictures, excluded = _pictures(folder, entries)
    if not pictures:
        first = excluded[0]
        raise DataError(
            f"{path.name}: none of its {len(entries)} images can be scored "
            f"({first.name}: {first.reason})",
            hint=f"Looked in {folder}; name the folder that these annotations were made for.",
        )
    kept = {picture.id for picture in pictures}
    return Dataset(
        form="coco",
        source=path.name,
        images=tuple(pictures),
        categories=categories,
        boxes=tuple(box for box in boxes if box.image_id in kept),
        sha256=hashlib.sha256(encoded).hexdigest(),
        notes=tuple(reader.notes),
        excluded=tuple(excluded),
    )


def _pictures(
    folder: Path, entries: Sequence[Mapping[str, Any]]
) -> tuple[list[Picture], list[Excluded]]:
    pictures: list[Picture] = []
    excluded: list[Excluded] = []
    for entry in entries:
        name = entry["file_name"]
        path = _inside(folder, name)
        if path is None:
            excluded.append(Excluded(name, f"not found in {folder.name or folder}"))
            continue
        try:
            size = upright_size(path)
        except ImageUnreadable as error:
            excluded.append(Excluded(name, error.message))
            continue
        if problem := _disagreement(size, *entry["size"]):
            excluded.append(Excluded(name, problem))
        else:
            pictures.append(Picture(entry["id"], path, size.width, size.height, entry["labelled"]))
    return pictures, excluded


def _disagreement(size: Size, width: int | None, height: int | None) -> str | None:
    """Why boxes made for width x height cannot be laid on this picture, or None."""
    if width is None or height is None:
        return None
    if _near(size.width, width) and _near(size.height, height):
        return None
    if size.turned and _near(size.width, height) and _near(size.height, width):
        return (
            f"annotated as {width} x {height}, before its EXIF orientation is applied; upright it "
            f"is {size.width} x {size.height}, so which way up its boxes are is unknown"
        )
    return f"annotated as {width} x {height}, but the picture is {size.width} x {size.height}"


def _near(one: int, other: int) -> bool:
    return abs(one - other) <= _TOLERANCE_PX


def _folder_of(path: Path, images: Path | None, entries: Sequence[Mapping[str, Any]]) -> Path:
    if images is not None:
        if not images.is_dir():
            raise DataError(f"{images} is not a folder", hint="Name the folder of the images.")
        return images
    here = path.parent
    split = path.stem.rpartition("_")[2]  # instances_val2017.json lies in annotations/
    usual = (here / "images", here, here.parent / "images", here.parent / split)
    first = entries[0]["file_name"]
    return next((folder for folder in usual if _inside(folder, first)), here)


def _inside(folder: Path, name: str) -> Path | None:
    """The file of that name below `folder`; a name that climbs out counts by its last part."""
    relative = PurePosixPath(name.replace("\\", "/"))
    if not relative.is_absolute() and ".." not in relative.parts and (folder / relative).is_file():
        return folder / relative
    return folder / relative.name if (folder / relative.name).is_file() else None
