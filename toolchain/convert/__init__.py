"""Detector -> ONNX -> float TFLite: onnx2tf in its own process, results cached by content."""

from toolchain.convert.agreement import Agreement, OutputAgreement, agree
from toolchain.convert.float_model import FloatModel, metadata_of, to_float_tflite

__all__ = [
    "Agreement",
    "FloatModel",
    "OutputAgreement",
    "agree",
    "metadata_of",
    "to_float_tflite",
]
