"""YOLO form: `data.yaml` beside one text file a picture, a line an object, in fractions.

A line is `class x-centre y-centre width height`, all but the class in fractions of the upright
picture.  Outlines (`class x1 y1 x2 y2 x3 y3 ...`) count by the box around them.  Labels lie where
the last `images` folder of the picture's path is replaced by `labels`, or else beside the picture.
"""

from __future__ import annotations

import dataclasses
import hashlib
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from toolchain.errors import DataError, ImageUnreadable
from toolchain.evaluate.pictures import find_pictures, upright_size
from toolchain.evaluate.truth import Box, Category, Dataset, Excluded, Picture

_SLACK = 0.01  # of the picture: annotation tools let boxes stick out by rounding
_SPLITS = {"val": ("val", "valid", "validation"), "train": ("train",), "test": ("test",)}


def read_yolo(path: Path, images: Path | None = None, *, split: str = "val") -> Dataset:
    """The data set of the `data.yaml` at `path`.  Raises DataError, with the file and the line.

    images: a folder of pictures to take in place of the split that the yaml names.
    Category ids are the class indices, image ids count from 1 in the order of the paths.
    """
    settings = _settings(path)
    names = _names(path, settings)
    files = find_pictures(images) if images is not None else _split(path, settings, split)
    collected = _Collected(len(names))
    for file in files:
        collected.take(file)
    if not collected.pictures:
        raise DataError(
            f"{path.name}: no readable image in {images or f'its split {split!r}'}",
            hint="JPEG, PNG, WebP and BMP are read; check `path` and the split in the yaml.",
        )
    if len(collected.unlabelled) == len(collected.pictures):
        raise DataError(
            f"{path.name}: none of its {len(collected.pictures)} images has a label file",
            hint=f"Looked for {label_path(collected.pictures[0].path)} and its like.",
        )
    return Dataset(
        form="yolo",
        source=path.name if images is not None else f"{path.name} ({split})",
        images=tuple(collected.pictures),
        categories=tuple(Category(index, name) for index, name in enumerate(names)),
        boxes=tuple(collected.boxes),
        sha256=collected.digest.hexdigest(),
        notes=tuple(collected.notes()),
        excluded=tuple(collected.excluded),
    )


def label_path(picture: Path) -> Path:
    """Where the labels of a picture lie."""
    parts = list(picture.parts)
    folders = [index for index, part in enumerate(parts[:-1]) if part == "images"]
    if folders:
        parts[folders[-1]] = "labels"
    return Path(*parts).with_suffix(".txt")


@dataclasses.dataclass(frozen=True)
class Line:
    """One object: class index, then x, y (top left), width, height in fractions."""

    index: int
    x: float
    y: float
    width: float
    height: float
    outline: bool


def parse_line(text: str, classes: int) -> Line:
    """An object out of a line of a label file.  Raises ValueError, saying what is wrong."""
    words = text.split()
    try:
        values = [float(word) for word in words]
    except ValueError:
        raise ValueError("not all numbers") from None
    if len(values) == 6:
        raise ValueError("six numbers: a detection with its score, not a label")
    if len(values) < 5 or len(values) % 2 == 0:
        raise ValueError(f"{len(values)} numbers; a box has 5, an outline 7 or more, an odd count")
    index, *places = values
    if not index.is_integer() or not 0 <= index < classes:
        raise ValueError(f"class {words[0]}, but the names go from 0 to {classes - 1}")
    if not all(-_SLACK <= place <= 1 + _SLACK for place in places):
        raise ValueError("not in fractions of the picture (0 to 1)")
    if len(places) == 4:
        x, y, width, height = places
        if width < 0 or height < 0:
            raise ValueError("a negative width or height")
        left, right, top, bottom = x - width / 2, x + width / 2, y - height / 2, y + height / 2
        if min(left, top) < -_SLACK or max(right, bottom) > 1 + _SLACK:
            raise ValueError("a box that reaches out of the picture")
    else:
        left, right = min(places[0::2]), max(places[0::2])
        top, bottom = min(places[1::2]), max(places[1::2])
    return Line(int(index), left, top, right - left, bottom - top, len(places) > 4)


