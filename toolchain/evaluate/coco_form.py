"""COCO's annotation form (cocodataset.org, "Data format"), checked field by field.

What pycocotools trips over is mended in memory and said in `Dataset.notes`: a missing area or
iscrowd, annotation ids that are missing, repeated or 0.  The user's file is never rewritten.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Any, NoReturn

from toolchain.errors import DataError, ImageUnreadable
from toolchain.evaluate.pictures import Size, upright_size
from toolchain.evaluate.truth import Box, Category, Dataset, Excluded, Picture

_TOLERANCE_PX = 1  # between the annotated size and the picture's: tools round differently


def read_coco(path: Path, images: Path | None = None) -> Dataset:
    """The data set in the COCO file at `path`.  Raises DataError, with the file and the field."""
    encoded = path.read_bytes()
    reader = _Reader(path.name)
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


class _Reader:
    """Values out of one file; every complaint names the file and the field."""

    def __init__(self, file: str) -> None:
        self.file = file
        self.notes: list[str] = []

    def fail(self, what: str, hint: str) -> NoReturn:
        raise DataError(f"{self.file}: {what}", hint=hint)

    def parse(self, encoded: bytes) -> Mapping[str, Any]:
        try:
            content = json.loads(encoded.decode("utf-8-sig"), parse_constant=_not_json)
        except (ValueError, RecursionError) as error:
            self.fail(f"not JSON ({error})", "COCO annotations are one JSON object.")
        if isinstance(content, list):
            self.fail(
                "a list, not an object with images, categories and annotations",
                "This looks like detections (COCO results); give the ground truth.",
            )
        if not isinstance(content, dict):
            self.fail("no JSON object", "COCO annotations are one JSON object.")
        return content

    def entries(self, content: Mapping[str, Any], field: str) -> Iterator[tuple[str, Any]]:
        value = content.get(field)
        if not isinstance(value, list):
            self.fail(f"'{field}' is missing or no list", "COCO form needs a list there.")
        for index, entry in enumerate(value):
            if not isinstance(entry, dict):
                self.fail(f"{field}[{index}] is no object", "COCO form needs an object there.")
            yield f"{field}[{index}]", entry

    def integer(self, place: str, entry: Mapping[str, Any], field: str) -> int:
        value = entry.get(field)
        if isinstance(value, bool) or not isinstance(value, int):
            self.fail(f"{place}.{field} is {_shown(value)}, not a whole number", "Number them.")
        return value

    def text(self, place: str, entry: Mapping[str, Any], field: str) -> str:
        value = entry.get(field)
        if not isinstance(value, str) or not value:
            self.fail(f"{place}.{field} is {_shown(value)}, not a text", "Fill the field in.")
        return value

    def number(self, place: str, value: Any) -> float:
        if isinstance(value, bool) or not isinstance(value, int | float):
            self.fail(f"{place} is {_shown(value)}, not a number", "Mend or remove the entry.")
        try:
            number = float(value)
        except OverflowError:
            number = math.inf
        if not math.isfinite(number):
            self.fail(f"{place} is not a finite number", "Mend or remove the entry.")
        return number

    def images(self, content: Mapping[str, Any]) -> list[Mapping[str, Any]]:
        found: dict[int, Mapping[str, Any]] = {}
        for place, entry in self.entries(content, "images"):
            key = self.integer(place, entry, "id")
            if key in found:
                self.fail(f"{place}.id {key} is there twice", "Image ids must differ.")
            found[key] = {
                "id": key,
                "file_name": self.text(place, entry, "file_name"),
                "size": tuple(
                    self.integer(place, entry, field) if entry.get(field) is not None else None
                    for field in ("width", "height")
                ),
            }
        if not found:
            self.fail("no images listed", "An evaluation needs at least one image.")
        return list(found.values())

    def categories(self, content: Mapping[str, Any]) -> tuple[Category, ...]:
        found: dict[int, Category] = {}
        for place, entry in self.entries(content, "categories"):
            key = self.integer(place, entry, "id")
            if key in found:
                self.fail(f"{place}.id {key} is there twice", "Category ids must differ.")
            found[key] = Category(key, self.text(place, entry, "name"))
        if not found:
            self.fail("no categories listed", "Boxes need the names of their categories.")
        return tuple(found[key] for key in sorted(found))

    def boxes(
        self, content: Mapping[str, Any], images: set[int], categories: set[int]
    ) -> list[Box]:
        entries = list(self.entries(content, "annotations"))
        ids = self._ids([entry for _, entry in entries])
        no_area = no_crowd = empty = 0
        boxes = []
        for number, (place, entry) in zip(ids, entries, strict=True):
            image = self._known(place, entry, "image_id", images, "images")
            category = self._known(place, entry, "category_id", categories, "categories")
            x, y, width, height = self._bbox(place, entry)
            area, crowd = entry.get("area"), entry.get("iscrowd")
            no_area += area is None
            no_crowd += crowd is None
            if crowd not in (None, 0, 1):
                self.fail(f"{place}.iscrowd is {_shown(crowd)}", "It is 0 or 1.")
            if area is None:
                area = width * height
            if width == 0 or height == 0:
                empty += 1
                continue
            size = self.number(f"{place}.area", area)
            boxes.append(Box(number, image, category, x, y, width, height, size, bool(crowd)))
        self._say(no_area, "no area: width x height of the box was taken")
        self._say(no_crowd, "no iscrowd: 0 was taken")
        self._say(empty, "no width or no height: nobody can find those, they were left out")
        return boxes

    def _say(self, count: int, what: str) -> None:
        if count:
            self.notes.append(f"{count} annotation{'s' * (count != 1)} had {what}.")

    def _known(
        self, place: str, entry: Mapping[str, Any], field: str, known: set[int], there: str
    ) -> int:
        key = self.integer(place, entry, field)
        if key not in known:
            self.fail(f"{place}.{field} {key} is not among {there}", "Is the file whole?")
        return key

    def _bbox(self, place: str, entry: Mapping[str, Any]) -> tuple[float, float, float, float]:
        value = entry.get("bbox")
        if not isinstance(value, list) or len(value) != 4:
            self.fail(
                f"{place}.bbox is {_shown(value)}, not four numbers",
                "Detection needs x, y, width, height of each object.",
            )
        x, y, width, height = (self.number(f"{place}.bbox[{i}]", v) for i, v in enumerate(value))
        if width < 0 or height < 0:
            self.fail(
                f"{place}.bbox has width {width:g} and height {height:g}",
                "COCO boxes are x, y, width, height, not two corners.",
            )
        return x, y, width, height

    def _ids(self, entries: Sequence[Mapping[str, Any]]) -> list[int]:
        given = [entry.get("id") for entry in entries]
        whole = [key for key in given if isinstance(key, int) and not isinstance(key, bool) and key]
        if len(whole) == len(given) == len(set(whole)):
            return whole
        self.notes.append(
            "Annotation ids were renumbered from 1, in memory: some were 0, missing or repeated, "
            "and the evaluator takes a match with 0 for a miss."
        )
        return list(range(1, len(given) + 1))


def _pictures(
    folder: Path, entries: Sequence[Mapping[str, Any]]
) -> tuple[list[Picture], list[Excluded]]:
    pictures, excluded = [], []
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
            pictures.append(Picture(entry["id"], path, size.width, size.height))
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


def _not_json(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")


def _shown(value: Any) -> str:
    return "missing" if value is None else repr(value)[:40]
