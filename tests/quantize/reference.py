"""The int8 arithmetic of the spec, in plain numpy: what a convolution's output codes must be."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from targets.agent.expand import unpack_int4
from toolchain.tflite import flatbuffer
from toolchain.tflite.elements import INT4


def tensors(model: bytes) -> dict[str, Any]:
    """Tensor objects of a model by name."""
    return {tensor.name.decode(): tensor for tensor in flatbuffer.parse(model).subgraphs[0].tensors}


def codes_of(model: bytes, name: str) -> NDArray[Any]:
    """A constant's stored integers."""
    tree = flatbuffer.parse(model)
    tensor = tensors(model)[name]
    data = bytes(tree.buffers[tensor.buffer].data)
    shape = tuple(int(size) for size in tensor.shape)
    if tensor.type == INT4.code:
        return unpack_int4(data, int(np.prod(shape))).reshape(shape)
    return np.frombuffer(data, np.int32 if name.endswith("/bias") else np.int8).reshape(shape)


def convolve(model: bytes, picture: NDArray[np.uint8]) -> NDArray[np.int64]:
    """Output codes of the model `one_convolution`, quantized: SAME padding, stride 1.

    out = clip(round((sum (x - zx) w + b) * sx sw / sy) + zy)
    """
    found = tensors(model)
    x, y = found["images"].quantization, found["conv"].quantization
    w = codes_of(model, "conv/weights").astype(np.int64)
    b = codes_of(model, "conv/bias").astype(np.int64)
    size = w.shape[1]
    edge = size // 2
    inputs = picture.astype(np.int64) - 128 - int(x.zeroPoint[0])
    padded = np.pad(inputs, ((edge, edge), (edge, edge), (0, 0)))
    windows = np.lib.stride_tricks.sliding_window_view(padded, (size, size), axis=(0, 1))
    sums = np.einsum("hwixy,oxyi->hwo", windows, w) + b
    steps = sums * (float(x.scale[0]) * found["conv/weights"].quantization.scale.astype(float))
    codes = np.rint(steps / float(y.scale[0])) + int(y.zeroPoint[0])
    return np.clip(codes, -128, 127).astype(np.int64)
