"""The kernel runs programs of a foreign CPU through QEMU (binfmt_misc), under names of ours.

Ours come first while the lab is up; what others registered is left alone.
"""

from __future__ import annotations

import contextlib
import subprocess
from pathlib import Path

_PLACE = Path("/proc/sys/fs/binfmt_misc")
# An ELF header of that class and machine, executable or shared; the OS/ABI byte may be anything.
_ELF = {
    "arm64": (b"\x7fELF\x02\x01\x01" + bytes(9) + b"\x02\x00\xb7\x00", "qemu-aarch64-static"),
    "armhf": (b"\x7fELF\x01\x01\x01" + bytes(9) + b"\x02\x00\x28\x00", "qemu-arm-static"),
}
_MASK = b"\xff" * 7 + b"\x00" + b"\xff" * 8 + b"\xfe\xff\xff\xff"


def register(architecture: str) -> None:
    """Run that architecture's programs, also inside a chroot that has no QEMU (flag F)."""
    entry = _entry(architecture)
    if entry.exists():
        return
    if not (_PLACE / "register").exists():
        subprocess.run(["mount", "-t", "binfmt_misc", "binfmt_misc", str(_PLACE)], check=True)
    magic, program = _ELF[architecture]
    line = f":{entry.name}:M::{_escaped(magic)}:{_escaped(_MASK)}:/usr/bin/{program}:POCF"
    (_PLACE / "register").write_text(line)


def unregister() -> None:
    """Forget what `register` did."""
    for architecture in _ELF:
        with contextlib.suppress(OSError):
            _entry(architecture).write_text("-1")


def registered() -> list[str]:
    """Architectures that are run by entries of ours."""
    return [architecture for architecture in _ELF if _entry(architecture).exists()]


def _entry(architecture: str) -> Path:
    return _PLACE / f"halfbyte-lab-{architecture}"


def _escaped(data: bytes) -> str:
    return "".join(f"\\x{byte:02x}" for byte in data)
