"""The main job on every kind of server and login shell."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from targets.agent.records import Detected, Finished
from targets.deadline import Deadline
from targets.items import Item
from targets.loopback import base_python
from targets.provision.environment import provision
from targets.session import run
from targets.ssh import connect
from targets.target import Target
from targets.zipapp import build
from tests.agent import small_models
from toolchain.bundle import Bundle, Picture, Settings


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder that all of these boards share, so that one environment is made."""
    return tmp_path_factory.mktemp("board's own") / "ours"


def test_an_environment_is_made_and_a_model_is_run(
    board: Target, own_settings: Path, root: Path, tmp_path: Path
) -> None:
    built = build(tmp_path)
    picture = small_models.save_picture(tmp_path / "a", small_models.coloured_cell(1, 2, 0))
    bundle = Bundle(
        Item.of_bytes(small_models.int8_detector()),
        Item.of_file(built.path, sha256=built.sha256),
        (Picture("søppel—1.jpg", Item.of_file(picture)),),
        Settings(head=small_models.HEAD, warmup=1, timed_runs=2),
    )
    # Dropbear's board has another home folder mounted over ours, where the interpreter may be.
    python = None if board.name == "dropbear" else base_python()
    target = dataclasses.replace(board, root=str(root), python=python)
    with connect(target, deadline=Deadline.after(20)) as connection:
        made = provision(connection, deadline=Deadline.after(300))
        envelopes = run(connection, made, bundle, deadline=Deadline.after(60))
        records = [envelope.record for envelope in envelopes]
    (detected,) = [record for record in records if isinstance(record, Detected)]
    assert detected.image == "søppel—1.jpg"
    assert [int(row[5]) for row in detected.detections][:1] == [0]
    assert isinstance(records[-1], Finished)
