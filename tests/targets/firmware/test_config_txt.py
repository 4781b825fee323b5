"""config.txt: the right file, what is in force in it, and a block that leaves no trace."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from targets.firmware.config_txt import effective, find_config, with_block, without_block

BOOKWORM = "/dev/mmcblk0p2 / ext4 rw 0 0\n/dev/mmcblk0p1 /boot/firmware vfat rw,relatime 0 0\n"
BULLSEYE = "/dev/mmcblk0p2 / ext4 rw 0 0\n/dev/mmcblk0p1 /boot vfat rw,relatime 0 0\n"
BOTH = ["/boot/firmware/config.txt", "/boot/config.txt"]
PI_4 = ("raspberrypi,4-model-b", "brcm,bcm2711")
PI_5 = ("raspberrypi,5-model-b", "brcm,bcm2712")

lines = st.text(st.characters(exclude_characters="\r\n", codec="utf-8"), max_size=30)
texts = st.builds(
    lambda parts, end, last: end.join(parts) + (end if last else ""),
    st.lists(st.one_of(lines, st.sampled_from(["[pi4]", "[all]", "gpu_mem=76", "# x", ""]))),
    st.sampled_from(["\n", "\r\n"]),
    st.booleans(),
)
ours = st.lists(
    st.sampled_from(["gpu_mem=32", "arm_boost=1", "dtparam=cooling_fan=on"]),
    max_size=3,
    unique=True,
)


def test_the_file_on_the_firmwares_partition_is_the_one() -> None:
    assert find_config(BOOKWORM, BOTH).path == "/boot/firmware/config.txt"
    assert find_config(BULLSEYE, ["/boot/config.txt"]).path == "/boot/config.txt"


def test_a_file_that_the_firmware_does_not_read_is_not_taken() -> None:
    unmounted = find_config("/dev/mmcblk0p2 / ext4 rw 0 0\n", BOTH)
    assert unmounted.path is None
    assert "not on a mounted firmware partition" in unmounted.why
    assert find_config(BOOKWORM, ["/boot/config.txt"]).path is None
    assert find_config("", []).path is None


@given(texts, ours)
def test_the_block_goes_without_a_trace(text: str, wanted: list[str]) -> None:
    assert without_block(with_block(text, wanted)) == text


@given(texts, ours, ours)
def test_writing_it_again_replaces_it(text: str, first: list[str], second: list[str]) -> None:
    assert with_block(with_block(text, first), second) == with_block(text, second)


@given(texts, ours)
def test_what_the_block_says_is_in_force_on_every_model(text: str, wanted: list[str]) -> None:
    for board in (PI_4, PI_5):
        for line in wanted:
            assert effective(with_block(text, wanted), line, board) == line


@given(texts, ours)
def test_every_line_of_the_user_stays(text: str, wanted: list[str]) -> None:
    assert with_block(text, wanted).startswith(text)


@pytest.mark.parametrize(
    ("text", "board", "now"),
    [
        ("gpu_mem=76", PI_4, "gpu_mem=76"),
        ("gpu_mem=76\ngpu_mem=32", PI_4, "gpu_mem=32"),
        ("gpu_mem=32\n[pi5]\ngpu_mem=76", PI_4, "gpu_mem=32"),
        ("gpu_mem=76\n[pi4]\ngpu_mem=32", PI_4, "gpu_mem=32"),
        ("[pi5]\ngpu_mem=32\n[all]\n", PI_4, None),
        ("[cm4]\ngpu_mem=32", PI_4, None),
        ("[none]\ngpu_mem=32", PI_4, None),
        ("[gpio4=1]\ngpu_mem=32", PI_4, None),
        ("# gpu_mem=32", PI_4, None),
        ("  gpu_mem=32  \r\n", PI_4, "gpu_mem=32"),
        ("[pi4]\n[gpio4=1]\n[all]\ngpu_mem=32", PI_4, "gpu_mem=32"),
    ],
)
def test_filters_decide_what_is_in_force(
    text: str, board: tuple[str, ...], now: str | None
) -> None:
    assert effective(text, "gpu_mem=32", board) == now


def test_parameters_of_a_fan_count_one_by_one() -> None:
    line = "dtparam=fan_temp0=40000,fan_temp0_speed=250"
    assert effective("dtparam=fan_temp0=40000\ndtparam=fan_temp0_speed=250\n", line, PI_5) == line
    now = effective("dtparam=fan_temp0=50000\n", line, PI_5)
    assert now == "dtparam=fan_temp0=50000"
