import dataclasses
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from targets.agent import wire
from tests.evaluate.sets import picture
from tests.report.folders import (
    MIB,
    PARAMETERS,
    create,
    dataset,
    frames,
    keep,
    meta,
    perfect,
    records,
    sample,
    three_runs,
)
from toolchain.evaluate.datasets import with_unlabelled
from toolchain.report.figures import Report, RunFigures
from toolchain.report.measured import latency
from toolchain.report.summarise import summarise
from toolchain.runmeta import Outcome
from toolchain.runs import RunFolder


def report_of(folder: RunFolder) -> Report:
    return summarise(RunFolder.open(folder.path).load())


def one(tmp_path: Path, *sent: object, images: bool = True, **model: object) -> RunFigures:
    folder = create(tmp_path / "run", dataset(tmp_path / "set") if images else None)
    keep(folder, "a", meta(**model), sent or records())
    [run] = report_of(folder).runs
    return run


def test_sizes_are_compared_with_the_parameters_and_with_the_float_file(tmp_path: Path) -> None:
    _, int8, int4 = report_of(three_runs(tmp_path)).runs
    assert int4.model.bits_per_weight == pytest.approx(8 * 510_000 / PARAMETERS)
    assert int4.model.ratio_fp32 == pytest.approx(4 * PARAMETERS / 510_000)
    assert int4.model.ratio_fp16 == pytest.approx(2 * PARAMETERS / 510_000)
    assert int8.model.ratio_float_file == pytest.approx(4_000_000 / 1_010_000)


def test_without_a_parameter_count_bits_per_weight_are_unknown(tmp_path: Path) -> None:
    run = one(tmp_path, parameters=None)
    assert run.model.bits_per_weight is None
    assert run.model.ratio_fp32 is None


def test_accuracy_is_in_points_beside_the_float_model_on_the_same_target(tmp_path: Path) -> None:
    float32, int8, int4 = report_of(three_runs(tmp_path)).runs
    assert float32.accuracy.ap == pytest.approx(100)
    assert float32.accuracy.ap_lost is None
    assert (int8.accuracy.ap, int8.accuracy.ap_float) == pytest.approx((100, 100))
    assert int8.accuracy.ap_lost == pytest.approx(0)
    assert int8.accuracy.agreement == pytest.approx(100)
    assert int4.accuracy.ap_lost == pytest.approx(100 - int4.accuracy.ap)
    assert int4.accuracy.ap_lost_ci95 is not None
    assert int4.accuracy.ap_lost_ci95[1] == pytest.approx(100)
    assert int4.accuracy.images == 2


def test_faint_detections_count_for_ap_and_not_as_boxes_that_a_user_sees(tmp_path: Path) -> None:
    float32, _, int4 = report_of(three_runs(tmp_path)).runs
    assert (float32.accuracy.detections, float32.accuracy.confident_boxes) == (3, 3)
    assert (int4.accuracy.detections, int4.accuracy.confident_boxes) == (2, 0)


def test_a_size_without_objects_is_unknown(tmp_path: Path) -> None:
    run = one(tmp_path)
    assert run.accuracy.ap_small is None
    assert run.accuracy.ap_medium == pytest.approx(100)


def test_a_model_on_another_target_is_not_compared(tmp_path: Path) -> None:
    folder = create(tmp_path / "run", dataset(tmp_path / "set"))
    keep(folder, "a", meta(), records())
    quantized = meta("w8c-a8", 8)
    elsewhere = dataclasses.replace(
        quantized, target=dataclasses.replace(quantized.target, name="barn")
    )
    keep(folder, "b", elsewhere, records())
    _, other = report_of(folder).runs
    assert other.accuracy.ap == pytest.approx(100)
    assert other.accuracy.ap_lost is None
    assert other.model.ratio_float_file is None


def test_the_float_model_comes_first_whenever_it_ran(tmp_path: Path) -> None:
    folder = create(tmp_path / "run", dataset(tmp_path / "set"))
    keep(folder, "int8", meta("w8c-a8", 8), records())
    keep(folder, "float", meta(), records())
    assert [run.key for run in report_of(folder).runs] == ["float", "int8"]


