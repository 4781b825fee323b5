"""Every class of finding, and every limit, in one place."""

from __future__ import annotations

from typing import Final

ADVICE: Final = {
    "zero-scale": "Quantize again; the runtime may abort on such a file.",
    "unequal-scales": "Use one scale for its inputs and its output, or put a QUANTIZE before it.",
    "shared-scale": "Export boxes and scores apart, or boxes as fractions of the input.",
    "coarse-scores": "Give scores an output (and a scale) of their own.",
    "multiplier-range": "Quantize again; look for a wrong range in the calibration.",
    "bias-scale": "Scales were changed after quantizing; quantize again.",
    "bias-overflow": "Use a larger weight scale in those channels (they hardly have weights).",
    "dead-filter": "If the float model has weights there, the scale is too large or the file bad.",
    "coarse-filter": "Quantize weights with a scale for each output channel.",
    "collapsed-range": "Calibrate again on typical pictures; look for one that is far off.",
    "saturation": "Calibrate again on pictures like these, or with a wider range for this tensor.",
    "constant-channel": "`halfbyte verify` compares with the float model layer by layer.",
    "int4-convolution": "`halfbyte expand` makes an int8 file for running; keep this one.",
    "packed": "`halfbyte expand` makes a file that runs without halfbyte.",
    "float-island": "Fine where meant (a layer that needs it); else quantize them too.",
    "float-activations": "The file is small, the arithmetic is not: quantize activations too.",
    "not-quantized": "Nothing to do if this is the float model.",
    "does-not-run": "The runtime's own words are above.",
    "no-boxes": "Compare its input and output scales with the float model's.",
    "box-count": "`halfbyte verify` names the layer where it begins; give that one more bits.",
}
"""What to do about each class of finding; docs/check-a-model.md explains them."""

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
ONE_CODE: Final = 0.9  # share of values at the most frequent code, where few are in use
SATURATED: Final = 0.01  # share of a tensor's values
SATURATED_BOUNDED: Final = 0.1  # where the reader keeps the error small (below 0, before SiLU)
SATURATED_VALUES: Final = 50  # fewer say little, whatever their share
SATURATED_BADLY: Final = 0.2
FLAT_STEPS: Final = 4  # of the reader's result: what is cut off there nobody notices
FLOAT_WEIGHTS: Final = 0.05  # of all weights, in layers that compute in float
FEWER_BOXES: Final = 0.9  # boxes above 0.25, over those of the float model
MORE_BOXES: Final = 1.25
FEW_BOXES: Final = 0.5
LEAST_BOXES: Final = 20  # of the float model: below that a ratio says little
