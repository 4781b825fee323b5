"""What tests ask of the board's programs, and how its holds end."""

from __future__ import annotations

import os
from typing import Any

from tests.targets.firmware import played
from tests.targets.firmware.played import GOVERNOR, Played

NVPMODEL = (
    '[ "$1" = -q ] && { echo "NV Power Mode: M"; cat "$HERE/mode"; exit; }\n'
    'printf %s "$2" >"$HERE/mode"; touch "$HERE/changing"; [ "$2" = 0 ] || sleep 2\n'
)


def request(board: Played, number: int, *changes: tuple[str, str, str], **more: Any) -> Any:
    """To apply `changes` as the hold of that number, whose lease is there."""
    hold = f"{number:016x}"
    lease = board.folder / "user" / f"lease-{hold}"
    lease.parent.mkdir(exist_ok=True)
    lease.touch()
    return {
        "do": "apply",
        "id": hold,
        "label": f"hold {number}",
        "folder": str(lease.parent),
        "changes": [{"knob": [kind, path], "value": value} for kind, path, value in changes],
        "snapshot": [],
        "lease": str(lease),
        "lease_s": 600.0,
        "holder": {"user": "ada", "host": "desk", "since": "today"},
        "ours": [],
        "runs": [],
        "run_lock": str(board.folder / "run-lock"),
        "look": {"files": [GOVERNOR], "commands": []},
        **more,
    }


PERFORMANCE = ("file", GOVERNOR, "performance")


def looked(board: Played, number: int) -> Any:
    asked = {"do": "look", "folder": str(board.folder / "user"), "hold": f"{number:016x}"}
    answer = board.ask({**asked, "look": {"files": [], "commands": []}})
    return answer["held"]["root" if os.geteuid() == 0 else "user"]


def end(board: Played, number: int) -> Any:
    """As the host ends its hold; how it ended."""
    (board.folder / "user" / f"lease-{number:016x}").unlink()
    played.wait("the guard's end", lambda: looked(board, number)["outcome"] is not None)
    return looked(board, number)["outcome"]
