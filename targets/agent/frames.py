"""Encoded pictures to upright RGB pixels: one rule for calibration, the float reference and boards.

- The picture is turned upright by its EXIF orientation; boxes are in pixels of the upright one.
- 16-bit grey is scaled to 8 bits (v >> 8), not clipped.  Alpha is dropped, palettes and CMYK are
  resolved.
- A file that ends early is an error: the missing part is never filled with grey.
"""

from __future__ import annotations

import io
import logging
import warnings
from typing import TYPE_CHECKING, Any, Tuple, Union

import numpy as np

from .letterbox import GREY, Letterboxed, Placement, letterbox, place

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from PIL.Image import Image

__all__ = [
    "FORMATS",
    "GREY",
    "MAX_PIXELS",
    "FrameUnreadable",
    "Letterboxed",
    "Placement",
    "decode_picture",
    "letterbox",
    "place",
    "read_picture",
]

FORMATS = ("JPEG", "PNG", "WEBP", "BMP")
MAX_PIXELS = 64_000_000  # some 450 MB while decoding; a phone's largest mode but one
_ORIENTATION = 0x0112  # EXIF 2.3, tag Orientation
_PLAIN_MODES = ("1", "L", "LA", "La", "P", "PA", "RGB", "RGBA", "RGBa", "RGBX", "CMYK", "YCbCr")
_log = logging.getLogger(__name__)


class FrameUnreadable(ValueError):
    """A picture that cannot be decoded whole; the message says why, without the path."""


def read_picture(path: Any, *, max_pixels: int = MAX_PIXELS) -> NDArray[np.uint8]:
    """The upright picture in a file as uint8 [H, W, 3], RGB.

    path: str, bytes or path-like.  Raises FrameUnreadable, also where the file cannot be opened.
    """
    try:
        with open(path, "rb") as stream:
            encoded = stream.read()
    except OSError as error:
        raise FrameUnreadable(error.strerror or type(error).__name__) from error
    return decode_picture(encoded, max_pixels=max_pixels)


def decode_picture(
    encoded: Union[bytes, bytearray, memoryview], *, max_pixels: int = MAX_PIXELS
) -> NDArray[np.uint8]:
    """The upright picture in the bytes of a JPEG, PNG, WebP or BMP file: uint8 [H, W, 3], RGB.

    Raises FrameUnreadable; MemoryError goes through.
    """
    from PIL import Image, ImageFile, UnidentifiedImageError

    # Another library in this process may have asked for grey in place of what is missing.
    lenient, ImageFile.LOAD_TRUNCATED_IMAGES = ImageFile.LOAD_TRUNCATED_IMAGES, False
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of large pictures: the limit below is stricter
            image = Image.open(io.BytesIO(encoded), formats=FORMATS)
        if image.width * image.height > max_pixels:
            raise FrameUnreadable(
                f"{image.width} x {image.height} pixels; the limit is {max_pixels}"
            )
        image.load()
        return _rgb(_upright(image))
    except (FrameUnreadable, MemoryError):
        raise
    except UnidentifiedImageError as error:
        raise FrameUnreadable("not a whole picture of {}".format(", ".join(FORMATS))) from error
    except Exception as error:  # decoders of foreign bytes raise what they like
        raise FrameUnreadable(f"{type(error).__name__}: {error}") from error
    finally:
        ImageFile.LOAD_TRUNCATED_IMAGES = lenient


def _upright(image: Image) -> Image:
    from PIL import Image as Pillow

    try:
        orientation = image.getexif().get(_ORIENTATION, 1)
    except Exception as error:  # noqa: BLE001  damaged EXIF beside whole pixels
        _log.warning("EXIF ignored: %s", error)
        orientation = 1
    methods = getattr(Pillow, "Transpose", Pillow)  # Pillow before 9.1 has no enum
    method = {
        2: methods.FLIP_LEFT_RIGHT,
        3: methods.ROTATE_180,
        4: methods.FLIP_TOP_BOTTOM,
        5: methods.TRANSPOSE,
        6: methods.ROTATE_270,
        7: methods.TRANSVERSE,
        8: methods.ROTATE_90,
    }.get(orientation)
    return image if method is None else image.transpose(method)


def _rgb(image: Image) -> NDArray[np.uint8]:
    if image.mode.startswith("I"):  # "I;16", "I;16B"; "I" in older Pillow
        return _from_16_bit(np.asarray(image))
    if image.mode not in _PLAIN_MODES:
        raise FrameUnreadable(f"pixels of mode {image.mode}")
    if image.mode == "P" and "transparency" in image.info:
        image = image.convert("RGBA")
    return np.asarray(image if image.mode == "RGB" else image.convert("RGB"))


def _from_16_bit(values: NDArray[Any]) -> NDArray[np.uint8]:
    low, high = _range(values)
    if low < 0 or high > 0xFFFF:
        raise FrameUnreadable(f"grey values from {low} to {high}; 16 bits are read")
    grey = (values.astype(np.int64) >> 8).astype(np.uint8)
    return np.repeat(grey[:, :, np.newaxis], 3, axis=2)


def _range(values: NDArray[Any]) -> Tuple[int, int]:
    return int(values.min()), int(values.max())
