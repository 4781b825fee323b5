"""NVIDIA Jetson, Nano to Thor: known by the part number of the module in the device tree.

https://docs.nvidia.com/jetson/archives/r36.4/DeveloperGuide/IN/QuickStart.html (modules, P-numbers)
https://docs.nvidia.com/jetson/archives/r36.4/DeveloperGuide/SD/PlatformPowerAndPerformance.html
"""

from __future__ import annotations

from typing import Final

from targets.boards.kind import Kind
from targets.readings.ina3221 import RAILS
from targets.readings.jetson_clocks import CLOCKS
from targets.readings.nv_tegra_release import RELEASE
from targets.readings.nvpmodel import POWER_MODE
from targets.readings.sysfs import CPUFREQ, THERMAL
from targets.readings.tegrastats import TEGRASTATS

_READINGS: Final = (TEGRASTATS, POWER_MODE, CLOCKS, RELEASE, RAILS, CPUFREQ, THERMAL)
_INPUT: Final = "the module's input"
_RAILS_OF: Final = {
    "Jetson Nano": (("POM_5V_IN",),),
    "Jetson TX2": (("VDD_IN",),),
    "Jetson Xavier NX": (("VDD_IN",),),
    "Jetson AGX Xavier": (("GPU", "CPU", "SOC", "CV", "VDDRQ", "SYS5V"),),
    "Jetson Orin Nano": (("VDD_IN",),),
    "Jetson Orin NX": (("VDD_IN",),),
    "Jetson AGX Orin": (("VDD_GPU_SOC", "VDD_CPU_CV", "VIN_SYS_5V0"),),
    "Jetson Thor": (("VIN",), ("VDD_GPU", "VDD_CPU_SOC_MSS", "VIN_SYS_5V0")),
}
# The others get "jetson", which leaves the power mode and its limits alone.
_SETTINGS: Final = {
    "Jetson Nano": "jetson-nano",
    "Jetson Xavier NX": "jetson-xavier-nx",
    "Jetson AGX Xavier": "jetson-agx-xavier",
    "Jetson Orin Nano": "jetson-orin-nano",
    "Jetson Orin NX": "jetson-orin-nx",
    "Jetson AGX Orin": "jetson-agx-orin",
}


def _jetson(name: str, soc: str, *parts: str, model: str = "") -> Kind:
    rails = _RAILS_OF.get(name, (("VDD_IN",), ("VIN",), ("POM_5V_IN",)))
    return Kind(
        name=name,
        family="Jetson",
        soc=soc,
        parts=tuple(rf"nvidia,(.*\+)?{part}(-.*)?" for part in parts),
        model=model,
        power=rails,
        power_is=_INPUT if len(rails[0]) == 1 else "all supplies of the module, summed",
        readings=_READINGS,
        settings=_SETTINGS.get(name, "jetson"),
    )


_X1, _X2, _XAVIER = "Tegra X1 (T210)", "Tegra X2 (T186)", "Xavier (T194)"
_ORIN, _THOR = "Orin (T234)", "Thor (T264)"
KINDS: Final = (
    _jetson("Jetson Nano", _X1, "p3448", "p3450", "p3542", "jetson-nano"),
    _jetson("Jetson TX1", _X1, "p2180", "p2371", "jetson-tx1"),
    _jetson("Jetson TX2 NX", _X2, "p3636"),
    _jetson("Jetson TX2", _X2, "p3310", "p3489", "p2771", "quill"),
    _jetson("Jetson Xavier NX", _XAVIER, "p3668"),
    _jetson("Jetson AGX Xavier", _XAVIER, "p2888", "p2972"),
    _jetson("Jetson Orin NX", _ORIN, "p3767-000[012]"),
    _jetson("Jetson Orin Nano", _ORIN, "p3767-000[345]"),
    # Some releases leave the number of the variant out: the model is all that tells them apart.
    _jetson("Jetson Orin Nano", _ORIN, "p3767", model="Orin Nano"),
    _jetson("Jetson Orin NX", _ORIN, "p3767", model="Orin NX"),
    _jetson("Jetson Orin NX or Orin Nano", _ORIN, "p3767"),
    _jetson("Jetson AGX Orin", _ORIN, "p3701"),
    _jetson("Jetson Thor", _THOR, "p3834", "tegra264"),
    _jetson("Jetson", _X1, "tegra210"),
    _jetson("Jetson", _X2, "tegra186"),
    _jetson("Jetson", _XAVIER, "tegra194"),
    _jetson("Jetson", _ORIN, "tegra234"),
)
UNNAMED: Final = _jetson("Jetson", "Tegra", "never")
"""What has a Jetson's system (`/etc/nv_tegra_release`) and a device tree that says nothing."""
