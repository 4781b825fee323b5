"""Reasons not to trust a figure; every report shows them above its figures."""

from __future__ import annotations

import dataclasses
import shlex
from collections.abc import Iterable, Iterator, Sequence

from targets.agent import wire
from toolchain.recorded import Recorded, Run
from toolchain.report import settings
from toolchain.report.disturbed import doubts_of_clocks, doubts_of_others
from toolchain.report.figures import DatasetFigures, Doubt, RunFigures
from toolchain.report.pace import steadiness
from toolchain.report.telemetry import Watched
from toolchain.report.text import between, clean, signed
from toolchain.report.watched import clock_drops
from toolchain.tuning.choice import MOST_NOISE

FEW_IMAGES = 100
FEW_TIMED = 30
SPREAD = 1.2  # p90 / p50
HOT_C = 80.0  # where a Raspberry Pi begins to lower its clock
SAMPLING = 0.01  # of one core


def doubts_of_run(run: Run, figures: RunFigures, reference: RunFigures | None) -> Iterator[Doubt]:
    """About one run.  reference: the float model on the same target, None where there is none."""
    for doubt in (
        *_incomplete(run, figures),
        *_of_place(figures),
        *settings.doubts(run.settings),
        *_of_accuracy(figures, reference),
        *_of_timing(figures),
        *_of_tuning(figures),
        *_of_board(run, figures),
    ):
        yield dataclasses.replace(doubt, runs=(run.key,))


def doubts_of_repeats(group: Sequence[Run]) -> Iterator[Doubt]:
    """About runs whose times are put together: the board was not set to the same in all."""
    for difference in settings.differences([run.settings for run in group]):
        yield Doubt("settings-differ", f"Runs that were put together differ in {difference}.")


def doubts_of_dataset(dataset: DatasetFigures) -> Iterator[Doubt]:
    """About the images, whatever ran on them."""
    if dataset.objects and dataset.labelled_images < FEW_IMAGES:
        yield Doubt(
            "few-images",
            f"{_count(dataset.labelled_images, 'image')} with labels: a check, not a benchmark "
            f"({FEW_IMAGES} or more make one).",
        )
    if dataset.excluded:
        first = dataset.excluded[0]
        yield Doubt(
            "excluded-images",
            f"{_count(len(dataset.excluded), 'listed image')} left out before the run "
            f"({first.name}: {first.reason}{', ...' * (len(dataset.excluded) > 1)}).",
        )
    if not dataset.objects:
        yield Doubt(
            "no-ground-truth",
            "No ground truth: AP is unknown; agreement with the float model is what can be said.",
            "note",
        )


def doubts_of_missing(recorded: Recorded) -> Iterator[Doubt]:
    """About what was asked for and is not there, and how it comes to be."""
    if not recorded.runs:
        images = len(recorded.dataset.images) if recorded.dataset else 0
        none = f", on none of {_count(images, 'image')}" if images else ""
        yield Doubt(
            "nothing-measured",
            f"Nothing was measured{none}: it was stopped before the first run began.",
        )
    if not recorded.runs or not all(run.whole for run in recorded.runs):
        command = f": {shlex.join(recorded.command)}" if recorded.command else ""
        yield Doubt(
            "unfinished",
            "What is missing is measured by the same command, given again with --out and this "
            f"folder{command}",
            "note",
        )


def merged(doubts: Iterable[Doubt]) -> tuple[Doubt, ...]:
    """The same words about several runs once, with all their keys; warnings first."""
    found: dict[tuple[str, str, str], tuple[str, ...]] = {}
    for doubt in doubts:
        key = (doubt.code, doubt.text, doubt.level)
        found[key] = (*found.get(key, ()), *doubt.runs)
    every = [Doubt(*key, runs) for key, runs in found.items()]
    return tuple(sorted(every, key=lambda doubt: doubt.level != "warning"))


def _incomplete(run: Run, figures: RunFigures) -> Iterator[Doubt]:
    if figures.partial:
        yield Doubt(
            "partial",
            f"Partial: {figures.images_done} of {figures.images_asked} images and "
            f"{len(run.of(wire.Timed))} of {figures.settings.timed_runs} timed inferences; "
            f"{figures.reason}",
        )
    waited = next((told for told in steadiness(run) if not told.reached), None)
    if waited is not None:
        yield Doubt(
            "not-steady",
            f"No steady state within {waited.waited_ns / 1e9:.0f} s of warm-up"
            + (
                f": latency still changed by {waited.latency_change:+.1%}"
                if waited.latency_change is not None
                else ": it was too short to tell"
            )
            + (
                f", the hottest zone by {waited.temp_change_c:+.1f} °C"
                if waited.temp_change_c is not None
                else ""
            )
            + f" in {waited.window_ns / 1e9:.0f} s.",
        )
    restarts = len(run.of(wire.Hello)) - 1
    if restarts > 0:
        yield Doubt(
            "restarted",
            f"The board restarted {_count(restarts, 'time')} in this run, which went on where it "
            "was: memory and load time are of the last start.",
        )
    if figures.skipped:
        first = figures.skipped[0]
        yield Doubt(
            "skipped-images",
            f"{_count(len(figures.skipped), 'image')} skipped and not scored "
            f"({first.name}: {first.reason}{', ...' * (len(figures.skipped) > 1)}).",
        )


def _of_place(figures: RunFigures) -> Iterator[Doubt]:
    if figures.target.emulated:
        yield Doubt("emulated", "An emulated board: its speed says nothing about a real one.")
    if figures.target.loopback:
        yield Doubt(
            "loopback",
            "Measured on the host itself, not on a board: speed and memory are this computer's.",
        )


