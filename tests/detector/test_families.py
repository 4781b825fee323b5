"""Users' own models: other counts of classes and anchors, every supported family, the others."""

from __future__ import annotations

import sys
import types
from pathlib import Path

import pytest
import torch
from torch import nn

from tests.detector import authors
from tests.detector.comparing import (
    assert_close,
    outputs_in_training_form,
    outputs_of,
    pictures,
)
from toolchain.detector import Convolution, head_of, load_detector, to_torch
from toolchain.errors import CheckpointError, LabelsDisagree, NotADetector, UnsupportedFamily

FOUR_ANCHORS = [[8, 9, 12, 16, 19, 36, 40, 28], [36, 75, 76, 55, 72, 146, 90, 90],
                [142, 110, 192, 243, 459, 401, 300, 300]]  # fmt: skip
NAMES = ("bolt", "nut", "washer")


@pytest.mark.parametrize("family", ["yolov7", "yolov7-tiny"])
def test_four_anchors_and_three_classes_are_read_from_the_tensors(
    family: str, tmp_path: Path
) -> None:
    model = authors.build(family, width=0.125, names=NAMES, anchors=FOUR_ANCHORS)
    head = model.model[-1]
    assert head.i == {"yolov7": 105, "yolov7-tiny": 77}[family]
    assert head.m[0].weight.shape[0] == head.im[0].implicit.shape[1] == 32
    detector = load_detector(authors.save(tmp_path / "four.pt", {"model": model}))
    assert detector.names == NAMES
    assert [len(level) for level in detector.anchors] == [4, 4, 4]
    assert detector.anchors[0] == ((8, 9), (12, 16), (19, 36), (40, 28))
    x = pictures()
    assert_close(outputs_of(detector, x), outputs_in_training_form(model, x, anchors=4))
    levels = outputs_of(detector, torch.zeros(1, 3, 640, 640))
    assert sum(level.shape[0] * level[0, 0].numel() for level in levels) == 33_600


def test_tiny_runs_leaky_relu_with_its_slope(tmp_path: Path) -> None:
    model = authors.build("yolov7-tiny", names=[str(index) for index in range(80)])
    detector = load_detector(authors.save(tmp_path / "tiny.pt", {"model": model}))
    assert detector.family == "yolov7-tiny"
    assert detector.parameters == 6_219_709
    inner = [layer for layer in detector.layers if isinstance(layer, Convolution)][:-9]
    assert {(layer.activation, layer.slope) for layer in inner} == {("leaky_relu", 0.1)}


@pytest.mark.slow
def test_yolov7x_is_known_by_its_layout(tmp_path: Path) -> None:
    model = authors.build("yolov7x", names=[str(index) for index in range(80)])
    path = authors.save(tmp_path / "x.pt", {"model": model.half()})
    detector = load_detector(path)
    assert detector.family == "yolov7x"
    assert round(detector.parameters / 1e6, 1) == 71.3


@pytest.mark.parametrize(
    ("letter", "width", "depth"),
    [("n", 0.25, 1), ("s", 0.5, 1), ("m", 0.75, 2)],
)
def test_yolov5_is_known_by_width_and_depth(
    letter: str, width: float, depth: int, tmp_path: Path
) -> None:
    model = authors.build("yolov5", width=width, depth=depth)
    path = authors.save(tmp_path / "v5.pt", {"model": model.half()})
    detector = load_detector(path)
    assert detector.family == f"yolov5{letter}"
    if letter == "n":
        x = pictures()
        assert_close(outputs_of(detector, x), outputs_in_training_form(model.float(), x))


def test_focus_and_spp_of_the_first_yolov5_are_exact(small_file: Path) -> None:
    detector = load_detector(small_file)
    x = pictures()
    assert_close(outputs_of(detector, x), outputs_in_training_form(authors.small(), x))
    assert detector.family == "yolov5-custom"
    assert all(isinstance(layer.stride, int) for layer in detector.layers if "conv" in layer.name)


def test_one_class_of_yolov7_is_scored_by_objectness_alone(tmp_path: Path) -> None:
    one = {"names": ("ball",), "width": 0.125}
    v7 = load_detector(authors.save(tmp_path / "7.pt", authors.build("yolov7-tiny", **one)))
    v5 = load_detector(authors.save(tmp_path / "5.pt", authors.build("yolov5", **one)))
    two = authors.build("yolov7-tiny", names=("ball", "bat"), width=0.125)
    assert head_of(v7).single_class_objectness
    assert not head_of(v5).single_class_objectness
    assert not load_detector(authors.save(tmp_path / "2.pt", two)).single_class_objectness


def test_any_height_and_width_that_32_divides(small_file: Path) -> None:
    boxes, objectness, classes, *_ = to_torch(load_detector(small_file))(torch.zeros(1, 3, 96, 160))
    assert boxes.shape == (1, 12, 12, 20)
    assert objectness.shape == (1, 3, 12, 20)
    assert classes.shape == (1, 9, 12, 20)


