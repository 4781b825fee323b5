"""Whole runs of the real agent: what it tells about models and pictures."""

import hashlib
import io
import json
import signal

import numpy as np
import pytest
from PIL import Image

from targets.agent import wire
from targets.agent.boxes import detect
from targets.agent.frames import letterbox
from targets.agent.inputs import pack
from tests.agent import small_models
from tests.agent.running import (
    kinds,
    of_kind,
    plan_file,
    records_of,
    rows,
    run,
    small_plan,
)


def test_a_run_tells_its_records_in_order(agent, tmp_path):
    plan = small_plan(tmp_path, sample_period_s=86_400.0)
    done = run(agent, plan)
    assert done.returncode == 0, done.stderr
    assert kinds(records_of(done.stdout)) == [
        "Hello", "Facts", "Loading", "Loaded", "TimedInput",
        "Warmed", "Sample", "Sample", "Timed", "Timed", "Timed", "Detected", "Detected",
        "Sample", "Sample", "Sampled", "Peak", "Finished",
    ]  # fmt: skip


def test_the_hello_names_the_agent_and_the_plan(agent, tmp_path):
    plan = small_plan(tmp_path)
    hello = records_of(run(agent, plan).stdout)[0]
    assert hello.agent_sha256 == hashlib.sha256(agent.read_bytes()).hexdigest()
    assert hello.plan_sha256 == hashlib.sha256(plan.to_json()).hexdigest()
    assert hello.pid > 0


def test_times_and_memory_are_measured(agent, tmp_path):
    plan = small_plan(tmp_path, threads=2)
    records = records_of(run(agent, plan).stdout)
    [loading], [loaded], [peak] = (
        of_kind(records, kind) for kind in (wire.Loading, wire.Loaded, wire.Peak)
    )
    assert loading.file_bytes == (tmp_path / "model.tflite").stat().st_size
    assert loaded.load_ns > 0
    assert loaded.threads == 2
    memory = [loading.memory, loaded.before, loaded.after, peak.memory]
    highest = [reading.hwm_bytes for reading in memory]
    assert highest == sorted(highest)
    for reading in memory:
        assert 10e6 < reading.pss_bytes <= reading.rss_bytes <= reading.hwm_bytes < 500e6
    assert peak.peak_pss_bytes >= peak.memory.pss_bytes
    assert all(timed.inference_ns > 0 for timed in of_kind(records, wire.Timed))
    for detected in of_kind(records, wire.Detected):
        stages = (
            detected.decode_ns,
            detected.letterbox_ns,
            detected.inference_ns,
            detected.boxes_ns,
        )
        assert min(stages) > 0


def test_detections_are_in_pixels_of_the_picture(agent, tmp_path):
    plan = small_plan(tmp_path, pictures=3)
    found = of_kind(records_of(run(agent, plan).stdout), wire.Detected)
    assert [detected.image for detected in found] == ["image 0", "image 1", "image 2"]
    for index, detected in enumerate(found):
        assert (detected.width, detected.height) == (96, 64)
        best = rows(detected)[0]
        cell = 16 * index
        np.testing.assert_allclose(best[:4], [cell, cell, cell + 16, cell + 16], atol=1.5)
        assert best[4] > 0.9
        assert best[5] == index  # red, green, blue


def test_float_int8_and_uint8_ends_give_the_same_boxes(agent, tmp_path):
    found = {}
    for ends in ("float32", "int8", "uint8"):
        plan = small_plan(tmp_path, small_models.int8_detector(ends), pictures=3, confidence=0.25)
        records = records_of(run(agent, plan).stdout)
        [loaded] = of_kind(records, wire.Loaded)
        assert {tensor.dtype for tensor in (*loaded.inputs, *loaded.outputs)} == {ends}
        assert (loaded.inputs[0].scale == 0) == (ends == "float32")
        found[ends] = [rows(detected) for detected in of_kind(records, wire.Detected)]
    for ends in ("int8", "uint8"):
        for one, other in zip(found["float32"], found[ends], strict=True):
            assert len(one) > 0
            # One step of the box output moves a side by some 0.1 * 0.25 * 2 strides at most.
            np.testing.assert_allclose(one[:, :4], other[:, :4], atol=0.8)
            np.testing.assert_allclose(one[:, 4], other[:, 4], atol=0.05)
            np.testing.assert_array_equal(one[:, 5], other[:, 5])


