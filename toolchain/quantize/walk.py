"""Many pictures walked through a graph together, one operator at a time.

Recovery changes a layer and wants to know at once what all later layers see.  So every picture
stands at the same operator; of each only the tensors that somebody still reads are kept, at one
byte a value where the tensor is int8 and two where it is float.

Memory: `live_bytes` a picture (YOLOv7 at 640: 26 MB in int8), and one layer of one picture in
float32.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from toolchain.quantize.device import CPU
from toolchain.quantize.graph import FloatGraph, Operation
from toolchain.quantize.replica import Replica, last_readers
from toolchain.quantize.scales import LOWEST, Scale

if TYPE_CHECKING:
    import torch

_CODES = 256


class Walk:
    """Pictures on their way through the graph.

    scales: of int8 activations; {} walks in float.  pictures: float32 [1, h, w, 3], RGB in 0..1.
    device: where they are kept and walk.
    """

    def __init__(
        self,
        graph: FloatGraph,
        scales: Mapping[int, Scale],
        pictures: Iterable[NDArray[np.float32]],
        *,
        device: str = CPU,
    ) -> None:
        self.graph = graph
        self.replica = Replica(graph, device=device)  # what it makes is rounded here
        self._scales = scales
        self._gates = _gates(graph) if scales else {}
        start = graph.inputs[0]
        self._alive = [
            {start: self._encoded(start, self.replica.enter(picture)[start])}
            for picture in pictures
        ]

    def __len__(self) -> int:
        return len(self._alive)

    def value(self, picture: int, tensor: int) -> torch.Tensor:
        """A tensor of one picture: float32 [1, C, H, W]."""
        return self._decoded(tensor, self._alive[picture][tensor])

    def pass_by(self, operation: Operation) -> None:
        """Every picture goes through one operator, as it is now."""
        import torch

        with torch.no_grad():
            for alive in self._alive:
                made = self._made(operation, alive)
                if made is not None:
                    alive[operation.output] = made
                self.replica.forget(operation, alive)

    def _made(self, operation: Operation, alive: dict[int, torch.Tensor]) -> torch.Tensor | None:
        if operation.output in self._gates.values():
            return None  # SiLU's sigmoid: its product is looked up as a whole
        if operation.output in self._gates:
            source = next(t for t in operation.data if t not in self._gates.values())
            return self._silu(source, operation.output, alive[source])
        copied = operation.rule.copies and operation.kind != "MAX_POOL_2D"
        if copied and self._scales and operation.kind != "PAD":
            inputs = {tensor: alive[tensor] for tensor in operation.data}  # codes copy as codes
            return self.replica.step(operation, inputs)
        inputs = {tensor: self._decoded(tensor, alive[tensor]) for tensor in operation.data}
        return self._encoded(operation.output, self.replica.step(operation, inputs))

    def _silu(self, source: int, output: int, codes: torch.Tensor) -> torch.Tensor:
        """x * sigmoid(x) of int8 codes, through a table of 256: LOGISTIC and MUL as int8 kernels
        compute them, one after the other."""
        import torch

        every = torch.arange(_CODES, dtype=torch.uint8, device=codes.device)
        value = self._decoded(source, every)
        gate = (value.sigmoid() * _CODES).round_().clamp_(max=_CODES - 1) / _CODES
        table = self._encoded(output, value * gate)
        return table[codes.int()]

    def _encoded(self, tensor: int, value: torch.Tensor) -> torch.Tensor:
        import torch

        scale = self._scales.get(tensor)
        if scale is None:
            return value.half()
        codes = (value / scale.scale).round_().add_(scale.zero_point - LOWEST)
        return codes.clamp_(0, _CODES - 1).to(torch.uint8)

    def _decoded(self, tensor: int, stored: torch.Tensor) -> torch.Tensor:
        scale = self._scales.get(tensor)
        if scale is None:
            return stored.float()
        return stored.float().sub_(scale.zero_point - LOWEST).mul_(scale.scale)


def live_bytes(graph: FloatGraph, scales: Mapping[int, Scale]) -> int:
    """The most that one picture keeps at any operator.  scales: as for `Walk`."""
    last, alive, most = last_readers(graph), set(graph.inputs), 0
    never = set(_gates(graph).values()) if scales else set()
    for operation in graph.operations:
        alive.add(operation.output)
        sizes = (
            graph.elements(tensor) * (1 if tensor in scales else 2) for tensor in alive - never
        )
        most = max(most, sum(sizes))
        alive -= {tensor for tensor in operation.data if last[tensor] == operation.index}
    return most


def _gates(graph: FloatGraph) -> dict[int, int]:
    """Product of each SiLU -> its sigmoid."""
    found: dict[int, int] = {}
    for tensor in graph.activations():
        if graph.feeds_silu(tensor):
            readers = {operation.kind: operation for operation in graph.consumers[tensor]}
            found[readers["MUL"].output] = readers["LOGISTIC"].output
    return found
