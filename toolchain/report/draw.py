"""Boxes and labels drawn on a picture: what `halfbyte detect` saves."""

from __future__ import annotations

import colorsys
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from toolchain.report.text import clean

if TYPE_CHECKING:
    from PIL.Image import Image
    from PIL.ImageDraw import ImageDraw

_GOLDEN_TURN = 137 / 360  # neighbouring classes get colours far apart


def annotate(
    pixels: NDArray[np.uint8],
    detections: NDArray[np.float32],
    names: Sequence[str],
    *,
    min_score: float = 0.25,
) -> Image:
    """A copy of the picture with the boxes that score `min_score` or more, the best on top.

    pixels: uint8 [H, W, 3], RGB, upright, as `targets.agent.frames.read_picture` gives it.
    detections: float32 [n, 6] x1, y1, x2, y2, score, class in its pixels, as
    `targets.agent.boxes.detect` gives them.  names: by class; a number stands for those missing.
    """
    from PIL import Image as Pillow
    from PIL import ImageDraw

    image = Pillow.fromarray(pixels)
    draw = ImageDraw.Draw(image)
    seen = detections[detections[:, 4] >= min_score]
    for x1, y1, x2, y2, score, index in seen[np.argsort(seen[:, 4], kind="stable")].tolist():
        number = int(index)
        name = names[number] if 0 <= number < len(names) else str(number)
        _draw_box(draw, image.size, (x1, y1, x2, y2), f"{clean(name)} {score:.2f}", colour(number))
    return image


def colour(index: int) -> tuple[int, int, int]:
    """The colour of a class: RGB, dark enough for white letters."""
    red, green, blue = colorsys.hls_to_rgb(index * _GOLDEN_TURN % 1, 0.36, 0.85)
    return round(255 * red), round(255 * green), round(255 * blue)


def _draw_box(
    draw: ImageDraw,
    size: tuple[int, int],
    box: tuple[float, float, float, float],
    label: str,
    rgb: tuple[int, int, int],
) -> None:
    from PIL import ImageFont

    width, height = size
    letters = max(10, round(max(size) / 55))
    font = ImageFont.load_default(letters)
    x1, y1, x2, y2 = box
    corners = (x1, y1, max(x1, x2 - 1), max(y1, y2 - 1))
    draw.rectangle(corners, outline=_brighter(rgb), width=1 + letters // 8)
    left, top, right, bottom = draw.textbbox((0, 0), label, font=font)
    wide, tall = right - left + letters // 2, bottom - top + letters // 2
    # Above the box, or inside it where there is no room; never out of the picture.
    x = min(max(x1, 0), max(width - wide, 0))
    y = y1 - tall if y1 >= tall else min(max(y1, 0), max(height - tall, 0))
    draw.rectangle((x, y, x + wide, y + tall), fill=rgb)
    at = (x + letters // 4 - left, y + letters // 4 - top)
    draw.text(at, label, font=font, fill=(255, 255, 255))


def _brighter(rgb: tuple[int, int, int]) -> tuple[int, int, int]:
    """For lines, which have no letters on them and must show on dark pictures."""
    red, green, blue = (channel + (255 - channel) // 4 for channel in rgb)
    return red, green, blue