class _Collected:
    """Pictures and boxes as they are read, and what has to be said about them."""

    def __init__(self, classes: int) -> None:
        self.classes = classes
        self.pictures: list[Picture] = []
        self.boxes: list[Box] = []
        self.excluded: list[Excluded] = []
        self.unlabelled: list[str] = []
        self.digest = hashlib.sha256()
        self.outlines = self.repeated = self.empty = 0

    def take(self, file: Path) -> None:
        try:
            size = upright_size(file)
        except ImageUnreadable as error:
            self.excluded.append(Excluded(file.name, error.message))
            return
        picture = Picture(len(self.pictures) + 1, file, size.width, size.height)
        self.pictures.append(picture)
        try:
            encoded = label_path(file).read_bytes()
        except FileNotFoundError:
            self.unlabelled.append(file.name)
            return
        self.digest.update(f"{file.name}\0".encode("utf-8", "surrogateescape") + encoded + b"\0")
        seen: set[Line] = set()
        for line in _lines(label_path(file), encoded, self.classes):
            if line in seen:
                self.repeated += 1
            elif line.width <= 0 or line.height <= 0:
                self.empty += 1
            else:
                self._add(picture, line)
            seen.add(line)

    def _add(self, picture: Picture, line: Line) -> None:
        width, height = line.width * picture.width, line.height * picture.height
        self.outlines += line.outline
        self.boxes.append(
            Box(
                id=len(self.boxes) + 1,
                image_id=picture.id,
                category_id=line.index,
                x=line.x * picture.width,
                y=line.y * picture.height,
                width=width,
                height=height,
                area=width * height,
            )
        )

    def notes(self) -> Iterator[str]:
        if self.unlabelled:
            yield (
                f"{len(self.unlabelled)} of {len(self.pictures)} images have no label file and "
                f"were taken as pictures without objects ({_few(self.unlabelled)})."
            )
        if self.outlines:
            yield f"{self.outlines} labels are outlines: the box around each was taken."
        if self.repeated:
            yield f"{self.repeated} labels stood twice in their file and count once."
        if self.empty:
            yield f"{self.empty} labels had no width or no height and were left out."


def _few(names: Sequence[str]) -> str:
    return ", ".join(names[:3]) + (", ..." if len(names) > 3 else "")


def _lines(path: Path, encoded: bytes, classes: int) -> Iterator[Line]:
    for number, text in enumerate(encoded.decode("utf-8-sig", "replace").splitlines(), start=1):
        if not text.strip():
            continue
        try:
            yield parse_line(text, classes)
        except ValueError as error:
            raise DataError(
                f"{path.name}, line {number}: {error}",
                hint="YOLO labels are: class x-centre y-centre width height, in fractions.",
            ) from None


def _settings(path: Path) -> Mapping[str, Any]:
    import yaml

    try:
        content = yaml.safe_load(path.read_text("utf-8-sig"))
    except (yaml.YAMLError, UnicodeDecodeError, RecursionError) as error:
        where = str(getattr(error, "problem_mark", "") or type(error).__name__).strip()
        raise DataError(f"{path.name}: not YAML ({where})", hint="Mend the file.") from error
    if not isinstance(content, dict):
        raise DataError(f"{path.name}: no settings in it", hint="It needs `names` and `val`.")
    return content


def _names(path: Path, settings: Mapping[str, Any]) -> tuple[str, ...]:
    names = settings.get("names")
    if isinstance(names, dict) and sorted(names, key=str) == sorted(range(len(names)), key=str):
        names = [names[index] for index in range(len(names))]
    if not isinstance(names, list) or not names:
        raise DataError(
            f"{path.name}: `names` is missing, or not a list, or not numbered from 0",
            hint="List the class names in the order of the class indices.",
        )
    count = settings.get("nc")
    if count is not None and count != len(names):
        raise DataError(
            f"{path.name}: nc is {count!r}, but there are {len(names)} names",
            hint="Make them agree; nc may be left out.",
        )
    return tuple(str(name) for name in names)


def _split(path: Path, settings: Mapping[str, Any], split: str) -> tuple[Path, ...]:
    keys = _SPLITS.get(split, (split,))
    entry = next((settings[key] for key in keys if settings.get(key)), None)
    entries = entry if isinstance(entry, list) else [entry]
    wanted = [item for item in entries if isinstance(item, str)]
    if len(wanted) < len(entries):
        there = [key for key in ("train", "val", "test") if settings.get(key)]
        raise DataError(
            f"{path.name}: no split {split!r} (it has: {', '.join(there) or 'none'})",
            hint="Name a split that is there, or a folder of images.",
        )
    files: dict[Path, None] = {}
    for item in wanted:
        place = _place(path, settings, item)
        found = find_pictures(place) if place.is_dir() else _listed(place)
        files.update(dict.fromkeys(found))
    return tuple(sorted(files))


def _place(path: Path, settings: Mapping[str, Any], item: str) -> Path:
    """The folder or list that a split names, which tools write relative to several places."""
    here = path.parent
    root = settings.get("path")
    roots = [here / root, here] if isinstance(root, str) else [here]
    # Some exports write "../valid/images" although `valid` lies beside the yaml.
    names = [item, re.sub(r"^(\.\./)+", "", item)]
    tried = [folder / name for name in names for folder in roots]
    for candidate in tried:
        if candidate.exists():
            return candidate
    raise DataError(
        f"{path.name}: {item!r} does not exist (looked at {tried[0]})",
        hint="Set `path` in the yaml to the folder of the data, or name a folder of images.",
    )


def _listed(path: Path) -> tuple[Path, ...]:
    """The pictures that a text file lists, one a line, relative to the file."""
    try:
        lines = path.read_text("utf-8-sig").splitlines()
    except UnicodeDecodeError as error:
        raise DataError(f"{path.name} is no list of images", hint="One path a line.") from error
    files = tuple(path.parent / line.strip() for line in lines if line.strip())
    if missing := [file for file in files if not file.is_file()]:
        raise DataError(
            f"{path.name} lists {len(missing)} images that do not exist ({missing[0]})",
            hint="Paths in the list are relative to the list itself.",
        )
    return files
