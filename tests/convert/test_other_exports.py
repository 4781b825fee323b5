"""Models as other tools export them: one output, decoded inside, labels appended or absent."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from ai_edge_litert import schema_py_generated as schema
from ai_edge_litert.interpreter import Interpreter

from targets import zipapp
from targets.agent.frames import letterbox, read_picture
from targets.agent.wire import Detected
from targets.places import cache_dir
from toolchain import onhost
from toolchain.bundle import Settings, bundle
from toolchain.convert import FloatModel
from toolchain.detector import Detector
from toolchain.errors import LabelsDisagree
from toolchain.subject import Subject, subject
from toolchain.tflite import flatbuffer
from toolchain.tflite.compose import Graph
from toolchain.tflite.layout import understand

HEIGHT, WIDTH = 96, 128


def decoded(detector: Detector, model: FloatModel, picture: Path, unit: list[float]) -> Any:
    """[1, N, 5 + C] as YOLOv5 exports it: what the float model sees on `picture`."""
    pixels = letterbox(read_picture(picture), (HEIGHT, WIDTH)).pixels
    runner = Interpreter(model_path=str(model.tflite)).get_signature_runner("detect")
    raw = runner(images=pixels[None].astype(np.float32) / 255)
    seen = {name: 1 / (1 + np.exp(-value.astype(np.float64))) for name, value in raw.items()}
    rows = []
    for level in detector.levels:
        boxes, objectness, classes = (
            seen[f"{part}_{level.stride}"] for part in ("boxes", "objectness", "classes")
        )
        for a, anchor in enumerate(level.anchors):
            s = boxes[0, ..., 4 * a : 4 * a + 4]
            grid = np.stack(np.meshgrid(*map(np.arange, (s.shape[1], s.shape[0]))), 2)
            centre = (2 * s[..., :2] - 0.5 + grid) * level.stride
            size = (2 * s[..., 2:]) ** 2 * anchor
            labels = classes[0, ..., 80 * a : 80 * (a + 1)]
            row = [centre / unit, size / unit, objectness[0, ..., a : a + 1], labels]
            rows.append(np.concatenate(row, 2).reshape(-1, 85))
    return np.concatenate(rows)[None].astype(np.float32)


@pytest.fixture(scope="module", params=["fractions", "pixels"])
def exported(
    request: pytest.FixtureRequest,
    yolov5s: Detector,
    float_model: FloatModel,
    pictures: list[Path],
    tmp_path_factory: pytest.TempPathFactory,
) -> Path:
    """A model that answers what YOLOv5s sees on the first picture, decoded."""
    unit = [WIDTH, HEIGHT] if request.param == "fractions" else [1, 1]
    rows = decoded(yolov5s, float_model, pictures[0], unit)
    graph = Graph()
    image = graph.tensor("images", (1, HEIGHT, WIDTH, 3))
    seen, zero = graph.constant("seen", rows), graph.constant("zero", np.zeros(1, np.float32))
    output = graph.tensor("output", rows.shape)
    graph.operator("ADD", [seen, zero], [output], schema.AddOptionsT())
    path = tmp_path_factory.mktemp(request.param) / "exported.tflite"
    path.write_bytes(flatbuffer.serialize(graph.model([image], [output])))
    return path


def boxes_of(model: Subject, picture: Path) -> Any:
    settings = Settings(head=model.head, imgsz=(HEIGHT, WIDTH), warmup=0, timed_runs=0)
    job = bundle(
        model.path, zipapp.build(cache_dir()), pictures=[("1", picture)], settings=settings
    )
    found = [e.record for e in onhost.run(job) if isinstance(e.record, Detected)]
    return np.array(found[0].detections)


def test_an_export_with_decoding_inside_gives_the_boxes_of_ours(
    exported: Path, float_model: FloatModel, pictures: list[Path]
) -> None:
    ours = boxes_of(subject(float_model.tflite), pictures[0])
    theirs = boxes_of(subject(exported), pictures[0])
    assert len(ours) > 20
    np.testing.assert_allclose(theirs[:20], ours[:20], atol=0.05)


def test_labels_appended_to_an_export_are_taken_if_their_number_fits(
    exported: Path, yolov5s: Detector, tmp_path: Path
) -> None:
    def with_labels(names: list[str]) -> Path:
        copy = tmp_path / f"{len(names)}.tflite"
        copy.write_bytes(exported.read_bytes())
        with zipfile.ZipFile(copy, "a") as archive:
            archive.writestr("metadata.json", json.dumps({"names": dict(enumerate(names))}))
        return copy

    head = understand(with_labels(list(yolov5s.names)))
    assert head is not None
    assert head.names == yolov5s.names
    with pytest.raises(LabelsDisagree, match="3 labels and outputs for 80 classes"):
        understand(with_labels(["a", "b", "c"]))