# --- what is refused, and by which name


def test_four_levels_are_refused_by_the_name_of_their_family(tmp_path: Path) -> None:
    p6 = [*authors.ANCHORS, [436, 615, 739, 380, 925, 792]]
    auxiliary = authors.small(authors.IAuxDetect, anchors=p6, levels=4)
    with pytest.raises(UnsupportedFamily, match=r"YOLOv7-w6.*IAuxDetect") as caught:
        load_detector(authors.save(tmp_path / "w6.pt", auxiliary))
    assert "YOLOv7-tiny" in caught.value.hint
    deploy = authors.small(authors.IDetect, anchors=p6, levels=4, first=authors.ReOrg())
    with pytest.raises(UnsupportedFamily, match=r"YOLOv7-w6.*4 levels"):
        load_detector(authors.save(tmp_path / "w6-deploy.pt", deploy))
    v5 = authors.small(anchors=p6, levels=4)
    with pytest.raises(UnsupportedFamily, match=r"YOLOv5 P6 \(4 levels\)"):
        load_detector(authors.save(tmp_path / "p6.pt", v5))


@pytest.mark.parametrize(
    ("kind", "error", "says"),
    [
        ("ultralytics.nn.tasks.DetectionModel", UnsupportedFamily, "YOLOv8"),
        ("yolov6.models.yolo.Model", UnsupportedFamily, "YOLOv6"),
        ("models.models.Darknet", UnsupportedFamily, "YOLOR"),
        ("torchvision.models.resnet.ResNet", NotADetector, "ResNet"),
        ("models.yolo.ClassificationModel", NotADetector, "ClassificationModel"),
    ],
)
def test_other_models_are_refused_by_name(
    kind: str, error: type[Exception], says: str, tmp_path: Path
) -> None:
    module, _, name = kind.rpartition(".")
    cls = type(name, (nn.Module,), {"__module__": module, "__qualname__": name})
    model = cls()
    model.model = nn.Sequential(nn.Conv2d(3, 8, 3))
    with pytest.raises(error, match=says):
        load_detector(_saved_under(module, cls, tmp_path / "other.pt", {"model": model}))


def test_layers_and_parts_that_we_do_not_know_are_named(tmp_path: Path) -> None:
    model = authors.small()
    model.model[1].attention = nn.Sequential(nn.Conv2d(16, 16, 1))
    with pytest.raises(UnsupportedFamily, match=r"model\.1 .*attention"):
        load_detector(authors.save(tmp_path / "part.pt", model))
    model = authors.small(first=nn.Conv2d(3, 8, 3, 1, 1, groups=1))
    model.model[2] = nn.GELU()
    model.model[2].f = -1
    with pytest.raises(UnsupportedFamily, match=r"model\.2 is a .*GELU"):
        load_detector(authors.save(tmp_path / "layer.pt", model))
    model = authors.small()
    model.model[1].act = nn.Hardswish()
    with pytest.raises(UnsupportedFamily, match="Hardswish"):
        load_detector(authors.save(tmp_path / "act.pt", model))
    model = authors.small()
    model.model[1].conv = nn.Conv2d(8, 16, 3, 2, 1, groups=8, bias=False)
    with pytest.raises(UnsupportedFamily, match=r"model\.1.*groups 8"):
        load_detector(authors.save(tmp_path / "groups.pt", model))


def test_a_model_that_ends_in_no_head_is_no_detector(tmp_path: Path) -> None:
    model = authors.small()
    del model.model[-1]
    with pytest.raises(NotADetector, match=r"ends in a models\.common\.Conv"):
        load_detector(authors.save(tmp_path / "headless.pt", model))
    tensors = {"fc.weight": torch.zeros(10, 10), "fc.bias": torch.zeros(10)}
    with pytest.raises(NotADetector, match=r"fc\.weight"):
        load_detector(authors.save(tmp_path / "linear.pt", tensors))


def test_a_head_of_the_same_name_without_anchors_is_refused(tmp_path: Path) -> None:
    """YOLOv9 calls its head Detect too."""
    model = authors.small()
    head = model.model[-1]
    head.cv2 = head.m
    del head.m
    with pytest.raises(UnsupportedFamily, match="YOLOv9"):
        load_detector(authors.save(tmp_path / "v9.pt", model))


# --- labels


@pytest.mark.parametrize(
    "change",
    [
        lambda model: setattr(model, "names", ["a", "b"]),
        lambda model: setattr(model, "names", {0: "a", 1: "b"}),
        lambda model: model.yaml.update(nc=2),
        lambda model: setattr(model.model[-1], "nc", 2),
    ],
    ids=["list", "dict", "yaml", "head"],
)
def test_labels_that_disagree_with_the_head_are_refused_with_both_numbers(
    change: object, tmp_path: Path
) -> None:
    model = authors.small()
    change(model)
    with pytest.raises(LabelsDisagree, match=r"2 classes.* for 3"):
        load_detector(authors.save(tmp_path / "labels.pt", model))


