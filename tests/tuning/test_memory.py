"""Choices outlive a command, belong to one board, model and runtime, and cannot break a run."""

from __future__ import annotations

import dataclasses
import json
import logging
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from targets.agent.records import Cluster, Facts
from toolchain.runmeta import ModelMeta, TriedMeta, TuningMeta
from toolchain.tuning import memory

BOARD = Facts(
    board_model="Raspberry Pi 5 Model B Rev 1.0",
    compatible=("raspberrypi,5-model-b",),
    allowed_cpus=(0, 1, 2, 3),
    clusters=(Cluster(cpus=(0, 1, 2, 3), kind="Cortex-A76", max_khz=2_400_000),),
    runtime="ai-edge-litert 2.3.0",
)
MODEL = ModelMeta("best", "w8c-a8", 8, 1000, "a" * 64, imgsz=(640, 640))
TUNING = TuningMeta(
    threads=3,
    cpus=(),
    tried=(TriedMeta(3, (), 20.5, 2), TriedMeta(4, (), 20.4, 2)),
    noise=0.01,
    measured="2026-01-01T00:00:00+00:00",
)
KEY = memory.key_of(BOARD, MODEL)


@pytest.fixture(autouse=True)
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("HALFBYTE_CACHE", str(tmp_path))
    return tmp_path / "tuning.json"


def test_a_choice_comes_back_and_says_that_it_is_remembered() -> None:
    assert memory.recall(KEY) is None
    memory.remember(KEY, TUNING)
    assert memory.recall(KEY) == dataclasses.replace(TUNING, remembered=True)


@pytest.mark.parametrize(
    "facts",
    [
        {"runtime": "ai-edge-litert 2.1.0"},
        {"board_model": "Raspberry Pi 4 Model B Rev 1.4"},
        {"allowed_cpus": (0, 1)},
        {"userland_bits": 32},
        {"clusters": (Cluster(cpus=(0, 1, 2, 3), kind="Cortex-A76", max_khz=1_500_000),)},
    ],
    ids=lambda changed: next(iter(changed)),
)
def test_another_board_or_runtime_has_another_choice(facts: dict[str, object]) -> None:
    assert memory.key_of(dataclasses.replace(BOARD, **facts), MODEL) != KEY


@pytest.mark.parametrize("model", [{"sha256": "b" * 64}, {"imgsz": (320, 320)}], ids=str)
def test_another_model_or_size_has_another_choice(model: dict[str, object]) -> None:
    assert memory.key_of(BOARD, dataclasses.replace(MODEL, **model)) != KEY


def test_what_changes_from_run_to_run_does_not_count() -> None:
    later = dataclasses.replace(BOARD, mem_available_bytes=5, home_free_bytes=6, kernel="6.9")
    renamed = dataclasses.replace(MODEL, weights="other")
    assert memory.key_of(later, renamed) == KEY


@pytest.mark.parametrize(
    "content",
    [b"", b"{", b"[]", b'{"schema": "other"}', b"\xff\xfe", b"[" * 100_000, b"null",
     b'{"schema": "halfbyte.tuning", "version": 1}',
     b'{"schema": "halfbyte.tuning", "version": 1, "choices": []}'],
    ids=repr,
)  # fmt: skip
def test_a_damaged_file_is_told_and_written_anew(
    content: bytes, place: Path, caplog: pytest.LogCaptureFixture
) -> None:
    place.write_bytes(content)
    with caplog.at_level(logging.WARNING):
        assert memory.recall(KEY) is None
    assert "not used" in caplog.text
    memory.remember(KEY, TUNING)
    assert memory.recall(KEY) is not None


def test_a_file_of_a_newer_halfbyte_is_neither_used_nor_lost(
    place: Path, caplog: pytest.LogCaptureFixture
) -> None:
    newer = json.dumps({"schema": "halfbyte.tuning", "version": 2, "choices": {KEY: {}}})
    place.write_text(newer)
    memory.remember(KEY, TUNING)
    assert memory.recall(KEY) is None
    assert "version 2" in caplog.text
    assert place.read_text() == newer


@pytest.mark.parametrize(
    "change",
    [
        {"threads": 0},
        {"threads": True},
        {"threads": 10**30},
        {"threads": 2, "cpus": [5]},
        {"cpus": [-1]},
        {"noise": -1.0},
        {"tried": [{"threads": 1, "cpus": [], "median_ms": -3.0, "runs": 1}]},
        {"tried": 5},
        {"measured": None},
    ],
    ids=str,
)
def test_a_choice_that_makes_no_sense_is_measured_again(
    change: dict[str, object], place: Path, caplog: pytest.LogCaptureFixture
) -> None:
    memory.remember(KEY, TUNING)
    document = json.loads(place.read_text())
    document["choices"][KEY] |= change
    place.write_text(json.dumps(document))
    assert memory.recall(KEY) is None
    assert "measured again" in caplog.text


@given(
    st.recursive(
        st.none() | st.booleans() | st.floats() | st.integers() | st.text(),
        lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    )
)
def test_no_content_is_a_crash(tmp_path_factory: pytest.TempPathFactory, entry: object) -> None:
    with pytest.MonkeyPatch.context() as patched:
        folder = tmp_path_factory.mktemp("cache")
        patched.setenv("HALFBYTE_CACHE", str(folder))
        document = {"schema": "halfbyte.tuning", "version": 1, "choices": {KEY: entry}}
        (folder / "tuning.json").write_text(json.dumps(document))
        assert memory.recall(KEY) is None


def test_the_oldest_choices_go(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "MOST_KEPT", 3)
    for number in range(5):
        memory.remember(str(number), TUNING)
    kept = [memory.recall(str(number)) is not None for number in range(5)]
    assert kept == [False, False, True, True, True]


def test_a_folder_that_cannot_be_written_is_told(
    place: Path, caplog: pytest.LogCaptureFixture
) -> None:
    place.mkdir()
    memory.remember(KEY, TUNING)
    assert memory.recall(KEY) is None
    assert "not remembered" in caplog.text
