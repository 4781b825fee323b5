"""What the board is, asked of the kernel and of the interpreter that runs."""

from __future__ import annotations

import os
import platform
import re
import struct
import sysconfig
from typing import Any, Dict, List, Optional, Tuple

from . import readings
from .records import Facts
from .telemetry import cpufreq_policies

# CPU implementer and part of /proc/cpuinfo (Arm MIDR_EL1; Linux arch/arm64/include/asm/cputype.h)
_CORES = {
    (0x41, 0xB76): "ARM1176",
    (0x41, 0xC07): "Cortex-A7",
    (0x41, 0xC08): "Cortex-A8",
    (0x41, 0xC09): "Cortex-A9",
    (0x41, 0xC0F): "Cortex-A15",
    (0x41, 0xD03): "Cortex-A53",
    (0x41, 0xD04): "Cortex-A35",
    (0x41, 0xD05): "Cortex-A55",
    (0x41, 0xD07): "Cortex-A57",
    (0x41, 0xD08): "Cortex-A72",
    (0x41, 0xD09): "Cortex-A73",
    (0x41, 0xD0A): "Cortex-A75",
    (0x41, 0xD0B): "Cortex-A76",
    (0x41, 0xD0C): "Neoverse-N1",
    (0x41, 0xD0D): "Cortex-A77",
    (0x41, 0xD40): "Neoverse-V1",
    (0x41, 0xD41): "Cortex-A78",
    (0x41, 0xD42): "Cortex-A78AE",
    (0x41, 0xD49): "Neoverse-N2",
    (0x4E, 0x003): "Denver 2",
    (0x4E, 0x004): "Carmel",
}


def facts(*, versions: Dict[str, Optional[str]], root: str = "/") -> Facts:
    """Facts of this machine and interpreter.

    versions: of "numpy", "pillow" and "runtime", by whoever imported them.
    root: where proc, sys and etc lie ("/" but in tests).
    """
    cpuinfo = _blocks(readings.text(os.path.join(root, "proc/cpuinfo")) or "")
    meminfo = readings.fields(os.path.join(root, "proc/meminfo"))
    policies = cpufreq_policies(root)
    model = board_model(root)
    cpu = cpu_model(cpuinfo)
    return Facts(
        board_model=model,
        machine=platform.machine() or None,
        cpu_model=cpu,
        cpu_features=cpu_features(cpuinfo),
        cpus_online=_asked(lambda: os.sysconf("SC_NPROCESSORS_ONLN")),
        cpus_allowed=_asked(lambda: len(os.sched_getaffinity(0))),
        cpu_max_khz=_known(
            {
                name: readings.number(os.path.join(path, "cpuinfo_max_freq"))
                for name, path in policies
            }
        ),
        governors=_known(
            {name: readings.text(os.path.join(path, "scaling_governor")) for name, path in policies}
        ),
        mem_total_bytes=readings.kib(meminfo, "MemTotal"),
        mem_available_bytes=readings.kib(meminfo, "MemAvailable"),
        memory_limit_bytes=memory_limit_bytes(root),
        swap_total_bytes=readings.kib(meminfo, "SwapTotal"),
        page_size_bytes=_asked(lambda: os.sysconf("SC_PAGE_SIZE")),
        kernel=platform.release() or None,
        os_name=os_name(root),
        userland_bits=struct.calcsize("P") * 8,
        soabi=sysconfig.get_config_var("SOABI"),
        libc=libc(),
        python=platform.python_version(),
        emulated=emulated(model, cpu, cpuinfo, root),
        **versions,
    )


def boot_id(root: str = "/") -> Optional[str]:
    """Names this run of the kernel."""
    return readings.text(os.path.join(root, "proc/sys/kernel/random/boot_id")) or None


def board_model(root: str = "/") -> Optional[str]:
    """The device tree's word ("Raspberry Pi 4 Model B Rev 1.4"), else the firmware's (DMI)."""
    for path in ("proc/device-tree/model", "sys/firmware/devicetree/base/model"):
        model = readings.text(os.path.join(root, path))
        if model:
            return model
    words = [
        readings.text(os.path.join(root, "sys/class/dmi/id", name))
        for name in ("sys_vendor", "product_name")
    ]
    return " ".join(word for word in words if word) or None


