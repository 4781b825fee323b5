"""Times over pictures of one run each: over too soon to show by themselves what disturbed them."""

from __future__ import annotations

import dataclasses
from pathlib import Path

from tests.report import folders as made
from toolchain.compare.pairs import compare
from toolchain.compare.sides import Named
from toolchain.compare.verdicts import Outcome, Verdict

IMAGES = 24


def one_run(path: Path, alone_ms: float, over_ms: float) -> Named:
    """A model that takes so long alone, and so long of the time for each picture."""
    folder = made.create(path / "run", made.frames(path / "frames", IMAGES))
    found = [
        dataclasses.replace(
            made.detected(1, ()), index=n, image=str(n + 1), inference_ns=int(over_ms * 1e6)
        )
        for n in range(IMAGES)
    ]
    sent = made.records({}, times_ms=[alone_ms] * 40)
    made.keep(folder, "a", made.meta(), [*sent[:-2], *found, *sent[-2:]])
    return Named(path / "run")


def judged(tmp_path: Path, a: tuple[float, float], b: tuple[float, float]) -> Verdict:
    [pair] = compare(one_run(tmp_path / "a", *a), one_run(tmp_path / "b", *b)).pairs
    return pair.verdict("end to end")


def test_a_run_that_was_disturbed_as_soon_as_its_pictures_began_is_not_another(
    tmp_path: Path,
) -> None:
    found = judged(tmp_path, (10, 10), (10, 40))
    assert found.difference is not None
    assert found.difference > 2
    assert found.outcome is Outcome.SAME
    assert found.blunt


def test_a_slower_model_is_different(tmp_path: Path) -> None:
    found = judged(tmp_path, (10, 11), (30, 33))
    assert found.outcome is Outcome.DIFFERENT
    assert found.better is False