def test_board_and_host_find_the_same_boxes(agent, tmp_path):
    """The host's own use of the shared code, on the float model's arithmetic done by numpy."""
    picture = np.zeros((120, 100, 3), np.uint8)
    picture[30:60, 20:50, 1] = 255
    image = small_models.save_picture(tmp_path / "odd.png", picture)
    plan = small_plan(tmp_path, small_models.float_detector(), pictures=0, confidence=0.25)
    plan = type(plan)(**{**vars(plan), "images": (plan_file(image),)})
    [detected] = of_kind(records_of(run(agent, plan).stdout), wire.Detected)

    boxed = letterbox(picture, small_models.IMGSZ)
    cells = pack(boxed.pixels, "float32").reshape(4, 16, 6, 16, 3).transpose(0, 2, 1, 3, 4)
    outputs = {
        name: (np.einsum("yxhwc,ohwc->yxo", cells, weights) + bias).astype(np.float32)[None]
        for name, (weights, bias) in small_models.filters().items()
    }
    expected = detect(outputs, small_models.HEAD, boxed.placement, confidence=0.25)
    assert len(expected) > 0
    np.testing.assert_allclose(rows(detected), expected, atol=0.01)


def test_an_open_input_size_is_set_to_the_asked_height_and_width(agent, tmp_path):
    model = small_models.float_detector(open_size=True)
    records = records_of(run(agent, small_plan(tmp_path, model, imgsz=(64, 96))).stdout)
    [loaded] = of_kind(records, wire.Loaded)
    assert loaded.inputs[0].shape == (1, 64, 96, 3)
    assert len(of_kind(records, wire.Detected)) == 2


def test_a_model_whose_outputs_nobody_understands_is_timed_all_the_same(agent, tmp_path):
    records = records_of(run(agent, small_plan(tmp_path, head=None)).stdout)
    assert len(of_kind(records, wire.Timed)) == 3
    for detected in of_kind(records, wire.Detected):
        assert detected.boxes_ns is None
        assert detected.detections == ()
        assert detected.inference_ns > 0
    assert kinds(records)[-1] == "Finished"


def test_without_pictures_noise_is_timed_and_said_so(agent, tmp_path):
    records = records_of(run(agent, small_plan(tmp_path, pictures=0)).stdout)
    assert of_kind(records, wire.TimedInput) == [wire.TimedInput("synthetic", None)]
    assert len(of_kind(records, wire.Timed)) == 3


def test_the_timed_input_is_the_first_readable_picture(agent, tmp_path):
    plan = small_plan(tmp_path)
    (tmp_path / "0.png").write_bytes(b"gone wrong")
    records = records_of(run(agent, plan).stdout)
    assert of_kind(records, wire.TimedInput) == [wire.TimedInput("picture", "image 1")]


def test_a_model_that_takes_no_picture_is_timed_and_the_pictures_skipped(agent, tmp_path):
    records = records_of(run(agent, small_plan(tmp_path, small_models.no_picture())).stdout)
    assert of_kind(records, wire.TimedInput)[0].source == "synthetic"
    assert len(of_kind(records, wire.Timed)) == 3
    reasons = [skipped.reason for skipped in of_kind(records, wire.Skipped)]
    assert reasons == ["the model takes [1, 10] and [1, 10], not one picture"] * 2


def test_every_unusable_picture_is_named_with_its_reason(agent, tmp_path):
    plan = small_plan(tmp_path, pictures=5)
    (tmp_path / "0.png").unlink()
    Image.new("RGB", (96, 64)).save(tmp_path / "1.png")
    half = (tmp_path / "2.png").read_bytes()[:-60]
    (tmp_path / "2.png").write_bytes(half)
    (tmp_path / "3.png").write_bytes(b"no picture")
    images = list(plan.images)
    for index in (2, 3):
        images[index] = plan_file(tmp_path / f"{index}.png", f"image {index}")
    done = run(agent, type(plan)(**{**vars(plan), "images": tuple(images)}))
    assert done.returncode == 0
    records = records_of(done.stdout)
    skipped = {item.image: item.reason for item in of_kind(records, wire.Skipped)}
    assert skipped.keys() == {"image 0", "image 1", "image 2", "image 3"}
    assert "No such file" in skipped["image 0"]
    assert "not the one that was sent" in skipped["image 1"]
    assert "truncated" in skipped["image 2"]
    assert "JPEG" in skipped["image 3"]
    assert [detected.index for detected in of_kind(records, wire.Detected)] == [4]


def sensors(records):
    return [sample for sample in of_kind(records, wire.Sample) if sample.load_1min is not None]


