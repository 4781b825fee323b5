"""Measure `Sensitivity`: one backward pass a picture.

With v random signs, one for each number that matters, the gradient of v . outputs is J^T v, and
E[(J^T v)^2] over v is the diagonal of J^T J: the squared error that unit noise at that place makes
(Hutchinson's estimator of a Gauss-Newton diagonal; Bekas et al. 2007).  No label is looked at.

Memory: the values of all activations of one picture and the gradients at them dominate, for YOLOv7
at 640 1.3 GB each; padded copies and weights take 0.5 GB, maps of positions 4 MB a picture, twice
at the end.  The process peaks at 3.8 GB with two pictures, and at 6 GB with 48 in the stage as a
whole, from the checkpoint on (docs/results.md).
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final

import numpy as np
from numpy.typing import NDArray

from targets.agent.frames import FrameUnreadable, letterbox, read_picture
from targets.agent.heads import Head
from targets.agent.inputs import pack
from targets.progress import SILENT, Progress
from toolchain.errors import EmptyCalibration, NotFinite
from toolchain.quantize.device import as_array, on_best
from toolchain.quantize.graph import FloatGraph, Operation, check_weights
from toolchain.quantize.histogram import BINS, place
from toolchain.quantize.importance import what_matters
from toolchain.quantize.observe import unique_names, watched_tensors
from toolchain.quantize.replica import Replica, by_output_name, output_size, to_picture
from toolchain.quantize.sensitivity import LayerSensitivity, Sensitivity
from toolchain.tflite import metadata
from toolchain.tflite.flatbuffer import parse

if TYPE_CHECKING:
    import torch

SAMPLE: Final = 1 << 20
"""Values of one tensor that one picture adds to its histogram, at most."""

_log = logging.getLogger(__name__)


def measure(
    float_model: Path, images: Sequence[Path], *, seed: int = 0, progress: Progress = SILENT
) -> Sensitivity:
    """What an error costs at every tensor and layer, on these pictures.

    float_model: a float32 .tflite made by `toolchain.convert`.  The same inputs on the same
    machine give the same result, on the CPU.  Raises EmptyCalibration, NotFinite, InputError
    (`device.chosen`), UnsupportedModel, MalformedModel, MissingExtra (torch).
    """
    data = float_model.read_bytes()
    graph = FloatGraph(parse(data))
    check_weights(graph)

    def gathered(device: str) -> Sensitivity:
        return _measured(graph, hashlib.sha256(data).hexdigest(), images, seed, device, progress)

    return on_best(gathered, "measuring sensitivities")


def _measured(
    graph: FloatGraph,
    sha256: str,
    images: Sequence[Path],
    seed: int,
    device: str,
    progress: Progress,
) -> Sensitivity:
    import torch

    facts = metadata.extract(graph.model)
    gatherer = _Gatherer(graph, facts.head if facts else None, device)
    generator = torch.Generator().manual_seed(seed)
    used: list[str] = []
    # Gradients fade to denormal numbers, which processors are slow with.
    torch.set_flush_denormal(True)
    try:
        with progress.task("sensitivity", total=len(images), unit="images") as task:
            for path in images:
                try:
                    picture = letterbox(read_picture(path), graph.imgsz).pixels
                except FrameUnreadable as error:
                    _log.warning("%s is left out: %s", path.name, error)
                else:
                    gatherer.add(pack(picture, "float32"), path.name, generator)
                    used.append(path.name)
                task.advance()
    finally:
        torch.set_flush_denormal(False)
    if not used:
        raise EmptyCalibration(
            "no calibration picture can be read",
            hint="Give a folder with some 64 pictures like those in use.",
        )
    return gatherer.result(sha256, used)


class _Gatherer:
    """Running sums over pictures."""

    def __init__(self, graph: FloatGraph, head: Head | None, device: str) -> None:
        self._graph = graph
        self._head = head
        self._replica = Replica(graph, device=device)
        self._pictures = 0
        self._watched = watched_tensors(graph)
        self._felt_at = {tensor: _felt_at(graph, tensor) for tensor in self._watched}
        self._counts = {tensor: np.zeros(BINS) for tensor in self._watched}
        self._energy = {
            operation.index: np.zeros(graph.shape(operation.output)[-1])
            for operation in graph.convolutions
        }
        self._maps: dict[int, list[NDArray[np.float32]]] = {
            operation.index: [] for operation in graph.convolutions
        }

    def add(self, picture: NDArray[np.float32], name: str, generator: torch.Generator) -> None:
        """One picture: float32 [1, h, w, 3].  Raises NotFinite."""
        import torch

        kept = self._forward(picture)
        matter = what_matters(by_output_name(self._graph, kept), self._head)
        signs = (_signs(part, generator) for part in matter)
        projected = torch.stack(
            [(part * sign).sum() for part, sign in zip(matter, signs, strict=True)]
        ).sum()
        if not torch.isfinite(projected):
            raise NotFinite(
                f"{name} makes outputs that are not finite",
                hint="Run the float model on this picture; its weights may be damaged.",
            )
        projected.backward()
        with torch.no_grad():
            for operation in self._graph.convolutions:
                self._add_layer(operation, kept)
            for index, tensor in enumerate(self._watched):
                self._add_tensor(tensor, kept, np.random.default_rng((self._pictures, index)))
        self._pictures += 1

    def result(self, sha256: str, used: Sequence[str]) -> Sensitivity:
        """Means over the pictures."""
        names = unique_names(self._graph, self._watched)
        layers = self._graph.layer_names()
        return Sensitivity(
            model_sha256=sha256,
            images=tuple(used),
            counts={names[t]: counts / len(used) for t, counts in self._counts.items()},
            layers={
                layers[index]: LayerSensitivity(energy / len(used), np.stack(self._maps[index]))
                for index, energy in self._energy.items()
            },
        )

    def _forward(self, picture: NDArray[np.float32]) -> dict[int, torch.Tensor]:
        start = to_picture(picture, self._replica.device).requires_grad_()
        kept = {self._graph.inputs[0]: start}
        for operation in self._graph.operations:
            value = self._replica.step(operation, kept)
            value.retain_grad()
            kept[operation.output] = value
        return kept

    def _add_layer(self, operation: Operation, kept: dict[int, torch.Tensor]) -> None:
        from torch.nn import functional

        squared = _gradient(kept[operation.output]) ** 2
        source = kept[operation.data[0]].detach()
        window = self._graph.shape(operation.inputs[1])[1:3]
        patch_energy = functional.pad(
            (source**2).sum(dim=1, keepdim=True), self._replica.padding(operation, source)
        )
        options = operation.options
        patch_energy = functional.conv2d(
            patch_energy,
            patch_energy.new_ones((1, 1, *window)),
            stride=(int(options.strideH), int(options.strideW)),
            dilation=(int(options.dilationHFactor), int(options.dilationWFactor)),
        )
        assert patch_energy.shape[2:] == output_size(self._graph, operation)
        energy = (squared * patch_energy).sum(dim=(0, 2, 3))
        self._energy[operation.index] += as_array(energy.double())
        self._maps[operation.index].append(as_array(squared.sum(dim=(0, 1))))

    def _add_tensor(
        self, tensor: int, kept: dict[int, torch.Tensor], rng: np.random.Generator
    ) -> None:
        values = _flat(kept[tensor].detach())
        gradients = _flat(_gradient(kept[self._felt_at[tensor]]))
        # Odd, so that it walks through all channels and all positions: a few cells of a picture
        # hold most of the weight, and none of them may be passed over.
        stride = -(-values.numel() // SAMPLE) | 1
        start = int(rng.integers(stride))
        values, gradients = values[start::stride], gradients[start::stride]
        self._counts[tensor] += stride * np.bincount(
            place(as_array(values)), weights=as_array(gradients) ** 2, minlength=BINS
        )


def _signs(like: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    """-1 or 1 for each number of `like`, drawn on the CPU."""
    import torch

    drawn = torch.randint(0, 2, like.shape, generator=generator)
    return (drawn * 2.0 - 1).to(like.device)


def _flat(value: torch.Tensor) -> torch.Tensor:
    """All values, channels last."""
    return value.permute(0, 2, 3, 1).reshape(-1)


def _gradient(value: torch.Tensor) -> torch.Tensor:
    import torch

    return torch.zeros_like(value) if value.grad is None else value.grad


def _felt_at(graph: FloatGraph, tensor: int) -> int:
    """Where an error of `tensor` is weighed: SiLU's output for what SiLU alone reads."""
    if graph.feeds_silu(tensor):
        return next(op.output for op in graph.consumers[tensor] if op.kind == "MUL")
    return tensor
