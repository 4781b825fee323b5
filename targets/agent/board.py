"""What the board is, asked of the kernel and of the interpreter that runs."""

from __future__ import annotations

import dataclasses
import os
import platform
import re
import struct
import sysconfig
from typing import Any, Dict, Iterable, List, Optional, Set, Tuple

from . import affinity, readings
from .records import Cluster, Disk, Facts
from .telemetry import cpufreq_policies
from .tools import compatible

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
    (0x41, 0xD83): "Neoverse-V3AE",
    (0x4E, 0x003): "Denver 2",
    (0x4E, 0x004): "Carmel",
}


def facts(*, versions: Dict[str, Optional[str]], root: str = "/") -> Facts:
    """Facts of this machine and interpreter.

    versions: of "numpy", "pillow" and "runtime", by whoever imported them.
    root: where proc, sys and etc lie ("/" but in tests).
    """
    cpuinfo = blocks(readings.text(os.path.join(root, "proc/cpuinfo")) or "")
    meminfo = readings.fields(os.path.join(root, "proc/meminfo"))
    policies = cpufreq_policies(root)
    read = {name: read_policy(name, path) for name, path in policies}
    model = board_model(root)
    cpu = cpu_model(cpuinfo)
    return Facts(
        board_model=model,
        machine=platform.machine() or None,
        cpu_model=cpu,
        cpu_features=cpu_features(cpuinfo),
        cpus_online=_asked(lambda: os.sysconf("SC_NPROCESSORS_ONLN")),
        cpus_allowed=_asked(lambda: len(os.sched_getaffinity(0))),
        allowed_cpus=affinity.allowed(),
        cpu_max_khz=_known({name: one.hardware_max_khz for name, one in read.items()}),
        governors=_known({name: one.governor for name, one in read.items()}),
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
        compatible=compatible(root),
        nv_tegra_release=(readings.text(os.path.join(root, "etc/nv_tegra_release")) or "")[:4000]
        or None,
        clusters=clusters(cpuinfo, read.values()),
        disks=disks(root),
        home_free_bytes=_asked(lambda: _free_bytes(os.path.expanduser("~"))),
        numpy=versions.get("numpy"),
        pillow=versions.get("pillow"),
        runtime=versions.get("runtime"),
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


def read_policy(name: str, path: str) -> Cluster:
    """What a cpufreq policy says of its cores; their kind is not among it."""

    def told(file: str) -> Optional[str]:
        return readings.text(os.path.join(path, file)) or None

    cpus = cpu_list(told("related_cpus") or told("affected_cpus") or name[len("policy") :])
    return Cluster(
        cpus=cpus,
        max_khz=readings.whole(told("scaling_max_freq")),
        hardware_max_khz=readings.whole(told("cpuinfo_max_freq")),
        governor=told("scaling_governor"),
    )


def clusters(cpuinfo: List[Dict[str, str]], policies: Iterable[Cluster]) -> Tuple[Cluster, ...]:
    """Cores by kind and clock.  Cores that have a policy each, and are alike, are one cluster.

    cpuinfo: a dictionary for each processor.  policies: as `read_policy` gives them.
    """
    kinds = {
        number: block
        for block in cpuinfo
        for number in (readings.whole(block.get("processor")),)
        if number is not None
    }
    found: Dict[Any, List[int]] = {}
    with_policy = {cpu: policy for policy in policies for cpu in policy.cpus}
    for cpu in sorted({*kinds, *with_policy}):
        policy = with_policy.get(cpu, Cluster())
        here = [kinds[mate] for mate in (cpu, *policy.cpus) if mate in kinds]
        block = here[0] if here else {}  # a core that is off is of its mates' kind
        mates = policy.cpus if len(policy.cpus) > 1 else ()
        alike = dataclasses.replace(policy, cpus=mates, **_kind(block))
        found.setdefault(alike, []).append(cpu)
    return tuple(dataclasses.replace(alike, cpus=tuple(cpus)) for alike, cpus in found.items())


def cpu_list(text: Optional[str]) -> Tuple[int, ...]:
    """Numbers of cores as the kernel lists them: "0 1 2 3" or "0-3,6"."""
    found: Set[int] = set()
    for word in re.split(r"[\s,]+", (text or "")[:4096].strip()):
        match = re.fullmatch(r"([0-9]{1,3})(?:-([0-9]{1,3}))?", word)
        if match:
            found.update(range(int(match.group(1)), int(match.group(2) or match.group(1)) + 1))
    return tuple(sorted(found))


def disks(root: str = "/") -> Tuple[Disk, ...]:
    """Cards and disks, without their partitions, RAM disks and loops."""
    parent, found = os.path.join(root, "sys/block"), []
    for name in sorted(_listed(parent)):
        if re.fullmatch(r"mmcblk[0-9]+|nvme[0-9]+n[0-9]+|sd[a-z]+|vd[a-z]+", name):
            folder = os.path.join(parent, name)
            texts = (
                readings.text(os.path.join(folder, "device", file)) for file in ("model", "name")
            )
            sectors = readings.number(os.path.join(folder, "size"))  # of 512 bytes, always
            size = None if sectors is None else sectors * 512
            found.append(Disk(name, next((t for t in texts if t), None), size))
    return tuple(found[:50])


def _kind(block: Dict[str, str]) -> Dict[str, Any]:
    try:
        key = int(block["CPU implementer"], 16), int(block["CPU part"], 16)
    except (KeyError, ValueError):
        return {"kind": block.get("model name")}
    return {"kind": _core(block), "implementer": key[0], "part": key[1]}


def _listed(folder: str) -> List[str]:
    try:
        return os.listdir(folder)
    except OSError:
        return []


def _free_bytes(path: str) -> int:
    room = os.statvfs(path)
    return room.f_bavail * room.f_frsize


def _core(block: Dict[str, str]) -> Optional[str]:
    try:
        key = int(block["CPU implementer"], 16), int(block["CPU part"], 16)
    except (KeyError, ValueError):
        return None
    return _CORES.get(key, f"core {key[0]:#04x}/{key[1]:#05x}")


def blocks(cpuinfo: str) -> List[Dict[str, str]]:
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