def test_frames_per_second_of_the_model_are_one_over_the_median(tmp_path: Path) -> None:
    run = one(tmp_path, *records(times_ms=[10.0] * 30 + [30.0] * 10))
    assert run.speed.fps_model == pytest.approx(1000 / 10)
    assert run.speed.fps_end_to_end == pytest.approx(1000 / 20)
    assert run.speed.stages_ms == pytest.approx(
        {"decode": 3, "letterbox": 2, "inference": 10, "boxes": 5}
    )
    assert run.speed.inference is not None
    assert run.speed.inference.p50_ms == 10
    assert run.speed.inference.p90_ms == 30
    assert run.speed.inference.samples == 40
    assert (run.speed.warmup, run.speed.threads, run.speed.imgsz) == (2, 2, (320, 320))


def test_output_that_is_not_understood_is_timed_and_not_scored(tmp_path: Path) -> None:
    sent = [
        dataclasses.replace(record, boxes_ns=None, detections=())
        if isinstance(record, wire.Detected)
        else record
        for record in records()
    ]
    run = one(tmp_path, *sent, understood=False)
    assert run.speed.fps_model == pytest.approx(100)
    assert run.speed.fps_end_to_end is None
    assert run.accuracy.ap is None
    assert run.accuracy.detections is None


def test_memory_says_before_loaded_and_peak(tmp_path: Path) -> None:
    memory = one(tmp_path).memory
    assert memory.before_rss_bytes == 40 * MIB
    assert memory.load_rss_bytes == 100 * MIB
    assert memory.peak_rss_bytes == 150 * MIB
    assert memory.peak_pss_bytes == 95 * MIB
    assert memory.load_ms == 250
    assert memory.expand_ms is None


def test_expanding_a_packed_model_is_told_beside_loading_it(tmp_path: Path) -> None:
    sent = [
        dataclasses.replace(record, expand_ns=140_000_000, expand_peak_rss_bytes=66_000_000)
        if isinstance(record, wire.Loaded)
        else record
        for record in records()
    ]
    memory = one(tmp_path, *sent).memory
    assert (memory.load_ms, memory.expand_ms) == (250, 140)
    assert memory.expand_peak_rss_bytes == 66_000_000


def test_what_the_kernel_does_not_say_is_unknown(tmp_path: Path) -> None:
    run = one(
        tmp_path,
        wire.Hello(),
        wire.Loaded(load_ns=0, inputs=(wire.TensorFacts("x", (1, 3, 320, 544)),)),
        wire.Peak(),
        wire.Finished(),
        imgsz=None,
    )
    assert run.memory.peak_rss_bytes is None
    assert run.memory.load_ms is None
    assert run.speed.fps_model is None
    assert run.speed.imgsz == (320, 544)
    assert run.target.runtime is None
    assert run.target.emulated is None
    assert run.target.hottest_c is None


def test_a_run_cut_short_keeps_what_it_had(tmp_path: Path) -> None:
    folder = create(tmp_path / "run", dataset(tmp_path / "set"))
    keep(folder, "float", meta(), records())
    cut = [r for r in records({1: perfect(1)}) if not isinstance(r, wire.Peak | wire.Finished)]
    keep(folder, "int8", meta("w8c-a8", 8), cut, Outcome(whole=False, reason="Killed."))
    report = report_of(folder)
    _, int8 = report.runs
    assert report.partial
    assert (int8.partial, int8.reason) == (True, "Killed.")
    assert (int8.images_done, int8.images_asked) == (1, 2)
    assert int8.speed.fps_model == pytest.approx(100)
    assert int8.memory.peak_rss_bytes == 120 * MIB
    assert (int8.accuracy.images, int8.accuracy.compared_images) == (1, 1)
    assert int8.accuracy.ap_lost == pytest.approx(0)  # on the picture that both finished


def test_the_float_model_keeps_all_its_images_when_another_was_cut_short(tmp_path: Path) -> None:
    folder = create(tmp_path / "run", dataset(tmp_path / "set"))
    keep(folder, "float", meta(), records({1: perfect(1), 2: ()}))
    keep(folder, "int8", meta("w8c-a8", 8), records({1: perfect(1)})[:-1])
    float32, int8 = report_of(folder).runs
    assert float32.accuracy.images == 2
    assert float32.accuracy.ap is not None
    assert float32.accuracy.ap < 70
    assert int8.accuracy.ap_float == pytest.approx(100)


