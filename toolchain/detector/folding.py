"""Training form to deploy form, layer by layer, in float64: arrays in, arrays out.

All of it is exact algebra on inference-time layers; nothing is approximated but the last rounding
to float32.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from toolchain.errors import CheckpointError, NotFinite

Doubles = npt.NDArray[np.float64]


def fold_batch_norm(
    weight: Doubles,
    bias: Doubles | None,
    *,
    mean: Doubles,
    variance: Doubles,
    gamma: Doubles,
    beta: Doubles,
    eps: float,
) -> tuple[Doubles, Doubles]:
    """A convolution and the batch norm after it, as one convolution.

    y = gamma * (W x + b - mean) / sqrt(variance + eps) + beta, by channel
    (Ioffe and Szegedy, arXiv 1502.03167).  weight: [O, I, H, W]; all others [O].
    """
    scale = gamma / np.sqrt(variance + eps)
    shift = -mean if bias is None else bias - mean
    return weight * scale[:, None, None, None], beta + shift * scale


def pad_to_3x3(weight: Doubles) -> Doubles:
    """A 1x1 filter as the 3x3 filter that does the same with padding 1."""
    return np.pad(weight, ((0, 0), (0, 0), (1, 1), (1, 1)))


def identity_3x3(channels: int) -> Doubles:
    """The 3x3 filter that, with padding 1, gives its input back."""
    weight = np.zeros((channels, channels, 3, 3))
    weight[np.arange(channels), np.arange(channels), 1, 1] = 1
    return weight


def fold_implicit(
    weight: Doubles, bias: Doubles, *, added: Doubles | None, multiplied: Doubles | None
) -> tuple[Doubles, Doubles]:
    """m * (W (x + a) + b) as one 1x1 convolution (YOLOR, arXiv 2105.04206).

    weight: [O, I, 1, 1]; added: [I]; multiplied: [O].
    """
    if added is not None:
        bias = bias + weight[:, :, 0, 0] @ added
    if multiplied is not None:
        weight, bias = weight * multiplied[:, None, None, None], bias * multiplied
    return weight, bias


def focus_as_6x6(weight: Doubles) -> Doubles:
    """The 3x3 filter behind a "focus" slicing as a 6x6 filter of stride 2 on the picture itself.

    Focus stacks the four pixels of each 2x2 block as channels: (even, even), (odd row, even
    column), (even, odd), (odd, odd), each with all colours.  weight: [O, 4 * I, 3, 3].
    """
    outputs, stacked, height, width = weight.shape
    colours = stacked // 4
    wide = np.zeros((outputs, colours, 2 * height, 2 * width))
    for block, (row, column) in enumerate([(0, 0), (1, 0), (0, 1), (1, 1)]):
        wide[:, :, row::2, column::2] = weight[:, block * colours : (block + 1) * colours]
    return wide


def checked_finite(values: Doubles, layer: str, part: str) -> Doubles:
    """The same values.  Raises NotFinite with layer, channels and count."""
    wrong = ~np.isfinite(values)
    if wrong.any():
        channels = np.unique(np.nonzero(wrong)[0]) if values.ndim else np.zeros(1, int)
        shown = ", ".join(str(channel) for channel in channels[:5])
        more = f" and {channels.size - 5} more" if channels.size > 5 else ""
        raise NotFinite(
            f"{layer}: {int(wrong.sum())} of {values.size} values of its {part} are NaN or "
            f"infinite (channel {shown}{more}).",
            hint="The file is damaged or its training diverged; use an earlier checkpoint.",
        )
    return values


def checked_variance(values: Doubles, eps: float, layer: str) -> Doubles:
    """The same values.  Raises CheckpointError where a square root would fail."""
    if (values + eps <= 0).any():
        channel = int(np.argmax(values + eps <= 0))
        raise CheckpointError(
            f"{layer}: the running variance of channel {channel} is {values[channel]:g}.",
            hint="The file is damaged; use an earlier checkpoint.",
        )
    return values
