"""Areas of swap, switched off and on again by the programs of the board."""

from __future__ import annotations

from tests.targets.firmware.asked import PERFORMANCE, end, request
from tests.targets.firmware.played import GOVERNOR, Played

SWAPS = "Filename Type Size Used Priority\n/swap file 100 0 -2\n"


def test_an_area_of_an_odd_name_is_refused_by_itself(board: Played) -> None:
    """A space in its name is written \\040 in /proc/swaps."""
    board.write("/proc/swaps", SWAPS.replace("/swap ", "/swap\\040area "))
    answer = board.ask(request(board, 1, ("swap", "/swap\\040area", "off"), PERFORMANCE))
    refused, set_ = answer["problems"]
    assert "none of the settings that may be changed" in refused
    assert set_ is None
    assert answer["held"]
    assert board.read(GOVERNOR).strip() == "performance"
    assert end(board, 1)["left"] == []
    assert board.read(GOVERNOR) == "ondemand\n"


def test_an_area_whose_priority_the_kernel_chose_may_get_another(board: Played) -> None:
    board.write("/proc/swaps", SWAPS)
    board.tool("swapoff", 'sed -i 2d "$HERE/proc/swaps"\n')
    board.tool("swapon", 'echo "$1 file 100 0 -3" >>"$HERE/proc/swaps"\n')
    assert board.ask(request(board, 1, ("swap", "/swap", "off")))["held"]
    assert "/swap" not in board.read("/proc/swaps")
    outcome = end(board, 1)
    assert (outcome["left"], outcome["restored"]) == ([], 1)
    assert board.read("/proc/swaps").endswith("/swap file 100 0 -3\n")
