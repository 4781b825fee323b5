"""Scales and biases learned end to end: the quantized network taught by the float one.

Rounding is done layer by layer; what it leaves adds up.  Here the codes of all filters stay, and
each channel's scale and bias moves so that the outputs of the whole network come nearer to the
float network's, on the calibration pictures, without labels: the squared error of scores and boxes
as `importance` weighs them, by gradient descent through the network with rounded activations
(straight-through gradients: Bengio et al., arXiv 1308.3432; Adam: Kingma and Ba, arXiv 1412.6980).
It is reconstruction as in BRECQ (Li et al., arXiv 2102.05426) with the detector as one block.  It
costs no byte of the file: a channel has a scale and a bias anyway.

Memory: the activations of one picture and their gradients, and what the float network says of
every picture: some 3 GB for YOLOv7 at 640 with 48 pictures.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Final

import numpy as np
from numpy.typing import NDArray

from targets.agent.heads import Head
from targets.progress import SILENT, Progress
from toolchain.quantize.coded import expand
from toolchain.quantize.device import CPU, as_array, as_tensor, quick_products
from toolchain.quantize.graph import FloatGraph, Operation
from toolchain.quantize.importance import Decoded, decoded, difference
from toolchain.quantize.recovered import Recovered
from toolchain.quantize.replica import Replica, by_output_name
from toolchain.quantize.scales import Scale

if TYPE_CHECKING:
    import torch

RATE_OF_BIAS: Final = 0.004
"""Learning rate of biases, in units of their layer's output step (`_unit`)."""
RATE_OF_SCALE: Final = 0.0002
"""Learning rate of the logarithms of scales."""
PICTURES_A_STEP: Final = 2
_WARM_UP_STEPS: Final = 10
_BETAS: Final = (0.9, 0.99)
_SHARE_OF_SPREAD: Final = 0.02


@dataclasses.dataclass(eq=False)
class _Channel:
    """One convolution's numbers that are learned: log of the scale's change, and the bias's in
    units of an output step, both float32 [O]; weights: float32 [O, I, H, W] at the old scale."""

    weights: torch.Tensor
    bias: torch.Tensor
    unit: float
    stretch: torch.Tensor
    shift: torch.Tensor
    least: torch.Tensor | None

    def filter(self) -> torch.Tensor:
        return self.weights * self.stretch.exp()[:, None, None, None]

    def moved_bias(self) -> torch.Tensor:
        return self.bias + self.unit * self.shift


def learn(
    graph: FloatGraph,
    scales: Mapping[int, Scale],
    pictures: Sequence[NDArray[np.float32]],
    made: Mapping[int, Recovered],
    floors: Mapping[int, NDArray[np.float64]],
    head: Head | None,
    *,
    epochs: int,
    seed: int = 0,
    device: str = CPU,
    progress: Progress = SILENT,
) -> dict[int, Recovered]:
    """`made` with other scales and biases.

    scales: of int8 activations; {} for float ones.  pictures: float32 [1, h, w, 3].  floors:
    smallest scale of each channel that its int32 bias allows, [O]; convolutions without them keep
    their filters, and learn biases alone.  epochs: walks over the pictures.  device: where torch
    computes.
    Raises UnsupportedModel.
    """
    import torch

    torch.manual_seed(seed)
    student = _Student(graph, scales, made, floors, device)
    teacher = Replica(graph, device=device)
    steps = epochs * math.ceil(len(pictures) / PICTURES_A_STEP)
    optimizer = torch.optim.Adam(
        [
            {"params": student.shifts, "lr": RATE_OF_BIAS},
            {"params": student.stretches, "lr": RATE_OF_SCALE},
        ],
        betas=_BETAS,
    )
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: _rate(step, steps))
    rng = np.random.default_rng(seed)

    def outputs(kept: Mapping[int, torch.Tensor]) -> list[Decoded]:
        return decoded(by_output_name(graph, kept), head)

    torch.set_flush_denormal(True)
    try:
        every = epochs * len(pictures)
        with quick_products(), progress.task("learning", total=every, unit="pictures") as task:
            with torch.no_grad():
                wanted = [
                    decoded(by_output_name(graph, teacher.run(one)), head) for one in pictures
                ]
            for epoch in range(epochs):
                total = 0.0
                for together in _steps(rng.permutation(len(pictures))):
                    for number in together:
                        found = outputs(student.run(pictures[number]))
                        loss = difference(found, wanted[number])
                        (loss / len(together)).backward()
                        total += float(loss.detach())
                        task.advance()
                    optimizer.step()
                    optimizer.zero_grad()
                    schedule.step()
                task.note(f"epoch {epoch + 1}: error {total / len(pictures):.4f}")
    finally:
        torch.set_flush_denormal(False)
    return student.learned(made)


