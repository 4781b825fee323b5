"""The plan's pictures: their bytes, checked, and the tensors that the model takes."""

from __future__ import annotations

import hashlib
import os
from typing import TYPE_CHECKING, Any, Optional, Tuple

import numpy as np

from .faults import CHANGED, BadPlan
from .frames import FrameUnreadable, letterbox
from .inputs import InputMismatch, pack
from .letterbox import Placement
from .plan import PlanFile
from .records import TensorFacts

if TYPE_CHECKING:
    from numpy.typing import NDArray

MAX_FILE_BYTES = 256 * 1024 * 1024


class PictureInput:
    """How pictures go into a model with one input [1, h, w, 3] or [1, 3, h, w].

    imgsz: (height, width).  Raises InputMismatch for any other model, BadPlan where the plan asks
    for another size than the model has.
    """

    def __init__(
        self, inputs: Tuple[TensorFacts, ...], asked: Optional[Tuple[int, int]] = None
    ) -> None:
        if len(inputs) != 1 or len(inputs[0].shape) != 4 or inputs[0].shape[0] != 1:
            shapes = " and ".join(str(list(tensor.shape)) for tensor in inputs)
            raise InputMismatch(f"the model takes {shapes}, not one picture")
        self._tensor = inputs[0]
        shape = inputs[0].shape
        self._channels_first = shape[3] != 3 and shape[1] == 3
        if not self._channels_first and shape[3] != 3:
            raise InputMismatch(f"the model takes {list(shape)}, not an RGB picture")
        self.imgsz = (shape[2], shape[3]) if self._channels_first else (shape[1], shape[2])
        if asked is not None and asked != self.imgsz:
            raise BadPlan(
                "the plan says height {} and width {}, the model height {} and width {}".format(
                    *asked, *self.imgsz
                )
            )
        self._pack(np.zeros((*self.imgsz, 3), np.uint8))  # a type that we cannot pack shows now

    def fit(self, picture: NDArray[np.uint8]) -> Tuple[NDArray[Any], Placement]:
        """The input tensor of `picture` (uint8 [H, W, 3]), and where the picture lies in it."""
        boxed = letterbox(picture, self.imgsz)
        return self._pack(boxed.pixels), boxed.placement

    def _pack(self, pixels: NDArray[np.uint8]) -> NDArray[Any]:
        return pack(
            pixels,
            self._tensor.dtype,
            scale=self._tensor.scale,
            zero_point=self._tensor.zero_point,
            channels_first=self._channels_first,
        )


def encoded(image: PlanFile) -> bytes:
    """The bytes of the image's file, which are those that the plan names.

    Raises FrameUnreadable.
    """
    try:
        # As bytes: the locale may have no letter for a folder's name.
        with open(image.path.encode("utf-8"), "rb") as stream:
            if os.fstat(stream.fileno()).st_size > MAX_FILE_BYTES:
                raise FrameUnreadable(f"more than {MAX_FILE_BYTES} bytes")
            data = stream.read()
    except OSError as error:
        raise FrameUnreadable(error.strerror or type(error).__name__) from error
    if hashlib.sha256(data).hexdigest() != image.sha256:
        raise FrameUnreadable(CHANGED)
    return data


def synthetic(inputs: Tuple[TensorFacts, ...]) -> Tuple[NDArray[Any], ...]:
    """Seeded noise for each input: the whole range of integers, 0..1 for floats."""
    rng = np.random.default_rng(0)
    tensors = []
    for tensor in inputs:
        dtype = np.dtype(tensor.dtype)
        if dtype in (np.dtype(np.int8), np.dtype(np.uint8), np.dtype(np.int16)):
            limits = np.iinfo(dtype)
            values = rng.integers(limits.min, limits.max, tensor.shape, endpoint=True)
            tensors.append(values.astype(dtype))
        elif np.issubdtype(dtype, np.floating):
            tensors.append(rng.random(tensor.shape).astype(dtype))
        else:
            tensors.append(np.zeros(tensor.shape, dtype))  # indices: 0 is always one of them
    return tuple(tensors)
