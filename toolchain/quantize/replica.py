"""The float graph run in torch: differentiable, and with activations as int8 kernels see them.

A runtime hides what recovery needs: gradients, layers run one at a time, weights that change
between layers.  This executor knows the operators of `operators.RULES` that detectors use, keeps
no tensor longer than somebody reads it, and agrees with the float runtime to rounding.

Tensors are float32 [1, C, H, W] with channels last in memory, where TFLite has [1, H, W, C].
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from toolchain.errors import UnsupportedModel
from toolchain.quantize.device import CPU, as_tensor
from toolchain.quantize.graph import FloatGraph, Operation
from toolchain.quantize.scales import HIGHEST, LOWEST, Scale

if TYPE_CHECKING:
    import torch

Tensors = dict[int, "torch.Tensor"]
SAME = 0  # schema.Padding.SAME
_WITHOUT = "Quantize without recovery: `--recovery none`."


class Replica:
    """Weights and operators of a graph, ready to run on one picture at a time on `device`.

    scales: of activations to be rounded to int8 as they are made; the rest stays float.
    Raises UnsupportedModel where an operator is not known here.
    """

    def __init__(
        self,
        graph: FloatGraph,
        scales: Mapping[int, Scale] | None = None,
        *,
        device: str = CPU,
    ) -> None:
        self.graph = graph
        self.scales = dict(scales or {})
        self.device = device
        self._last_reader = last_readers(graph)
        self._weights = {
            operation.index: self._constants(operation) for operation in graph.convolutions
        }
        unknown = {op.kind for op in graph.operations} - set(_KERNELS)
        if unknown:
            raise UnsupportedModel(
                f"operator {min(unknown)} cannot be recovered from",
                hint=_WITHOUT,
            )

    def set_filter(self, operation: Operation, weights: NDArray[np.float32]) -> None:
        """Other weights for one convolution: float32 [O, H, W, I]."""
        import torch

        placed = as_tensor(np.ascontiguousarray(weights.transpose(0, 3, 1, 2)), self.device)
        self._weights[operation.index] = (
            placed.contiguous(memory_format=torch.channels_last),
            self._weights[operation.index][1],
        )

    def set_bias(self, operation: Operation, bias: NDArray[np.float32]) -> None:
        """Another bias for one convolution: float32 [O]."""
        placed = as_tensor(np.ascontiguousarray(bias), self.device)
        self._weights[operation.index] = (self._weights[operation.index][0], placed)

    def put(self, operation: Operation, weights: torch.Tensor, bias: torch.Tensor) -> None:
        """Weights [O, I, H, W] and bias [O] of one convolution, gradients included."""
        self._weights[operation.index] = (weights, bias)

    def enter(self, picture: NDArray[np.float32]) -> Tensors:
        """What a run starts from.  picture: float32 [1, h, w, 3], RGB in 0..1."""
        value = to_picture(picture, self.device)
        return {self.graph.inputs[0]: self.rounded(self.graph.inputs[0], value)}

    def step(self, operation: Operation, alive: Tensors) -> torch.Tensor:
        """The output of one operator, rounded where it has a scale."""
        inputs = [alive[tensor] for tensor in operation.data]
        value = _KERNELS[operation.kind](self, operation, inputs)
        if operation.rule.copies:
            return value  # it holds values that are rounded already
        return self.rounded(operation.output, value)

    def run(
        self,
        picture: NDArray[np.float32],
        seen: Callable[[int, torch.Tensor], None] | None = None,
    ) -> Tensors:
        """The outputs of the graph.  seen: told of every tensor as it is made."""
        alive = self.enter(picture)
        for operation in self.graph.operations:
            value = self.step(operation, alive)
            if seen is not None:
                seen(operation.output, value)
            alive[operation.output] = value
            self.forget(operation, alive)
        return {tensor: alive[tensor] for tensor in self.graph.outputs}

    def forget(self, operation: Operation, alive: dict[int, Any]) -> None:
        """Drop what nobody reads after `operation`."""
        for tensor in operation.data:
            if self._last_reader[tensor] == operation.index:
                alive.pop(tensor, None)

    def rounded(self, tensor: int, value: torch.Tensor) -> torch.Tensor:
        """As an int8 tensor of its scale would hold it; unchanged where it has none."""
        scale = self.scales.get(tensor)
        return value if scale is None else fake_quantize(value, scale)

    def convolve(
        self, operation: Operation, value: torch.Tensor, weights: torch.Tensor | None = None
    ) -> torch.Tensor:
        """One convolution without its fused activation."""
        from torch.nn import functional

        filter_, bias = self._weights[operation.index]
        filter_ = filter_ if weights is None else weights
        options = operation.options
        stride = (int(options.strideH), int(options.strideW))
        dilation = (int(options.dilationHFactor), int(options.dilationWFactor))
        value = functional.pad(value, self.padding(operation, value))
        return functional.conv2d(value, filter_, bias, stride=stride, dilation=dilation)

    def padding(self, operation: Operation, value: torch.Tensor) -> tuple[int, int, int, int]:
        """(left, right, top, bottom) zeros that a convolution adds (TensorFlow's SAME rule)."""
        options = operation.options
        if int(options.padding) != SAME:
            return 0, 0, 0, 0
        height, width = self.graph.shape(operation.inputs[1])[1:3]
        top, bottom = _same(value.shape[2], height, options.strideH, options.dilationHFactor)
        left, right = _same(value.shape[3], width, options.strideW, options.dilationWFactor)
        return left, right, top, bottom

    def _constants(self, operation: Operation) -> tuple[torch.Tensor, torch.Tensor]:
        import torch

        weights = as_tensor(self.graph.constant(operation.inputs[1]).copy(), self.device)
        placed = weights.permute(0, 3, 1, 2).contiguous(memory_format=torch.channels_last)
        return placed, as_tensor(self.graph.bias(operation), self.device)


def fake_quantize(value: torch.Tensor, scale: Scale) -> torch.Tensor:
    """Rounded to the codes of `scale`; gradients pass where nothing is clipped."""
    import torch

    return torch.fake_quantize_per_tensor_affine(
        value, scale.scale, scale.zero_point, LOWEST, HIGHEST
    )


def to_picture(picture: NDArray[np.float32], device: str = CPU) -> torch.Tensor:
    """[1, h, w, 3] of numpy as torch's [1, 3, h, w]."""
    return as_tensor(picture, device).permute(0, 3, 1, 2)


def by_output_name(graph: FloatGraph, kept: Mapping[int, torch.Tensor]) -> dict[str, torch.Tensor]:
    """The graph's outputs among `kept`, by each name that a signature gives them."""
    return {
        alias: kept[tensor] for tensor, aliases in graph.output_names().items() for alias in aliases
    }


def output_size(graph: FloatGraph, operation: Operation) -> tuple[int, int]:
    """(height, width) of what an operation makes."""
    shape = graph.shape(operation.output)
    return shape[1], shape[2]


def last_readers(graph: FloatGraph) -> dict[int, int]:
    """The index of the operation that reads each activation last; outputs are read at the end."""
    last = dict.fromkeys(graph.activations(), -1)
    for operation in graph.operations:
        for tensor in operation.data:
            last[tensor] = operation.index
    for tensor in graph.outputs:
        last[tensor] = len(graph.operations)
    return last


def _same(size: int, kernel: int, stride: int, dilation: int) -> tuple[int, int]:
    reach = (kernel - 1) * dilation + 1
    total = max((-(-size // stride) - 1) * stride + reach - size, 0)
    return total // 2, total - total // 2


def _conv(replica: Replica, operation: Operation, inputs: list[Any]) -> Any:
    return _activated(operation, replica.convolve(operation, inputs[0]))


def _activated(operation: Operation, value: Any) -> Any:
    import torch

    fused = int(getattr(operation.options, "fusedActivationFunction", 0) or 0)
    if fused == 0:
        return value
    if fused == 1:
        return torch.relu(value)
    if fused == 3:
        return value.clamp(0, 6)
    raise UnsupportedModel(f"a fused activation of kind {fused}", hint=_WITHOUT)


def _concat(_replica: Replica, operation: Operation, inputs: list[Any]) -> Any:
    import torch

    axis = int(operation.options.axis) % 4
    return torch.cat(inputs, dim=(0, 2, 3, 1)[axis])


def _max_pool(_replica: Replica, operation: Operation, inputs: list[Any]) -> Any:
    from torch.nn import functional

    options, value = operation.options, inputs[0]
    kernel = (int(options.filterHeight), int(options.filterWidth))
    stride = (int(options.strideH), int(options.strideW))
    if int(options.padding) == SAME:
        top, bottom = _same(value.shape[2], kernel[0], stride[0], 1)
        left, right = _same(value.shape[3], kernel[1], stride[1], 1)
        value = functional.pad(value, (left, right, top, bottom), value=float("-inf"))
    return functional.max_pool2d(value, kernel, stride)


def _pad(replica: Replica, operation: Operation, inputs: list[Any]) -> Any:
    from torch.nn import functional

    rows = replica.graph.constant(operation.inputs[1]).tolist()
    (top, bottom), (left, right) = rows[1], rows[2]
    return functional.pad(inputs[0], (left, right, top, bottom))


def _resize(replica: Replica, operation: Operation, inputs: list[Any]) -> Any:
    height, width = replica.graph.shape(operation.output)[1:3]
    rows, odd_rows = divmod(height, inputs[0].shape[2])
    columns, odd_columns = divmod(width, inputs[0].shape[3])
    if odd_rows or odd_columns or (operation.options and operation.options.alignCorners):
        raise UnsupportedModel(
            f"RESIZE_NEAREST_NEIGHBOR to {height} x {width}, no whole multiple of its input, "
            "cannot be recovered from",
            hint=_WITHOUT,
        )
    return inputs[0].repeat_interleave(rows, 2).repeat_interleave(columns, 3)


def _slice(replica: Replica, operation: Operation, inputs: list[Any]) -> Any:
    begin, end, strides = (
        replica.graph.constant(tensor).tolist() for tensor in operation.inputs[1:4]
    )
    options = operation.options
    cuts = [
        slice(
            None if options.beginMask >> axis & 1 else begin[axis],
            None if options.endMask >> axis & 1 else end[axis],
            strides[axis],
        )
        for axis in range(4)
    ]
    return inputs[0][:, cuts[3], cuts[1], cuts[2]]


_KERNELS: dict[str, Callable[[Replica, Operation, list[Any]], Any]] = {
    "CONV_2D": _conv,
    "LOGISTIC": lambda _r, _o, x: x[0].sigmoid(),
    "MUL": lambda _r, o, x: _activated(o, x[0] * x[1]),
    "ADD": lambda _r, o, x: _activated(o, x[0] + x[1]),
    "LEAKY_RELU": lambda _r, o, x: x[0].clamp(min=0) + x[0].clamp(max=0) * float(o.options.alpha),
    "CONCATENATION": _concat,
    "MAX_POOL_2D": _max_pool,
    "PAD": _pad,
    "RESIZE_NEAREST_NEIGHBOR": _resize,
    "STRIDED_SLICE": _slice,
}
