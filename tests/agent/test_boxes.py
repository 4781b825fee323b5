"""Boxes from raw outputs, held against a slow and obvious reading of the same rules."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from targets.agent.boxes import (
    Head,
    HeadError,
    Level,
    Output,
    OutputMismatch,
    OutputNotFinite,
    detect,
    head_from_dict,
    head_to_dict,
)
from targets.agent.letterbox import place

ANCHORS = ((12.0, 16.0), (19.0, 36.0), (40.0, 28.0))
PLACEMENT = place((48, 64), (64, 96))  # pads at the left and right
F = np.float32


def named(count):
    return tuple(f"class {index}" for index in range(count))


def leveled(classes, *, anchors=2, single=False):
    levels = tuple(
        Level(
            stride,
            ANCHORS[:anchors],
            f"boxes_{stride}",
            f"objectness_{stride}",
            f"classes_{stride}",
        )
        for stride in (16, 32)
    )
    return Head("levels", named(classes), levels, single_class_objectness=single)


def raw_outputs(head, rng, *, spread=3.0):
    outputs, anchors, classes = {}, len(head.levels[0].anchors), len(head.names)
    for level in head.levels:
        size = (1, 64 // level.stride, 96 // level.stride)
        for name, depth in ((level.boxes, 4), (level.objectness, 1), (level.classes, classes)):
            outputs[name] = rng.normal(0, spread, (*size, anchors * depth)).astype(F)
    return outputs


def logistic(value):
    with np.errstate(over="ignore"):
        return F(1) / (F(1) + np.exp(-F(value)))


def reference_candidates(outputs, head, confidence, multi_label):
    """(x1, y1, x2, y2, score, class) of every cell, anchor and class, one at a time."""
    for level in head.levels:
        _, height, width, _ = outputs[level.objectness].shape
        for y in range(height):
            for x in range(width):
                for a, anchor in enumerate(level.anchors):
                    objectness = logistic(outputs[level.objectness][0, y, x, a])
                    tx, ty, tw, th = (
                        logistic(outputs[level.boxes][0, y, x, a * 4 + k]) * F(2) for k in range(4)
                    )
                    cx = (tx - F(0.5) + F(x)) * F(level.stride)
                    cy = (ty - F(0.5) + F(y)) * F(level.stride)
                    w, h = tw * tw * F(anchor[0]), th * th * F(anchor[1])
                    count = len(head.names)
                    scores = [
                        logistic(outputs[level.classes][0, y, x, a * count + c]) * objectness
                        for c in range(count)
                    ]
                    if head.single_class_objectness:
                        scores = [objectness]
                    if not objectness > F(confidence):
                        continue
                    chosen = range(count) if multi_label else [int(np.argmax(scores))]
                    for c in chosen:
                        if scores[c] > F(confidence):
                            corners = (
                                cx - w * F(0.5), cy - h * F(0.5), cx + w * F(0.5), cy + h * F(0.5),
                            )  # fmt: skip
                            yield (*corners, scores[c], c)


def overlaps_more(a, b, iou):
    ax1, ay1, ax2, ay2, bx1, by1, bx2, by2 = map(float, (*a[:4], *b[:4]))
    width = max(min(ax2, bx2) - max(ax1, bx1), 0)
    height = max(min(ay2, by2) - max(ay1, by1), 0)
    shared = width * height
    return shared > iou * ((ax2 - ax1) * (ay2 - ay1) + (bx2 - bx1) * (by2 - by1) - shared)


def reference_detect(candidates, placement, iou, max_detections):
    best_first = sorted(candidates, key=lambda candidate: -candidate[4])  # stable
    kept = []
    for candidate in best_first:
        rivals = [other for other in kept if other[5] == candidate[5]]
        if not any(overlaps_more(other, candidate, iou) for other in rivals):
            kept.append(candidate)
    rows = []
    for x1, y1, x2, y2, score, label in kept[:max_detections]:
        sx, sy = (
            placement.width / placement.resized_width,
            placement.height / placement.resized_height,
        )
        left = min(max((x1 - placement.pad_left) * sx, 0), placement.width)
        right = min(max((x2 - placement.pad_left) * sx, 0), placement.width)
        top = min(max((y1 - placement.pad_top) * sy, 0), placement.height)
        bottom = min(max((y2 - placement.pad_top) * sy, 0), placement.height)
        if right > left and bottom > top:
            rows.append([left, top, right, bottom, score, label])
    return np.array(rows, np.float64).reshape(-1, 6)


def assert_same(found, expected):
    assert found.dtype == np.float32
    assert found.shape == expected.shape
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-3)


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1),
    classes=st.integers(1, 4),
    single=st.booleans(),
    confidence=st.sampled_from([0.0, 0.001, 0.25, 0.7]),
    iou=st.sampled_from([0.0, 0.45, 0.65, 1.0]),
    limit=st.sampled_from([1, 7, 300]),
    multi_label=st.booleans(),
)
def test_detections_are_those_of_the_obvious_reading(
    seed, classes, single, confidence, iou, limit, multi_label
):
    head = leveled(classes, single=single and classes == 1)
    outputs = raw_outputs(head, np.random.default_rng(seed))
    found = detect(
        outputs, head, PLACEMENT,
        confidence=confidence, iou=iou, max_detections=limit, multi_label=multi_label,
    )  # fmt: skip
    candidates = reference_candidates(outputs, head, confidence, multi_label)
    assert_same(found, reference_detect(candidates, PLACEMENT, iou, limit))


@settings(max_examples=40, deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1),
    dtype=st.sampled_from(["int8", "uint8", "int16"]),
    scale=st.floats(0.02, 0.3),
    confidence=st.sampled_from([0.0, 0.001, 0.25, 0.9]),
)
def test_quantized_outputs_give_the_boxes_of_their_real_values(seed, dtype, scale, confidence):
    rng, head, limits = np.random.default_rng(seed), leveled(3), np.iinfo(dtype)
    outputs, real = {}, {}
    for name, values in raw_outputs(head, rng).items():
        zero = int(rng.integers(limits.min, limits.max + 1)) // 2
        steps = np.clip(np.rint(values / scale) + zero, limits.min, limits.max).astype(dtype)
        outputs[name] = Output(steps, scale, zero)
        real[name] = (steps.astype(F) - F(zero)) * F(scale)
    found = detect(outputs, head, PLACEMENT, confidence=confidence)
    np.testing.assert_array_equal(found, detect(real, head, PLACEMENT, confidence=confidence))


def test_a_scale_of_zero_means_not_quantized():
    head = leveled(3)
    outputs = raw_outputs(head, np.random.default_rng(1))
    wrapped = {name: Output(values, 0.0, 0) for name, values in outputs.items()}
    found = detect(wrapped, head, PLACEMENT)
    assert len(found)
    np.testing.assert_array_equal(found, detect(outputs, head, PLACEMENT))


def test_one_tensor_a_level_is_read_like_three():
    head = leveled(3)
    outputs = raw_outputs(head, np.random.default_rng(2))
    joined = {}
    for level in head.levels:
        shape = outputs[level.objectness].shape[:3]
        parts = [
            outputs[n].reshape(*shape, 2, -1)
            for n in (level.boxes, level.objectness, level.classes)
        ]
        joined[f"raw_{level.stride}"] = np.concatenate(parts, axis=-1).reshape(*shape, -1)
    levels = tuple(
        Level(level.stride, level.anchors, *[f"raw_{level.stride}"] * 3) for level in head.levels
    )
    found = detect(joined, Head("levels", head.names, levels), PLACEMENT)
    assert len(found)
    np.testing.assert_array_equal(found, detect(outputs, head, PLACEMENT))


def decoded_rows(rng, classes, count=60):
    centre = rng.uniform(0, [96, 64], (count, 2))
    return np.concatenate(
        [centre, rng.uniform(4, 40, (count, 2)), rng.uniform(0, 1, (count, 1 + classes))], axis=1
    ).astype(F)


def corners(row):
    x, y, w, h = row[:4]
    return (x - w * F(0.5), y - h * F(0.5), x + w * F(0.5), y + h * F(0.5))


@pytest.mark.parametrize("multi_label", [True, False])
def test_rows_of_decoded_boxes(multi_label):
    rows, head = decoded_rows(np.random.default_rng(3), 3), Head("rows", named(3), output="out")
    candidates = []
    for row in rows:
        scores = row[5:] * row[4]
        chosen = range(3) if multi_label else [int(scores.argmax())]
        candidates += [
            (*corners(row), scores[c], c)
            for c in chosen
            if row[4] > F(0.25) and scores[c] > F(0.25)
        ]
    found = detect({"out": rows[None]}, head, PLACEMENT, confidence=0.25, multi_label=multi_label)
    assert len(found) > 5
    assert_same(found, reference_detect(candidates, PLACEMENT, 0.65, 300))


@pytest.mark.parametrize("multi_label", [True, False])
def test_columns_of_decoded_boxes(multi_label):
    rows, head = decoded_rows(np.random.default_rng(4), 3), Head("columns", named(3), output="out")
    rows = np.delete(rows, 4, axis=1)
    candidates = []
    for row in rows:
        chosen = range(3) if multi_label else [int(row[4:].argmax())]
        candidates += [(*corners(row), row[4 + c], c) for c in chosen if row[4 + c] > F(0.25)]
    found = detect({"out": rows.T[None]}, head, PLACEMENT, confidence=0.25, multi_label=multi_label)
    assert len(found) > 5
    assert_same(found, reference_detect(candidates, PLACEMENT, 0.65, 300))


@pytest.mark.parametrize("layout", ["rows", "columns"])
def test_fractions_of_the_input_are_scaled_by_its_width_and_height(layout):
    rows = decoded_rows(np.random.default_rng(5), 2)
    if layout == "columns":
        rows = np.delete(rows, 4, axis=1)
    fractions = rows / np.array([96, 64, 96, 64, *[1] * (rows.shape[1] - 4)], F)
    turned = (
        (lambda values: values.T[None]) if layout == "columns" else (lambda values: values[None])
    )
    pixels = detect({"o": turned(rows)}, Head(layout, named(2), output="o"), PLACEMENT)
    head = Head(layout, named(2), output="o", normalised=True)
    assert len(pixels) > 5
    np.testing.assert_allclose(
        detect({"o": turned(fractions)}, head, PLACEMENT), pixels, rtol=1e-4, atol=1e-3
    )


def test_rows_of_one_class_may_score_by_objectness_alone():
    rows = np.array([[[48, 32, 10, 10, 0.9, 0.1]]], F)
    alone = Head("rows", named(1), output="o", single_class_objectness=True)
    both = Head("rows", named(1), output="o")
    assert detect({"o": rows}, alone, PLACEMENT)[0, 4] == F(0.9)
    assert detect({"o": rows}, both, PLACEMENT)[0, 4] == F(0.9) * F(0.1)


def test_equal_scores_keep_the_order_of_the_tensor():
    rows = np.zeros((1, 50, 6), F)
    rows[0, :, 0] = np.linspace(20, 80, 50)  # inside the picture, each its own box
    rows[0, :, 1], rows[0, :, 2:4], rows[0, :, 4:] = 32, 1, 0.5
    found = detect({"o": rows}, Head("rows", named(1), output="o"), PLACEMENT, max_detections=20)
    assert len(found) == 20
    assert (np.diff(found[:, 0]) > 0).all()
    assert found[0, 0] < 12


def test_a_model_that_is_sure_of_everything_is_decoded_all_the_same():
    rows = np.full((1, 2000, 85), 0.9, F)
    rows[0, :, :4] = np.random.default_rng(6).uniform(10, 60, (2000, 4))
    found = detect({"o": rows}, Head("rows", named(80), output="o"), PLACEMENT)
    assert 0 < len(found) <= 300
    np.testing.assert_array_equal(
        found, detect({"o": rows}, Head("rows", named(80), output="o"), PLACEMENT)
    )


def test_nothing_found_is_an_empty_table():
    head = leveled(3)
    outputs = {
        name: np.full_like(values, -30)
        for name, values in raw_outputs(head, np.random.default_rng(0)).items()
    }
    assert detect(outputs, head, PLACEMENT).shape == (0, 6)


@pytest.mark.parametrize("tensor", ["boxes_16", "objectness_32", "classes_16"])
def test_nan_in_an_output_is_an_error_and_not_a_missing_box(tensor):
    head = leveled(3)
    outputs = raw_outputs(head, np.random.default_rng(0))
    outputs[tensor][...] = np.nan
    with pytest.raises(OutputNotFinite):
        detect(outputs, head, PLACEMENT)


@pytest.mark.parametrize(("layout", "shape"), [("rows", (1, 9, 8)), ("columns", (1, 7, 9))])
@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_a_decoded_box_that_is_not_finite_is_an_error(layout, shape, value):
    values = np.full(shape, 0.5, F)
    values[0, 0, 0] = value
    with pytest.raises(OutputNotFinite):
        detect({"o": values}, Head(layout, named(3), output="o"), PLACEMENT)


def test_outputs_that_do_not_fit_the_head_are_named():
    head = leveled(3)
    outputs = raw_outputs(head, np.random.default_rng(0))
    with pytest.raises(OutputMismatch, match="classes_16"):
        detect(outputs, leveled(4), PLACEMENT)
    del outputs["objectness_32"]
    with pytest.raises(OutputMismatch, match="objectness_32"):
        detect(outputs, head, PLACEMENT)
    with pytest.raises(OutputMismatch, match="not \\[1, N, 8\\]"):
        detect({"o": np.zeros((1, 9, 7), F)}, Head("rows", named(3), output="o"), PLACEMENT)


@pytest.mark.parametrize(
    "wrong", [{"confidence": 1.0}, {"confidence": -0.1}, {"iou": 1.5}, {"max_detections": 0}]
)
def test_thresholds_outside_their_range_are_refused(wrong):
    head = leveled(3)
    with pytest.raises(ValueError):
        detect(raw_outputs(head, np.random.default_rng(0)), head, PLACEMENT, **wrong)


@pytest.mark.parametrize(
    "head",
    [
        leveled(3),
        leveled(1, single=True),
        Head("rows", named(80), output="out", normalised=True),
        Head("columns", named(2), output="out"),
    ],
)
def test_a_head_survives_json(head):
    assert head_from_dict(head_to_dict(head)) == head


@pytest.mark.parametrize(
    "change",
    [
        {"layout": "spiral"},
        {"names": []},
        {"names": [1]},
        {"levels": []},
        {"levels": [{"stride": 8}]},
        {"extra": 1},
        {"normalised": 1},
        {"single_class_objectness": True},
        {"layout": "rows"},
    ],
)
def test_a_head_that_contradicts_itself_is_refused(change):
    with pytest.raises(HeadError):
        head_from_dict({**head_to_dict(leveled(3)), **change})


@pytest.mark.parametrize("anchors", [[], [[0, 4]], [[4]], [[4, math.nan]], [[True, 4]], 5])
def test_anchors_are_sizes_in_pixels(anchors):
    value = head_to_dict(leveled(3))
    value["levels"][0]["anchors"] = anchors
    with pytest.raises(HeadError):
        head_from_dict(value)
