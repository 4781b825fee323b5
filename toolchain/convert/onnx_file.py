"""Detector -> ONNX: input "images" [1, 3, height, width], one output for each part of the head."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Final

from toolchain.convert.process import require
from toolchain.detector.model import Detector, output_names
from toolchain.detector.torch_form import to_torch
from toolchain.errors import ConversionFailed
from toolchain.tflite.metadata import Metadata, to_json

OPSET: Final = 13
"""Old enough for every consumer, new enough for Resize with constant scales."""


def export_onnx(detector: Detector, metadata: Metadata, path: Path) -> None:
    """Write the ONNX file; our metadata is its property "halfbyte".

    By torch's TorchScript exporter: plain operators with constant shapes, the same bytes for the
    same detector.  Raises MissingExtra, ConversionFailed.
    """
    require(("torch", "onnx"))
    import onnx
    import torch

    height, width = metadata.imgsz
    try:
        with torch.no_grad(), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of its deprecation; the newer one needs onnxscript
            torch.onnx.export(
                to_torch(detector),
                (torch.zeros(1, 3, height, width),),
                str(path),
                input_names=["images"],
                output_names=list(output_names(detector)),
                opset_version=OPSET,
                dynamo=False,
            )
        model = onnx.load(str(path))
        onnx.helper.set_model_props(model, {"halfbyte": to_json(metadata).decode()})
        onnx.checker.check_model(model, full_check=True)
        onnx.save(model, str(path))
    except (RuntimeError, ValueError, onnx.checker.ValidationError) as error:
        raise ConversionFailed(
            f"the ONNX export failed: {str(error).strip().splitlines()[0][:200]}",
            hint="Report it with the model; the version of torch matters here.",
        ) from error
