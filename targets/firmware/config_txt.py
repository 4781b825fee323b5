"""A Raspberry Pi's config.txt as text: which file it is, what is in force, and a block of ours.

Raspberry Pi Documentation, config.txt: lines of `property=value`, `#` comments, conditional filters
in brackets; of lines with the same property the last counts; at most 98 characters of a line are
read.  Nothing here reads or writes a file.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

LONGEST: Final = 98
_BEGIN: Final = "# >>> halfbyte: `halfbyte firmware restore` removes these lines"
_BEGIN_UNENDED: Final = f"{_BEGIN}, and the line end before them"
_END: Final = "# <<< halfbyte"
# The device tree's word for each model that a filter names (conditional filters of the models).
_MODELS: Final = {
    "pi0": ("model-zero", "model-zero-w", "model-zero-2", "model-zero-2-w"),
    "pi0w": ("model-zero-w", "model-zero-2-w"),
    "pi02": ("model-zero-2", "model-zero-2-w"),
    "pi1": ("model-a", "model-b", "model-a-plus", "model-b-plus", "compute-module"),
    "pi2": ("2-model-b", "2-model-b-rev2"),
    "pi3": (
        "3-model-b",
        "3-model-b-plus",
        "3-model-a-plus",
        "3-compute-module",
        "3-compute-module-plus",
    ),
    "pi3+": ("3-model-b-plus", "3-model-a-plus"),
    "pi4": ("4-model-b", "400", "4-compute-module", "4-compute-module-s"),
    "pi400": ("400",),
    "cm4": ("4-compute-module",),
    "cm4s": ("4-compute-module-s",),
    "pi5": ("5-model-b", "500", "5-compute-module"),
    "pi500": ("500",),
    "cm5": ("5-compute-module",),
}


@dataclass(frozen=True)
class ConfigFile:
    """path: of the file that the firmware reads; None: `why` there is none to be found."""

    path: str | None
    why: str = ""


def find_config(mounts: str, existing: Sequence[str]) -> ConfigFile:
    """The config.txt on the firmware's own partition, from /proc/mounts and the files there are.

    Since Debian 12 that partition is mounted at /boot/firmware, and /boot/config.txt is only a
    note saying so; before, it was mounted at /boot.  A file on any other partition is not it.
    """
    found = [line.split() for line in mounts.splitlines()]
    fat = {words[1] for words in found if len(words) > 3 and words[2] in ("vfat", "msdos")}
    for folder in ("/boot/firmware", "/boot"):
        if folder in fat and f"{folder}/config.txt" in existing:
            return ConfigFile(f"{folder}/config.txt")
    if existing:
        return ConfigFile(
            None, f"{existing[0]} is not on a mounted firmware partition, so nothing would read it"
        )
    return ConfigFile(None, "there is no config.txt of a Raspberry Pi's firmware")


def effective(text: str, line: str, compatible: Sequence[str]) -> str | None:
    """What is in force of the properties of `line` on a board; `line` itself if it is that.

    compatible: the board's, from its device tree.  None: none of them is set.
    """
    wanted = _properties(line)
    now: dict[str, str] = {}
    for applied in _applying(text, compatible):
        for name, value in _properties(applied).items():
            if name in wanted:
                now[name] = value
    if now == wanted:
        return line
    return ", ".join(f"{name}={value}" for name, value in now.items()) or None


def with_block(text: str, lines: Sequence[str]) -> str:
    """`text` with these lines at its end, for all models, between two marks; any other block of
    ours is gone.  `without_block` gives `text` back, character for character.
    """
    text = without_block(text)
    if not lines:
        return text
    end = "\r\n" if text.count("\r\n") * 2 > text.count("\n") else "\n"
    unended = bool(text) and not text.endswith("\n")
    block = [_BEGIN_UNENDED if unended else _BEGIN, "[all]"]
    if any(line.startswith("dtparam=") for line in lines):
        block.append("dtoverlay=")  # or they would be parameters of the last overlay
    return text + (end if unended else "") + "".join(f"{ln}{end}" for ln in (*block, *lines, _END))


def without_block(text: str) -> str:
    """`text` without the block that `with_block` wrote."""
    pattern = rf"(?:(?P<unended>\r?\n){re.escape(_BEGIN_UNENDED)}|(?<![^\n]){re.escape(_BEGIN)})"
    return re.sub(rf"{pattern}\r?\n(?:(?!# <<<)[^\n]*\n)*{re.escape(_END)}(?:\r?\n|\Z)", "", text)


def _applying(text: str, compatible: Sequence[str]) -> Iterator[str]:
    """Lines that are in force on the board.  What depends on pins, screens, a serial number or a
    trial boot is left out: whether it is in force cannot be known here.
    """
    words = [word.removeprefix("raspberrypi,") for word in compatible]
    model, other = True, True
    for written in text.splitlines():
        line = written[:LONGEST].strip()
        if line.startswith("[") and line.endswith("]"):
            name = line[1:-1].strip()
            if name == "all":
                model, other = True, True
            elif name in _MODELS:
                model = any(word in _MODELS[name] for word in words)
            else:
                other = False
        elif line and not line.startswith("#") and model and other:
            yield line


def _properties(line: str) -> dict[str, str]:
    """`gpu_mem=32` is one property; a dtparam has one for each of its parameters."""
    name, _, value = line.partition("=")
    if name.strip() != "dtparam":
        return {name.strip(): value.strip()}
    parts = [part.strip() for part in value.split(",") if part.strip()]
    return {f"dtparam={p.partition('=')[0]}": p.partition("=")[2] or "on" for p in parts}
