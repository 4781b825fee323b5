"""What changes while the agent runs: memory, temperatures, clocks, load."""

from __future__ import annotations

import dataclasses
import logging
import os
import re
import time
from typing import Dict, List, Optional, Set, Tuple

from . import readings
from .records import Memory, Noted, Sample
from .sensors import Sensors

_log = logging.getLogger(__name__)

# A sensor outside of this is off (Jetsons say -256) or broken.
_PLAUSIBLE_C = (-100.0, 250.0)
# The driver of a Jetson's power chip (max77620) knows alarms only: below them it says 100, newer
# releases 50, whatever the chip's temperature.
_NO_ALARM_C = (100.0, 50.0)
_MOST_NOTES = 100
_CORE = re.compile(r"^(cpu[0-9]{1,4}) ([0-9 ]{7,200})$", re.MULTILINE)


class Telemetry:
    """Readings of one machine.  The sensors are looked for once; each costs only itself.

    root: where proc and sys lie ("/" but in tests).
    """

    def __init__(self, root: str = "/") -> None:
        self._root = root
        self._zones = _named_zones(os.path.join(root, "sys/class/thermal"))
        self._policies = cpufreq_policies(root)
        self._ticks: Dict[str, Tuple[int, int]] = {}
        self._noted: Set[str] = set()
        self._notes: List[Noted] = []
        self.sensors = Sensors(root)
        self.peak_pss_bytes: Optional[int] = None
        self.pss_reads = 0
        self.pss_ns = 0

    def memory(self) -> Memory:
        """The agent's own memory now; remembers the highest PSS.

        The kernel walks all pages for PSS and holds up whoever maps memory meanwhile: not while
        the model runs.
        """
        start_ns = time.perf_counter_ns()
        rollup = readings.fields(os.path.join(self._root, "proc/self/smaps_rollup"))
        self.pss_ns += time.perf_counter_ns() - start_ns
        self.pss_reads += 1
        pss = readings.kib(rollup, "Pss")
        if pss is not None:
            self.peak_pss_bytes = max(pss, self.peak_pss_bytes or 0)
        return dataclasses.replace(self.quick_memory(), pss_bytes=pss)

    def quick_memory(self) -> Memory:
        """The same without PSS."""
        status = readings.fields(os.path.join(self._root, "proc/self/status"))
        return Memory(
            rss_bytes=readings.kib(status, "VmRSS"),
            hwm_bytes=readings.kib(status, "VmHWM"),
            swap_bytes=readings.kib(status, "VmSwap"),
        )

    def mem_available_bytes(self) -> Optional[int]:
        """What the kernel would give without swapping (MemAvailable)."""
        return readings.kib(self._meminfo(), "MemAvailable")

    def sample(self) -> Sample:
        """All but PSS, now."""
        at_ns = time.monotonic_ns()
        meminfo = self._meminfo()
        volts, amperes = self.sensors.power()
        gpu_load, gpu_hz = self.sensors.gpu()
        return Sample(
            memory=self.quick_memory(),
            mem_available_bytes=readings.kib(meminfo, "MemAvailable"),
            swap_free_bytes=readings.kib(meminfo, "SwapFree"),
            temps_c=self.temps_c(),
            cpu_khz=self.cpu_khz(),
            load_1min=self._load(),
            at_ns=at_ns,
            cpu_load=self.cpu_load(),
            cpu_ns=time.process_time_ns(),
            gpu_load=gpu_load,
            gpu_hz=gpu_hz,
            rail_mv=volts,
            rail_ma=amperes,
            cooling=self.sensors.numbers(self.sensors.cooling),
            alerts=self.sensors.numbers(self.sensors.alerts),
        )

    def temps_c(self) -> Dict[str, Optional[float]]:
        """Degrees Celsius by thermal zone; None where the zone is there and tells nothing."""
        return {name: self._zone(name, path) for name, path in self._zones}

    def hottest_c(self) -> Optional[float]:
        """The hottest zone that can be read; None without one."""
        return max((temp for temp in self.temps_c().values() if temp is not None), default=None)

    def cpu_khz(self) -> Dict[str, Optional[int]]:
        """The clock of each cpufreq policy (a cluster of cores) as the kernel last set it."""
        return {
            name: readings.number(os.path.join(path, "scaling_cur_freq"))
            for name, path in self._policies
        }

    def cpu_load(self) -> Dict[str, Optional[float]]:
        """Share of the time since the last call in which each core worked; nothing at first.

        A core that went off is None.
        """
        before, self._ticks = self._ticks, _ticks(readings.head(self._root + "/proc/stat"))
        return {name: _share(before[name], self._ticks.get(name)) for name in before}

    def note(self, about: str, reason: str) -> None:
        """Say once that something is not to be had."""
        if about not in self._noted and len(self._noted) < _MOST_NOTES:
            self._noted.add(about)
            self._notes.append(Noted(about, reason[:200], time.monotonic_ns()))
            _log.info("%s: %s", about, reason)

    def notes(self) -> List[Noted]:
        """Notes since the last call."""
        notes, self._notes = self._notes, []
        return notes

    def _meminfo(self) -> Dict[str, str]:
        return readings.fields(os.path.join(self._root, "proc/meminfo"))

    def _zone(self, name: str, path: str) -> Optional[float]:
        millidegrees = readings.number(os.path.join(path, "temp"))
        if millidegrees is not None:
            celsius = millidegrees / 1000
            if tells_no_temperature(name, celsius):
                self.note(f"thermal zone {name}", f"says {celsius:.0f} C while there is no alarm")
                return None
            if _PLAUSIBLE_C[0] < celsius < _PLAUSIBLE_C[1]:
                return celsius
        self.note(f"thermal zone {name}", "cannot be read" if millidegrees is None else "is off")
        return None

    def _load(self) -> Optional[float]:
        words = (readings.text(os.path.join(self._root, "proc/loadavg")) or "").split()
        try:
            return float(words[0])
        except (IndexError, ValueError):
            return None


def tells_no_temperature(zone: str, celsius: float) -> bool:
    """Whether it is the constant that a Jetson's PMIC zone says while there is no alarm."""
    return zone.startswith("PMIC") and celsius in _NO_ALARM_C


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


def _ticks(stat: Optional[str]) -> Dict[str, Tuple[int, int]]:
    """(busy, all) clock ticks of each core since the start (proc(5), /proc/stat)."""
    found = {}
    for name, words in _CORE.findall(stat or ""):
        # user nice system idle iowait irq softirq steal; guests are in user and nice already
        times = [int(word) for word in words.split()[:8]]
        idle = sum(times[3:5])
        found[name] = (sum(times) - idle, sum(times))
    return found


def _share(before: Tuple[int, int], now: Optional[Tuple[int, int]]) -> Optional[float]:
    if now is None or now[1] <= before[1]:
        return None
    share = (now[0] - before[0]) / (now[1] - before[1])  # the kernel's iowait may go back
    return round(min(max(share, 0.0), 1.0), 4)
