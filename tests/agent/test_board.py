"""What a board is: asked of its kernel's files and of the interpreter, never guessed."""

import os
import platform
from importlib.machinery import EXTENSION_SUFFIXES

import pytest

from targets.agent import board
from targets.agent.telemetry import cpufreq_policies

PI = """\
processor\t: 0
BogoMIPS\t: 108.00
Features\t: fp asimd evtstrm crc32 cpuid
CPU implementer\t: 0x41
CPU part\t: 0xd08

processor\t: 1
BogoMIPS\t: 108.00
Features\t: fp asimd evtstrm crc32 cpuid
CPU implementer\t: 0x41
CPU part\t: 0xd08

Hardware\t: BCM2835
Model\t\t: Raspberry Pi 4 Model B Rev 1.4
"""
TWO_KINDS = """\
processor\t: 0
model name\t: ARMv8 Processor rev 1 (v8l)
Features\t: fp asimd crc32
CPU implementer\t: 0x4e
CPU part\t: 0x003

processor\t: 1
model name\t: ARMv8 Processor rev 3 (v8l)
Features\t: fp asimd
CPU implementer\t: 0x41
CPU part\t: 0xd07

processor\t: 2
model name\t: ARMv8 Processor rev 3 (v8l)
Features\t: fp asimd
CPU implementer\t: 0x41
CPU part\t: 0xfff
"""
VERSIONS = {"numpy": "1.24.4", "pillow": "10.4.0", "runtime": "tflite-runtime 2.14.0"}


def put(root, path, content):
    path = root / path
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content)


def facts(root):
    return board.facts(versions=VERSIONS, root=str(root))


def test_a_board_is_named_by_its_device_tree(tmp_path):
    put(tmp_path, "proc/device-tree/model", "Raspberry Pi 4 Model B Rev 1.4\0")
    put(tmp_path, "proc/cpuinfo", PI)
    told = facts(tmp_path)
    assert told.board_model == "Raspberry Pi 4 Model B Rev 1.4"
    assert told.cpu_model == "2 x Cortex-A72"
    assert told.cpu_features == ("asimd", "cpuid", "crc32", "evtstrm", "fp")


def test_cores_of_two_kinds_are_both_told(tmp_path):
    put(tmp_path, "proc/cpuinfo", TWO_KINDS)
    told = facts(tmp_path)
    assert told.cpu_model == "1 x Denver 2 + 1 x Cortex-A57 + 1 x core 0x41/0xfff"
    assert told.cpu_features == ("asimd", "fp")  # what only some cores have is no feature


def test_an_x86_machine_is_named_by_its_firmware(tmp_path):
    put(tmp_path, "sys/class/dmi/id/sys_vendor", "Intel(R) Client Systems\n")
    put(tmp_path, "sys/class/dmi/id/product_name", "NUC8i5BEH\n")
    put(
        tmp_path,
        "proc/cpuinfo",
        "processor : 0\nvendor_id : x\nmodel name : A CPU\nflags : sse avx\n",
    )
    told = facts(tmp_path)
    assert told.board_model == "Intel(R) Client Systems NUC8i5BEH"
    assert told.cpu_model == "A CPU"
    assert told.cpu_features == ("avx", "sse")


def test_clocks_and_governors_are_told_by_cluster(tmp_path):
    for cpu in range(6):
        folder = f"sys/devices/system/cpu/cpu{cpu}/cpufreq"
        put(tmp_path, f"{folder}/related_cpus", "0 1 2 3\n" if cpu < 4 else "4 5\n")
        put(tmp_path, f"{folder}/cpuinfo_max_freq", "1512000\n" if cpu < 4 else "2016000\n")
        put(tmp_path, f"{folder}/scaling_governor", "schedutil\n")
    told = facts(tmp_path)
    assert told.cpu_max_khz == {"policy0": 1512000, "policy4": 2016000}
    assert told.governors == {"policy0": "schedutil", "policy4": "schedutil"}
    assert [name for name, _ in cpufreq_policies(str(tmp_path))] == ["policy0", "policy4"]


def test_memory_and_system_are_read(tmp_path):
    put(tmp_path, "proc/meminfo", "MemTotal: 442432 kB\nMemAvailable: 200000 kB\nSwapTotal: 0 kB\n")
    put(tmp_path, "etc/os-release", 'NAME="Debian"\nPRETTY_NAME="Raspbian GNU/Linux 12"\n')
    told = facts(tmp_path)
    assert told.mem_total_bytes == 442432 * 1024
    assert told.swap_total_bytes == 0
    assert told.os_name == "Raspbian GNU/Linux 12"


@pytest.mark.parametrize(
    ("cgroup", "files", "limit"),
    [
        (
            "0::/user/app\n",
            {"user/app/memory.max": "max", "user/memory.max": "200000000"},
            200_000_000,
        ),
        ("0::/app\n", {"app/memory.max": "max"}, None),
        ("4:memory:/app\n0::/\n", {"memory/app/memory.limit_in_bytes": "150000000"}, 150_000_000),
        ("4:memory:/app\n", {"memory/app/memory.limit_in_bytes": "9223372036854771712"}, None),
        ("0::/../../elsewhere\n", {}, None),
        ("nonsense\n", {}, None),
    ],
)
def test_a_memory_limit_of_a_control_group_is_told(tmp_path, cgroup, files, limit):
    put(tmp_path, "proc/self/cgroup", cgroup)
    for path, content in files.items():
        put(tmp_path, f"sys/fs/cgroup/{path}", content)
    assert facts(tmp_path).memory_limit_bytes == limit


