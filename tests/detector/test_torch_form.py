from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import torch

from toolchain.detector import load_detector, output_layers, output_names, to_torch
from toolchain.errors import MissingExtra


def test_parameters_are_called_as_the_layers_are(small_file: Path) -> None:
    detector = load_detector(small_file)
    state = to_torch(detector).state_dict()
    assert state.keys() == {
        f"{name}.{part}" for name in detector.weights for part in ("weight", "bias")
    }
    assert output_layers(detector)[0] == "model.7.boxes.0"
    assert sum(value.numel() for value in state.values()) == detector.parameters


def test_changing_the_torch_form_leaves_the_detector_alone(small_file: Path) -> None:
    detector = load_detector(small_file)
    before = detector.weights["model.4.conv"].weight.copy()
    to_torch(detector).get_parameter("model.4.conv.weight").data.zero_()
    assert (detector.weights["model.4.conv"].weight == before).all()


@pytest.mark.filterwarnings("ignore:.*torch.jit:DeprecationWarning")
def test_the_graph_can_be_traced_with_constant_shapes(small_file: Path) -> None:
    detector = load_detector(small_file)
    model = to_torch(detector)
    x = torch.rand(1, 3, 64, 96)
    traced = torch.jit.trace(model, x)
    seen = traced(x)
    assert len(seen) == len(output_names(detector))
    for one, other in zip(seen, model(x), strict=True):
        torch.testing.assert_close(one, other)
    kinds = {node.kind() for node in traced.inlined_graph.nodes()}
    assert not kinds & {"aten::size", "aten::shape", "prim::If", "prim::Loop"}


def test_without_torch_the_error_names_the_extra(
    small_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    detector = load_detector(small_file)
    monkeypatch.setitem(sys.modules, "torch", None)
    with pytest.raises(MissingExtra) as caught:
        to_torch(detector)
    assert "scripts/environment .venv convert" in caught.value.hint


def test_reading_a_checkpoint_needs_no_torch(small_file: Path) -> None:
    program = (
        "import sys; sys.modules['torch'] = None\n"
        "from pathlib import Path\n"
        "from toolchain.detector import load_detector\n"
        "print(load_detector(Path(sys.argv[1])).family)"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, small_file], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "yolov5-custom"
