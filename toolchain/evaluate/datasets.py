"""Images to evaluate on: COCO form, YOLO form, or a plain folder without ground truth."""

from __future__ import annotations

from pathlib import Path

from toolchain.errors import DataError, ImageUnreadable
from toolchain.evaluate.pictures import find_pictures, upright_size
from toolchain.evaluate.truth import Box, Category, Dataset, Excluded, Picture

__all__ = ["Box", "Category", "Dataset", "Excluded", "Picture", "load"]


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
