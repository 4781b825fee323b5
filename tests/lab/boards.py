"""The boards of the lab: what each says of itself.  Figures are those of real boards of the kind.

Forms follow recorded outputs; what QEMU runs underneath is `qemu_cpu`, and no speed is theirs.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from tests.lab.rootfs import System


@dataclass(frozen=True)
class Cores:
    """A cluster: cores of one kind that share a clock.  part: of MIDR_EL1."""

    count: int
    part: int
    min_khz: int
    max_khz: int
    now_khz: int
    variant: int = 0
    revision: int = 0


class Wired:
    """What hangs on a link of its own, whose number decides its addresses."""

    number: int

    @property
    def host_address(self) -> str:
        """This machine's end of the link."""
        return f"10.77.{self.number}.1"

    @property
    def address(self) -> str:
        """The board's end."""
        return f"10.77.{self.number}.2"


@dataclass(frozen=True)
class Board(Wired):
    """One emulated host.  zones: thermal zones by number; None: it answers EAGAIN."""

    name: str
    number: int  # decides its addresses
    title: str
    model: str
    compatible: tuple[str, ...]
    system: System
    qemu_cpu: str
    kernel: str
    features: str
    clusters: tuple[Cores, ...]
    memory_kib: int
    zones: dict[int, tuple[str, int | None]]
    cpuinfo_tail: str = ""
    tools: tuple[str, ...] = ()
    governor: str = "ondemand"
    files: dict[str, str] = field(default_factory=dict)  # more of /sys

    @property
    def cpus(self) -> int:
        """Cores of all clusters."""
        return sum(cluster.count for cluster in self.clusters)


_A53, _A72, _A76, _A78AE = 0xD03, 0xD08, 0xD0B, 0xD42
_ARM64 = System("arm64")
_ARMHF = System("armhf", packages=("python3-numpy", "python3-pil"))

PI_3 = Board(
    name="pi-3",
    number=3,
    title="Pi 3, 32-bit OS",
    model="Raspberry Pi 3 Model B Rev 1.2",
    compatible=("raspberrypi,3-model-b", "brcm,bcm2837"),
    system=_ARMHF,
    qemu_cpu="max",
    kernel="6.6.31+rpt-rpi-v7",
    features=(
        "half thumb fastmult vfp edsp neon vfpv3 tls vfpv4 idiva idivt vfpd32 lpae evtstrm crc32"
    ),
    clusters=(Cores(4, _A53, 600000, 1200000, 1200000, revision=4),),
    memory_kib=943_128,
    zones={0: ("cpu-thermal", 51002)},
    cpuinfo_tail="Hardware\t: BCM2835\nRevision\t: a02082\nSerial\t\t: 00000000abcdef03\n",
    tools=("vcgencmd",),
)
PI_4 = Board(
    name="pi-4",
    number=4,
    title="Pi 4",
    model="Raspberry Pi 4 Model B Rev 1.4",
    compatible=("raspberrypi,4-model-b", "brcm,bcm2711"),
    system=_ARM64,
    qemu_cpu="cortex-a72",
    kernel="6.6.31+rpt-rpi-v8",
    features="fp asimd evtstrm crc32 cpuid",
    clusters=(Cores(4, _A72, 600000, 1800000, 1500000, revision=3),),
    memory_kib=3_884_360,
    zones={0: ("cpu-thermal", 48199)},
    cpuinfo_tail="Revision\t: c03114\nSerial\t\t: 10000000abcdef04\n",
    tools=("vcgencmd",),
)
PI_5 = Board(
    name="pi-5",
    number=5,
    title="Pi 5",
    model="Raspberry Pi 5 Model B Rev 1.0",
    compatible=("raspberrypi,5-model-b", "brcm,bcm2712"),
    system=_ARM64,
    qemu_cpu="cortex-a76",
    kernel="6.6.31+rpt-rpi-2712",
    features=(
        "fp asimd evtstrm aes pmull sha1 sha2 crc32 atomics fphp asimdhp cpuid asimdrdm lrcpc "
        "dcpop asimddp"
    ),
    clusters=(Cores(4, _A76, 1500000, 2400000, 2400000, variant=4, revision=1),),
    memory_kib=8_245_312,
    zones={0: ("cpu-thermal", 52350)},
    cpuinfo_tail="Revision\t: d04170\nSerial\t\t: 10000000abcdef05\n",
    tools=("vcgencmd",),
)
_INA3221 = "bus/i2c/drivers/ina3221/1-0040/hwmon/hwmon1"
JETSON = Board(
    name="jetson",
    number=6,
    title="Jetson tools on Debian",
    model="NVIDIA Jetson Orin Nano Engineering Reference Developer Kit Super",
    compatible=("nvidia,p3768-0000+p3767-0005-super", "nvidia,p3767-0005", "nvidia,tegra234"),
    system=_ARM64,
    qemu_cpu="neoverse-n1",
    kernel="5.15.148-tegra",
    features=(
        "fp asimd evtstrm aes pmull sha1 sha2 crc32 atomics fphp asimdhp cpuid asimdrdm lrcpc "
        "dcpop asimddp uscat ilrcpc flagm paca pacg"
    ),
    clusters=(
        Cores(4, _A78AE, 115200, 1510400, 729600, revision=1),
        Cores(2, _A78AE, 115200, 1510400, 729600, revision=1),
    ),
    memory_kib=7_802_880,
    zones={
        0: ("cpu-thermal", 48562),
        1: ("gpu-thermal", 49625),
        2: ("cv0-thermal", None),
        3: ("cv1-thermal", None),
        4: ("cv2-thermal", None),
        5: ("soc0-thermal", 48625),
        6: ("soc1-thermal", 47937),
        7: ("soc2-thermal", 46593),
        8: ("tj-thermal", 49312),
    },
    tools=("tegrastats", "nvpmodel", "jetson_clocks"),
    governor="schedutil",
    files={
        f"{_INA3221}/name": "ina3221",
        f"{_INA3221}/in1_label": "VDD_IN",
        f"{_INA3221}/in1_input": "5072",
        f"{_INA3221}/curr1_input": "1035",
        f"{_INA3221}/in2_label": "VDD_CPU_GPU_CV",
        f"{_INA3221}/in2_input": "5072",
        f"{_INA3221}/curr2_input": "101",
        f"{_INA3221}/in3_label": "VDD_SOC",
        f"{_INA3221}/in3_input": "5064",
        f"{_INA3221}/curr3_input": "537",
        f"{_INA3221}/in7_label": "sum of shunt voltages",
        "devices/platform/bus@0/17000000.gpu/load": "0",
        "class/devfreq/17000000.gpu/cur_freq": "306000000",
        "class/devfreq/17000000.gpu/min_freq": "306000000",
        "class/devfreq/17000000.gpu/max_freq": "624750000",
    },
)
BOARDS = {board.name: board for board in (PI_3, PI_4, PI_5, JETSON)}
