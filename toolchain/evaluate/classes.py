"""Which category of a data set a model's class is: by name where both sides have names."""

from __future__ import annotations

import dataclasses
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Literal

from toolchain.errors import LabelsDisagree
from toolchain.evaluate.truth import Category, Dataset

# COCO's categories as older detectors (PASCAL VOC, Darknet) spell them.
_SPELLINGS = {
    "aeroplane": "airplane",
    "motorbike": "motorcycle",
    "sofa": "couch",
    "tvmonitor": "tv",
}
_PLACEHOLDER = re.compile(r"(class|label|category|id|cls)?\d*")


@dataclasses.dataclass(frozen=True)
class ClassMap:
    """Categories by class index; None: the data set does not know the class, it is not scored.

    by: "name", "position", or "model" where the data set has no categories of its own.
    note: the same in a sentence.
    """

    category_ids: tuple[int | None, ...]
    by: Literal["name", "position", "model"]
    note: str


def match_classes(names: Sequence[str], dataset: Dataset) -> ClassMap:
    """How the classes of a model map to the categories of `dataset`.

    names: one for each class of the model, in order.  Names agree when they differ only in case,
    spaces, underscores and hyphens.  Every category that has boxes must be among them.
    Raises LabelsDisagree, with both sides.
    """
    categories = dataset.categories
    if not categories:
        note = "The data set has no categories: the model's own classes were taken."
        return ClassMap(tuple(range(len(names))), "model", note)
    if _named(names) and _named([category.name for category in categories]):
        return _by_name(names, dataset)
    if len(names) != len(categories):
        raise _disagree(names, categories, "and one side has no names to go by")
    note = f"Names are unknown on one side: {len(names)} classes were matched by position."
    return ClassMap(tuple(category.id for category in categories), "position", note)


def model_categories(names: Sequence[str]) -> tuple[Category, ...]:
    """The model's own classes as categories, for a set of images that has none."""
    return tuple(Category(index, name) for index, name in enumerate(names))


def _by_name(names: Sequence[str], dataset: Dataset) -> ClassMap:
    categories = dataset.categories
    ours, theirs = [_plain(name) for name in names], [_plain(c.name) for c in categories]
    if ours == theirs:  # also where a name is there twice
        ids = tuple(category.id for category in categories)
        return ClassMap(ids, "name", f"All {len(ids)} classes agree in name and order.")
    for side, plain in (("model", ours), ("data set", theirs)):
        if twice := [name for name, count in Counter(plain).items() if count > 1]:
            raise _disagree(names, categories, f"and the {side} has {twice[0]!r} twice")
    known = {plain: category.id for plain, category in zip(theirs, categories, strict=True)}
    found = tuple(known.get(name, _spelled_otherwise(name, known)) for name in ours)
    with_boxes = {box.category_id for box in dataset.boxes} or {c.id for c in categories}
    if unknown := [c.name for c in categories if c.id in with_boxes - set(found)]:
        count = len(unknown)
        verb = "is" if count == 1 else "are"
        raise _disagree(names, categories, f"and {_few(unknown)} {verb} not among the model's")
    matched = sum(category is not None for category in found)
    note = f"{matched} classes were matched by name."
    if matched < len(names):
        note += f" The model's other {len(names) - matched} are not in the data set: not scored."
    return ClassMap(found, "name", note)


def _spelled_otherwise(name: str, known: Mapping[str, int]) -> int | None:
    for one, other in _SPELLINGS.items():
        if name in (one, other):
            return known.get(other if name == one else one)
    return None


def _plain(name: str) -> str:
    return re.sub(r"[\s_\-]+", "", name).casefold()


def _named(names: Sequence[str]) -> bool:
    """Whether these are names, not the numbers that exporters put where there are none."""
    return not all(_PLACEHOLDER.fullmatch(_plain(name)) for name in names)


def _disagree(names: Sequence[str], categories: Sequence[Category], why: str) -> LabelsDisagree:
    theirs = [category.name for category in categories]
    return LabelsDisagree(
        f"the model has {len(names)} classes ({_few(names)}) and the data set {len(theirs)} "
        f"({_few(theirs)}), {why}",
        hint="Give annotations made for this model's classes, or the right names for the model.",
    )


def _few(names: Sequence[str]) -> str:
    return ", ".join(names[:4]) + (f" and {len(names) - 4} more" if len(names) > 4 else "")
