"""Boards as their files and tools would say them."""

from __future__ import annotations

from targets.firmware.settings.kind import Said, Seen

CPU = "/sys/devices/system/cpu"
NVPMODEL_CONF = """\
# modes
< POWER_MODEL ID=0 NAME=15W >
CPU_ONLINE CORE_0 1
< POWER_MODEL ID=1 NAME=25W >
< POWER_MODEL ID=2 NAME=MAXN_SUPER >
< POWER_MODEL ID=3 NAME=7W >
< PM_CONFIG DEFAULT=2 >
"""
SHOW = """\
SOC family:tegra234  Machine:NVIDIA Jetson Orin NX Engineering Reference Developer Kit
Online CPUs: 0-5
cpu0:  Online=1 Governor=schedutil MinFreq=729600 MaxFreq=1510400 CurrentFreq=1510400 IdleStates:
cpu4:  Online=1 Governor=schedutil MinFreq=729600 MaxFreq=1510400 CurrentFreq=1510400 IdleStates:
GPU MinFreq=306000000 MaxFreq=624750000 CurrentFreq=306000000
Active GPU TPCs: 2
NV Power Mode: MAXN_SUPER
"""
SWAPS = """\
Filename				Type		Size		Used		Priority
/dev/zram0                              partition	1024000		2048		100
/var/swap                               file		102396		0		-2
"""


def policy(
    number: int, cpus: str, low: int, high: int, governor: str = "schedutil"
) -> dict[str, str]:
    """The files of one cpufreq policy."""
    folder = f"{CPU}/cpufreq/policy{number}"
    return {
        f"{folder}/{name}": f"{value}\n"
        for name, value in {
            "related_cpus": cpus,
            "cpuinfo_min_freq": low,
            "cpuinfo_max_freq": high,
            "scaling_min_freq": low,
            "scaling_max_freq": high,
            "scaling_governor": governor,
            "scaling_available_governors": "ondemand powersave performance schedutil",
        }.items()
    }


def everything() -> Seen:
    """A board that has all that there are settings for; no such board exists."""
    return Seen(
        files={
            **policy(0, "0 1 2 3", 408000, 1512000),
            **policy(4, "4 5", 408000, 2016000),
            "/etc/nvpmodel.conf": NVPMODEL_CONF,
            "/sys/class/hwmon/hwmon2/name": "pwmfan\n",
            "/sys/class/hwmon/hwmon2/pwm1": "75\n",
            "/proc/sys/vm/swappiness": "60\n",
            "/proc/swaps": SWAPS,
            "/proc/mounts": "/dev/mmcblk0p1 /boot/firmware vfat rw 0 0\n",
            "/boot/firmware/config.txt": "gpu_mem=76\n",
            "/proc/device-tree/compatible": "raspberrypi,5-model-b\0brcm,bcm2712\0",
        },
        commands={
            "nvpmodel -q": Said(0, "NV Power Mode: MAXN_SUPER\n2"),
            "jetson_clocks --show": Said(0, SHOW),
            "systemctl is-active nvfancontrol": Said(0, "active"),
        },
        boot_id="b",
        uid=0,
    )