def test_a_skipped_image_is_named_and_scored_for_nobody(tmp_path: Path) -> None:
    skipped = wire.Skipped(index=1, image="2", reason="image file is truncated")
    run = one(tmp_path, *records({1: perfect(1)}, skipped=[skipped]))
    assert [(s.name, s.reason) for s in run.skipped] == [("b.jpg", "image file is truncated")]
    assert run.accuracy.images == 1
    assert run.accuracy.ap == pytest.approx(100)
    assert not run.partial


def test_images_without_ground_truth_give_agreement_and_no_ap(tmp_path: Path) -> None:
    folder = create(tmp_path / "run", frames(tmp_path / "frames", 2))
    keep(folder, "float", meta(), records())
    keep(folder, "int8", meta("w8c-a8", 8), records({1: perfect(1), 2: ()}))
    report = report_of(folder)
    _, int8 = report.runs
    assert int8.accuracy.ap is None
    assert int8.accuracy.ap_lost is None
    assert int8.accuracy.agreement == pytest.approx(66.3, abs=0.1)  # two of three, 67 recalls
    assert int8.accuracy.agreement_images == 2
    assert report.categories == {0: "person"}


def test_pictures_without_labels_count_for_agreement_alone(tmp_path: Path) -> None:
    picture(tmp_path / "frames" / "x.jpg", 200, 200)
    folder = create(
        tmp_path / "run", with_unlabelled(dataset(tmp_path / "set"), tmp_path / "frames")
    )
    extra = wire.Detected(image="3", width=200, height=200, boxes_ns=1, detections=perfect(2))
    keep(folder, "float", meta(), [*records()[:-1], extra, wire.Finished()])
    keep(folder, "int8", meta("w8c-a8", 8), [*records()[:-1], extra, wire.Finished()])
    float32, int8 = report_of(folder).runs
    assert float32.accuracy.ap == pytest.approx(100)  # the boxes on the third are not wrong
    assert (int8.accuracy.images, int8.accuracy.agreement_images) == (2, 3)


def test_labels_that_disagree_leave_the_accuracy_unknown_and_say_why(tmp_path: Path) -> None:
    folder = create(tmp_path / "run", dataset(tmp_path / "set"))
    keep(folder, "a", meta(names=("helmet", "vest")), records())
    report = report_of(folder)
    assert report.runs[0].accuracy.ap is None
    assert report.runs[0].speed.fps_model == pytest.approx(100)
    [doubt] = [d for d in report.doubts if d.code == "no-accuracy"]
    assert "helmet, vest" in doubt.text


def test_a_board_that_lies_about_images_is_not_believed(tmp_path: Path) -> None:
    lie = wire.Detected(image="99", width=200, height=200, detections=perfect(1))
    run = one(tmp_path, *records()[:-1], lie, wire.Finished())
    assert run.accuracy.ap is None


def test_a_bench_without_images_has_speed_and_memory(tmp_path: Path) -> None:
    run = one(tmp_path, *records({}), images=False)
    assert run.accuracy.ap is None
    assert run.speed.fps_model == pytest.approx(100)


def test_an_empty_run_folder_is_partial(tmp_path: Path) -> None:
    report = report_of(create(tmp_path))
    assert report.partial
    assert report.runs == ()


def test_sensors_that_are_off_do_not_count(tmp_path: Path) -> None:
    samples = [sample(temps_c={"gpu": None, "cpu": 61.5}), sample(temps_c={"gpu": None})]
    assert one(tmp_path, *records(samples=samples)).target.hottest_c == 61.5


def test_the_boards_own_word_goes_before_the_inventorys(tmp_path: Path) -> None:
    run = one(tmp_path)
    assert run.target.board == "Raspberry Pi 5 Model B Rev 1.0"


@given(st.lists(st.integers(1, 10**12), min_size=1, max_size=200))
def test_percentiles_lie_in_order_between_the_extremes(times_ns: list[int]) -> None:
    found = latency(times_ns)
    assert found is not None
    ordered = [found.min_ms, found.p50_ms, found.p90_ms, found.p99_ms, found.max_ms]
    assert (np.diff(ordered) >= -1e-9 * found.max_ms).all()
    assert found.min_ms <= found.mean_ms * (1 + 1e-9)
    assert found.samples == len(times_ns)


def test_no_times_and_a_clock_that_stood_still_are_unknown() -> None:
    assert latency([]) is None
    assert latency([5, 0, 5]) is None
