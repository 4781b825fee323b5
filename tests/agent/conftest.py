from pathlib import Path

import pytest

from targets.zipapp import build


@pytest.fixture(scope="session")
def agent(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The zipapp, built once."""
    return build(tmp_path_factory.mktemp("cache")).path