def test_sensors_are_read_at_the_rate_that_is_asked_for(agent, tmp_path):
    plans = [small_plan(tmp_path, timed_runs=6000, sample_period_s=p) for p in (0.01, 600.0)]
    often, seldom = (records_of(run(agent, plan).stdout) for plan in plans)
    assert len(sensors(seldom)) == 2  # at the beginning and at the end
    times = [sample.at_ns for sample in sensors(often)]
    assert len(times) > 2
    assert times == sorted(times)
    own = [sample.cpu_ns for sample in sensors(often)]
    assert own == sorted(own)
    assert own[0] < own[-1]
    [told] = of_kind(often, wire.Sampled)
    assert (told.samples, told.period_ns) == (len(times), 10_000_000)
    assert len(times) <= told.wall_ns / told.period_ns + 3
    assert 0 < told.cpu_ns < told.wall_ns


def test_memory_with_pss_is_told_seldom_since_reading_it_is_dear(agent, tmp_path):
    records = records_of(run(agent, small_plan(tmp_path, timed_runs=500)).stdout)
    with_pss = [s for s in of_kind(records, wire.Sample) if s.memory.pss_bytes is not None]
    assert len(with_pss) == 2
    assert of_kind(records, wire.Sampled)[0].pss_ns > 0


@pytest.mark.parametrize(
    ("model", "kind"),
    [
        (b"", "model-refused"),
        (b"not a model at all", "model-refused"),
        (small_models.unknown_operator(), "model-refused"),
    ],
)
def test_a_model_that_the_runtime_refuses_ends_the_run_with_its_reason(
    agent, tmp_path, model, kind
):
    done = run(agent, small_plan(tmp_path, model))
    failed = records_of(done.stdout)[-1]
    assert done.returncode == 1
    assert failed.kind == kind
    assert failed.message


def test_a_model_that_crashes_the_runtime_leaves_word_of_where_it_was(agent, tmp_path):
    """The runtime maps files without checking them, so half of one may be a segmentation fault."""
    done = run(agent, small_plan(tmp_path, small_models.int8_detector()[:2000]))
    last = records_of(done.stdout)[-1]
    if done.returncode == 1:
        assert last.kind == "model-refused"
    else:
        assert done.returncode in (-signal.SIGSEGV, -signal.SIGBUS, -signal.SIGABRT)
        assert isinstance(last, wire.Loading)
        assert b"runtime.py" in done.stderr


def test_an_unresolved_operator_is_named(agent, tmp_path):
    done = run(agent, small_plan(tmp_path, small_models.unknown_operator()))
    assert "Unheard_Of" in records_of(done.stdout)[-1].message


def test_a_model_that_is_not_the_one_sent_is_not_measured(agent, tmp_path):
    plan = small_plan(tmp_path)
    (tmp_path / "model.tflite").write_bytes(small_models.float_detector())
    assert records_of(run(agent, plan).stdout)[-1].kind == "file-changed"
    (tmp_path / "model.tflite").unlink()
    assert records_of(run(agent, plan).stdout)[-1].kind == "file-missing"


def test_a_plan_that_names_another_input_size_is_refused_with_both(agent, tmp_path):
    failed = records_of(run(agent, small_plan(tmp_path, imgsz=(96, 64))).stdout)[-1]
    assert failed.kind == "bad-plan"
    assert "height 96 and width 64" in failed.message
    assert "height 64 and width 96" in failed.message


def test_a_head_that_does_not_fit_the_outputs_is_an_error(agent, tmp_path):
    value = json.loads(small_plan(tmp_path).to_json())
    value["head"]["names"] = ["only one"]
    failed = records_of(run(agent, json.dumps(value).encode()).stdout)[-1]
    assert failed.kind == "output-not-understood"
    assert "classes_16" in failed.message


def test_turned_pictures_are_looked_at_upright(agent, tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6
    upright = Image.fromarray(small_models.coloured_cell(1, 3, 2))
    stream = io.BytesIO()
    upright.transpose(Image.Transpose.ROTATE_90).save(stream, "PNG", exif=exif)
    (tmp_path / "turned.png").write_bytes(stream.getvalue())
    plan = small_plan(tmp_path, pictures=0)
    plan = type(plan)(**{**vars(plan), "images": (plan_file(tmp_path / "turned.png"),)})
    [detected] = of_kind(records_of(run(agent, plan).stdout), wire.Detected)
    assert (detected.width, detected.height) == (96, 64)
    np.testing.assert_allclose(rows(detected)[0, :4], [48, 16, 64, 32], atol=1.5)
