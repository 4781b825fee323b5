from __future__ import annotations

import pytest

from tests.compare.measured import Folders, measured


@pytest.fixture(scope="session")
def folders(tmp_path_factory: pytest.TempPathFactory) -> Folders:
    return measured(tmp_path_factory.mktemp("measured"))
