"""Pictures that a model is calibrated on: found, counted, and read as the network takes them."""

from __future__ import annotations

import dataclasses
import hashlib
import logging
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from targets.files import sha256_file
from toolchain.errors import EmptyCalibration
from toolchain.runmeta import FEW_CALIBRATION_IMAGES, CalibrationMeta

_log = logging.getLogger(__name__)
SENSITIVITY_IMAGES: Final = 48
"""Pictures that gradients are taken on, and that recovery walks through the network."""


@dataclasses.dataclass(frozen=True)
class Pictures:
    """Calibration pictures.  sha256: of their contents, in order; None each: not hashed yet."""

    paths: tuple[Path, ...]
    hashes: tuple[str, ...]

    @property
    def sha256(self) -> str:
        """Of all of them."""
        return hashlib.sha256("".join(self.hashes).encode()).hexdigest()

    def spread(self, limit: int) -> Pictures:
        """At most so many of them, evenly spread."""
        if limit >= len(self.paths):
            return self
        return self.at(i * len(self.paths) // limit for i in range(limit))

    def at(self, places: Iterable[int]) -> Pictures:
        """Those at these places, in that order."""
        chosen = tuple(places)
        return Pictures(tuple(self.paths[i] for i in chosen), tuple(self.hashes[i] for i in chosen))

    def meta(self, scored: Sequence[Path] = ()) -> CalibrationMeta:
        """For the report; `scored`: the pictures that accuracy is taken on."""
        sizes = {path.stat().st_size for path in self.paths}
        both = {sha256_file(path) for path in scored if path.stat().st_size in sizes}
        return CalibrationMeta(
            images=len(self.paths), scored_too=len(both & set(self.hashes)), sha256=self.sha256
        )


def find_calibration(folder: Path, *, limit: int | None = None) -> Pictures:
    """The pictures in `folder`; with a limit, evenly spread over them.

    Of few a warning is logged.  Raises EmptyCalibration.
    """
    from toolchain.evaluate.pictures import SUFFIXES, find_pictures

    paths = find_pictures(folder)
    if not paths:
        raise EmptyCalibration(
            f"no picture in the calibration folder {folder}",
            hint=f"Put 32 to 128 typical pictures there ({', '.join(SUFFIXES)}), none of them "
            "scored later.",
        )
    if limit is not None and limit < len(paths):
        paths = tuple(paths[i * len(paths) // limit] for i in range(limit))
    if len(paths) < FEW_CALIBRATION_IMAGES:
        _log.warning(
            "%d calibration %s: ranges and rounding will fit them, and perhaps little else.  "
            "Give %d or more, as the camera will see them.",
            len(paths),
            "picture" if len(paths) == 1 else "pictures",
            FEW_CALIBRATION_IMAGES,
        )
    return Pictures(paths, tuple(sha256_file(path) for path in paths))


def seen(pictures: Pictures, imgsz: tuple[int, int]) -> Iterator[NDArray[np.float32]]:
    """The pictures that a sensitivity was measured on, in its order, as the network takes them.

    imgsz: height and width.  float32 [1, h, w, 3].

    By their contents and not by the names it keeps: those may repeat in other folders.
    """
    from targets.agent.frames import FrameUnreadable, letterbox, read_picture
    from targets.agent.inputs import pack

    for path in pictures.spread(SENSITIVITY_IMAGES).paths:
        try:
            picture = read_picture(path)
        except FrameUnreadable:  # left out there too
            continue
        yield pack(letterbox(picture, imgsz).pixels, "float32")
