"""What the options of commands that measure come to."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click
import pytest
from click.testing import CliRunner

from targets.errors import InputError
from toolchain.cli.measuring import measuring_of, measuring_options
from toolchain.cli.options import again_option
from toolchain.measuring import Measuring


def asked_with(*words: str) -> Measuring:
    """By a command with these options."""
    found = []

    @click.command()
    @measuring_options
    @again_option
    def command(**asked: Any) -> None:
        found.append(measuring_of(asked))

    result = CliRunner().invoke(command, words, catch_exceptions=False, standalone_mode=False)
    assert result.exit_code == 0, result.output
    return found[0]


def test_board_settings_come_from_a_profile_a_file_and_single_values(tmp_path: Path) -> None:
    own = tmp_path / "mine.toml"
    own.write_text("")
    words = ["--profile", "quiet", "--config", str(own), "--set", "cpu.max_khz=600000"]
    asked = asked_with(*words).asked
    assert (asked.profile, asked.config) == ("quiet", own)
    assert asked.overrides == (("cpu.max_khz", 600_000),)


def test_without_a_profile_nothing_is_changed() -> None:
    assert asked_with().asked.profile is None


@pytest.mark.parametrize("words", [["--set", "fan.pwm=255"], ["--config", __file__]])
def test_settings_without_a_profile_are_refused(words: list[str]) -> None:
    """They would be in force nowhere, and the report would not say so."""
    with pytest.raises(InputError, match="of a profile") as refused:
        asked_with(*words)
    assert "--profile benchmark" in str(refused.value.hint)
