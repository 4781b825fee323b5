"""Every class of finding, and every limit, in one place."""

from __future__ import annotations

import dataclasses
from typing import Final


@dataclasses.dataclass(frozen=True)
class Rule:
    """title: what is wrong, in a few words.  advice: what to do about it.  pictures: whether it
    takes pictures to find.
    """

    title: str
    advice: str
    pictures: bool = False


RULES: Final = {
    "zero-scale": Rule(
        "a scale that is 0 or too small for a float32",
        "Quantize again; the runtime may abort on such a file.",
    ),
    "unequal-scales": Rule(
        "an operator that only copies, between tensors of different scales",
        "Quantize with one scale for all its inputs and its output; or put a QUANTIZE before it.",
    ),
    "shared-scale": Rule(
        "tensors of different kinds joined at one scale, too coarse for one of them",
        "Export boxes and scores as outputs of their own, or boxes as fractions of the input.",
    ),
    "coarse-scores": Rule(
        "an output in which scores have few steps left",
        "Give scores an output (and a scale) of their own.",
    ),
    "multiplier-range": Rule(
        "input and output scales further apart than kernels can bridge",
        "Quantize again; look for a wrong range in the calibration.",
    ),
    "bias-scale": Rule(
        "biases made for other scales than those of the layer",
        "Scales were changed after quantizing; quantize again.",
    ),
    "bias-overflow": Rule(
        "a sum that can leave int32, which then wraps around without a word",
        "Use a larger weight scale in those channels (they hardly have weights).",
    ),
    "dead-filter": Rule(
        "output channels whose weights are all zero",
        "If the float model has weights there, the scale is too large or the file is damaged.",
    ),
    "coarse-filter": Rule(
        "channels that use few of the codes, because all share one scale",
        "Quantize weights with a scale for each output channel.",
    ),
    "collapsed-range": Rule(
        "a scale so large that nearly all values round to a few codes",
        "Calibrate again on typical pictures; look for one that is far off, or for NaN.",
        pictures=True,
    ),
    "saturation": Rule(
        "values cut off at the end of the range",
        "Calibrate again on pictures like these, or with a wider range for this tensor.",
        pictures=True,
    ),
    "constant-channel": Rule(
        "channels that hold the same code on every picture",
        "Compare with the float model: `halfbyte verify MODEL --against FLOAT --images DIR`.",
        pictures=True,
    ),
    "int4-convolution": Rule(
        "convolutions with INT4 filters, which no fast kernel of stock runtimes takes",
        "Expand the file to int8 for running; it stays 4-bit for storing and sending.",
    ),
    "packed": Rule(
        "packed filters, which stock runtimes refuse by name",
        "Expand the file to int8 for running it without halfbyte.",
    ),
    "float-island": Rule(
        "operators that compute in float inside a quantized model",
        "Fine where meant (a layer that needs it); else quantize them too.",
    ),
    "float-activations": Rule(
        "quantized weights with float activations",
        "Weights are small, the arithmetic is not: quantize activations for speed.",
    ),
    "not-quantized": Rule("nothing is quantized", "Nothing to do if this is the float model."),
    "does-not-run": Rule(
        "the runtime of this machine refuses the model",
        "The runtime's own words are above.",
        pictures=True,
    ),
    "no-boxes": Rule(
        "nothing is detected on any picture",
        "Compare input and output scales with the float model's, and the labels with the data.",
        pictures=True,
    ),
    "box-count": Rule(
        "another number of boxes than the float model's",
        "`halfbyte verify MODEL --against FLOAT --images DIR` names the layer; give it more bits.",
        pictures=True,
    ),
}

# Each limit: at or beyond it there is a finding.
TINY: Final = 1.1754944e-38  # smallest normal float32
LEAST_CODES: Final = 64  # of 256: two bits lost
HARDLY_ANY_CODES: Final = 4
SCORE_STEP: Final = 0.05  # of a score in 0..1, from one code to the next
SCORE_STEP_USELESS: Final = 0.5
BIAS_SCALE_OFF: Final = 0.02  # TensorFlow Lite, kernel_util.cc: tolerance of the reference kernel
REACH_STEPS: Final = 4.0  # the farthest that any input can move an output, in steps
FEW_FILTER_CODES: Final = 16  # largest |code| of a channel, of 127
MANY_COARSE_CHANNELS: Final = 0.1  # of a layer's channels
USED_CODES: Final = 16  # of 256, over all pictures: four bits lost
USED_CODES_USELESS: Final = 4
SATURATED: Final = 0.01  # share of a tensor's values
SATURATED_BOUNDED: Final = 0.05  # where the reader keeps the error small (below 0, before SiLU)
SATURATED_VALUES: Final = 50  # fewer say little, whatever their share
SATURATED_BADLY: Final = 0.2
FLAT_STEPS: Final = 4  # of the reader's result: what is cut off there nobody notices
FLOAT_WEIGHTS: Final = 0.05  # of all weights, in layers that compute in float
FEWER_BOXES: Final = 0.9  # boxes above 0.25, over those of the float model
MORE_BOXES: Final = 1.25
FEW_BOXES: Final = 0.5
LEAST_BOXES: Final = 20  # of the float model: below that a ratio says little
