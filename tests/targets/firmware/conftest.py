"""A board of files, for every test that asks its programs."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.targets.firmware import played
from tests.targets.firmware.played import Played


@pytest.fixture
def board(tmp_path: Path) -> Iterator[Played]:
    with played.board(tmp_path / "board") as found:
        yield found
