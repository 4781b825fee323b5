"""A board's description as files: what is mounted over /proc/cpuinfo, /proc/meminfo and /sys."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

from tests.lab.boards import Board, Cores
from tests.lab.places import HERE

GOVERNORS = "conservative ondemand userspace powersave performance schedutil"


def describe(board: Board, folder: Path) -> None:
    """Write `cpuinfo`, `meminfo`, `sys/`, `state/` and `tools/`.

    state/ is what the tools read and keep (/run/board there): tests may write in it and in sys/.
    """
    (folder / "state").mkdir(parents=True)
    (folder / "tools").mkdir()
    (folder / "cpuinfo").write_text(_cpuinfo(board))
    (folder / "meminfo").write_text(_meminfo(board.memory_kib))
    for path, text in _sys(board):
        _write(folder / "sys" / path, text)
    _thermal(board, folder / "sys")
    for cluster in _clusters(board):
        for cpu in cluster[1]:
            link = folder / "sys/devices/system/cpu" / f"cpu{cpu}" / "cpufreq"
            link.symlink_to(f"../cpufreq/policy{cluster[1][0]}")
    for place in ("class/net", "class/hwmon", "fs/cgroup", "bus", "block"):
        (folder / "sys" / place).mkdir(parents=True, exist_ok=True)
    for tool in board.tools:
        shutil.copy(HERE / "tools" / tool, folder / "tools" / tool)
        (folder / "tools" / tool).chmod(0o755)
    _write(folder / "state" / "model", board.name)


def _sys(board: Board) -> Iterator[tuple[str, str]]:
    tree = "firmware/devicetree/base"
    yield f"{tree}/model", f"{board.model}\0"
    yield f"{tree}/compatible", "".join(f"{word}\0" for word in board.compatible)
    cpus = "devices/system/cpu"
    for name in ("possible", "present", "online"):
        yield f"{cpus}/{name}", f"0-{board.cpus - 1}\n"
    yield f"{cpus}/offline", "\n"
    yield f"{cpus}/kernel_max", "255\n"
    for cluster, members in _clusters(board):
        listed = f"{members[0]}-{members[-1]}"
        policy = f"{cpus}/cpufreq/policy{members[0]}"
        for name, value in {
            "affinity_cpus": " ".join(map(str, members)),
            "related_cpus": " ".join(map(str, members)),
            "cpuinfo_min_freq": cluster.min_khz,
            "cpuinfo_max_freq": cluster.max_khz,
            "scaling_min_freq": cluster.min_khz,
            "scaling_max_freq": cluster.max_khz,
            "scaling_cur_freq": cluster.now_khz,
            "scaling_governor": board.governor,
            "scaling_available_governors": GOVERNORS,
        }.items():
            yield f"{policy}/{name}", f"{value}\n"
        for cpu in members:
            core = f"{cpus}/cpu{cpu}"
            yield f"{core}/online", "1\n"
            yield f"{core}/topology/physical_package_id", "0\n"
            yield f"{core}/topology/core_id", f"{cpu}\n"
            yield f"{core}/topology/core_siblings_list", f"{listed}\n"
            yield f"{core}/topology/package_cpus_list", f"0-{board.cpus - 1}\n"
            yield f"{core}/topology/thread_siblings_list", f"{cpu}\n"
            yield f"{core}/regs/identification/midr_el1", f"{_midr(cluster):#018x}\n"
    for path, text in board.files.items():
        yield path, text + "\n"


def _thermal(board: Board, sys: Path) -> None:
    for number, (kind, millidegrees) in board.zones.items():
        zone = sys / "devices/virtual/thermal" / f"thermal_zone{number}"
        _write(zone / "type", kind + "\n")
        if millidegrees is None:
            # A pipe that `inside.sh` keeps open for writing: read without waiting it says EAGAIN.
            os.mkfifo(zone / "temp", 0o444)
        else:
            _write(zone / "temp", f"{millidegrees}\n")
        link = sys / "class/thermal" / zone.name
        link.parent.mkdir(parents=True, exist_ok=True)
        link.symlink_to(f"../../devices/virtual/thermal/{zone.name}")


def _clusters(board: Board) -> Iterator[tuple[Cores, range]]:
    first = 0
    for cluster in board.clusters:
        yield cluster, range(first, first + cluster.count)
        first += cluster.count


def _cpuinfo(board: Board) -> str:
    is_64_bit = board.system.architecture == "arm64"
    blocks = []
    for cluster, members in _clusters(board):
        for cpu in members:
            lines = [f"processor\t: {cpu}"]
            if not is_64_bit:
                lines.append(f"model name\t: ARMv7 Processor rev {cluster.revision} (v7l)")
            lines += [
                f"BogoMIPS\t: {'108.00' if is_64_bit else '38.40'}",
                f"Features\t: {board.features}",
                "CPU implementer\t: 0x41",
                f"CPU architecture: {8 if is_64_bit else 7}",
                f"CPU variant\t: {cluster.variant:#x}",
                f"CPU part\t: {cluster.part:#05x}",
                f"CPU revision\t: {cluster.revision}",
            ]
            blocks.append("\n".join(lines) + "\n\n")
    tail = f"{board.cpuinfo_tail}Model\t\t: {board.model}\n" if board.cpuinfo_tail else ""
    return "".join(blocks) + tail


def _meminfo(total_kib: int) -> str:
    rows = {
        "MemTotal": total_kib,
        "MemFree": total_kib * 3 // 4,
        "MemAvailable": total_kib * 7 // 8,
        "Buffers": 52_120,
        "Cached": total_kib // 8,
        "SwapCached": 0,
        "SwapTotal": 102_396,
        "SwapFree": 102_396,
    }
    return "".join(f"{name + ':':<15} {value:>8} kB\n" for name, value in rows.items())


def _midr(cluster: Cores) -> int:
    return 0x41 << 24 | cluster.variant << 20 | 0xF << 16 | cluster.part << 4 | cluster.revision


def _write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
