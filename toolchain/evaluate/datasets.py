"""Images to evaluate on: COCO form, YOLO form, or a plain folder without ground truth."""

from __future__ import annotations

import dataclasses
from pathlib import Path

from toolchain.errors import DataError, ImageUnreadable
from toolchain.evaluate.pictures import find_pictures, upright_size
from toolchain.evaluate.truth import Box, Category, Dataset, Excluded, Picture

__all__ = ["Box", "Category", "Dataset", "Excluded", "Picture", "load", "with_unlabelled"]


def load(annotations: Path | None, images: Path | None = None, *, split: str = "val") -> Dataset:
    """The data set that `annotations` describes, its pictures in `images`.

    annotations: a COCO `.json`; a YOLO `data.yaml` (or the folder that holds it), of which
    `split` is taken unless `images` names a folder; None for pictures without ground truth.
    images: folder of the pictures; where None, the places usual for the form are tried.
    Pictures that are listed and cannot be scored are left out and told in `Dataset.excluded`.
    Raises DataError, with the file and the field.
    """
    if annotations is None:
        return _folder(images)
    if annotations.is_dir():
        annotations = _yaml_in(annotations)
    if not annotations.is_file():
        raise DataError(
            f"{annotations} does not exist",
            hint="Give a COCO .json or a YOLO data.yaml, or leave the annotations out.",
        )
    if annotations.suffix.lower() in (".yaml", ".yml"):
        from toolchain.evaluate.yolo_form import read_yolo

        return read_yolo(annotations, images, split=split)
    from toolchain.evaluate.coco_form import read_coco

    return read_coco(annotations, images)


def with_unlabelled(dataset: Dataset, folder: Path) -> Dataset:
    """`dataset` and the pictures in `folder`, which count for agreement and not for accuracy.

    Raises DataError: nothing readable in the folder.
    """
    more = _folder(folder)
    first = max((picture.id for picture in dataset.images), default=0) + 1
    extra = tuple(
        dataclasses.replace(picture, id=first + number, labelled=False)
        for number, picture in enumerate(more.images)
    )
    note = f"{len(extra)} pictures from {more.source} have no labels: for agreement only."
    return dataclasses.replace(
        dataset,
        images=dataset.images + extra,
        notes=(*dataset.notes, note),
        excluded=dataset.excluded + more.excluded,
    )


def _folder(folder: Path | None) -> Dataset:
    if folder is None:
        raise DataError("neither images nor annotations given", hint="Name a folder of images.")
    paths = (folder,) if folder.is_file() else find_pictures(folder)
    pictures: list[Picture] = []
    excluded: list[Excluded] = []
    for path in paths:
        try:
            size = upright_size(path)
        except ImageUnreadable as error:
            excluded.append(Excluded(path.name, error.message))
        else:
            pictures.append(Picture(len(pictures) + 1, path, size.width, size.height))
    if not pictures:
        raise DataError(
            f"no readable image in {folder}" + (f" ({len(excluded)} unreadable)" * bool(excluded)),
            hint="JPEG, PNG, WebP and BMP are read; folders inside are searched too.",
        )
    return Dataset(
        form="folder", source=folder.name, images=tuple(pictures), excluded=tuple(excluded)
    )


def _yaml_in(folder: Path) -> Path:
    for name in ("data.yaml", "data.yml"):
        if (folder / name).is_file():
            return folder / name
    raise DataError(
        f"{folder} holds no data.yaml",
        hint="Give a COCO .json, a YOLO data.yaml, or images without annotations.",
    )
