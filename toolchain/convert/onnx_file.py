"""Detector -> ONNX: input "images" [1, 3, height, width], one output for each part of the head."""

from __future__ import annotations

import io
import warnings
from pathlib import Path
from typing import Any, Final

from toolchain.convert.process import require
from toolchain.detector.model import Detector, output_names
from toolchain.detector.torch_form import to_torch
from toolchain.errors import ConversionFailed
from toolchain.tflite.metadata import Metadata, to_json

OPSET: Final = 13
"""Old enough for every consumer, new enough for Resize with constant scales."""

_TRACED: Final = 64


def export_onnx(detector: Detector, metadata: Metadata, path: Path) -> None:
    """Write the ONNX file; our metadata is its property "halfbyte".

    By torch's TorchScript exporter: plain operators with constant shapes, the same bytes for the
    same detector.  Raises MissingExtra, ConversionFailed.
    """
    require(("torch", "onnx"))
    import onnx

    try:
        model = _traced(detector)
        _resize(model.graph, *metadata.imgsz)
        onnx.helper.set_model_props(model, {"halfbyte": to_json(metadata).decode()})
        onnx.checker.check_model(model, full_check=True)
        onnx.save(model, str(path))
    except (
        RuntimeError,
        ValueError,
        onnx.checker.ValidationError,
        onnx.shape_inference.InferenceError,
    ) as error:
        raise ConversionFailed(
            f"the ONNX export failed: {str(error).strip().splitlines()[0][:200]}",
            hint="Report it with the model; the version of torch matters here.",
        ) from error


def _traced(detector: Detector) -> Any:
    """The model for a small square input: tracing runs the network, so a small one is quick."""
    import onnx
    import torch

    written = io.BytesIO()
    with torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of its deprecation; the newer one needs onnxscript
        torch.onnx.export(
            to_torch(detector),
            (torch.zeros(1, 3, _TRACED, _TRACED),),
            written,
            input_names=["images"],
            output_names=list(output_names(detector)),
            opset_version=OPSET,
            dynamo=False,
        )
    return onnx.load_from_string(written.getvalue())


def _resize(graph: Any, height: int, width: int) -> None:
    """The same model for another input size: nothing but its ends tells the size.

    Every operator of a detector works on any size; the checker, which infers all shapes, would
    find ends that do not fit.
    """
    for end in (*graph.input, *graph.output):
        dims = end.type.tensor_type.shape.dim
        dims[2].dim_value = dims[2].dim_value * height // _TRACED
        dims[3].dim_value = dims[3].dim_value * width // _TRACED
