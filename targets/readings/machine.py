"""What a board is, by files alone: no Python is needed there.  The agent's `facts` says the same.

https://www.kernel.org/doc/Documentation/devicetree/usage-model.rst (model, compatible)
"""

from __future__ import annotations

import re
from typing import Final

from targets.agent.board import blocks, clusters, cpu_features, cpu_model
from targets.agent.records import Cluster, Disk, Facts
from targets.readings.reading import Reading, whole
from targets.readings.sysfs import CPUFREQ_FILES, dump, files, parse_cpufreq

_TREES = ("/proc/device-tree", "/sys/firmware/devicetree/base")
_DMI = "/sys/class/dmi/id"
_DISK = re.compile(
    r"/sys/block/((?:mmcblk|nvme|sd|vd)[a-z0-9]{1,12})/(size|device/model|device/name)"
)
_FILES = (
    *(f"{tree}/{name}" for tree in _TREES for name in ("model", "compatible")),
    f"{_DMI}/sys_vendor",
    f"{_DMI}/product_name",
    "/etc/nv_tegra_release",
    "/etc/os-release",
    "/usr/lib/os-release",
    "/proc/cpuinfo",
    "/proc/meminfo",
    *CPUFREQ_FILES,
    *(f"/sys/block/*/{name}" for name in ("size", "device/model", "device/name")),
)
# What is asked of programs comes in the same form as files do.
_ASKED = {
    "/asked/machine": "uname -m",
    "/asked/kernel": "uname -r",
    "/asked/bits": "getconf LONG_BIT",
    "/asked/page": "getconf PAGE_SIZE",
    "/asked/libc": "getconf GNU_LIBC_VERSION",
    "/asked/free": 'df -kP "$HOME" | tail -n 1',
}


def parse_machine(text: str) -> Facts:
    """What is in the files; the interpreter and its packages stay unknown."""
    told = files(text)
    cpuinfo = blocks(told.get("/proc/cpuinfo", ""))
    policies = parse_cpufreq(text).clusters
    memory = dict(
        re.findall(r"^(\w{1,40}): +([0-9]{1,15}) kB$", told.get("/proc/meminfo", ""), re.M)
    )
    free = told.get("/asked/free", "").split()
    return Facts(
        board_model=_tree(told, "model") or _of_dmi(told),
        compatible=tuple(filter(None, (_tree(told, "compatible") or "").split("\0")[:20])),
        nv_tegra_release=(told.get("/etc/nv_tegra_release") or "")[:4000] or None,
        machine=_first(told, "/asked/machine"),
        cpu_model=cpu_model(cpuinfo),
        cpu_features=cpu_features(cpuinfo),
        clusters=clusters(
            cpuinfo,
            [
                Cluster(
                    cpus=policy.cpus,
                    max_khz=policy.max_khz,
                    hardware_max_khz=policy.hardware_max_khz,
                    governor=policy.governor,
                )
                for policy in policies
            ],
        ),
        governors={policy.name: policy.governor for policy in policies if policy.governor},
        cpus_online=len(cpuinfo) or None,
        mem_total_bytes=_kib(memory.get("MemTotal")),
        mem_available_bytes=_kib(memory.get("MemAvailable")),
        swap_total_bytes=_kib(memory.get("SwapTotal")),
        kernel=_first(told, "/asked/kernel"),
        os_name=_os_name(told),
        userland_bits=whole(told.get("/asked/bits")),
        page_size_bytes=whole(told.get("/asked/page")),
        libc=_first(told, "/asked/libc"),
        disks=_disks(told),
        home_free_bytes=_kib(free[3]) if len(free) >= 6 else None,
    )


def _first(told: dict[str, str], *paths: str) -> str | None:
    return next((told[path] for path in paths if told.get(path)), None)


def _tree(told: dict[str, str], name: str) -> str | None:
    return _first(told, *(f"{tree}/{name}" for tree in _TREES))


def _of_dmi(told: dict[str, str]) -> str | None:
    words = (told.get(f"{_DMI}/{name}") for name in ("sys_vendor", "product_name"))
    return " ".join(word for word in words if word) or None


def _os_name(told: dict[str, str]) -> str | None:
    for path in ("/etc/os-release", "/usr/lib/os-release"):
        match = re.search(r'^PRETTY_NAME="?([^"\n]{1,200})"?$', told.get(path, ""), re.M)
        if match:
            return match[1]
    return None


def _disks(told: dict[str, str]) -> tuple[Disk, ...]:
    found: dict[str, dict[str, str]] = {}
    for path, content in told.items():
        match = _DISK.fullmatch(path)
        if match:
            found.setdefault(match[1], {})[match[2]] = content
    disks = []
    for name, of_disk in sorted(found.items()):
        sectors = whole(of_disk.get("size"))
        model = of_disk.get("device/model") or of_disk.get("device/name") or None
        whole_disk = re.fullmatch(r"mmcblk[0-9]+|nvme[0-9]+n[0-9]+|[sv]d[a-z]+", name)
        if whole_disk:
            disks.append(Disk(name, model, None if sectors is None else sectors * 512))
    return tuple(disks[:50])


def _kib(text: str | None) -> int | None:
    number = whole(text)
    return None if number is None else number * 1024


def _command() -> tuple[str, ...]:
    asked = "; ".join(
        f'echo "==> {path} <=="; {command} 2>/dev/null; echo' for path, command in _ASKED.items()
    )
    shell, option, script = dump(*_FILES)
    return shell, option, f"{script}; {asked}"


MACHINE: Final = Reading("machine", _command(), parse_machine)
