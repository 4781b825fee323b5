"""runtimes.toml and wheels.toml are whole: `scripts/runtimes check` asks the index the rest."""

from __future__ import annotations

import re

import pytest

from targets.provision.catalogue import Wheel, catalogue
from targets.provision.interpreter import wheel_tags

KNOWN = catalogue()


@pytest.mark.parametrize("wheel", KNOWN.wheels, ids=lambda wheel: wheel.filename)
def test_every_wheel_is_pinned_by_hash_and_says_for_which_board_it_is(wheel: Wheel) -> None:
    assert re.fullmatch(r"[0-9a-f]{64}", wheel.sha256)
    assert wheel.size_bytes > 0
    assert wheel_tags(wheel.filename) is not None
    name, version = wheel.filename.split("-")[:2]
    assert (name.replace("_", "-"), version) == (wheel.project, wheel.version)


def test_no_file_is_pinned_twice() -> None:
    assert len({wheel.sha256 for wheel in KNOWN.wheels}) == len(KNOWN.wheels)
    assert len({wheel.filename for wheel in KNOWN.wheels}) == len(KNOWN.wheels)


def test_every_choice_and_every_version_it_names_has_wheels() -> None:
    for choice in KNOWN.choices:
        assert KNOWN.of(choice.project, choice.version)
        for version in choice.numpy.wheels:
            assert KNOWN.of("numpy", version)
        for version in choice.pillow.wheels:
            assert KNOWN.of("pillow", version)


def test_what_wheels_for_arm_need_of_a_board_is_known() -> None:
    for wheel in KNOWN.wheels:
        for architecture in ("aarch64", "armv7l"):
            if wheel.project in {c.project for c in KNOWN.choices} and wheel.filename.endswith(
                f"_{architecture}.whl"
            ):
                need = KNOWN.need(wheel.project, architecture)
                assert need is not None
                assert need.cpu
                assert need.page_size_bytes >= 16384  # a Raspberry Pi 5's
