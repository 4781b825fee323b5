"""`jetson.clocks`: whether jetson_clocks has pinned the clocks of CPU, GPU and memory.

In force where the lowest clock allowed is the highest one, as `jetson_clocks --show` tells it
(root only).  It goes back by the file that `jetson_clocks --store` wrote before.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from targets.firmware.settings.kind import KEEP, Kind, Knob, Row, Said, Seen, Value, absent
from targets.firmware.settings.power_mode import POWER_MODE

SHOW = "jetson_clocks --show"
_WORDS = {True: "on", False: "off"}


def check(value: Value) -> str | None:
    """true, false or "keep"."""
    return None if isinstance(value, bool) or value == KEEP else 'true, false or "keep"'


def parse_pinned(said: Said | None) -> bool | None:
    """Whether every core that is online, and the GPU, has no lower clock than its highest.

    None where the tool is not there, or does not tell (it tells root only).
    """
    limits = re.findall(
        r"^(?:cpu\d+:.*?|GPU )MinFreq=(\d+) MaxFreq=(\d+)", said.text if said else "", re.M
    )
    return all(low == high for low, high in limits) if limits else None


def rows(key: str, wanted: Value, seen: Seen) -> Sequence[Row]:
    """One: they are pinned all together."""
    said = seen.commands.get(SHOW)
    if said is None or said.status is None:
        return absent(key, (said and said.text) or "jetson_clocks is not there")
    pinned = parse_pinned(said)
    now = None if pinned is None else _WORDS[pinned]
    note = "jetson_clocks tells root only" if pinned is None else ""
    if wanted == KEEP:
        return [Row(key, "", now, None, note=note)]
    word = _WORDS[bool(wanted)]
    return [Row(key, "", now, word, Knob("clocks"), word, note)]


CLOCKS = Kind(
    "jetson.clocks", "on or off", check, rows, commands=(SHOW,), snapshot=POWER_MODE.snapshot
)
