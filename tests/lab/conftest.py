"""What tests across the lab start from: a board that is up, and the command line pointed at it."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.lab import lab, requirements
from tests.lab.boards import BOARDS, Board
from tests.lab.cli import Host
from tests.lab.link import Link
from tests.lab.machines import MACHINES, Machine


@pytest.fixture(scope="session")
def lab_is_up() -> None:
    """Skips where it is not: `scripts/test` alone neither starts it nor waits for it."""
    if requirements.missing(machines=False) or not lab.names_up():
        _absent("the lab is not up (`scripts/lab test` starts it; needs root, docs/lab.md)")


@pytest.fixture(scope="session")
def host(lab_is_up: None, tmp_path_factory: pytest.TempPathFactory) -> Host:
    """A user's home folder whose targets.toml names the boards of the lab."""
    return Host.made(tmp_path_factory.mktemp("host"))


def needs(name: str) -> None:
    """Skip where that part of the lab is not up."""
    if not lab.is_up(name):
        _absent(f"{name} is not up: `scripts/lab up {name}`")


def _absent(why: str) -> None:
    """`scripts/lab test` started everything: what is gone since then has failed."""
    if os.environ.get("HALFBYTE_LAB"):
        pytest.fail(why)
    pytest.skip(why)


def board_called(name: str) -> Board:
    """One of the emulated hosts, or skip."""
    needs(name)
    return BOARDS[name]


@pytest.fixture
def virt(lab_is_up: None) -> Machine:
    """A whole machine."""
    needs("virt")
    return MACHINES["virt"]


@pytest.fixture
def raspi3b(lab_is_up: None) -> Machine:
    """A whole machine with the device tree of a Raspberry Pi."""
    needs("raspi3b")
    return MACHINES["raspi3b"]


@pytest.fixture(params=list(BOARDS))
def board(request: pytest.FixtureRequest, lab_is_up: None) -> Board:
    """Each emulated host in turn."""
    return board_called(request.param)


@pytest.fixture
def pi_4(lab_is_up: None) -> Board:
    """One board, where the kind does not matter."""
    return board_called("pi-4")


@pytest.fixture
def link(pi_4: Board) -> Iterator[Link]:
    """Its link, good again afterwards."""
    link = Link(pi_4.name)
    link.restore()
    yield link
    link.restore()


@pytest.fixture(scope="session")
def model(host: Host) -> Path:
    """Real YOLOv5s, int8, small enough for an emulator; made once, then from halfbyte's cache."""
    return host.model()
