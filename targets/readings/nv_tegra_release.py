"""`/etc/nv_tegra_release`: which Linux for Tegra (L4T) a Jetson has, and so which JetPack.

https://developer.nvidia.com/embedded/jetpack-archive
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

from targets.readings.reading import LONGEST, Reading

_JETPACK: Final = {
    "32.4.3": "4.4", "32.4.4": "4.4.1", "32.5": "4.5", "32.5.1": "4.5.1", "32.6.1": "4.6",
    "32.7.1": "4.6.1", "32.7.2": "4.6.2", "32.7.3": "4.6.3", "32.7.4": "4.6.4", "32.7.5": "4.6.5",
    "32.7.6": "4.6.6", "34.1": "5.0", "34.1.1": "5.0.1", "35.1": "5.0.2", "35.2.1": "5.1",
    "35.3.1": "5.1.1", "35.4.1": "5.1.2", "35.5": "5.1.3", "35.6": "5.1.4", "35.6.1": "5.1.5",
    "36.3": "6.0", "36.4": "6.1", "36.4.3": "6.2", "36.4.4": "6.2.1", "38.2": "7.0",
}  # fmt: skip
_JETPACK_OF_MAJOR: Final = {28: "3", 32: "4", 34: "5", 35: "5", 36: "6", 38: "7"}


@dataclass(frozen=True)
class Release:
    """l4t: "36.4.4".  jetpack: "6.2.1"; only "6" where the release is not among those known here,
    None where not even that is.  board: NVIDIA's word ("t186ref", "generic").
    """

    l4t: str | None = None
    jetpack: str | None = None
    board: str | None = None
    date: str | None = None


def parse_release(text: str) -> Release:
    """`# R36 (release), REVISION: 4.4, GCID: ..., BOARD: generic, EABI: aarch64, DATE: ...`."""
    text = text[:LONGEST]
    match = re.search(r"^#\s*R([0-9]{1,4})\s*\(\w+\)\s*,\s*REVISION:\s*([0-9.]{1,20})", text, re.M)
    if match is None:
        return Release()
    l4t = f"{match[1]}.{match[2].strip('.')}"
    shortest = re.sub(r"(\.0)+$", "", l4t)
    named = {
        name: value.strip() for name, value in re.findall(r"\b(BOARD|DATE):\s*([^,\n]{1,60})", text)
    }
    return Release(
        l4t=l4t,
        jetpack=_JETPACK.get(shortest) or _JETPACK_OF_MAJOR.get(int(match[1])),
        board=named.get("BOARD"),
        date=named.get("DATE"),
    )


RELEASE: Final = Reading("nv-tegra-release", ("cat", "/etc/nv_tegra_release"), parse_release)
