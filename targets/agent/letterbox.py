"""A picture fitted into the network's input without stretching, and the way back.

Sizes are always (height, width).
"""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Tuple

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

GREY = 114


@dataclasses.dataclass(frozen=True)
class Placement:
    """Where a picture of height x width pixels lies in an input of input_height x input_width.

    It was resized to resized_height x resized_width and starts at (pad_left, pad_top).
    """

    height: int
    width: int
    input_height: int
    input_width: int
    resized_height: int
    resized_width: int
    pad_left: int
    pad_top: int

    @property
    def scale(self) -> float:
        """Input pixels per picture pixel, before the rounding of the resized size."""
        return min(self.input_height / self.height, self.input_width / self.width)

    def to_picture(self, boxes: NDArray[np.float32]) -> NDArray[np.float32]:
        """Boxes in input pixels as boxes in picture pixels, clipped to the picture.

        boxes: float32 [n, 4] x1, y1, x2, y2.  The scale of each axis is that of the resize as it
        was done, so a box on the picture's edge comes back to it.
        """
        shift = np.array([self.pad_left, self.pad_top] * 2, np.float32)
        ratio = [self.width / self.resized_width, self.height / self.resized_height]
        limit = np.array([self.width, self.height] * 2, np.float32)
        moved = (boxes - shift) * np.array(ratio * 2, np.float32)
        return np.minimum(np.maximum(moved, np.float32(0)), limit)

    def to_input(self, boxes: NDArray[np.float32]) -> NDArray[np.float32]:
        """Boxes in picture pixels as boxes in input pixels: the inverse, without clipping."""
        shift = np.array([self.pad_left, self.pad_top] * 2, np.float32)
        ratio = [self.resized_width / self.width, self.resized_height / self.height]
        return boxes * np.array(ratio * 2, np.float32) + shift


@dataclasses.dataclass(frozen=True)
class Letterboxed:
    """The network's input as pixels: uint8 [input_height, input_width, 3], RGB."""

    pixels: NDArray[np.uint8]
    placement: Placement

    @property
    def scale(self) -> float:
        """`placement.scale`."""
        return self.placement.scale

    @property
    def pad_left(self) -> int:
        """`placement.pad_left`."""
        return self.placement.pad_left

    @property
    def pad_top(self) -> int:
        """`placement.pad_top`."""
        return self.placement.pad_top


def place(size: Tuple[int, int], imgsz: Tuple[int, int]) -> Placement:
    """Where a picture of `size` goes in an input of `imgsz`, both (height, width) in pixels.

    One ratio for both axes, enlarging too; the spare pixels are halved and an odd one goes to the
    right or the bottom (YOLOv7's letterbox: round(d - 0.1)).
    """
    (height, width), (input_height, input_width) = size, imgsz
    if min(height, width, input_height, input_width) < 1:
        raise ValueError(f"a picture of {size} in an input of {imgsz}")
    ratio = min(input_height / height, input_width / width)
    # A picture a thousand times as long as high must not vanish.
    resized_height = min(max(1, round(height * ratio)), input_height)
    resized_width = min(max(1, round(width * ratio)), input_width)
    return Placement(
        height=height,
        width=width,
        input_height=input_height,
        input_width=input_width,
        resized_height=resized_height,
        resized_width=resized_width,
        pad_left=round((input_width - resized_width) / 2 - 0.1),
        pad_top=round((input_height - resized_height) / 2 - 0.1),
    )


def letterbox(picture: NDArray[np.uint8], imgsz: Tuple[int, int]) -> Letterboxed:
    """`picture` resized (bilinear, antialiased where it shrinks) onto grey 114.

    picture: uint8 [H, W, 3].  imgsz: (height, width) of the network input.
    """
    from PIL import Image

    where = place((picture.shape[0], picture.shape[1]), imgsz)
    resized = picture
    if (where.resized_height, where.resized_width) != picture.shape[:2]:
        bilinear = getattr(Image, "Resampling", Image).BILINEAR  # Pillow before 9.1 has no enum
        image = Image.fromarray(picture).resize(
            (where.resized_width, where.resized_height), bilinear
        )
        resized = np.asarray(image)
    pixels = np.full((*imgsz, 3), GREY, np.uint8)
    bottom, right = where.pad_top + where.resized_height, where.pad_left + where.resized_width
    pixels[where.pad_top : bottom, where.pad_left : right] = resized
    return Letterboxed(pixels, where)
