"""A float detector becomes one with few-bit weights and, as a rule, int8 activations.

calibration = calibrate(float_model, images)
sensitivity = measure(float_model, images)
quantized = quantize(float_model.read_bytes(), calibration, parse("w4e-a8"), sensitivity=...)
"""

from __future__ import annotations

from toolchain.quantize.calibration import Calibration, load, save
from toolchain.quantize.observe import calibrate
from toolchain.quantize.options import Form, Options, check, check_searched, of_each
from toolchain.quantize.quantizer import Quantized, quantize
from toolchain.quantize.recipe import (
    FLOAT32,
    W3E_A8,
    W4C_A8,
    W4E_A8,
    W8C_A8,
    Recipe,
    for_bits,
    parse,
)
from toolchain.quantize.task import check_model

__all__ = [
    "FLOAT32",
    "W3E_A8",
    "W4C_A8",
    "W4E_A8",
    "W8C_A8",
    "Calibration",
    "Form",
    "Options",
    "Quantized",
    "Recipe",
    "calibrate",
    "check",
    "check_model",
    "check_searched",
    "for_bits",
    "load",
    "of_each",
    "parse",
    "quantize",
    "save",
]
