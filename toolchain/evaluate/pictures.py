"""Finding picture files, and their upright size without decoding them."""

from __future__ import annotations

import dataclasses
import io
import os
from collections.abc import Iterator
from pathlib import Path

from targets.files import write_whole
from toolchain.errors import DataError, ImageUnreadable
from toolchain.evaluate.truth import Dataset

SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".bmp")
_ORIENTATION = 0x0112  # EXIF 2.3, tag Orientation; 5 to 8 exchange width and height
_SMALL_PX = 640


@dataclasses.dataclass(frozen=True)
class Size:
    """Pixels of the upright picture; `turned` where EXIF exchanged width and height."""

    width: int
    height: int
    turned: bool = False


def find_pictures(folder: Path) -> tuple[Path, ...]:
    """All pictures below `folder`, in the order of their paths.  Raises DataError: no such folder.

    Hidden files and folders are passed over (macOS leaves `._name.jpg` beside each picture).
    """
    if not folder.is_dir():
        raise DataError(f"{folder} is not a folder", hint="Name the folder that holds the images.")
    return tuple(sorted(_walk(folder)))


def _walk(folder: Path) -> Iterator[Path]:
    for place, folders, files in os.walk(folder, followlinks=False):
        folders[:] = [name for name in folders if not name.startswith(".")]
        for name in files:
            if not name.startswith(".") and name.lower().endswith(SUFFIXES):
                yield Path(place, name)


def upright_size(path: Path) -> Size:
    """Width and height as people see the picture, read from its head only.

    A picture that is cut off further down passes here and is found out when it is decoded.
    Raises ImageUnreadable.
    """
    from PIL import Image, UnidentifiedImageError

    from targets.agent.frames import FORMATS

    try:
        with Image.open(path, formats=FORMATS) as image:
            width, height = image.size
            turned = image.getexif().get(_ORIENTATION, 1) in (5, 6, 7, 8)
    except UnidentifiedImageError as error:
        raise _unreadable(path, f"not a picture of {', '.join(FORMATS)}") from error
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise _unreadable(path, str(error) or type(error).__name__) from error
    return Size(height, width, turned=True) if turned else Size(width, height)


def _unreadable(path: Path, why: str) -> ImageUnreadable:
    return ImageUnreadable(
        f"{path.name} cannot be read: {why}", hint="Replace the file, or take it out of the set."
    )


def keep_small(dataset: Dataset, folder: Path, count: int) -> None:
    """Copies of `count` pictures in `folder`, named by image id, at most 640 pixels either way.

    They are taken evenly from the list: chosen without looking at any result.  What cannot be
    read is passed over; the users' files are only read.
    """
    import numpy as np
    from PIL import Image

    from targets.agent.frames import FrameUnreadable, read_picture

    places = np.linspace(0, len(dataset.images) - 1, min(count, len(dataset.images)))
    for place in sorted({round(float(value)) for value in places}):
        picture = dataset.images[place]
        try:
            image = Image.fromarray(read_picture(picture.path))
        except FrameUnreadable:
            continue
        image.thumbnail((_SMALL_PX, _SMALL_PX), Image.Resampling.LANCZOS)
        encoded = io.BytesIO()
        image.save(encoded, "JPEG", quality=82)
        write_whole(folder / f"{picture.id}.jpg", encoded.getvalue())