def _steps(order: NDArray[np.int64]) -> list[NDArray[np.int64]]:
    """The pictures of each step; the last one of an odd number makes a step by itself."""
    return [order[at : at + PICTURES_A_STEP] for at in range(0, len(order), PICTURES_A_STEP)]


def _rate(step: int, steps: int) -> float:
    """Share of the learning rate: rises at first, then falls to zero as a cosine."""
    falling = 0.5 * (1 + math.cos(math.pi * min(1.0, step / max(steps, 1))))
    return min(1.0, (step + 1) / _WARM_UP_STEPS) * falling


class _Student:
    """The quantized network, with what is learned of it."""

    def __init__(
        self,
        graph: FloatGraph,
        scales: Mapping[int, Scale],
        made: Mapping[int, Recovered],
        floors: Mapping[int, NDArray[np.float64]],
        device: str,
    ) -> None:
        self._replica = Replica(graph, scales, device=device)
        self._channels = {
            operation: _channel(
                operation, made[operation.index], scales, floors.get(operation.index), device
            )
            for operation in graph.convolutions
        }

    @property
    def shifts(self) -> list[torch.Tensor]:
        return [one.shift for one in self._channels.values()]

    @property
    def stretches(self) -> list[torch.Tensor]:
        return [one.stretch for one in self._channels.values() if one.least is not None]

    def run(self, picture: NDArray[np.float32]) -> dict[int, torch.Tensor]:
        for operation, one in self._channels.items():
            self._replica.put(operation, one.filter(), one.moved_bias())
        return self._replica.run(picture)

    def learned(self, made: Mapping[int, Recovered]) -> dict[int, Recovered]:
        import torch

        found = {}
        with torch.no_grad():
            for operation, one in self._channels.items():
                new = dataclasses.replace(made[operation.index], bias=as_array(one.moved_bias()))
                if one.least is not None and new.scale is not None and new.coded is not None:
                    scale = new.scale * as_array(torch.maximum(one.stretch, one.least).exp())
                    # As a board multiplies them, to the last bit.
                    weights = expand(new.coded).astype(np.float32) * scale[:, None, None, None]
                    new = dataclasses.replace(new, scale=scale, weights=weights)
                found[operation.index] = new
        return found


def _channel(
    operation: Operation,
    made: Recovered,
    scales: Mapping[int, Scale],
    floor: NDArray[np.float64] | None,
    device: str,
) -> _Channel:
    import torch

    weights = as_tensor(np.ascontiguousarray(made.weights.transpose(0, 3, 1, 2)), device)
    least = None
    if made.scale is not None and floor is not None:
        lowest = np.maximum(floor, 1e-30) / made.scale.astype(np.float64)
        least = as_tensor(np.minimum(np.log(lowest), 0).astype(np.float32), device)
    return _Channel(
        weights=weights.contiguous(memory_format=torch.channels_last),
        bias=as_tensor(made.bias.astype(np.float32), device),
        unit=_unit(operation, made, scales),
        stretch=torch.zeros(len(made.bias), device=device, requires_grad=least is not None),
        shift=torch.zeros(len(made.bias), device=device, requires_grad=True),
        least=least,
    )


def _unit(operation: Operation, made: Recovered, scales: Mapping[int, Scale]) -> float:
    """A small step of a layer's output: of its int8 codes, else a share of how biases spread."""
    scale = scales.get(operation.output)
    if scale is not None:
        return scale.scale
    return _SHARE_OF_SPREAD * float(np.std(made.bias)) + 1e-4
