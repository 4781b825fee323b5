"""Which outputs are understood, from shapes alone; labels are read and never evaluated."""

from __future__ import annotations

import io
import tempfile
import zipfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from toolchain.errors import LabelsDisagree
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
        ("stride: 32\nnames:\n  0: cat\n  1: dog\n", ("cat", "dog")),
        ("names: !!python/object/apply:os.system ['true']", None),
        ("{'names': {1e999: 'cat'}}", None),
        ("{'names': " + "[" * 5000 + "]" * 5000 + "}", None),
        ("nothing", None),
    ],
)
def test_appended_labels_are_data(tmp_path: Path, text: str, names: tuple[str, ...] | None) -> None:
    path = constant_model(tmp_path / "m.tflite", np.zeros((1, 10)))
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("temp_meta.txt", text)
    assert appended_labels(path) == names


@given(st.data())
def test_a_damaged_archive_means_no_labels_or_the_right_ones(data: st.DataObject) -> None:
    whole = io.BytesIO(b"a model before it")
    with zipfile.ZipFile(whole, "a", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("metadata.json", '{"names": {"0": "cat"}}')
    damaged = bytearray(whole.getvalue())
    damaged[data.draw(st.integers(0, len(damaged) - 1))] ^= data.draw(st.integers(1, 255))
    with tempfile.NamedTemporaryFile(suffix=".tflite") as file:
        Path(file.name).write_bytes(damaged)
        assert appended_labels(Path(file.name)) in (None, ("cat",))


def raw_levels(path: Path, shapes: list[tuple[int, ...]]) -> Path:
    graph = Graph()
    image = graph.tensor("images", (1, 96, 128, 3))
    outputs = [graph.tensor(f"level_{place}", shape) for place, shape in enumerate(shapes)]
    for output in outputs:
        graph.operator("SomeHead", [image], [output])
    path.write_bytes(flatbuffer.serialize(graph.model([image], outputs)))
    return path


PAIRS = [[(10.0, 13.0), (16.0, 30.0)], [(30.0, 61.0), (62.0, 45.0)]]


def test_raw_levels_are_understood_where_anchors_are_given(tmp_path: Path) -> None:
    path = raw_levels(tmp_path / "m.tflite", [(1, 6, 8, 2 * 8), (1, 12, 16, 2 * 8)])

    head = understand(path, anchors=PAIRS)

    assert head is not None
    assert (head.layout, len(head.names)) == ("levels", 3)
    assert [(level.stride, level.boxes) for level in head.levels] == [
        (8, "level_1"),
        (16, "level_0"),
    ]
    assert head.levels[0].anchors == tuple(PAIRS[0])


def test_without_anchors_raw_levels_are_not_guessed_at(tmp_path: Path) -> None:
    assert understand(raw_levels(tmp_path / "m.tflite", [(1, 6, 8, 16), (1, 12, 16, 16)])) is None


@pytest.mark.parametrize(
    "shapes",
    [
        [(1, 12, 16, 16)],  # one level for two sets of anchors
        [(1, 12, 16, 16), (1, 6, 8, 17)],  # an odd number of rows for two anchors
        [(1, 12, 16, 16), (1, 6, 8, 18)],  # another number of classes
        [(1, 12, 16, 16), (1, 16, 6, 8)],  # channels first
        [(1, 12, 16, 10), (1, 6, 8, 10)],  # no class at all
        [(1, 12, 16, 16), (1, 12, 16, 16)],  # twice the same stride
    ],
)
def test_levels_that_do_not_fit_are_not_understood(
    tmp_path: Path, shapes: list[tuple[int, ...]]
) -> None:
    assert understand(raw_levels(tmp_path / "m.tflite", shapes), anchors=PAIRS) is None


def test_labels_that_do_not_fit_the_levels_are_an_error(tmp_path: Path) -> None:
    path = raw_levels(tmp_path / "m.tflite", [(1, 12, 16, 16), (1, 6, 8, 16)])

    with pytest.raises(LabelsDisagree, match="2 labels and outputs for 3 classes"):
        understand(path, names=["a", "b"], anchors=PAIRS)


def test_a_model_that_does_not_run_here_is_not_understood(tmp_path: Path) -> None:
    graph = Graph()
    image = graph.tensor("images", (1, 128, 128, 3))
    result = graph.tensor("output", (1, 3 * CELLS, 85))
    graph.operator("OnlyOnTheirBoard", [image], [result])
    path = tmp_path / "m.tflite"
    path.write_bytes(flatbuffer.serialize(graph.model([image], [result])))

    assert understand(path) is None