def test_the_users_own_labels_go_first(small_file: Path) -> None:
    assert load_detector(small_file, names=NAMES).names == NAMES
    with pytest.raises(LabelsDisagree, match=r"4 classes.* for 3"):
        load_detector(small_file, names=(*NAMES, "more"))


def test_names_may_be_numbered(tmp_path: Path) -> None:
    model = authors.small()
    model.names = {2: "c", 0: "a", 1: "b"}
    assert load_detector(authors.save(tmp_path / "x.pt", model)).names == ("a", "b", "c")


def test_rows_that_fit_no_class_count_are_refused_with_the_numbers(tmp_path: Path) -> None:
    model = authors.small()
    model.model[-1].m[0] = nn.Conv2d(16, 25, 1)
    with pytest.raises(LabelsDisagree, match=r"\[24, 25\] rows and 3 anchors"):
        load_detector(authors.save(tmp_path / "rows.pt", model))


# --- anchors and strides


def test_anchors_stated_twice_have_to_agree(tmp_path: Path) -> None:
    model = authors.small(authors.IDetect)
    model.model[-1].anchor_grid[1, 0, 2, 0, 0, 0] += 5
    with pytest.raises(CheckpointError, match=r"anchor 2 of level 1 twice"):
        load_detector(authors.save(tmp_path / "anchors.pt", model))


def test_strides_that_the_layers_do_not_have_are_refused(tmp_path: Path) -> None:
    model = authors.small()
    model.model[-1].stride = torch.tensor([8.0, 16.0, 64.0])
    with pytest.raises(CheckpointError, match=r"8.0, 16.0, 64.0.*\[8, 16, 32\]"):
        load_detector(authors.save(tmp_path / "strides.pt", model))


# --- forms of one model


def test_a_model_fused_by_the_authors_code_is_not_folded_twice(tmp_path: Path) -> None:
    model = authors.small(authors.IDetect)
    x = pictures()
    expected = outputs_in_training_form(model, x)
    head = model.model[-1]
    for conv, add, multiply in zip(head.m, head.ia, head.im, strict=True):
        conv.bias += conv.weight[:, :, 0, 0] @ add.implicit.flatten()
        conv.bias *= multiply.implicit.view(-1)
        conv.weight *= multiply.implicit.view(-1, 1, 1, 1)
    head.forward = head.fuseforward
    detector = load_detector(authors.save(tmp_path / "fused.pt", {"model": model}))
    assert_close(outputs_of(detector, x), expected)
    assert any("folded in already" in note for note in detector.notes)


def test_a_model_inside_data_parallel_is_found(tmp_path: Path) -> None:
    model = authors.small()
    wrapped = {"model": nn.DataParallel(model)}
    detector = load_detector(authors.save(tmp_path / "parallel.pt", wrapped))
    x = pictures()
    assert_close(outputs_of(detector, x), outputs_in_training_form(model, x))


@pytest.mark.parametrize("family", ["yolov7-tiny", "yolov5"])
@pytest.mark.parametrize("prefix", ["", "module."])
def test_tensors_without_modules_are_read_by_the_layout_of_a_known_family(
    family: str, prefix: str, tmp_path: Path
) -> None:
    model = authors.build(family, width=0.25 if family == "yolov5" else 1.0)
    state = {prefix + key: value for key, value in model.state_dict().items()}
    detector = load_detector(authors.save(tmp_path / "state.pt", {"model": state}))
    x = pictures()
    assert_close(outputs_of(detector, x), outputs_in_training_form(model, x))
    assert detector.names == ("class 0", "class 1", "class 2")


def test_tensors_of_an_unknown_layout_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UnsupportedFamily, match="8 layers"):
        load_detector(authors.save(tmp_path / "state.pt", authors.small().state_dict()))
    narrow = authors.build("yolov5", width=0.125).state_dict()
    with pytest.raises(UnsupportedFamily, match="tensors only"):
        load_detector(authors.save(tmp_path / "narrow.pt", narrow))


def _saved_under(module: str, cls: type, path: Path, content: object) -> Path:
    """torch.save of an object whose class lies in a module of that name."""
    parts = module.split(".")
    names = [".".join(parts[: count + 1]) for count in range(len(parts))]
    before = {name: sys.modules.get(name) for name in names}
    sys.modules.update({name: types.ModuleType(name) for name in names})
    setattr(sys.modules[module], cls.__name__, cls)
    try:
        torch.save(content, path)
    finally:
        for name, was in before.items():
            if was is None:
                sys.modules.pop(name, None)
            else:
                sys.modules[name] = was
    return path
