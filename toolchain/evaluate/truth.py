"""What is known of a set of images: the pictures, the categories, the boxes drawn by people."""

from __future__ import annotations

import dataclasses
from collections.abc import Collection
from pathlib import Path
from typing import Literal

Form = Literal["coco", "yolo", "folder"]


@dataclasses.dataclass(frozen=True)
class Picture:
    """One image.  width, height: pixels of the upright picture (EXIF applied).

    labelled: somebody drew the boxes of all objects on it (there may be none).  A picture that is
    not labelled counts for the agreement of two models, and not for an accuracy.
    """

    id: int
    path: Path
    width: int
    height: int
    labelled: bool = True


@dataclasses.dataclass(frozen=True)
class Category:
    """One kind of object.  Ids are the data set's own: COCO's run from 1 to 90 with gaps."""

    id: int
    name: str


@dataclasses.dataclass(frozen=True)
class Box:
    """One object: x, y (top left), width, height in pixels of the upright picture.

    `id` is never 0: pycocotools takes a match with annotation 0 for no match.  `area` decides the
    size class (COCO's is that of the segmentation).  A `crowd` box is neither found nor missed.
    """

    id: int
    image_id: int
    category_id: int
    x: float
    y: float
    width: float
    height: float
    area: float
    crowd: bool = False


@dataclasses.dataclass(frozen=True)
class Excluded:
    """A listed image that cannot be scored, and why."""

    name: str
    reason: str


@dataclasses.dataclass(frozen=True)
class Dataset:
    """Images with or without ground truth.

    source: name of the file or folder that it was read from.  sha256: of the annotation file
    (of all label texts in YOLO form), None without ground truth.  notes: what was filled in,
    renumbered or left out while reading, one sentence each.
    """

    form: Form
    source: str
    images: tuple[Picture, ...]
    categories: tuple[Category, ...] = ()
    boxes: tuple[Box, ...] = ()
    sha256: str | None = None
    notes: tuple[str, ...] = ()
    excluded: tuple[Excluded, ...] = ()

    @property
    def has_truth(self) -> bool:
        """Whether an accuracy can be computed: there is at least one box to find."""
        return any(not box.crowd for box in self.boxes)

    def labelled(self) -> Dataset:
        """The same set without the pictures that nobody labelled."""
        return self.only([picture.id for picture in self.images if picture.labelled])

    def only(self, image_ids: Collection[int]) -> Dataset:
        """The same set with these images alone, and the boxes on them."""
        keep = set(image_ids)
        return dataclasses.replace(
            self,
            images=tuple(picture for picture in self.images if picture.id in keep),
            boxes=tuple(box for box in self.boxes if box.image_id in keep),
        )