def os_name(root: str = "/") -> Optional[str]:
    """PRETTY_NAME of os-release."""
    for path in ("etc/os-release", "usr/lib/os-release"):
        match = re.search(
            r'^PRETTY_NAME="?([^"\n]+)"?$', readings.text(os.path.join(root, path)) or "", re.M
        )
        if match:
            return match.group(1)
    return None


def libc() -> Optional[str]:
    """The C library of the interpreter: "glibc 2.31"."""
    named = _asked(lambda: os.confstr("CS_GNU_LIBC_VERSION"))
    return named or " ".join(word for word in platform.libc_ver() if word) or None


def cpu_model(cpuinfo: List[Dict[str, str]]) -> Optional[str]:
    """x86: the model's name; Arm: the cores by kind, such as "4 x Cortex-A53 + 2 x Cortex-A72"."""
    for block in cpuinfo:
        if "CPU part" not in block and block.get("model name"):
            return block["model name"]
    cores = [core for core in map(_core, cpuinfo) if core is not None]
    kinds = [f"{cores.count(kind)} x {kind}" for kind in dict.fromkeys(cores)]
    return " + ".join(kinds) or None


def cpu_features(cpuinfo: List[Dict[str, str]]) -> Tuple[str, ...]:
    """Instruction set extensions that every core has, as /proc/cpuinfo names them, sorted."""
    sets = [
        set((block.get("flags") or block.get("Features") or "").split())
        for block in cpuinfo
        if "flags" in block or "Features" in block
    ]
    return tuple(sorted(set.intersection(*sets))) if sets else ()


def memory_limit_bytes(root: str = "/") -> Optional[int]:
    """The lowest memory limit of the control groups around this process; None without one."""
    limits = []
    for line in (readings.text(os.path.join(root, "proc/self/cgroup")) or "").splitlines():
        _, controllers, group = [*line.split(":", 2), "", ""][:3]
        if controllers not in ("", "memory"):
            continue
        top, name = ("sys/fs/cgroup/memory", "memory.limit_in_bytes")
        if not controllers:
            top, name = ("sys/fs/cgroup", "memory.max")
        parts = [part for part in group.split("/") if part not in ("", "..")]
        for depth in range(len(parts) + 1):
            path = os.path.join(root, top, *parts[:depth], name)
            limits.append(readings.number(path))
    # "No limit" is the word max, or in older kernels a number near 2**63.
    real = [limit for limit in limits if limit is not None and 0 < limit < 1 << 60]
    return min(real) if real else None


def emulated(
    model: Optional[str], cpu: Optional[str], cpuinfo: List[Dict[str, str]], root: str = "/"
) -> Optional[bool]:
    """True where something shows QEMU; None otherwise, since a good emulator does not tell."""
    if model == "linux,dummy-virt" or "QEMU" in f"{model} {cpu}":
        return True
    arm = platform.machine().startswith(("arm", "aarch64"))
    if arm and any("vendor_id" in block for block in cpuinfo):
        return True  # a program for Arm that sees an x86 processor
    # QEMU plays boards with their own device trees, but its SD card gives its name.
    for card in readings.folders(os.path.join(root, "sys/block"), "mmcblk"):
        if (readings.text(os.path.join(card, "device/name")) or "").startswith("QEMU"):
            return True
    # QEMU's user mode hides itself in /proc/self, not in its parent, which it runs as well.
    try:
        parent = os.readlink(os.path.join(root, "proc", str(os.getppid()), "exe"))
    except OSError:
        return None
    return True if os.path.basename(parent).startswith("qemu-") else None


def _core(block: Dict[str, str]) -> Optional[str]:
    try:
        key = int(block["CPU implementer"], 16), int(block["CPU part"], 16)
    except (KeyError, ValueError):
        return None
    return _CORES.get(key, f"core {key[0]:#04x}/{key[1]:#05x}")


def _blocks(cpuinfo: str) -> List[Dict[str, str]]:
    """One dictionary for each processor of /proc/cpuinfo."""
    blocks = []
    for lines in re.split(r"\n\s*\n", cpuinfo):
        pairs = [line.partition(":")[::2] for line in lines.splitlines() if ":" in line]
        blocks.append({name.strip(): value.strip() for name, value in pairs})
    return [block for block in blocks if block]


def _known(values: Dict[str, Any]) -> Dict[str, Any]:
    return {name: value for name, value in values.items() if value is not None}


def _asked(question: Any) -> Any:
    try:
        return question()
    except (OSError, ValueError, AttributeError):
        return None
