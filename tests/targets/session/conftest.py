"""A noisy board with its environment, and a small model with pictures to run there."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from targets.items import Item
from targets.provision.environment import BoardPython, provision
from targets.target import Target
from targets.zipapp import build
from tests.agent import small_models
from tests.targets import conditions
from tests.targets.session.following import (
    after,
    link,
)
from toolchain.bundle import Bundle, Picture, Settings


@pytest.fixture(scope="session")
def agent(tmp_path_factory: pytest.TempPathFactory) -> Item:
    built = build(tmp_path_factory.mktemp("agent"))
    return Item.of_file(built.path, sha256=built.sha256)


@pytest.fixture(scope="session")
def small(tmp_path_factory: pytest.TempPathFactory, agent: Item) -> Bundle:
    """A small detector and three pictures, one with an awkward name."""
    folder = tmp_path_factory.mktemp("bundle")
    pictures = []
    for index, name in enumerate(("søppel—1.jpg", "it's.png", "plain.png")):
        cell = small_models.coloured_cell(index, index, index)
        path = small_models.save_picture(folder / f"{index}.png", cell)
        pictures.append(Picture(name, Item.of_file(path)))
    model = Item.of_bytes(small_models.int8_detector())
    settings = Settings(head=small_models.HEAD, warmup=1, timed_runs=3)
    return Bundle(model, agent, tuple(pictures), settings)


@pytest.fixture(scope="module")
def noisy(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Target]:
    with conditions.board(tmp_path_factory.mktemp("noisy"), conditions.NOISE) as target:
        yield target


@pytest.fixture(scope="module")
def board(noisy: Target) -> BoardPython:
    with link(noisy) as connection:
        return provision(connection, deadline=after(600))
