"""`jetson.power_mode`: a Jetson's power mode, by the name that nvpmodel has for it.

Numbers of modes differ between modules and releases, so the board's own /etc/nvpmodel.conf says
which number a name has (`< POWER_MODEL ID=2 NAME=MAXN_SUPER >`), and `nvpmodel -q` what is in
force.  Its exit status is not believed.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final

from targets.firmware.settings.kind import KEEP, Kind, Knob, Row, Said, Seen, Value, absent
from targets.firmware.settings.policies import SNAPSHOT

CONF: Final = "/etc/nvpmodel.conf"
QUERY: Final = "nvpmodel -q"
_KEY: Final = "jetson.power_mode"


def check(value: Value) -> str | None:
    """One name, or several of which the first that the board has is taken."""
    names = (value,) if isinstance(value, str) else value
    if not isinstance(names, tuple) or not names:
        return 'a name of nvpmodel such as "MAXN", or a list of them'
    wrong = next((n for n in names if not re.fullmatch(r"[\w.+-]{1,64}", n)), None)
    return None if wrong is None else f"{wrong!r} is no power mode's name"


def parse_modes(text: str) -> dict[str, int]:
    """Number of each mode by its name, from /etc/nvpmodel.conf."""
    found = re.findall(r"^\s*<\s*POWER_MODEL\s+ID=(\d{1,4})\s+NAME=(\S+)\s*>", text, re.MULTILINE)
    return {name: int(number) for number, name in found}


def parse_query(said: Said | None) -> tuple[str, int] | None:
    """Name and number of the mode in force, from `nvpmodel -q`; None where it does not say.

    Lines of errors may follow (without root on JetPack 4), and the exit status says nothing.
    """
    match = re.search(r"^NV Power Mode: (\S+)\s*\n(\d{1,4})\s*$", said.text if said else "", re.M)
    return None if match is None else (match[1], int(match[2]))


def rows(key: str, wanted: Value, seen: Seen) -> Sequence[Row]:
    """One: the board has one power mode."""
    names = (wanted,) if isinstance(wanted, str) else wanted
    assert isinstance(names, tuple)
    said = seen.commands.get(QUERY)
    now = parse_query(said)
    if said is not None and said.status is None and said.text:
        return absent(key, said.text)
    if now is None:
        return absent(key, "nvpmodel is not there, or does not say which mode is in force")
    modes = parse_modes(seen.text(CONF) or "")
    if KEEP in names:
        return [Row(key, "", now[0], None)]
    name = next((n for n in names if n in modes), None)
    if name is None:
        name = now[0] if now[0] in names else None
        had = ", ".join(modes) or f"nothing, as {CONF} cannot be read"
        note = "" if name else f"the board has {had}, and not {' or '.join(names)}"
        return [Row(key, "", now[0], name, note=note)]
    return [Row(key, "", now[0], name, Knob("mode"), str(modes[name]))]


POWER_MODE = Kind(
    _KEY,
    "name of a power mode of nvpmodel",
    check,
    rows,
    files=(CONF,),
    commands=(QUERY,),
    snapshot=(
        *SNAPSHOT,
        "/sys/devices/system/cpu/cpu[0-9]*/online",
        "/sys/class/devfreq/*/min_freq",
        "/sys/class/devfreq/*/max_freq",
    ),
)
