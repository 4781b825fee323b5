import dataclasses
from collections.abc import Sequence
from pathlib import Path

import pytest

from targets.agent import wire
from tests.report.folders import (
    MIB,
    create,
    dataset,
    facts,
    frames,
    keep,
    meta,
    perfect,
    records,
    sample,
)
from toolchain.evaluate.datasets import load
from toolchain.report.figures import Doubt, Report
from toolchain.report.summarise import summarise
from toolchain.runmeta import CalibrationMeta, Outcome, RunMeta

# What remains with a quiet board and two perfect runs on two pictures.
ALWAYS = {"few-images", "lost-within-noise"}


def doubts(
    tmp_path: Path,
    sent: Sequence[object] | None = None,
    asked: RunMeta | None = None,
    outcome: Outcome = Outcome(whole=True),  # noqa: B008  frozen
) -> dict[str, Doubt]:
    """Those about an int8 run beside a good float run."""
    folder = create(tmp_path / "run", dataset(tmp_path / "set"))
    keep(folder, "float", meta(), records())
    keep(folder, "int8", asked or meta("w8c-a8", 8), sent or records(), outcome)
    return by_code(summarise(folder.load()))


def by_code(report: Report) -> dict[str, Doubt]:
    return {doubt.code: doubt for doubt in report.doubts}


def test_a_good_run_on_few_images_raises_just_that(tmp_path: Path) -> None:
    found = doubts(tmp_path)
    assert found.keys() == ALWAYS
    assert "2 images with labels: a check, not a benchmark" in found["few-images"].text
    assert found["lost-within-noise"].level == "note"
    assert found["lost-within-noise"].runs == ("int8",)


def changed(**target: object) -> RunMeta:
    asked = meta("w8c-a8", 8)
    return dataclasses.replace(asked, target=dataclasses.replace(asked.target, **target))


SHOWN_BY_RECORDS = {
    "emulated": (records(board=facts(emulated=True)), "says nothing about a real one"),
    "few-timed": (records(times_ms=[10.0] * 12), "12 timed inferences"),
    "scattered": (records(times_ms=[10.0] * 30 + [13.0] * 10), "p90 is 1.30 times the median"),
    "timed-on-noise": (records(fed="synthetic"), "Timed on noise"),
    "too-many-threads": (records(board=facts(cpus_allowed=1)), "2 threads on 1 CPU"),
    "hot": (records(samples=[sample(temps_c={"cpu": 84.6})]), "reached 85 °C"),
    "slowed": (
        records(samples=[sample(cpu_khz={"policy0": 1_500_000})] * 3 + [sample()]),
        "below 90% of its maximum in 3 of 4 readings",
    ),
    "governor": (records(board=facts(governors={"policy0": "ondemand"})), "governor ondemand"),
    "busy": (records(samples=[sample(load_1min=4.5)]), "load average 4.5"),
    "swapped": (
        records(samples=[sample(memory=wire.Memory(MIB, MIB, MIB, 12 * MIB))]),
        "12 MiB of it were swapped out",
    ),
    "nothing-detected": (records({1: (), 2: ()}), "Nothing was detected on 2 images"),
    "skipped-images": (
        records({1: perfect(1)}, skipped=[wire.Skipped(1, "2", "image file is truncated")]),
        "1 image skipped and not scored (b.jpg: image file is truncated)",
    ),
    "other-images": (
        records({1: perfect(1)}),
        "finished 1 image and the float model 2: AP lost and agreement are over the 1",
    ),
    "not-timed": (records(times_ms=[]), "was not timed"),
}


@pytest.mark.parametrize("code", SHOWN_BY_RECORDS)
def test_what_the_records_show_is_doubted(tmp_path: Path, code: str) -> None:
    sent, told = SHOWN_BY_RECORDS[code]
    found = doubts(tmp_path, sent)
    assert told in found[code].text
    assert found[code].runs == ("int8",)


def test_the_host_itself_is_no_board(tmp_path: Path) -> None:
    assert "loopback" in doubts(tmp_path, asked=changed(loopback=True))


def test_a_board_that_is_emulated_by_the_inventorys_word_is_doubted(tmp_path: Path) -> None:
    assert "emulated" in doubts(tmp_path, asked=changed(emulated=True))


def test_without_the_float_model_what_was_lost_is_unknown(tmp_path: Path) -> None:
    assert "no-float" in doubts(tmp_path, asked=changed(name="barn"))


def test_a_model_that_was_not_made_here_misses_no_float_model(tmp_path: Path) -> None:
    assert "no-float" not in doubts(tmp_path, asked=meta(None, None, weights="theirs"))


