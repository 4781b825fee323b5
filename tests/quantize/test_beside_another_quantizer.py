"""The same float model by ai-edge-quantizer: a check beside ours, on real weights and photos."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from targets.agent.frames import letterbox, read_picture
from targets.agent.inputs import pack
from toolchain import calibrationset, demo, making
from toolchain.evaluate.pictures import find_pictures
from toolchain.quantize import for_bits

IMGSZ = (160, 192)
MARGIN = 1.05  # of the error: kernels and rounding differ a little between versions


def tensors(paths: tuple[Path, ...]) -> list[np.ndarray]:
    return [pack(letterbox(read_picture(path), IMGSZ).pixels, "float32") for path in paths]


def runner(model: bytes) -> Any:
    from ai_edge_litert.interpreter import Interpreter

    return Interpreter(model_content=model).get_signature_runner("detect")


def real(model: Any, images: np.ndarray) -> dict[str, np.ndarray]:
    """Outputs in real numbers, whatever the types of the ends are."""
    entry = model.get_input_details()["images"]
    scale, zero_point = entry["quantization"]
    if scale:
        images = np.clip(np.round(images / scale + zero_point), -128, 127).astype(entry["dtype"])
    details = model.get_output_details()
    found = {}
    for name, values in model(images=images).items():
        scale, zero_point = details[name]["quantization"]
        plain = values.astype(np.float64)
        found[name] = (plain - zero_point) * scale if scale else plain
    return found


def theirs(model: Path, calibration: list[np.ndarray]) -> bytes:
    from ai_edge_quantizer import quantizer, recipe

    made = quantizer.Quantizer(str(model))
    made.load_quantization_recipe(recipe.static_wi8_ai8())
    ranges = made.calibrate({"detect": [{"images": images} for images in calibration]})
    return bytes(made.quantize(ranges).quantized_model)


@pytest.mark.slow
def test_int8_is_no_further_from_float_than_ai_edge_quantizers() -> None:
    data = demo.material()
    pictures = calibrationset.find_calibration(data.calibration)
    source = making.read_weights("yolov5s-seg")
    made = making.make_float(source, IMGSZ)
    ours = making.make_quantized(source, made, pictures, for_bits(8)).path.read_bytes()
    other = theirs(made.tflite, tensors(pictures.paths))
    reference = runner(made.tflite.read_bytes())

    def error(model: bytes) -> tuple[float, float]:
        """Of scores, and of boxes weighted by objectness: logits far below zero say nothing."""
        quantized, scores, boxes = runner(model), [], []
        for images in tensors(find_pictures(data.images)):
            wrong, right = seen(real(quantized, images)), seen(real(reference, images))
            for stride in (8, 16, 32):
                weight = right[f"objectness_{stride}"]
                scores.append(np.abs(score(wrong, stride) - score(right, stride)).sum())
                off = np.abs(wrong[f"boxes_{stride}"] - right[f"boxes_{stride}"])
                boxes.append((off.reshape(*weight.shape, 4).mean(4) * weight).sum())
        return float(np.sum(scores)), float(np.sum(boxes))

    (our_scores, our_boxes), (their_scores, their_boxes) = error(ours), error(other)
    assert 0 < our_scores <= MARGIN * their_scores
    assert 0 < our_boxes <= MARGIN * their_boxes


def seen(raw: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    return {name: 1 / (1 + np.exp(-values)) for name, values in raw.items()}


def score(found: dict[str, np.ndarray], stride: int) -> np.ndarray:
    objectness = found[f"objectness_{stride}"]
    return found[f"classes_{stride}"].reshape(*objectness.shape, 80) * objectness[..., None]
