"""Where torch computes, and how: on a GPU where there is one, never needing it.

`HALFBYTE_DEVICE` (cpu or cuda) decides, else `torch.cuda.is_available`.  Work that takes its time
in torch (`gradients`, `recovery`, `learned`) is given a device by `on_best` and makes all of its
tensors there; arrays come and go through `as_tensor` and `as_array` alone.  Random numbers are
drawn on the CPU, so that they are the same anywhere.
"""

from __future__ import annotations

import contextlib
import logging
import os
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, Final, TypeVar

import numpy as np
from numpy.typing import NDArray

from targets.errors import InputError

if TYPE_CHECKING:
    import torch

VARIABLE: Final = "HALFBYTE_DEVICE"
CPU: Final = "cpu"
CUDA: Final = "cuda"

T = TypeVar("T")
_log = logging.getLogger(__name__)


def asked() -> str:
    """What `HALFBYTE_DEVICE` says: cpu, cuda, or "" where the machine decides.

    Raises InputError.
    """
    named = os.environ.get(VARIABLE, "").strip().lower()
    if named not in ("", CPU, CUDA):
        raise InputError(
            f"{VARIABLE} is {named!r:.40}", hint=f"Set it to {CPU} or {CUDA}, or leave it out."
        )
    return named


def chosen() -> str:
    """cpu or cuda.  Raises InputError where cuda is asked for and torch finds none."""
    named = asked()
    if named == CPU:
        return CPU
    import torch

    if torch.cuda.is_available():
        return CUDA
    if named == CUDA:
        raise InputError(
            f"{VARIABLE} asks for cuda, and torch finds none here",
            hint="Leave it out to compute on the CPU, or install a torch that knows the GPU.",
        )
    return CPU


def on_best(work: Callable[[str], T], name: str) -> T:
    """`work` of the device that is `chosen`; where a GPU fails, all of it again on the CPU.

    work: changes nothing outside itself before it is done.  name: of it, for the warning.
    Raises InputError, and what `work` raises on the CPU.
    """
    device = chosen()
    if device == CPU:
        return work(CPU)
    try:
        return work(device)
    except RuntimeError as error:  # torch.cuda.OutOfMemoryError is one
        why = (str(error).splitlines() or [type(error).__name__])[0]
    # Not in the handler: what was tried would be kept in memory by its traceback.
    _log.warning("%s failed on the GPU, and goes on on the CPU: %.200s", name, why)
    import torch

    with contextlib.suppress(RuntimeError):
        torch.cuda.empty_cache()
    return work(CPU)


def as_tensor(values: NDArray[Any], device: str | torch.device) -> torch.Tensor:
    """An array as a tensor on `device`; on the CPU they share their memory."""
    import torch

    return torch.from_numpy(values).to(device)


def as_array(values: torch.Tensor) -> NDArray[Any]:
    """A tensor of any device as an array; on the CPU they share their memory."""
    return np.asarray(values.detach().cpu().numpy())


@contextlib.contextmanager
def quick_products() -> Iterator[None]:
    """Products of float32 matrices, convolutions among them, may be made of bfloat16 numbers.

    Processors that have them are twice as fast then; sums stay float32.  Afterwards, whatever
    happens, products are as they were for others.
    """
    import torch

    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("medium")
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(before)
