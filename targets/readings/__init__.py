"""What boards' own tools say: one file a tool, each reading a command and a pure parser.

Parsers never raise: they serve live boards and old recordings alike.
"""

from typing import Any, Final

from targets.readings.ina3221 import RAILS
from targets.readings.jetson_clocks import CLOCKS
from targets.readings.machine import MACHINE
from targets.readings.nv_tegra_release import RELEASE
from targets.readings.nvpmodel import POWER_MODE
from targets.readings.reading import Reading
from targets.readings.sysfs import CPUFREQ, THERMAL
from targets.readings.tegrastats import TEGRASTATS
from targets.readings.vcgencmd import CLOCK, PMIC, TEMPERATURE, THROTTLED, VOLTS

__all__ = ["READINGS", "Reading"]

READINGS: Final[dict[str, Reading[Any]]] = {
    reading.name: reading
    for reading in (
        THROTTLED, TEMPERATURE, CLOCK, VOLTS, PMIC, TEGRASTATS, POWER_MODE, CLOCKS, RELEASE,
        CPUFREQ, THERMAL, RAILS, MACHINE,
    )
}  # fmt: skip
"""By name."""
