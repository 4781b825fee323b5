"""Which board it is, from what its kernel and its files say: one file a family.

`compatible` of the device tree decides, the model where that leaves a choice; a host name or the
user's word decides nothing.
"""

from __future__ import annotations

from dataclasses import dataclass

from targets.agent.records import Cluster, Disk, Facts
from targets.boards import jetson, linux, raspberry_pi
from targets.boards.kind import Kind
from targets.readings.nv_tegra_release import Release, parse_release

__all__ = ["Board", "Kind", "Release", "recognise"]


@dataclass(frozen=True)
class Board:
    """A board as recognised.  model: its own words.  release: of a Jetson's system."""

    kind: Kind
    model: str | None
    soc: str | None
    cores: str | None
    release: Release | None
    facts: Facts

    @property
    def name(self) -> str:
        """What kind of board it is ("Raspberry Pi 4 Model B")."""
        return self.kind.name

    @property
    def system(self) -> str | None:
        """JetPack and L4T in words; None on anything but a Jetson."""
        if self.release is None or self.release.l4t is None:
            return None
        jetpack = f"JetPack {self.release.jetpack}, " if self.release.jetpack else ""
        return f"{jetpack}L4T {self.release.l4t}"

    @property
    def storage(self) -> str | None:
        """Disks with their sizes."""
        return ", ".join(map(_disk, self.facts.disks)) or None


def recognise(facts: Facts) -> Board:
    """The board that says this of itself; what it does not say is None."""
    model = facts.board_model or ""
    release = parse_release(facts.nv_tegra_release) if facts.nv_tegra_release else None
    kinds = (*raspberry_pi.KINDS, *jetson.KINDS)
    kind = next((kind for kind in kinds if kind.fits(facts.compatible, model)), None)
    if kind is None and release is not None and release.l4t is not None:
        kind = jetson.UNNAMED
    if kind is None:
        kind = linux.kind_of(facts)
    return Board(
        kind=kind,
        model=facts.board_model,
        soc=kind.soc or None,
        cores=cores(facts.clusters) or facts.cpu_model,
        release=release,
        facts=facts,
    )


def cores(clusters: tuple[Cluster, ...]) -> str | None:
    """Cores by kind: "4 x Cortex-A78AE up to 1.51 GHz + 2 x Cortex-A78AE up to 2.02 GHz"."""
    return " + ".join(map(_cluster, clusters)) or None


def _cluster(cluster: Cluster) -> str:
    words = f"{len(cluster.cpus)} x {cluster.kind or 'core'}"
    able, limit = cluster.hardware_max_khz, cluster.max_khz
    if able or limit:
        words += f" up to {_ghz(able or limit or 0)}"
    if able and limit and limit < able:
        words += f" (held to {_ghz(limit)})"
    return words


def _ghz(khz: int) -> str:
    return f"{khz / 1e6:.2f} GHz"


def _disk(disk: Disk) -> str:
    size = f" {disk.size_bytes / 1e9:.0f} GB" if disk.size_bytes is not None else ""
    return f"{disk.name}{size}" + (f" ({disk.model})" if disk.model else "")