def _of_accuracy(figures: RunFigures, reference: RunFigures | None) -> Iterator[Doubt]:
    accuracy, calibration = figures.accuracy, figures.calibration
    if accuracy.detections == 0:
        yield Doubt(
            "nothing-detected",
            f"Nothing was detected on {_count(figures.images_done, 'image')}: is the model whole?",
        )
    if calibration is not None and calibration.scored_too:
        yield Doubt(
            "calibration-scored",
            f"{_count(calibration.scored_too, 'calibration image')} also scored: accuracy looks "
            "better than it is.",
        )
    if figures.is_float or figures.model.recipe is None:
        return
    if calibration is not None and calibration.few:
        yield Doubt(
            "few-calibrated",
            f"Calibrated on {_count(calibration.images, 'image')} only: on others it may lose "
            "more.",
        )
    if reference is None:
        yield Doubt(
            "no-float",
            "The float model did not run on this target: what was lost is unknown.",
            "note",
        )
    elif 0 < accuracy.agreement_images < max(figures.images_done, reference.images_done):
        yield Doubt(
            "other-images",
            f"It finished {_count(figures.images_done, 'image')} and the float model "
            f"{reference.images_done}: AP lost and agreement are over the "
            f"{accuracy.agreement_images} that both finished, AP over its own.",
        )
    interval = accuracy.ap_lost_ci95
    if interval is not None and interval[0] <= 0 <= interval[1]:
        yield Doubt(
            "lost-within-noise",
            f"AP lost lies {between(interval)} points (95 %): "
            "these images cannot tell it from none.",
            "note",
        )


def _of_timing(figures: RunFigures) -> Iterator[Doubt]:
    inference = figures.speed.inference
    if inference is None:
        yield Doubt("not-timed", "The model alone was not timed.", "note")
        return
    if inference.samples < FEW_TIMED:
        yield Doubt(
            "few-timed",
            f"{inference.samples} timed inferences: percentiles need {FEW_TIMED} or more.",
        )
    if inference.spread > SPREAD:
        yield Doubt(
            "scattered",
            f"Latency scatters: p90 is {inference.spread:.2f} times the median.",
        )
    if figures.speed.steady is False and figures.speed.latency_slope is not None:
        yield Doubt("unsteady", _unsteady(figures))
    if figures.speed.timed_on == "synthetic":
        yield Doubt("timed-on-noise", "Timed on noise, for want of a picture.", "note")
    allowed = len(figures.speed.cpus) or figures.target.cpus_allowed
    if allowed is not None and figures.speed.threads > allowed:
        yield Doubt(
            "too-many-threads",
            f"{figures.speed.threads} threads on {_count(allowed, 'CPU')}: fewer may be faster.",
        )


def _of_tuning(figures: RunFigures) -> Iterator[Doubt]:
    tuning = figures.tuning
    if tuning is not None and tuning.noise is not None and tuning.noise > MOST_NOISE:
        yield Doubt(
            "tuned-in-noise",
            f"Threads were chosen while times scattered by {tuning.noise:.0%}: --tune --again on "
            "a quiet board may choose others.",
            "note",
        )


def _unsteady(figures: RunFigures) -> str:
    latency, heat = figures.speed.latency_slope or 0.0, figures.speed.temperature_slope
    words = f"latency changed by {signed(latency)} % a minute"
    if heat is not None:
        words += f" and a temperature by {signed(heat)} °C"
    return f"It had not come to rest: at the end {words}; warm up for longer."


def _of_board(run: Run, figures: RunFigures) -> Iterator[Doubt]:
    watched = figures.watched
    hottest = figures.target.hottest_c
    if hottest is not None and hottest >= ((watched and watched.slows_c) or HOT_C):
        yield Doubt("hot", f"It reached {hottest:.0f} °C, where boards slow down: cool it.")
    if watched is not None:
        yield from _of_sensors(watched)
    yield from doubts_of_clocks(run, figures)
    other = [governor for governor in figures.target.governors if governor != "performance"]
    if other:
        yield Doubt(
            "governor",
            f"CPU governor {', '.join(other)}, not performance: clocks move while timing.",
            "note",
        )
    yield from doubts_of_others(run, figures)


def _of_sensors(watched: Watched) -> Iterator[Doubt]:
    """Throttling and falling clocks: what was timed is then not what the board can do."""
    if watched.throttling:
        yield Doubt(
            "throttled",
            f"The board was held back while it ran: {', '.join(watched.throttling)}.",
        )
    before = [name for name in watched.throttled_before if name not in watched.throttling]
    if before:
        yield Doubt(
            "throttled-before",
            f"Before the run, since it started, the board has had: {', '.join(before)}.",
            "note",
        )
    for name, count in watched.held_back.items():
        yield Doubt(
            "held-back",
            f"{clean(name)} held a clock back in {count} of {watched.readings} readings.",
        )
    if watched.over_current:
        yield Doubt(
            "over-current", f"{_count(watched.over_current, 'over-current event')} in the run."
        )
    for policy, first, last in clock_drops(watched):
        yield Doubt(
            "clock-drop",
            f"The clock of {clean(policy)} fell from {first:.0f} to {last:.0f} MHz in the run.",
        )
    if watched.sampler_share is not None and watched.sampler_share > SAMPLING:
        yield Doubt(
            "sampling-cost",
            f"Reading the sensors took {watched.sampler_share:.1%} of one core.",
            "note",
        )


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" + "s" * (number != 1)
