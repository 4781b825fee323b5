"""A model of many convolutions, of which some may be others than before."""

from __future__ import annotations

import numpy as np

from tests.agent.small_models import _Builder

CHANNELS = (32, 64, 64, 96, 128, 64, 128, 160, 64, 96, 128, 64)


def model(seeds: dict[int, int] | None = None) -> bytes:
    """Twelve 3x3 convolutions with int8 filters a channel, 32-bit biases; seeds: by layer, else 0.

    Never run: stride and shapes of activations are only told.
    """
    builder = _Builder()
    before = builder.tensor("images", (1, 32, 32, 16), "int8", scale=0.1)
    inputs = 16
    for layer, outputs in enumerate(CHANNELS):
        rng = np.random.default_rng([layer, (seeds or {}).get(layer, 0)])
        filters = rng.integers(-127, 128, (outputs, 3, 3, inputs), dtype=np.int8)
        biases = rng.integers(-9999, 9999, outputs, dtype=np.int32)
        weights = builder.tensor(f"filter_{layer}", filters.shape, "int8", scale=1, data=filters)
        quantization = builder.graph.tensors[weights].quantization
        quantization.scale = rng.uniform(0.001, 0.1, outputs).astype(np.float32)
        quantization.zeroPoint = np.zeros(outputs, np.int64)
        bias = builder.tensor(f"bias_{layer}", biases.shape, "int32", data=biases)
        after = builder.tensor(f"out_{layer}", (1, 32, 32, outputs), "int8", scale=0.1)
        builder.conv(before, weights, bias, after, stride=1)
        before, inputs = after, outputs
    return builder.finish([0], [before])


def layer_bytes(layer: int) -> int:
    """Of its filter, biases and scales."""
    inputs = (16, *CHANNELS)[layer]
    return CHANNELS[layer] * (9 * inputs + 4 + 4)
