"""`pi.config`: lines of a Raspberry Pi's config.txt.  They are in force after a restart only."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final

from targets.firmware.config_txt import LONGEST, effective, find_config
from targets.firmware.settings.kind import KEEP, Kind, Row, Seen, Value, absent

CONFIGS: Final = ("/boot/firmware/config.txt", "/boot/config.txt")
MOUNTS: Final = "/proc/mounts"
COMPATIBLE: Final = (
    "/proc/device-tree/compatible",
    "/sys/firmware/devicetree/base/compatible",
)
TRIED: Final = "/proc/device-tree/chosen/bootloader/tryboot"
# What may be set here.  No clocks, no voltages, no kernel, no command line: nothing that could
# damage a board or lock its user out.
_ALLOWED: Final = re.compile(
    r"gpu_mem(_256|_512|_1024)?=[0-9]{2,3}"
    r"|arm_boost=[01]"
    r"|dtparam=cooling_fan(=on|=off)?"
    r"|dtparam=fan_temp[0-3](_hyst|_speed)?=[0-9]{1,5}(,fan_temp[0-3](_hyst|_speed)?=[0-9]{1,5})*"
)


def check(value: Value) -> str | None:
    """A list of lines of the few kinds that are safe."""
    if value == KEEP:
        return None
    if not isinstance(value, tuple) or not value:
        return "a list of lines of config.txt"
    for line in value:
        if not _ALLOWED.fullmatch(line) or len(line) > LONGEST:
            return f"{line!r} is not gpu_mem=, arm_boost=, dtparam=cooling_fan or dtparam=fan_temp"
    return None


def config_file(seen: Seen) -> tuple[str, str] | None:
    """Path and text of the file that the firmware reads; None where it is not to be found."""
    texts = {path: text for path in CONFIGS if (text := seen.files.get(path)) is not None}
    found = find_config(seen.text(MOUNTS) or "", list(texts))
    return None if found.path is None else (found.path, texts[found.path])


def rows(key: str, wanted: Value, seen: Seen) -> Sequence[Row]:
    """One for each line: whether the file that the firmware reads has it for this board."""
    texts = {path: text for path in CONFIGS if (text := seen.files.get(path)) is not None}
    found = find_config(seen.text(MOUNTS) or "", list(texts))
    if found.path is None:
        return absent(key, found.why)
    compatible = next((text for path in COMPATIBLE if (text := seen.text(path))), "")
    if wanted == KEEP:
        return [Row(key, found.path, None, None)]
    assert isinstance(wanted, tuple)
    lines = []
    for line in wanted:
        now = effective(texts[found.path], line, compatible.split("\0"))
        lines.append(Row(key, f"{found.path}, {_option(line)}", now or "not set", line))
    return lines


def _option(line: str) -> str:
    """What a line sets, by which it differs from the others of one value."""
    found = re.match(r"(dtparam=)?\w+", line)
    return line if found is None else found[0]


PI_CONFIG = Kind(
    "pi.config",
    "lines of config.txt",
    check,
    rows,
    files=(*CONFIGS, MOUNTS, *COMPATIBLE, TRIED),
    needs_reboot=True,
)
