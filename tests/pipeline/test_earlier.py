"""What is told of the settings of a run's earlier part, by how the board says that they ended."""

from __future__ import annotations

from typing import Any

import pytest

from targets.agent.wire import Envelope, Finished, Warmed
from toolchain.earlier import Earlier, joined
from toolchain.runmeta import BoardSettings, SettingMeta

HELD = BoardSettings("generic", "benchmark", hold="a" * 16, doubts=("it was odd",))


def outcome(**more: Any) -> dict[str, Any]:
    found = {"id": "a" * 16, "why": "silence", "boot_id": "b", "monotonic_ns": 500, "left": []}
    return {**found, **more}


def kept(at_ns: int, boot: str | None = None, *, whole: bool = True) -> list[Envelope]:
    last = Finished() if whole else Warmed(0, 1)
    return [Envelope(0, 1, Warmed(0, 1), boot), Envelope(1, at_ns, last, boot)]


@pytest.mark.parametrize(
    ("records", "why", "told"),
    [
        (kept(400), "silence", ""),  # the run was over by then
        (kept(400, "b"), "over", ""),
        (kept(600), "silence", "gone for longer than the lease"),
        (kept(400, whole=False), "silence", "gone for longer than the lease"),  # more is to come
        (kept(400, "c"), "silence", "gone for longer than the lease"),  # clocks of two starts
        ([], "asked", "firmware restore"),
    ],
)
def test_only_what_ended_in_mid_run_is_doubted(
    records: list[Envelope], why: str, told: str
) -> None:
    found = Earlier(HELD, outcome(why=why)).doubts(records)
    assert found[0] == "it was odd"
    assert (told in found[-1]) if told else found == HELD.doubts


def test_what_the_board_does_not_know_is_doubted() -> None:
    assert "not known" in Earlier(HELD).doubts(kept(1))[-1]
    assert Earlier(HELD, goes_on=True).doubts(kept(1)) == HELD.doubts


def test_what_was_not_put_back_then_is_told() -> None:
    left = [["file", "/proc/x", "it is gone"]]
    assert "/proc/x was not put back then" in Earlier(HELD, outcome(left=left)).doubts([])[-1]


def test_the_first_part_knows_what_a_setting_was_before() -> None:
    first = BoardSettings(
        "generic", "benchmark", (SettingMeta("cpu.governor", "policy0", "ondemand"),), hold="a" * 16
    )
    now = BoardSettings(
        "generic", "benchmark", (SettingMeta("cpu.governor", "policy0", "performance"),), ("new",)
    )
    found = joined(now, Earlier(first, outcome()), [])
    assert found.settings[0].before == "ondemand"
    assert found.doubts[-1] == "new"
    assert len(found.doubts) == 2
