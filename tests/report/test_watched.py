"""What sensors said becomes series, power, energy and doubts, in old records and new ones."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from targets.agent import wire
from tests.report.folders import create, dataset, facts, keep, meta, records, sample
from toolchain.report import text
from toolchain.report.csv_table import CsvWriter
from toolchain.report.figures import Report, RunFigures
from toolchain.report.html import HtmlWriter
from toolchain.report.json_report import as_json
from toolchain.report.summarise import summarise
from toolchain.report.telemetry import Series
from toolchain.report.terminal import TerminalWriter
from toolchain.report.timeline import timeline
from toolchain.report.traces import sparkline
from toolchain.report.watched import thinned

ORIN = ("nvidia,p3768-0000+p3767-0005", "nvidia,p3767-0005", "nvidia,tegra234")
RECORDED = Path(__file__).parents[1] / "recorded"
START_NS = 10**9


def output(reading: str, case: str) -> str:
    told: str = json.loads((RECORDED / reading / f"{case}.json").read_text("utf-8"))["output"]
    return told


def placed(sent: Sequence[object], between: Sequence[object]) -> list[object]:
    """Records with readings among the timed inferences."""
    last = max(place for place, record in enumerate(sent) if isinstance(record, wire.Timed))
    return [*sent[: last - 5], *between, *sent[last - 5 :]]


def reading(at_ms: float, **changed: object) -> wire.Sample:
    return sample(at_ns=START_NS + int(at_ms * 1e6), **changed)


def report_of(
    tmp_path: Path,
    between: Sequence[object],
    *,
    times_ms: Sequence[float] = (0.0005,) * 40,  # records are a nanosecond apart
    **board: object,
) -> Report:
    folder = create(tmp_path / "run", dataset(tmp_path / "set"))
    sent = records(times_ms=times_ms, board=facts(**board))
    keep(folder, "int8", meta("w8c-a8", 8), placed(sent, between))
    return summarise(folder.load())


def only(report: Report) -> RunFigures:
    (run,) = report.runs
    return run


def codes(report: Report) -> set[str]:
    return {doubt.code for doubt in report.doubts}


def series(report: Report, quantity: str, name: str) -> Series:
    watched = only(report).watched
    assert watched is not None
    (found,) = (s for s in watched.series if (s.quantity, s.name) == (quantity, name))
    return found


def test_energy_is_mean_power_of_the_named_rails_times_latency(tmp_path: Path) -> None:
    rails = [
        sample(rail_mv={"VDD_IN": 5000, "VDD_SOC": 5000}, rail_ma={"VDD_IN": ma, "VDD_SOC": 100})
        for ma in (1000, 1200)
    ]
    report = report_of(tmp_path, rails, compatible=ORIN)
    watched = only(report).watched
    assert watched is not None
    assert watched.power is not None
    assert (watched.power.rails, watched.power.readings) == (("VDD_IN",), 2)
    assert watched.power.mean_w == pytest.approx(5.5)
    assert watched.power.energy_j == pytest.approx(5.5 * 0.5e-6)
    told = as_json(report)["runs"][0]["telemetry"]["power"]
    assert (told["rails"], told["meaning"]) == (["VDD_IN"], "the module's input")
    for writer in (HtmlWriter(), TerminalWriter(width=160)):
        page = writer.render(report)
        assert "5.50 W" in page
        assert "VDD_IN" in page
    assert ",5.5," in CsvWriter().render(report)


def test_power_outside_of_the_timed_inferences_is_no_power_of_theirs(tmp_path: Path) -> None:
    early = sample(rail_mv={"VDD_IN": 5000}, rail_ma={"VDD_IN": 1000})
    folder = create(tmp_path / "run", dataset(tmp_path / "set"))
    keep(
        folder,
        "a",
        meta("w8c-a8", 8),
        [wire.Hello(), early, *records(board=facts(compatible=ORIN), times_ms=(1e-6,) * 40)[1:]],
    )
    watched = only(summarise(folder.load())).watched
    assert watched is not None
    assert watched.power is None


def test_power_of_a_board_whose_rails_are_not_all_known_is_unknown(tmp_path: Path) -> None:
    agx = ("nvidia,p3737-0000+p3701-0005", "nvidia,p3701-0005", "nvidia,tegra234")
    some = sample(rail_mv={"VDD_CPU_CV": 19000}, rail_ma={"VDD_CPU_CV": 100})
    watched = only(report_of(tmp_path, [some], compatible=agx)).watched
    assert watched is not None
    assert watched.power is None


def test_a_pi_5_tells_power_by_its_own_tool(tmp_path: Path) -> None:
    pi = ("raspberrypi,5-model-b", "brcm,bcm2712")
    said = wire.ToolSaid("pmic", output("pmic", "pi-5"), 0)
    watched = only(report_of(tmp_path, [said], compatible=pi)).watched
    assert watched is not None
    assert watched.power is not None
    assert watched.power.rails == ("PMIC",)
    assert watched.power.mean_w == pytest.approx(2.948, abs=0.001)  # added up by hand
    assert "without USB" in watched.power.meaning


def test_tegrastats_tells_what_files_do_not(tmp_path: Path) -> None:
    said = wire.ToolSaid("tegrastats", output("tegrastats", "orin-nano-8gb"), None)
    report = report_of(tmp_path, [said], compatible=ORIN)
    watched = only(report).watched
    assert watched is not None
    assert watched.power is not None
    assert watched.power.mean_w == pytest.approx(5.251)
    assert series(report, "load", "GPU").mean == 0
    assert series(report, "clock", "GPU").mean == 305


@pytest.mark.parametrize(
    ("told", "throttled", "before"),
    [
        (("0x0", "0x50000"), ["under-voltage", "throttled"], []),
        (("0x20000", "0x20000", "0x60000"), ["throttled"], ["frequency capped"]),
        (("0x40000", "0x0", "0x40000"), ["throttled"], ["throttled"]),  # it restarted
        (("0x50000", "0x50000"), [], ["under-voltage", "throttled"]),
        (("0x50000",), [], ["under-voltage", "throttled"]),
    ],
)
def test_throttling_between_two_readings_is_throttling_in_the_run(
    tmp_path: Path, told: tuple[str, ...], throttled: list[str], before: list[str]
) -> None:
    report = report_of(tmp_path, [wire.ToolSaid("throttled", f"throttled={b}\n", 0) for b in told])
    found = as_json(report)["runs"][0]["telemetry"]
    assert (found["throttling"], found["throttled_before"]) == (throttled, before)
    assert ("throttled" in codes(report)) == bool(throttled)


def test_throttling_between_two_readings_of_a_repeat_counts(tmp_path: Path) -> None:
    folder = create(tmp_path / "run", dataset(tmp_path / "set"))
    for key, told in (("a", ("0x0", "0x0")), ("a.2", ("0x0", "0x40000"))):
        said = [wire.ToolSaid("throttled", f"throttled={bits}\n", 0) for bits in told]
        keep(folder, key, meta("w8c-a8", 8), placed(records(), said))
    report = summarise(folder.load())
    watched = only(report).watched
    assert watched is not None
    assert watched.throttling == ("throttled",)
    [doubt] = [doubt for doubt in report.doubts if doubt.code == "throttled"]
    assert doubt.level == "warning"


def test_files_that_told_nothing_are_no_reason_to_leave_a_tool_out(tmp_path: Path) -> None:
    said = wire.ToolSaid("tegrastats", output("tegrastats", "orin-nano-8gb"), None)
    silent = reading(1, rail_mv={"VDD_IN": None, "VDD_CPU": 5000}, rail_ma={"VDD_IN": None})
    report = report_of(tmp_path, [silent, said], compatible=ORIN)
    watched = only(report).watched
    assert watched is not None
    assert watched.power is not None
    assert watched.power.mean_w == pytest.approx(5.251)
    assert "VDD_CPU" not in [one.name for one in watched.series]


def test_throttling_in_the_run_is_a_warning_and_before_it_a_note(tmp_path: Path) -> None:
    said = [wire.ToolSaid("throttled", f"throttled={bits}\n", 0) for bits in ("0xd0000", "0xd0008")]
    report = report_of(tmp_path, said)
    by_code = {doubt.code: doubt for doubt in report.doubts}
    assert "soft temperature limit" in by_code["throttled"].text
    assert by_code["throttled"].level == "warning"
    assert "under-voltage, throttled" in by_code["throttled-before"].text
    assert by_code["throttled-before"].level == "note"
    assert as_json(report)["runs"][0]["telemetry"]["throttling"] == ["soft temperature limit"]


def test_firmware_that_may_not_be_asked_leaves_throttling_unknown(tmp_path: Path) -> None:
    said = wire.ToolSaid("throttled", output("throttled", "no-access"), 255)
    report = report_of(tmp_path, [said])
    assert as_json(report)["runs"][0]["telemetry"]["throttling"] is None
    assert not codes(report) & {"throttled", "throttled-before"}


def test_clocks_that_fall_and_what_holds_them_back_are_doubts(tmp_path: Path) -> None:
    readings = [
        sample(
            cpu_khz={"policy0": 2_400_000 if n < 6 else 1_500_000},
            cooling={"cpu-throttle-alert": int(n > 9), "quiet": 0},
            alerts={"oc1_event_cnt": 3 + n // 6},
        )
        for n in range(12)
    ]
    report = report_of(tmp_path, readings)
    by_code = {doubt.code: doubt for doubt in report.doubts}
    assert "fell from 2400 to" in by_code["clock-drop"].text
    assert "cpu-throttle-alert held a clock back in 2 of" in by_code["held-back"].text
    assert by_code["over-current"].text == "1 over-current event in the run."


def test_a_hot_board_is_judged_by_its_kind(tmp_path: Path) -> None:
    warm = [sample(temps_c={"cpu": 65.0})]
    plus = ("raspberrypi,3-model-b-plus", "brcm,bcm2837")
    assert "hot" in codes(report_of(tmp_path / "a", warm, compatible=plus))
    assert "hot" not in codes(report_of(tmp_path / "b", warm, compatible=()))


def test_a_power_chip_that_only_knows_alarms_is_not_the_hottest(tmp_path: Path) -> None:
    zones = {"CPU-therm": 25.0, "PMIC-Die": 100.0, "AO-therm": 33.5}
    report = report_of(tmp_path, [reading(1, temps_c=zones)], compatible=("nvidia,jetson-nano",))
    assert only(report).target.hottest_c is not None
    assert only(report).target.hottest_c < 90
    assert "hot" not in codes(report)


def test_old_records_without_times_of_their_own_are_read(tmp_path: Path) -> None:
    report = report_of(tmp_path, [sample(), sample()])
    assert [value for _, value in series(report, "temperature", "cpu").points] == [55.0] * 3
    assert series(report, "temperature", "off").mean is None
    watched = only(report).watched
    assert watched is not None
    assert watched.sampler_share is None


def test_what_sampling_took_is_told(tmp_path: Path) -> None:
    cost = wire.Sampled(period_ns=500_000_000, samples=9, wall_ns=10**9, cpu_ns=20_000_000)
    report = report_of(tmp_path, [cost])
    assert "sampling-cost" in codes(report)
    assert "2.0 %" in HtmlWriter().render(report)
    assert as_json(report)["runs"][0]["telemetry"]["sampler_share"] == 0.02


def test_a_run_without_any_reading_shows_none(tmp_path: Path) -> None:
    folder = create(tmp_path / "run", dataset(tmp_path / "set"))
    keep(folder, "a", meta(), [r for r in records() if not isinstance(r, wire.Sample)])
    report = summarise(folder.load())
    assert only(report).watched is None
    assert as_json(report)["runs"][0]["telemetry"] is None
    assert "While it ran" not in HtmlWriter().render(report)
    assert CsvWriter().render(report)


def test_a_board_that_was_restarted_has_one_time_line() -> None:
    envelopes = [
        wire.Envelope(0, 50_000_000_000, wire.Hello(), "aaaa"),
        wire.Envelope(1, 52_000_000_000, reading(0), "aaaa"),
        wire.Envelope(2, 53_000_000_000, wire.Timed(), "aaaa"),
        wire.Envelope(3, 9_000_000_000, wire.Hello(), "bbbb"),
        wire.Envelope(
            4, 10_000_000_000, dataclasses.replace(reading(0), at_ns=9_500_000_000), "bbbb"
        ),
    ]
    assert [round(m.at_s, 3) for m in timeline(envelopes)] == [0, 0, 3, 3, 3.5]


@given(st.lists(st.tuples(st.floats(0, 1e4), st.none() | st.floats(-1e6, 1e6)), max_size=2000))
def test_thinned_series_keep_their_range_and_are_short(
    points: list[tuple[float, float | None]],
) -> None:
    kept = thinned(points)
    assert len(kept) == min(len(points), 240)
    known = [value for _, value in points if value is not None]
    assert all(
        value is None or min(known) - 1e-3 <= value <= max(known) + 1e-3 for _, value in kept
    )
    line = sparkline(
        Series("load", "x", "%", min(known, default=None), 0, max(known, default=None), kept)
    )
    assert len(line) <= 10


def test_small_energies_and_shares_keep_their_digits() -> None:
    assert (text.joule(0.0123), text.joule(2.5), text.joule(None)) == ("12.3 mJ", "2.50 J", "–")
    assert (text.percent(0.0004), text.percent(0.25), text.percent(None)) == (
        "0.04 %",
        "25.0 %",
        "–",
    )


def test_figures_that_no_board_can_have_are_unknown_and_break_no_report(tmp_path: Path) -> None:
    wild = [
        sample(
            temps_c={f"<b>{n}</b>": value for n in range(700)},
            cpu_khz={"policy0": 2**63 - 1},
            cpu_load={"cpu0": -value},
            rail_mv={"VDD_IN": 2**62},
            rail_ma={"VDD_IN": 2**62},
            gpu_load=value,
            at_ns=at_ns,
        )
        for value, at_ns in ((1e308, 0), (-1e308, 2**63 - 1), (5e-324, -5))
    ]
    said = [
        wire.ToolSaid("no such tool", "x"),
        wire.ToolSaid("tegrastats", "RAM VDD_IN 999999999mW/1mW cpu@-99.9C GR3D_FREQ 999%"),
        wire.Sampled(wall_ns=-5, cpu_ns=-9),
    ]
    report = report_of(tmp_path, [*wild, *said], compatible=ORIN)
    assert series(report, "clock", "policy0").high == 2400  # the good reading at the end
    told = json.dumps(as_json(report)["runs"][0]["telemetry"], allow_nan=False)
    assert len(told) < 200_000
    assert "<b>699</b>" not in HtmlWriter().render(report)
    assert TerminalWriter().render(report)
    assert CsvWriter().render(report)


def test_a_run_in_two_parts_counts_the_sampling_of_both(tmp_path: Path) -> None:
    costs = [wire.Sampled(500_000_000, 9, 10**9, cpu) for cpu in (1_000_000, 3_000_000)]
    watched = only(report_of(tmp_path, costs)).watched
    assert watched is not None
    assert watched.sampler_share == pytest.approx(0.002)
