"""Checkpoints in, detectors out: model definitions as data, readers, folding, float reference."""

from toolchain.detector.loading import load_detector
from toolchain.detector.model import (
    Add,
    Concatenate,
    Conv,
    Convolution,
    Detector,
    HeadLevel,
    Layer,
    MaxPool,
    Upsample,
    head_of,
    output_layers,
    output_names,
    sources_of,
)
from toolchain.detector.torch_form import to_torch

__all__ = [
    "Add",
    "Concatenate",
    "Conv",
    "Convolution",
    "Detector",
    "HeadLevel",
    "Layer",
    "MaxPool",
    "Upsample",
    "head_of",
    "load_detector",
    "output_layers",
    "output_names",
    "sources_of",
    "to_torch",
]
