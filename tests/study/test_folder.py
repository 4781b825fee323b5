"""The study folder: what is kept comes back, and what is damaged is told and done again."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from targets.agent.records import Detected
from tests.study import made_up
from toolchain.errors import RunFolderError
from toolchain.study.folder import State, StudyFolder, held

KEY = "a" * 64
RECORDS = (Detected(image="1", width=4, height=3, detections=((0.0, 0.0, 2.0, 2.0, 0.5, 7.0),)),)


@pytest.mark.parametrize("state", made_up.usual(), ids=lambda state: state.cell.name)
def test_a_cell_comes_back_as_it_was_kept(state: State, tmp_path: Path) -> None:
    folder = StudyFolder(tmp_path)
    folder.keep(state, KEY)
    assert folder.state(state.cell, KEY) == state
    assert folder.state(state.cell, "b" * 64) == State(state.cell)


def test_the_float_models_detections_come_back_under_their_key_alone(tmp_path: Path) -> None:
    folder = StudyFolder(tmp_path)
    assert folder.reference(KEY) is None
    folder.keep_reference(RECORDS, KEY)
    assert folder.reference(KEY) == RECORDS
    assert folder.reference("b" * 64) is None


def test_two_studies_cannot_write_to_one_folder(tmp_path: Path) -> None:
    with held(tmp_path), pytest.raises(RunFolderError, match="another study"), held(tmp_path):
        pass
    with held(tmp_path):
        pass


def test_a_file_in_place_of_the_folder_is_told(tmp_path: Path) -> None:
    (tmp_path / "study").write_text("")
    with pytest.raises(RunFolderError, match="is no folder"), held(tmp_path / "study"):
        pass


@pytest.mark.parametrize(
    "damage",
    [
        b"",
        b"{",
        b"[]",
        b"\xff\xfe",
        b"[" * 100_000,
        b'{"schema": "halfbyte.study-cell", "version": 2}',
    ],
)
def test_a_damaged_file_is_told_and_the_cell_is_done_again(
    damage: bytes, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    state = made_up.usual()[0]
    folder = StudyFolder(tmp_path)
    folder.keep(state, KEY)
    (tmp_path / "cells" / f"{KEY}.json").write_bytes(damage)
    (tmp_path / "reference.json").write_bytes(damage)
    assert folder.state(state.cell, KEY) == State(state.cell)
    assert folder.reference(KEY) is None
    assert "is made again" in caplog.text


junk = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=5,
)


@given(st.data())
def test_whatever_stands_in_a_field_nothing_crashes(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    folder = StudyFolder(tmp_path_factory.mktemp("study"))
    state = made_up.usual()[0]
    folder.keep(state, KEY)
    folder.keep_reference(RECORDS, KEY)
    for path in (folder.path / "cells" / f"{KEY}.json", folder.path / "reference.json"):
        document = json.loads(path.read_bytes())
        place: Any = document
        for _ in range(data.draw(st.integers(0, 2))):
            inner = [value for value in place.values() if isinstance(value, dict)]
            place = data.draw(st.sampled_from(inner)) if inner else place
        place[data.draw(st.sampled_from(sorted(place)))] = data.draw(junk)
        path.write_text(json.dumps(document))
    assert folder.state(state.cell, KEY).cell == state.cell
    folder.reference(KEY)