def test_the_interpreter_tells_its_own_word_size_and_page_size(tmp_path):
    told = facts(tmp_path)
    assert told.userland_bits == {"32bit": 32, "64bit": 64}[platform.architecture()[0]]
    assert told.page_size_bytes == os.sysconf("SC_PAGE_SIZE")
    assert f".{told.soabi}.so" in EXTENSION_SUFFIXES


def test_a_machine_that_says_nothing_is_unknown(tmp_path):
    told = facts(tmp_path)
    unknown = (
        "board_model",
        "cpu_model",
        "mem_total_bytes",
        "memory_limit_bytes",
        "os_name",
        "emulated",
    )
    assert {name: getattr(told, name) for name in unknown} == dict.fromkeys(unknown)
    assert (told.cpu_features, told.cpu_max_khz, told.governors) == ((), {}, {})


@pytest.mark.parametrize(
    ("path", "content"),
    [
        ("proc/device-tree/model", "linux,dummy-virt"),
        ("sys/class/dmi/id/sys_vendor", "QEMU"),
        ("sys/block/mmcblk0/device/name", "QEMU!"),
        ("proc/cpuinfo", "processor : 0\nmodel name : QEMU TCG CPU version 2.5+\n"),
    ],
)
def test_an_emulated_machine_is_told(tmp_path, path, content):
    put(tmp_path, path, content)
    assert facts(tmp_path).emulated is True


def test_a_parent_under_user_mode_emulation_gives_it_away(tmp_path):
    folder = tmp_path / "proc" / str(os.getppid())
    folder.mkdir(parents=True)
    (folder / "exe").symlink_to("/usr/bin/qemu-aarch64-static")
    assert facts(tmp_path).emulated is True


def test_this_machine_has_a_name_for_its_boot():
    assert board.boot_id() == board.boot_id()


def policy(root, first, cpus, **told):
    folder = f"sys/devices/system/cpu/cpufreq/policy{first}"
    put(root, f"{folder}/related_cpus", cpus)
    for name, value in told.items():
        put(root, f"{folder}/{name}", f"{value}\n")


def arm_cores(*parts):
    return "".join(
        f"processor\t: {cpu}\nCPU implementer\t: 0x41\nCPU part\t: {part}\n\n"
        for cpu, part in enumerate(parts)
    )


def test_clusters_are_cores_of_one_kind_that_share_a_clock(tmp_path):
    put(tmp_path, "proc/cpuinfo", arm_cores(*["0xd03"] * 4, *["0xd08"] * 2))
    policy(tmp_path, 0, "0 1 2 3\n", scaling_max_freq=1200000, cpuinfo_max_freq=1512000)
    policy(tmp_path, 4, "4 5\n", scaling_max_freq=2016000, cpuinfo_max_freq=2016000)
    small, big = facts(tmp_path).clusters
    assert (small.cpus, small.kind, small.part) == ((0, 1, 2, 3), "Cortex-A53", 0xD03)
    assert (small.max_khz, small.hardware_max_khz) == (1_200_000, 1_512_000)
    assert (big.cpus, big.kind, big.max_khz) == ((4, 5), "Cortex-A72", 2_016_000)


def test_cores_that_are_off_belong_to_the_cluster_of_their_clock(tmp_path):
    put(tmp_path, "proc/cpuinfo", arm_cores("0xd42", "0xd42"))
    policy(tmp_path, 0, "0-3\n")
    (one,) = facts(tmp_path).clusters
    assert (one.cpus, one.kind) == ((0, 1, 2, 3), "Cortex-A78AE")


def test_alike_cores_with_a_policy_each_are_one_cluster(tmp_path):
    put(tmp_path, "proc/cpuinfo", arm_cores("0xd0b", "0xd0b", "0xd0b"))
    for cpu in range(3):
        policy(tmp_path, cpu, f"{cpu}\n", cpuinfo_max_freq=2000000)
    assert [cluster.cpus for cluster in facts(tmp_path).clusters] == [(0, 1, 2)]


def test_cores_without_cpufreq_are_told_by_kind(tmp_path):
    put(tmp_path, "proc/cpuinfo", arm_cores("0xd05", "0xd0b"))
    kinds = [(cluster.cpus, cluster.kind) for cluster in facts(tmp_path).clusters]
    assert kinds == [((0,), "Cortex-A55"), ((1,), "Cortex-A76")]


def test_disks_are_told_without_partitions_and_ram_disks(tmp_path):
    for name in ("mmcblk0", "mmcblk0boot0", "nvme0n1", "loop0", "zram0", "sda"):
        put(tmp_path, f"sys/block/{name}/size", "2000\n")
    put(tmp_path, "sys/block/mmcblk0/device/name", "SD32G\n")
    told = [(disk.name, disk.model, disk.size_bytes) for disk in facts(tmp_path).disks]
    assert told == [
        ("mmcblk0", "SD32G", 1_024_000),
        ("nvme0n1", None, 1_024_000),
        ("sda", None, 1_024_000),
    ]


def test_a_jetson_tells_its_device_tree_and_its_release_as_they_are(tmp_path):
    tree = "sys/firmware/devicetree/base/compatible"
    put(tmp_path, tree, "nvidia,p3767-0005\0nvidia,tegra234\0")
    put(tmp_path, "etc/nv_tegra_release", "# R36 (release), REVISION: 4.4\n")
    told = facts(tmp_path)
    assert told.compatible == ("nvidia,p3767-0005", "nvidia,tegra234")
    assert told.nv_tegra_release == "# R36 (release), REVISION: 4.4"
