"""The two published checkpoints, against torch's own reading of them, and unfolded again."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from tests.detector import authors
from tests.detector.comparing import (
    assert_close,
    outputs_in_training_form,
    outputs_of,
    pictures,
)
from tests.detector.unfolding import training_form
from toolchain.detector import Convolution, Detector, head_of, load_detector, output_names

BOXES_AND_CLASSES = slice(0, 85)  # of the 117 rows of an anchor; the others are masks


def test_yolov7_has_the_published_number_of_parameters(yolov7: Detector) -> None:
    assert yolov7.family == "yolov7"
    assert yolov7.parameters == 36_905_341
    convolutions = [layer for layer in yolov7.layers if isinstance(layer, Convolution)]
    assert len(convolutions) == 92 + 6  # three of them are split in three
    assert {layer.activation for layer in convolutions} == {"silu", "none"}


def test_heads_speak_of_80_classes_at_three_strides(yolov7: Detector, yolov5s: Detector) -> None:
    for detector in (yolov7, yolov5s):
        assert detector.strides == (8, 16, 32)
        assert len(detector.names) == 80
        assert detector.names[0] == "person"
        assert output_names(detector)[:4] == ("boxes_8", "objectness_8", "classes_8", "boxes_16")
        assert head_of(detector).levels[2].anchors == detector.anchors[2]
        assert any("mask" in note for note in detector.notes)
    assert yolov7.anchors[0] == ((12, 16), (19, 36), (40, 28))
    assert yolov5s.anchors[2] == ((116, 90), (156, 198), (373, 326))
    assert yolov5s.family == "yolov5s"


@pytest.mark.parametrize("name", ["yolov5s", "yolov7"])
def test_outputs_are_those_of_the_file_as_torch_reads_it(
    name: str, request: pytest.FixtureRequest
) -> None:
    detector = request.getfixturevalue(name)
    model = authors.load(request.getfixturevalue(f"{name}_file"))["model"].float().eval()
    x = pictures()
    assert_close(
        outputs_of(detector, x), outputs_in_training_form(model, x, rows=BOXES_AND_CLASSES)
    )


@pytest.fixture(scope="module")
def unfolded(yolov7: Detector) -> authors.Model:
    return training_form(yolov7, "yolov7")


@pytest.fixture(scope="module")
def folded_again(unfolded: authors.Model, tmp_path_factory: pytest.TempPathFactory) -> Detector:
    path = tmp_path_factory.mktemp("unfolded") / "yolov7.pt"
    return load_detector(authors.save(path, {"model": unfolded, "ema": None}))


def test_real_weights_in_the_authors_training_form_give_equal_outputs(
    yolov7: Detector, unfolded: authors.Model, folded_again: Detector
) -> None:
    assert isinstance(unfolded.model[102], authors.RepConv)
    assert isinstance(unfolded.model[105], authors.IDetect)
    x = pictures()
    assert_close(outputs_of(folded_again, x), outputs_in_training_form(unfolded, x))
    # The training form itself holds float32 numbers, so here weights were rounded twice.
    assert_close(outputs_of(folded_again, x), outputs_of(yolov7, x), relative=2e-4)
    assert folded_again.parameters == yolov7.parameters
    assert [layer.name for layer in folded_again.layers] == [layer.name for layer in yolov7.layers]


def test_folding_gives_the_real_weights_back(yolov7: Detector, folded_again: Detector) -> None:
    for name, conv in yolov7.weights.items():
        again = folded_again.weights[name]
        for part, part_again in ((conv.weight, again.weight), (conv.bias, again.bias)):
            np.testing.assert_allclose(part_again, part, atol=5e-6 * max(1, np.abs(part).max()))


def test_half_precision_is_widened_before_folding(tmp_path: Path) -> None:
    model = authors.build("yolov5", width=0.25)
    path = authors.save(tmp_path / "half.pt", {"model": model.half()})
    detector = load_detector(path)
    x = pictures()
    assert_close(outputs_of(detector, x), outputs_in_training_form(model.float(), x))
    assert any("16 bits" in note for note in detector.notes)


def test_a_three_class_head_cut_out_of_real_weights_scores_those_classes(
    yolov7: Detector, unfolded: authors.Model, tmp_path: Path
) -> None:
    person, car, truck = 0, 2, 7
    rows = [0, 1, 2, 3, 4, 5 + person, 5 + car, 5 + truck]
    whole = outputs_in_training_form(unfolded, pictures(), rows=rows)
    cut = authors.load(authors.save(tmp_path / "copy.pt", unfolded))
    head = cut.model[-1]
    kept = torch.tensor([85 * anchor + row for anchor in range(3) for row in rows])
    for conv, multiply in zip(head.m, head.im, strict=True):
        conv.weight.data, conv.bias.data = conv.weight[kept], conv.bias[kept]
        multiply.implicit.data = multiply.implicit[:, kept]
    head.nc, head.no, cut.nc = 3, 8, 3
    cut.names, cut.yaml = ["person", "car", "truck"], {"nc": 3}
    detector = load_detector(authors.save(tmp_path / "three.pt", {"model": cut}))
    assert detector.names == ("person", "car", "truck")
    assert_close(outputs_of(detector, pictures()), whole)


def test_the_deploy_form_holds_no_more_than_float32_needs(yolov7: Detector) -> None:
    arrays = [array for conv in yolov7.weights.values() for array in (conv.weight, conv.bias)]
    assert {array.dtype for array in arrays} == {np.dtype(np.float32)}
    assert not any(array.flags.writeable for array in arrays)
