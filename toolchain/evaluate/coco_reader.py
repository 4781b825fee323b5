"""COCO's annotation form (cocodataset.org, "Data format"), checked field by field.

What pycocotools trips over is mended in memory and said: a missing area or iscrowd, annotation
ids that are missing, repeated or 0.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NoReturn

from toolchain.errors import DataError
from toolchain.evaluate.truth import Box, Category


class Reader:
    """Checks the values of one file; every complaint names the file and the field.

    notes: what was mended so far, one sentence each.  All methods raise DataError.
    """

    def __init__(self, file: str) -> None:
        self.file = file
        self.notes: list[str] = []

    def fail(self, what: str, hint: str) -> NoReturn:
        """Raises DataError with the file's name in front."""
        raise DataError(f"{self.file}: {what}", hint=hint)

    def parse(self, encoded: bytes) -> Mapping[str, Any]:
        """Strict JSON: one object."""
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

    def _entries(self, content: Mapping[str, Any], field: str) -> Iterator[tuple[str, Any]]:
        value = content.get(field)
        if not isinstance(value, list):
            self.fail(f"'{field}' is missing or no list", "COCO form needs a list there.")
        for index, entry in enumerate(value):
            if not isinstance(entry, dict):
                self.fail(f"{field}[{index}] is no object", "COCO form needs an object there.")
            yield f"{field}[{index}]", entry

    def _integer(self, place: str, entry: Mapping[str, Any], field: str) -> int:
        value = entry.get(field)
        if isinstance(value, bool) or not isinstance(value, int):
            self.fail(f"{place}.{field} is {_shown(value)}, not a whole number", "Number them.")
        return value

    def _text(self, place: str, entry: Mapping[str, Any], field: str) -> str:
        value = entry.get(field)
        if not isinstance(value, str) or not value:
            self.fail(f"{place}.{field} is {_shown(value)}, not a text", "Fill the field in.")
        return value

    def _number(self, place: str, value: Any) -> float:
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
        """Entries of id, file_name, size (width, height, each maybe None) and labelled.

        "labelled" is an addition of ours: false where nobody drew this image's boxes.
        """
        found: dict[int, Mapping[str, Any]] = {}
        for place, entry in self._entries(content, "images"):
            key = self._integer(place, entry, "id")
            if key in found:
                self.fail(f"{place}.id {key} is there twice", "Image ids must differ.")
            found[key] = {
                "id": key,
                "file_name": self._text(place, entry, "file_name"),
                "size": tuple(
                    self._integer(place, entry, field) if entry.get(field) is not None else None
                    for field in ("width", "height")
                ),
                "labelled": entry.get("labelled") is not False,
            }
        if not found:
            self.fail("no images listed", "An evaluation needs at least one image.")
        return list(found.values())

    def categories(self, content: Mapping[str, Any]) -> tuple[Category, ...]:
        """Categories in the order of their ids."""
        found: dict[int, Category] = {}
        for place, entry in self._entries(content, "categories"):
            key = self._integer(place, entry, "id")
            if key in found:
                self.fail(f"{place}.id {key} is there twice", "Category ids must differ.")
            found[key] = Category(key, self._text(place, entry, "name"))
        if not found:
            self.fail("no categories listed", "Boxes need the names of their categories.")
        return tuple(found[key] for key in sorted(found))

    def boxes(
        self, content: Mapping[str, Any], images: set[int], categories: set[int]
    ) -> list[Box]:
        """Boxes on the known images, of the known categories; what was mended goes to `notes`."""
        entries = list(self._entries(content, "annotations"))
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
            size = self._number(f"{place}.area", area)
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
        key = self._integer(place, entry, field)
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
        x, y, width, height = (self._number(f"{place}.bbox[{i}]", v) for i, v in enumerate(value))
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


def _not_json(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")


def _shown(value: Any) -> str:
    return "missing" if value is None else repr(value)[:40]
