"""What boards say, read: policies, power modes, clocks, fans, swap."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from targets.firmware.diff import compare, unexpected
from targets.firmware.resolve import Library, override, resolve, shipped
from targets.firmware.settings import kind_of
from targets.firmware.settings.clocks import parse_pinned
from targets.firmware.settings.kind import Row, Said, Seen, Value
from targets.firmware.settings.policies import policies
from targets.firmware.settings.power_mode import parse_modes, parse_query
from targets.firmware.settings.swap import parse_swaps
from tests.targets.firmware.boards import CPU, NVPMODEL_CONF, SHOW, SWAPS, everything, policy


def rows(key: str, value: Value, seen: Seen | None = None) -> list[Row]:
    kind = kind_of(key)
    assert kind is not None
    return list(kind.rows(key, value, seen or everything()))


def test_a_governor_is_set_for_each_policy() -> None:
    found = rows("cpu.governor", "performance")
    assert [(row.where, row.now, row.wanted) for row in found] == [
        ("policy0", "schedutil", "performance"),
        ("policy4", "schedutil", "performance"),
    ]
    assert [row.knob.path for row in found if row.knob] == [
        f"{CPU}/cpufreq/policy0/scaling_governor",
        f"{CPU}/cpufreq/policy4/scaling_governor",
    ]


def test_an_older_kernel_has_a_folder_for_each_core_and_still_two_policies() -> None:
    files = {}
    for cpu in range(6):
        folder = f"{CPU}/cpu{cpu}/cpufreq"
        files[f"{folder}/scaling_max_freq"] = "1512000\n" if cpu < 4 else "2016000\n"
        files[f"{folder}/related_cpus"] = "0 1 2 3\n" if cpu < 4 else "4 5\n"
        files[f"{folder}/scaling_governor"] = "interactive\n"
    seen = Seen(files)
    assert [(p.name, p.cpus) for p in policies(seen)] == [
        ("policy0", (0, 1, 2, 3)),
        ("policy4", (4, 5)),
    ]
    found = rows("cpu.governor", "performance", seen)
    assert [row.knob.path for row in found if row.knob] == [
        f"{CPU}/cpu0/cpufreq/scaling_governor",
        f"{CPU}/cpu4/cpufreq/scaling_governor",
    ]


def test_each_line_of_config_txt_is_a_value_of_its_own() -> None:
    found = rows("pi.config", ("dtparam=cooling_fan=on", "gpu_mem=32", "dtparam=fan_temp0=40000"))
    path = "/boot/firmware/config.txt"
    assert [(row.where, row.now, row.wanted) for row in found] == [
        (f"{path}, dtparam=cooling_fan", "not set", "dtparam=cooling_fan=on"),
        (f"{path}, gpu_mem", "gpu_mem=76", "gpu_mem=32"),
        (f"{path}, dtparam=fan_temp0", "not set", "dtparam=fan_temp0=40000"),
    ]


def test_one_policy_can_be_asked_for_by_itself() -> None:
    known = Library(shipped())
    asked = dict([override("cpu.governor.policy4=powersave")])
    settings = resolve(known, "generic", "benchmark", asked)
    found = {
        d.row.where: d.row.wanted
        for d in compare(settings, everything())
        if d.row.key.startswith("cpu.governor")
    }
    assert found == {"policy0": "performance", "policy4": "powersave"}


def test_the_first_governor_that_the_kernel_has_is_taken() -> None:
    assert {r.wanted for r in rows("cpu.governor", ("interactive", "ondemand"))} == {"ondemand"}
    (none, _) = rows("cpu.governor", "interactive")
    assert none.wanted is None
    assert "ondemand, powersave" in none.note


@pytest.mark.parametrize(
    ("value", "wanted"),
    [
        ("highest", "1512000"),
        ("lowest", "408000"),
        ("60%", "907200"),
        (1200000, "1200000"),
        ("keep", None),
        (9_000_000, None),
    ],
)
def test_a_limit_is_within_what_the_hardware_has(value: Value, wanted: str | None) -> None:
    assert rows("cpu.max_khz.policy0", value)[0].wanted == wanted


def test_a_share_is_rounded_down_to_a_clock_that_there_is() -> None:
    files = {**policy(0, "0", 600000, 1500000)}
    files[f"{CPU}/cpufreq/policy0/scaling_available_frequencies"] = "600000 800000 1000000 1500000"
    assert rows("cpu.max_khz", "60%", Seen(files))[0].wanted == "800000"


def test_a_power_mode_is_named_and_its_number_is_the_boards() -> None:
    assert parse_modes(NVPMODEL_CONF) == {"15W": 0, "25W": 1, "MAXN_SUPER": 2, "7W": 3}
    (row,) = rows("jetson.power_mode", ("MAXN", "7W"))
    assert (row.now, row.wanted, row.value) == ("MAXN_SUPER", "7W", "3")
    (row,) = rows("jetson.power_mode", "MODE_50W")
    assert row.wanted is None
    assert "15W, 25W, MAXN_SUPER, 7W" in row.note


def test_what_nvpmodel_says_without_root_is_read_past_its_errors() -> None:
    text = (
        "NV Power Mode: 5W\n1\n"
        "NVPM ERROR: Error opening /sys/kernel/nvpmodel_emc_cap/emc_iso_cap: 13\n"
        "NVPM ERROR: failed to read PARAM EMC: ARG EMC_ISO: PATH /sys/kernel/x"
    )
    assert parse_query(Said(255, text)) == ("5W", 1)
    assert parse_query(Said(0, "NVPM ERROR: nothing")) is None
    assert parse_query(None) is None


def test_clocks_are_pinned_where_no_clock_can_fall() -> None:
    assert parse_pinned(Said(0, SHOW)) is False
    pinned = SHOW.replace("MinFreq=729600", "MinFreq=1510400")
    assert parse_pinned(Said(0, pinned)) is False  # the GPU is not
    pinned = pinned.replace("MinFreq=306000000", "MinFreq=624750000")
    assert parse_pinned(Said(0, pinned)) is True
    newer = pinned.replace("Online=1 ", "").replace("0-5", "0-5, Offline CPUs: ")
    assert parse_pinned(Said(0, newer)) is True
    root_only = Said(1, "Error: Run this script(/usr/bin/jetson_clocks) as a root user")
    assert parse_pinned(root_only) is None


def test_clocks_that_only_root_may_see_are_unknown_and_not_off() -> None:
    seen = replace(everything(), commands={"jetson_clocks --show": Said(1, "Error: root")})
    (row,) = rows("jetson.clocks", True, seen)  # noqa: FBT003
    assert row.now is None
    assert row.in_force is False
    assert "root only" in row.note


def test_a_fan_is_set_free_of_what_would_slow_it_again() -> None:
    service, fan = rows("fan.pwm", "full")
    assert (service.where, service.now, service.value) == ("nvfancontrol", "active", "inactive")
    assert (fan.where, fan.now, fan.value) == ("pwmfan pwm1", "75", "255")


def test_swap_areas_by_sort() -> None:
    assert [(a.path, a.sort, a.priority) for a in parse_swaps(SWAPS)] == [
        ("/dev/zram0", "zram", 100),
        ("/var/swap", "disk", -2),
    ]
    assert [row.where for row in rows("swap.zram", "off")] == ["/dev/zram0"]
    assert [row.where for row in rows("swap.disk", "off")] == ["/var/swap"]


@given(st.text())
def test_no_text_of_a_board_breaks_a_reader(text: str) -> None:
    said = Said(0, text)
    parse_swaps(text)
    parse_modes(text)
    parse_query(said)
    parse_pinned(said)
    files: dict[str, str | None] = dict.fromkeys(everything().files, text)
    seen = Seen(files, dict.fromkeys(everything().commands, said))
    for profile in ("benchmark", "field", "quiet"):
        for board in ("jetson-orin-nano", "raspberry-pi-5"):
            assert compare(resolve(Library(shipped()), board, profile), seen)


def test_a_board_without_any_of_it_says_so_for_each_setting() -> None:
    settings = resolve(Library(shipped()), "jetson-orin-nano", "benchmark")
    for difference in compare(settings, Seen({})):
        assert difference.row.knob is None
        assert difference.row.note or difference.row.key.startswith("swap.")


def test_a_clock_that_the_board_should_not_have_is_told() -> None:
    settings = resolve(Library(shipped()), "raspberry-pi-5", "benchmark")
    assert unexpected(settings, Seen(policy(0, "0-3", 1500000, 2400000))) == []
    (sentence,) = unexpected(settings, Seen(policy(0, "0-3", 1500000, 3000000)))
    assert "3000000 kHz and not 2400000" in sentence
