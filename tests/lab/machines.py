"""Whole machines by QEMU: a kernel, memory and a disk of their own, so that memory figures are true
and a reboot is one.  Their speed is an emulator's all the same.
"""

from __future__ import annotations

import json
import shutil
import socket
import subprocess
from dataclasses import dataclass
from pathlib import Path

from tests.lab import hosts, initramfs, processes
from tests.lab.boards import Wired
from tests.lab.places import HERE, STATE, cache
from tests.lab.rootfs import System, is_made, root_of

_SYSTEM = System("arm64")
_KERNEL = System("arm64", kernel=True)
_DISK = "2G"  # an SD card's size is a power of two
_START_S = 300.0


@dataclass(frozen=True)
class Machine(Wired):
    """One of QEMU's boards.  dtb: a device tree among the kernel's; none: QEMU's own."""

    name: str
    number: int
    title: str
    model: str
    board: str
    memory_mib: int
    modules: tuple[str, ...]
    root: str
    console: str
    options: tuple[str, ...]
    dtb: str | None = None


VIRT = Machine(
    name="virt",
    number=8,
    title="arm64 machine (virt)",
    model="linux,dummy-virt",
    board="virt",
    memory_mib=1024,
    modules=(
        *("crc32c_generic", "virtio_pci", "virtio_blk", "virtio_net", "ext4"),
        "zram",
    ),
    root="/dev/vda",
    console="ttyAMA0",
    options=(
        *("-cpu", "cortex-a72", "-smp", "2"),
        *("-device", "virtio-blk-pci,drive=disk"),
        *("-device", "virtio-net-pci,netdev=link,romfile=,mac=52:54:00:77:00:08"),
    ),
)
RASPI3B = Machine(
    name="raspi3b",
    number=9,
    title="Pi 3 (raspi3b)",
    model="Raspberry Pi 3 Model B",
    board="raspi3b",
    memory_mib=1024,
    modules=(
        *("crc32c_generic", "bcm2835", "sdhci-iproc", "mmc_block", "ext4"),
        *("phy-generic", "dwc2", "cdc_ether", "rndis_host", "bcm2835_thermal"),
        *("clk-raspberrypi", "raspberrypi-cpufreq"),
    ),
    root="/dev/mmcblk0",
    console="ttyAMA1,115200 console=ttyS1 dwc_otg.lpm_enable=0",
    options=("-device", "usb-net,netdev=link,mac=52:54:00:77:00:09"),
    dtb="broadcom/bcm2837-rpi-3-b.dtb",
)
MACHINES = {machine.name: machine for machine in (VIRT, RASPI3B)}


def start(machine: Machine) -> None:
    """Boot with a fresh disk; returns when its SSH server answers."""
    folder = _own(machine)
    shutil.rmtree(folder, ignore_errors=True)
    laid_over = folder / "over"
    hosts.furnish(laid_over, hosts.SSHD)
    (laid_over / "usr" / "sbin").mkdir(parents=True)
    shutil.copy(HERE / "machine-process-1.sh", laid_over / "usr" / "sbin" / "lab-init")
    (laid_over / "usr" / "sbin" / "lab-init").chmod(0o755)
    initramfs.build(root_of(_KERNEL), machine.modules, laid_over, folder / "initramfs")
    disk = ["cp", "--sparse=always", str(_image()), str(folder / "disk")]
    subprocess.run(disk, check=True)
    ours, theirs = STATE / f"{machine.name}.ours", STATE / f"{machine.name}.qemus"
    hosts.start_link(machine.name, machine.host_address, "socket", str(ours), str(theirs))
    power_on(machine)


def stop(machine: Machine) -> None:
    """Down; nothing is left but the cache."""
    processes.end(machine.name)
    processes.end(f"{machine.name}.relay")
    shutil.rmtree(_own(machine), ignore_errors=True)


def power_on(machine: Machine) -> None:
    """Boot with the disk as it is; returns when its SSH server answers."""
    (STATE / f"{machine.name}.qemus").unlink(missing_ok=True)
    processes.start(machine.name, _command(machine))
    hosts.wait_for_ssh(machine.name, machine.address, seconds=_START_S)


def power_off(machine: Machine) -> None:
    """As if unplugged: what the guest had not written is lost."""
    processes.end(machine.name)


def reset(machine: Machine) -> None:
    """The reset button: it boots anew, and what the guest had not written is lost."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as sock:
        sock.connect(str(STATE / f"{machine.name}.qmp"))
        stream = sock.makefile("rw")
        stream.readline()  # its greeting
        for word in ("qmp_capabilities", "system_reset"):
            stream.write(json.dumps({"execute": word}) + "\n")
            stream.flush()
            while "return" not in json.loads(stream.readline()):
                pass


def is_made_ready() -> bool:
    """Nothing is to be fetched."""
    return is_made(_SYSTEM) and is_made(_KERNEL)


def _command(machine: Machine) -> list[str]:
    kernel, folder = root_of(_KERNEL), _own(machine)
    version = initramfs.kernel_version(kernel)
    ours, theirs = STATE / f"{machine.name}.ours", STATE / f"{machine.name}.qemus"
    words = [
        f"console={machine.console}",
        f"quiet panic=-1 lab.root={machine.root}",
        f"lab.address={machine.address} lab.name={machine.name}",
    ]
    command = ["qemu-system-aarch64", "-M", machine.board, "-m", str(machine.memory_mib)]
    command += ["-nographic", "-monitor", "none", "-accel", "tcg,thread=multi"]
    command += ["-kernel", str(kernel / "boot" / f"vmlinuz-{version}")]
    command += ["-initrd", str(folder / "initramfs"), "-append", " ".join(words)]
    card = "sd" if machine.root.startswith("/dev/mmc") else "none"
    command += ["-drive", f"file={folder / 'disk'},format=raw,if={card},id=disk"]
    command += [
        "-netdev",
        f"dgram,id=link,local.type=unix,local.path={theirs},remote.type=unix,remote.path={ours}",
    ]
    command += ["-qmp", f"unix:{STATE / f'{machine.name}.qmp'},server=on,wait=off"]
    if machine.dtb is not None:
        trees = kernel / "usr" / "lib" / f"linux-image-{version}"
        command += ["-dtb", str(trees / machine.dtb)]
    return [*command, *machine.options]


def _image() -> Path:
    """The system as an ext4 disk, made once."""
    image = cache() / f"{_SYSTEM.name}.ext4"
    if not image.exists():
        making = image.with_suffix(".making")
        making.unlink(missing_ok=True)
        words = ["mke2fs", "-q", "-t", "ext4", "-d", str(root_of(_SYSTEM)), str(making), _DISK]
        subprocess.run(words, check=True)
        making.rename(image)
    return image


def _own(machine: Machine) -> Path:
    return cache() / "boards" / machine.name
