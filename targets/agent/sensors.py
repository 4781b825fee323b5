"""Sensors that only some boards have, found once and read as plain numbers: power, GPU, limits."""

from __future__ import annotations

import glob
import os
import re
from typing import Dict, List, Optional, Tuple

from . import readings

# Cooling devices that hold a clock back while their state is above 0; fans are none of them.
# On JetPack 4 they are cpu-balanced, gpu-balanced, emergency-balanced and tegra-heavy.
_HOLDING = re.compile(
    "alert|balanced|cpufreq|devfreq|emergency|heavy|processor|throttle", re.IGNORECASE
)
_GPU_LOADS = (
    "sys/devices/gpu.0/load",
    "sys/devices/platform/gpu.0/load",
    "sys/devices/platform/*.g[pa]*/load",
    "sys/devices/platform/bus@0/*.g[pa]*/load",
    "sys/devices/*.g[pav]*/load",
)
_GPU_CLOCKS = ("sys/class/devfreq/*.g[pav]*/cur_freq", "sys/class/devfreq/*gpu*/cur_freq")


class Sensors:
    """root: where sys lies ("/" but in tests)."""

    def __init__(self, root: str = "/") -> None:
        self.rails = _rails(root)
        self.cooling = _cooling(root)
        self.alerts = {
            os.path.basename(path): path
            for path in _found(root, ("sys/class/hwmon/hwmon*/oc[0-9]*_event_cnt",))
        }
        self._gpu_load = _found(root, _GPU_LOADS)[:1]
        self._gpu_clock = _found(root, _GPU_CLOCKS)[:1]

    @property
    def tells_gpu(self) -> bool:
        """Whether a GPU's load can be read now."""
        return self.gpu()[0] is not None

    @property
    def tells_power(self) -> bool:
        """Whether volts and amperes of some rail can be read now; their files may be root's."""
        volts, amperes = self.power()
        return any(volts[rail] is not None and amperes[rail] is not None for rail in volts)

    def power(self) -> Tuple[Dict[str, Optional[int]], Dict[str, Optional[int]]]:
        """Millivolts and milliamperes by rail."""
        volts, amperes = {}, {}
        for name, (volt, ampere) in self.rails.items():
            volts[name], amperes[name] = readings.number(volt), readings.number(ampere)
        return volts, amperes

    def gpu(self) -> Tuple[Optional[float], Optional[int]]:
        """Load from 0 to 1, and clock in hertz."""
        load = readings.number(self._gpu_load[0]) if self._gpu_load else None
        clock = readings.number(self._gpu_clock[0]) if self._gpu_clock else None
        return (load / 1000 if load is not None and 0 <= load <= 1000 else None), clock

    def numbers(self, paths: Dict[str, str]) -> Dict[str, Optional[int]]:
        """One number of each file."""
        return {name: readings.number(path) for name, path in paths.items()}


def _rails(root: str) -> Dict[str, Tuple[str, str]]:
    """Files with the volts and amperes of each labelled rail of INA power monitors.

    Linux's own drivers show them under hwmon, NVIDIA's (before L4T 34) under iio.
    """
    rails: Dict[str, Tuple[str, str]] = {}
    for path in _found(
        root,
        (
            "sys/bus/i2c/drivers/ina3221/*/hwmon/hwmon*/in[0-9]*_label",
            "sys/bus/i2c/drivers/ina2[0-9x]*/*/hwmon/hwmon*/in1_input",
            "sys/bus/i2c/drivers/ina3221x/*/iio:device*/rail_name_[0-9]*",
        ),
    ):
        folder, name = os.path.split(path)
        number = re.sub("[^0-9]", "", name)
        label = readings.text(path)
        volt, ampere = f"in{number}_input", f"curr{number}_input"
        if name.startswith("rail_name"):
            volt, ampere = f"in_voltage{number}_input", f"in_current{number}_input"
        elif name == "in1_input":  # one channel: the chip's own label, or its kind
            texts = (readings.text(os.path.join(folder, file)) for file in ("label", "name"))
            label = next((text for text in texts if text), None)
        if label and label not in ("NC", "sum of shunt voltages"):
            files = os.path.join(folder, volt), os.path.join(folder, ampere)
            rails.setdefault(label[:60], files)
    return rails


def _cooling(root: str) -> Dict[str, str]:
    """The state file of each cooling device that holds a clock back."""
    found: Dict[str, str] = {}
    for folder in readings.folders(os.path.join(root, "sys/class/thermal"), "cooling_device"):
        kind = (readings.text(os.path.join(folder, "type")) or "")[:60]
        if _HOLDING.search(kind):
            name = f"{kind} ({os.path.basename(folder)})" if kind in found else kind
            found[name] = os.path.join(folder, "cur_state")
    return found


def _found(root: str, patterns: Tuple[str, ...]) -> List[str]:
    paths = [glob.glob(os.path.join(glob.escape(root), pattern)) for pattern in patterns]
    return [path for group in paths for path in sorted(group)]
