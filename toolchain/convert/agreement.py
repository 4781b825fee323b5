"""Does the float model say what torch says?"""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from numpy.typing import NDArray

from targets.agent.frames import FrameUnreadable, letterbox, read_picture
from targets.agent.inputs import pack
from targets.errors import CheckFailed
from targets.progress import SILENT, Progress
from toolchain.detector.model import Detector, output_names
from toolchain.detector.torch_form import to_torch
from toolchain.errors import DataError, ImageUnreadable
from toolchain.tflite.quietly import quietly

if TYPE_CHECKING:
    from toolchain.convert.float_model import FloatModel

FloatArray = NDArray[np.float32]

MAX_ABS_TOLERANCE: Final = 0.005
MEAN_ABS_TOLERANCE: Final = 0.0001


@dataclasses.dataclass(frozen=True)
class OutputAgreement:
    """Differences of one output tensor, in logits, over all its values and all pictures."""

    name: str
    max_abs: float
    mean_abs: float


@dataclasses.dataclass(frozen=True)
class Agreement:
    """How far a float model lies from torch on `images` pictures, in logits.

    max_abs: the largest difference of any value.  mean_abs: over all values of all outputs.
    """

    outputs: tuple[OutputAgreement, ...]
    max_abs: float
    mean_abs: float
    images: int
    max_abs_tolerance: float = MAX_ABS_TOLERANCE
    mean_abs_tolerance: float = MEAN_ABS_TOLERANCE

    @property
    def holds(self) -> bool:
        """Both differences are finite and within their tolerance."""
        # Not "greater than": a NaN must fail.
        return self.max_abs <= self.max_abs_tolerance and self.mean_abs <= self.mean_abs_tolerance


def agree(
    detector: Detector,
    float_model: FloatModel,
    images: Sequence[Path],
    *,
    progress: Progress = SILENT,
) -> Agreement:
    """Run torch and the float model on pictures, letterboxed as everywhere, and compare.

    Tolerances: MAX_ABS_TOLERANCE for the worst value, MEAN_ABS_TOLERANCE for the mean.  Both sides
    compute in float32 and add in different orders, which leaves some 1e-4 at worst and 3e-6 in the
    mean of trained YOLOv7 and YOLOv5 models; one wrong layer leaves more than 0.1.
    Raises CheckFailed, ImageUnreadable, DataError (no picture), MissingExtra.
    """
    if not images:
        raise DataError(
            "no picture to compare the float model with torch on",
            hint="Give at least one picture.",
        )
    pictures = (_pixels(path, float_model.imgsz) for path in images)
    return compare(detector, float_model.tflite, pictures, total=len(images), progress=progress)


def compare(
    detector: Detector,
    tflite: Path,
    pictures: Iterable[NDArray[np.uint8]],
    *,
    total: int,
    progress: Progress = SILENT,
) -> Agreement:
    """As `agree`, on letterboxed pixels: uint8 [height, width, 3] of the model's size."""
    torch_runs, lite_runs = _torch(detector), _lite(tflite)
    names = output_names(detector)
    worst, sums, counts = (dict.fromkeys(names, 0.0) for _ in range(3))
    images = 0
    with progress.task("compare with torch", total=total, unit="images") as task:
        for pixels in pictures:
            inputs = pack(pixels, "float32")
            wanted, got = torch_runs(inputs), lite_runs(inputs)
            for name, reference in zip(names, wanted, strict=True):
                difference = np.abs(got[name].astype(np.float64) - reference)
                # np.maximum keeps a NaN, which max() may drop.
                worst[name] = float(np.maximum(worst[name], difference.max()))
                sums[name] += float(difference.sum())
                counts[name] += difference.size
            images += 1
            task.advance()
    found = Agreement(
        outputs=tuple(
            OutputAgreement(name, worst[name], sums[name] / counts[name]) for name in names
        ),
        max_abs=float(np.max(list(worst.values()))),
        mean_abs=sum(sums.values()) / sum(counts.values()),
        images=images,
    )
    if not found.holds:
        raise _disagreement(found)
    return found


def _pixels(path: Path, imgsz: tuple[int, int]) -> NDArray[np.uint8]:
    try:
        return letterbox(read_picture(path), imgsz).pixels
    except FrameUnreadable as error:
        raise ImageUnreadable(
            f"{path} cannot be read: {error}", hint="Leave it out, or replace it."
        ) from error


def _torch(detector: Detector) -> Any:
    """A function from NHWC float32 to the outputs as NHWC float32, in the detector's order."""
    import torch

    # torch's convolutions are 1.5 times as fast with NHWC in memory, and the images are so already.
    module = to_torch(detector).to(memory_format=torch.channels_last)

    def run(images: FloatArray) -> list[FloatArray]:
        with torch.no_grad():
            outputs = module(torch.from_numpy(images.transpose(0, 3, 1, 2)))
        return [output.numpy().transpose(0, 2, 3, 1) for output in outputs]

    return run


def _lite(tflite: Path) -> Any:
    """A function from NHWC float32 to the outputs by name."""
    from ai_edge_litert.interpreter import Interpreter

    with quietly():
        interpreter = Interpreter(model_path=str(tflite), num_threads=os.cpu_count())
        runner = interpreter.get_signature_runner("detect")

    def run(images: FloatArray) -> dict[str, FloatArray]:
        with quietly():  # the first call is what makes the delegate
            outputs: dict[str, FloatArray] = runner(images=images)
        return outputs

    return run


def _disagreement(found: Agreement) -> CheckFailed:
    worst = max(found.outputs, key=lambda output: np.nan_to_num(output.max_abs, nan=np.inf))
    return CheckFailed(
        f"the float model differs from torch by {found.max_abs:.3g} at worst ({worst.name}) and "
        f"{found.mean_abs:.3g} in the mean; {found.max_abs_tolerance:g} and "
        f"{found.mean_abs_tolerance:g} are allowed",
        hint="Do not use it: the conversion went wrong.  Report it with the model.",
    )
