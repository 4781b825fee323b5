"""Boards are recognised by their device tree; what nobody knows is still described."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from targets.agent.records import Cluster, Facts
from targets.boards import cores, recognise
from targets.boards.look import as_facts, in_words
from targets.readings.machine import MACHINE

RECORDED = Path(__file__).parents[1] / "recorded" / "machine"

KNOWN = {
    ("raspberrypi,model-zero-2-w", "brcm,bcm2837"): ("Raspberry Pi Zero 2 W", "BCM2710A1"),
    ("raspberrypi,3-model-b", "brcm,bcm2837"): ("Raspberry Pi 3 Model B", "BCM2837"),
    ("raspberrypi,3-model-b-plus", "brcm,bcm2837"): ("Raspberry Pi 3 Model B+", "BCM2837B0"),
    ("raspberrypi,4-model-b", "brcm,bcm2711"): ("Raspberry Pi 4 Model B", "BCM2711"),
    ("raspberrypi,4-compute-module", "brcm,bcm2711"): ("Raspberry Pi Compute Module 4", "BCM2711"),
    ("raspberrypi,5-model-b", "brcm,bcm2712"): ("Raspberry Pi 5 Model B", "BCM2712"),
    ("raspberrypi,9-model-z", "brcm,bcm9999"): ("Raspberry Pi", "Broadcom"),
    ("nvidia,p3450-0000", "nvidia,jetson-nano", "nvidia,tegra210"): (
        "Jetson Nano",
        "Tegra X1 (T210)",
    ),
    ("nvidia,quill", "nvidia,p2597-0000+p3310-1000", "nvidia,tegra186"): (
        "Jetson TX2",
        "Tegra X2 (T186)",
    ),
    ("nvidia,p3509-0000+p3668-0001", "nvidia,tegra194"): ("Jetson Xavier NX", "Xavier (T194)"),
    ("nvidia,p2972-0000", "nvidia,tegra194"): ("Jetson AGX Xavier", "Xavier (T194)"),
    ("nvidia,p3768-0000+p3767-0005-super", "nvidia,p3767-0005", "nvidia,tegra234"): (
        "Jetson Orin Nano",
        "Orin (T234)",
    ),
    ("nvidia,p3768-0000+p3767-0000", "nvidia,p3767-0000", "nvidia,tegra234"): (
        "Jetson Orin NX",
        "Orin (T234)",
    ),
    ("nvidia,p3737-0000+p3701-0005", "nvidia,p3701-0005", "nvidia,tegra234"): (
        "Jetson AGX Orin",
        "Orin (T234)",
    ),
    ("nvidia,p4071-0000+p3834-0008", "nvidia,p3834-0008", "nvidia,tegra264"): (
        "Jetson Thor",
        "Thor (T264)",
    ),
    ("radxa,rock-5b", "rockchip,rk3588"): ("a Linux board", "rk3588"),
}


@pytest.mark.parametrize(("compatible", "known"), KNOWN.items(), ids=lambda value: str(value[0]))
def test_a_board_is_known_by_its_device_tree(
    compatible: tuple[str, ...], known: tuple[str, str]
) -> None:
    board = recognise(Facts(compatible=compatible))
    assert (board.name, board.soc) == known


@pytest.mark.parametrize("model", ["Orin Nano", "Orin NX"])
def test_the_model_decides_where_parts_do_not(model: str) -> None:
    told = Facts(
        compatible=("nvidia,p3767", "nvidia,tegra234"),
        board_model=f"NVIDIA {model} Developer Kit",
    )
    assert recognise(told).name == f"Jetson {model}"


def test_a_name_alone_makes_no_board() -> None:
    told = Facts(board_model="Raspberry Pi 4 look-alike", compatible=("example,box", "example,soc"))
    board = recognise(told)
    assert (board.name, board.kind.family) == ("Raspberry Pi 4 look-alike", "Linux")


def test_a_jetson_without_a_device_tree_is_known_by_its_system() -> None:
    release = "# R36 (release), REVISION: 4.4, GCID: 1, BOARD: generic, EABI: aarch64, DATE: x"
    board = recognise(Facts(nv_tegra_release=release))
    assert (board.name, board.system) == ("Jetson", "JetPack 6.2.1, L4T 36.4.4")


def test_clusters_are_told_each_and_limits_below_what_they_can() -> None:
    told = (
        Cluster((0, 1, 2, 3), "Cortex-A78AE", max_khz=1_510_400, hardware_max_khz=1_510_400),
        Cluster((4, 5), "Cortex-A78AE", max_khz=1_200_000, hardware_max_khz=2_016_000),
        Cluster((6,)),
    )
    assert cores(told) == (
        "4 x Cortex-A78AE up to 1.51 GHz + "
        "2 x Cortex-A78AE up to 2.02 GHz (held to 1.20 GHz) + 1 x core"
    )


def test_a_board_is_told_in_words_and_as_facts() -> None:
    case = json.loads((RECORDED / "jetson-orin-nx-two-clusters.json").read_text("utf-8"))
    board = recognise(MACHINE.parse(case["output"]))
    words = {said.name: said.detail for said in in_words(board)}
    assert words["board"].startswith("Jetson Orin NX, Orin (T234)")
    assert words["cores"] == (
        "4 x Cortex-A78AE up to 1.98 GHz (held to 1.51 GHz) + 4 x Cortex-A78AE up to 1.98 GHz"
    )
    assert words["RAM"] == "7.4 GiB"
    assert words["storage"] == "nvme0n1 256 GB (SSD 250G), 184.3 GB free where the home folder is"
    assert "JetPack 6.2.1, L4T 36.4.4, kernel 5.15.148-tegra (aarch64)" in words["software"]
    told = json.loads(json.dumps(as_facts(board), allow_nan=False))
    assert (told["jetpack"], told["userland_bits"], len(told["clusters"])) == ("6.2.1", 64, 2)


@given(
    st.builds(
        Facts,
        board_model=st.none() | st.text(max_size=30),
        compatible=st.lists(st.text(max_size=30), max_size=4).map(tuple),
        nv_tegra_release=st.none() | st.text(max_size=60),
    )
)
def test_any_board_has_a_name(facts: Facts) -> None:
    assert recognise(facts).name
    assert list(in_words(recognise(facts)))
