"""What changes while the agent runs: memory, temperatures, clocks, load."""

from __future__ import annotations

import logging
import os
from typing import Dict, List, Optional, Tuple

from . import readings
from .records import Memory, Sample

_log = logging.getLogger(__name__)

# A sensor outside of this is off (Jetsons say -256) or broken.
_PLAUSIBLE_C = (-100.0, 250.0)


class Telemetry:
    """Readings of one machine.  The sensors are looked for once; each costs only itself.

    root: where proc and sys lie ("/" but in tests).
    """

    def __init__(self, root: str = "/") -> None:
        self._root = root
        self._zones = _named_zones(os.path.join(root, "sys/class/thermal"))
        self._policies = cpufreq_policies(root)
        self._noted: set[str] = set()
        self.peak_pss_bytes: Optional[int] = None

    def memory(self) -> Memory:
        """The agent's own memory now; remembers the highest PSS."""
        status = readings.fields(os.path.join(self._root, "proc/self/status"))
        rollup = readings.fields(os.path.join(self._root, "proc/self/smaps_rollup"))
        pss = readings.kib(rollup, "Pss")
        if pss is not None:
            self.peak_pss_bytes = max(pss, self.peak_pss_bytes or 0)
        return Memory(
            rss_bytes=readings.kib(status, "VmRSS"),
            pss_bytes=pss,
            hwm_bytes=readings.kib(status, "VmHWM"),
            swap_bytes=readings.kib(status, "VmSwap"),
        )

    def mem_available_bytes(self) -> Optional[int]:
        """What the kernel would give without swapping (MemAvailable)."""
        return readings.kib(
            readings.fields(os.path.join(self._root, "proc/meminfo")), "MemAvailable"
        )

    def sample(self) -> Sample:
        """All of it, now."""
        return Sample(
            memory=self.memory(),
            mem_available_bytes=self.mem_available_bytes(),
            temps_c=self.temps_c(),
            cpu_khz=self.cpu_khz(),
            load_1min=self._load(),
        )

    def temps_c(self) -> Dict[str, Optional[float]]:
        """Degrees Celsius by thermal zone; None where the zone is there and says nothing."""
        return {name: self._zone(name, path) for name, path in self._zones}

    def cpu_khz(self) -> Dict[str, Optional[int]]:
        """The clock of each cpufreq policy (a cluster of cores) as the kernel last set it."""
        return {
            name: readings.number(os.path.join(path, "scaling_cur_freq"))
            for name, path in self._policies
        }

    def _zone(self, name: str, path: str) -> Optional[float]:
        millidegrees = readings.number(os.path.join(path, "temp"))
        if millidegrees is not None:
            celsius = millidegrees / 1000
            if _PLAUSIBLE_C[0] < celsius < _PLAUSIBLE_C[1]:
                return celsius
        if name not in self._noted:
            self._noted.add(name)
            _log.info("thermal zone %s cannot be read", name)
        return None

    def _load(self) -> Optional[float]:
        words = (readings.text(os.path.join(self._root, "proc/loadavg")) or "").split()
        try:
            return float(words[0])
        except (IndexError, ValueError):
            return None


def cpufreq_policies(root: str = "/") -> List[Tuple[str, str]]:
    """(name, folder) of each cpufreq policy: cores that share a clock, "policy0", "policy4"."""
    cpus = os.path.join(root, "sys/devices/system/cpu")
    policies = readings.folders(os.path.join(cpus, "cpufreq"), "policy")
    if policies:
        return [(os.path.basename(path), path) for path in policies]
    found = []
    for cpu in readings.folders(cpus, "cpu"):  # older kernels: a folder for each core
        path, index = os.path.join(cpu, "cpufreq"), os.path.basename(cpu)[3:]
        related = readings.text(os.path.join(path, "related_cpus"))
        if related and related.split()[0] == index:
            found.append(("policy" + index, path))
    return found


def _named_zones(parent: str) -> List[Tuple[str, str]]:
    """(name, folder) of each thermal zone; the kernel's type is its name where nobody shares it."""
    zones: List[Tuple[str, str]] = []
    for path in readings.folders(parent, "thermal_zone"):
        kind = readings.text(os.path.join(path, "type")) or os.path.basename(path)
        taken = any(kind == name for name, _ in zones)
        zones.append((f"{kind} ({os.path.basename(path)})" if taken else kind, path))
    return zones
