"""Which outputs are understood, from shapes alone; labels are read and never evaluated."""

from __future__ import annotations

import zipfile
from pathlib import Path

import numpy as np
import pytest

from toolchain.tflite import flatbuffer
from toolchain.tflite.compose import Graph
from toolchain.tflite.labels import appended_labels
from toolchain.tflite.layout import understand


def constant_model(path: Path, output: np.ndarray, *, size: int = 128) -> Path:
    """A model that answers `output` whatever it sees."""
    graph = Graph()
    image = graph.tensor("images", (1, size, size, 3))
    answer = graph.constant("answer", output.astype(np.float32))
    zero = graph.constant("zero", np.zeros(1, np.float32))
    from ai_edge_litert import schema_py_generated as schema

    result = graph.tensor("output", output.shape)
    graph.operator("ADD", [answer, zero], [result], schema.AddOptionsT())
    path.write_bytes(flatbuffer.serialize(graph.model([image], [result])))
    return path


def candidates(count: int, depth: int, reach: float) -> np.ndarray:
    rows = np.zeros((1, count, depth))
    rows[0, :, 0] = rows[0, :, 1] = np.linspace(0, reach, count)
    return rows


CELLS = 16 * 16 + 8 * 8 + 4 * 4  # of a 128 x 128 input


@pytest.mark.parametrize(("reach", "normalised"), [(0.98, True), (127.0, False)])
def test_rows_of_three_anchors_a_cell_are_an_anchored_head(
    tmp_path: Path, reach: float, normalised: bool
) -> None:
    head = understand(constant_model(tmp_path / "m.tflite", candidates(3 * CELLS, 85, reach)))
    assert head is not None
    assert (head.layout, len(head.names), head.normalised) == ("rows", 80, normalised)


def test_columns_of_one_candidate_a_cell_are_an_anchor_free_head(tmp_path: Path) -> None:
    output = candidates(CELLS, 84, 0.98).transpose(0, 2, 1)
    head = understand(constant_model(tmp_path / "m.tflite", output))
    assert head is not None
    assert (head.layout, len(head.names)) == ("columns", 80)


@pytest.mark.parametrize("shape", [(1, 1000), (1, 300, 6), (1, 7, 7, 1024), (1, CELLS, 84)])
def test_other_outputs_are_not_guessed_at(tmp_path: Path, shape: tuple[int, ...]) -> None:
    assert understand(constant_model(tmp_path / "m.tflite", np.zeros(shape))) is None


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ('{"names": {"0": "cat", "1": "dog"}}', ("cat", "dog")),
        ("{'stride': 32, 'names': {0: 'cat', 1: 'dog'}}", ("cat", "dog")),
        ("{'names': __import__('os').system('true')}", None),
        ('{"names": {"0": "cat", "2": "dog"}}', None),
        ("nothing", None),
    ],
)
def test_appended_labels_are_data(tmp_path: Path, text: str, names: tuple[str, ...] | None) -> None:
    path = constant_model(tmp_path / "m.tflite", np.zeros((1, 10)))
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("temp_meta.txt", text)
    assert appended_labels(path) == names