def test_a_partial_run_says_how_far_it_came_and_why(tmp_path: Path) -> None:
    cut = records({1: perfect(1)}, times_ms=[10.0] * 35)[:-2]
    found = doubts(tmp_path, cut, outcome=Outcome(whole=False, reason="Killed (signal 9)."))
    assert found["partial"].text == (
        "Partial: 1 of 2 images and 35 of 40 timed inferences; Killed (signal 9)."
    )


def test_a_steady_state_that_was_not_reached_is_doubted(tmp_path: Path) -> None:
    waited = wire.Steady(
        waited_ns=600 * 10**9, window_ns=20 * 10**9, latency_change=0.031, temp_change_c=1.24
    )
    found = doubts(tmp_path / "not", [*records()[:3], waited, *records()[3:]])
    assert found["not-steady"].text == (
        "No steady state within 600 s of warm-up: latency still changed by +3.1%, "
        "the hottest zone by +1.2 °C in 20 s."
    )
    reached = dataclasses.replace(waited, reached=True)
    assert "not-steady" not in doubts(tmp_path / "yes", [*records()[:3], reached, *records()[3:]])


def test_a_board_that_restarted_in_the_run_is_doubted(tmp_path: Path) -> None:
    found = doubts(tmp_path, [*records()[:6], wire.Hello(boot_id="b"), *records()[1:]])
    assert "restarted 1 time in this run" in found["restarted"].text


def test_what_the_board_said_when_it_failed_is_told(tmp_path: Path) -> None:
    cut = [*records()[:4], wire.Failed(kind="out-of-memory", message="no room for tensors")]
    found = doubts(tmp_path, cut, outcome=Outcome(whole=False))
    assert "out-of-memory: no room for tensors" in found["partial"].text


def test_calibration_images_that_are_scored_are_doubted(tmp_path: Path) -> None:
    asked = dataclasses.replace(meta("w8c-a8", 8), calibration=CalibrationMeta(128, scored_too=3))
    assert (
        "3 calibration images also scored"
        in doubts(tmp_path, asked=asked)["calibration-scored"].text
    )


def test_a_model_calibrated_on_few_images_is_doubted(tmp_path: Path) -> None:
    few, enough = (
        dataclasses.replace(meta("w8c-a8", 8), calibration=CalibrationMeta(n)) for n in (15, 16)
    )
    found = doubts(tmp_path / "few", asked=few)
    assert "Calibrated on 15 images only" in found["few-calibrated"].text
    assert "few-calibrated" not in doubts(tmp_path / "enough", asked=enough)


def test_pictures_left_out_before_the_run_are_named(tmp_path: Path) -> None:
    source = dataset(tmp_path / "set").source
    (tmp_path / "set" / "b.jpg").unlink()
    folder = create(tmp_path / "run", load(tmp_path / "set" / source))
    keep(folder, "float", meta(), records({1: perfect(1)}))
    assert "b.jpg: not found" in by_code(summarise(folder.load()))["excluded-images"].text


def test_images_without_ground_truth_say_so_and_are_not_counted_as_too_few(tmp_path: Path) -> None:
    folder = create(tmp_path / "run", frames(tmp_path / "frames", 2))
    keep(folder, "float", meta(), records())
    found = by_code(summarise(folder.load()))
    assert "no-ground-truth" in found
    assert "few-images" not in found


def test_the_same_doubt_about_several_runs_is_told_once_with_both(tmp_path: Path) -> None:
    folder = create(tmp_path / "run", dataset(tmp_path / "set"))
    for key, asked in (("float", meta()), ("int8", meta("w8c-a8", 8))):
        keep(folder, key, asked, records(board=facts(emulated=True)))
    report = summarise(folder.load())
    [doubt] = [d for d in report.doubts if d.code == "emulated"]
    assert doubt.runs == ("float", "int8")


def test_warnings_come_before_notes(tmp_path: Path) -> None:
    found = list(doubts(tmp_path, records(board=facts(emulated=True), fed="synthetic")).values())
    levels = [doubt.level for doubt in found]
    assert levels == sorted(levels, reverse=True)


def test_unknown_readings_raise_no_doubt(tmp_path: Path) -> None:
    silent = records(board=wire.Facts(), samples=[wire.Sample()])
    assert doubts(tmp_path, silent).keys() == ALWAYS


def test_a_folder_without_runs_says_what_is_missing_and_what_to_do(tmp_path: Path) -> None:
    folder = create(tmp_path / "run", dataset(tmp_path / "set"))
    found = by_code(summarise(folder.load()))
    assert found["nothing-measured"].text.startswith("Nothing was measured, on none of 2 images")
    assert "the same command, given again with --out" in found["unfinished"].text
    assert "halfbyte" in found["unfinished"].text


def test_a_partial_run_says_how_to_go_on(tmp_path: Path) -> None:
    sent = records()[:8]
    found = doubts(tmp_path, sent, outcome=Outcome(whole=False, reason="interrupted"))
    assert "--out" in found["unfinished"].text
