"""Sensors say what they say; one that does not costs only itself, and is never 0."""

import contextlib
import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from targets.agent import readings
from targets.agent.telemetry import Telemetry

STATUS = "Name:\tpython\nVmHWM:\t  215000 kB\nVmRSS:\t  200000 kB\nVmSwap:\t       0 kB\n"
ROLLUP = "00400000-7ffe rollup\nRss:  200000 kB\nPss:   150000 kB\nPss_Anon:  100000 kB\n"


def put(root, path, content):
    path = root / path
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content)


@contextlib.contextmanager
def silent(path):
    """A file at `path` that is there and answers EAGAIN, as sensors of absent units do."""
    os.mkfifo(path)
    descriptor = os.open(path, os.O_RDWR)
    try:
        yield
    finally:
        os.close(descriptor)


def zone(root, index, kind, temp=None):
    put(root, f"sys/class/thermal/thermal_zone{index}/type", kind + "\n")
    if temp is not None:
        put(root, f"sys/class/thermal/thermal_zone{index}/temp", temp)
    return root / f"sys/class/thermal/thermal_zone{index}/temp"


def test_zones_of_absent_units_are_unknown_and_the_others_unharmed(tmp_path, caplog):
    zone(tmp_path, 0, "cpu-thermal", "48562\n")
    zone(tmp_path, 1, "gpu-thermal", "47125\n")
    zone(tmp_path, 8, "tj-thermal", "48562\n")
    with contextlib.ExitStack() as stack, caplog.at_level("INFO"):
        for index, kind in ((2, "cv0-thermal"), (3, "cv1-thermal"), (4, "cv2-thermal")):
            stack.enter_context(silent(zone(tmp_path, index, kind)))
        telemetry = Telemetry(str(tmp_path))
        for _ in range(3):
            assert telemetry.temps_c() == {
                "cpu-thermal": 48.562,
                "gpu-thermal": 47.125,
                "cv0-thermal": None,
                "cv1-thermal": None,
                "cv2-thermal": None,
                "tj-thermal": 48.562,
            }
    assert len(caplog.records) == 3  # one note a zone, not one a reading


def test_a_pipe_without_data_is_unknown():
    reader, writer = os.pipe()
    os.set_blocking(reader, False)
    try:
        assert readings.text(f"/proc/self/fd/{reader}") is None
    finally:
        os.close(reader)
        os.close(writer)


@pytest.mark.parametrize("temp", ["-256000\n", "", "hot\n", "1e3", "9" * 30, "300000", None])
def test_a_sensor_that_is_off_or_broken_is_unknown(tmp_path, temp):
    zone(tmp_path, 0, "gpu-thermal", temp)
    assert Telemetry(str(tmp_path)).temps_c() == {"gpu-thermal": None}


@pytest.mark.parametrize(("kind", "constant"), [("PMIC-Die", "100000\n"), ("PMIC", "50000\n")])
def test_the_constant_of_a_power_chip_is_no_temperature(tmp_path, kind, constant):
    """Jetson Nano, TX2 and Xavier: its driver says so unless there is an alarm."""
    zone(tmp_path, 0, "CPU-therm", "25000\n")
    zone(tmp_path, 1, kind, constant)
    telemetry = Telemetry(str(tmp_path))
    assert telemetry.temps_c() == {"CPU-therm": 25.0, kind: None}
    assert telemetry.hottest_c() == 25.0
    zone(tmp_path, 0, "CPU-therm", "70000\n")
    assert telemetry.hottest_c() == 70.0
    (note,) = telemetry.notes()
    assert (note.about, "no alarm" in note.reason) == (f"thermal zone {kind}", True)
    zone(tmp_path, 1, kind, "120000\n")
    assert telemetry.hottest_c() == 120.0


def test_zones_of_the_same_kind_are_kept_apart(tmp_path):
    for index, temp in ((0, "40000"), (1, "41000"), (10, "42000")):
        zone(tmp_path, index, "acpitz", temp)
    assert Telemetry(str(tmp_path)).temps_c() == {
        "acpitz": 40.0,
        "acpitz (thermal_zone1)": 41.0,
        "acpitz (thermal_zone10)": 42.0,
    }


def test_clocks_are_told_by_cluster(tmp_path):
    for policy, khz in (("policy0", "1200000\n"), ("policy4", "2016000\n")):
        put(tmp_path, f"sys/devices/system/cpu/cpufreq/{policy}/scaling_cur_freq", khz)
    assert Telemetry(str(tmp_path)).cpu_khz() == {"policy0": 1200000, "policy4": 2016000}


def test_clocks_of_older_kernels_are_told_by_cluster_too(tmp_path):
    for cpu in range(6):
        folder = f"sys/devices/system/cpu/cpu{cpu}/cpufreq"
        put(tmp_path, f"{folder}/related_cpus", "0 1 2 3\n" if cpu < 4 else "4 5\n")
        put(tmp_path, f"{folder}/scaling_cur_freq", "1512000\n" if cpu < 4 else "2016000\n")
    assert Telemetry(str(tmp_path)).cpu_khz() == {"policy0": 1512000, "policy4": 2016000}


def test_memory_comes_in_bytes(tmp_path):
    put(tmp_path, "proc/self/status", STATUS)
    put(tmp_path, "proc/self/smaps_rollup", ROLLUP)
    put(tmp_path, "proc/meminfo", "MemTotal: 4000000 kB\nMemAvailable: 3000000 kB\n")
    put(tmp_path, "proc/loadavg", "0.52 0.58 0.59 1/500 1234\n")
    telemetry = Telemetry(str(tmp_path))
    sample, memory = telemetry.sample(), telemetry.memory()
    assert sample.memory == telemetry.quick_memory()
    assert (memory.rss_bytes, memory.hwm_bytes) == (200_000 * 1024, 215_000 * 1024)
    assert (memory.pss_bytes, memory.swap_bytes) == (150_000 * 1024, 0)
    assert sample.mem_available_bytes == 3_000_000 * 1024
    assert sample.load_1min == 0.52


def test_the_highest_pss_is_remembered(tmp_path):
    telemetry = Telemetry(str(tmp_path))
    assert telemetry.memory().pss_bytes is None
    assert telemetry.peak_pss_bytes is None
    for kib in (100, 300, 200):
        put(tmp_path, "proc/self/smaps_rollup", f"Pss: {kib} kB\n")
        telemetry.memory()
    assert telemetry.peak_pss_bytes == 300 * 1024


def test_a_machine_that_says_nothing_is_unknown_throughout(tmp_path):
    sample = Telemetry(str(tmp_path)).sample()
    assert set(vars(sample.memory).values()) == {None}
    assert (sample.mem_available_bytes, sample.load_1min) == (None, None)
    assert (sample.temps_c, sample.cpu_khz) == ({}, {})


def test_this_machine_is_read():
    memory = Telemetry().memory()
    assert memory.rss_bytes is not None
    assert memory.rss_bytes > 1_000_000


@given(st.text(max_size=30))
def test_any_text_is_a_whole_number_or_unknown(value):
    number = readings.whole(value)
    assert number is None or int(value) == number


def test_folders_are_sorted_by_number_and_strays_left_out(tmp_path):
    for name in ("zone10", "zone2", "zone", "zonex", "other1"):
        (tmp_path / name).mkdir()
    names = [Path(path).name for path in readings.folders(str(tmp_path), "zone")]
    assert names == ["zone2", "zone10"]


def test_load_is_what_each_core_did_since_the_last_reading(tmp_path):
    stat = tmp_path / "proc/stat"
    put(tmp_path, "proc/stat", "cpu  1 1 1 1 1 1 1 1 0 0\ncpu0 100 0 0 900 0 0 0 0 0 0\n")
    telemetry = Telemetry(str(tmp_path))
    assert telemetry.cpu_load() == {}
    stat.write_text("cpu0 175 0 0 920 5 0 0 0 0 0\ncpu1 10 0 0 0 0 0 0 0 0 0\nintr 1 2 3\n")
    assert telemetry.cpu_load() == {"cpu0": 0.75}
    stat.write_text("cpu1 10 0 0 0 0 0 0 0 0 0\n")
    assert telemetry.cpu_load() == {"cpu0": None, "cpu1": None}  # cpu0 went off, cpu1 had no tick


JETSON = {
    "bus/i2c/drivers/ina3221/1-0040/hwmon/hwmon1/in1_label": "VDD_IN",
    "bus/i2c/drivers/ina3221/1-0040/hwmon/hwmon1/in1_input": "5072",
    "bus/i2c/drivers/ina3221/1-0040/hwmon/hwmon1/curr1_input": "1035",
    "bus/i2c/drivers/ina3221/1-0040/hwmon/hwmon1/in2_label": "NC",
    "bus/i2c/drivers/ina3221/1-0040/hwmon/hwmon1/in3_label": "VDD_SOC",
    "bus/i2c/drivers/ina3221/1-0040/hwmon/hwmon1/in3_input": "5064",
    "bus/i2c/drivers/ina3221/1-0040/hwmon/hwmon1/in7_label": "sum of shunt voltages",
    "bus/i2c/drivers/ina3221x/6-0040/iio:device0/rail_name_1": "POM_5V_GPU",
    "bus/i2c/drivers/ina3221x/6-0040/iio:device0/in_voltage1_input": "4976",
    "bus/i2c/drivers/ina3221x/6-0040/iio:device0/in_current1_input": "16",
    "bus/i2c/drivers/ina238/2-0044/hwmon/hwmon4/name": "ina238",
    "bus/i2c/drivers/ina238/2-0044/hwmon/hwmon4/label": "VIN",
    "bus/i2c/drivers/ina238/2-0044/hwmon/hwmon4/in1_input": "19000",
    "bus/i2c/drivers/ina238/2-0044/hwmon/hwmon4/curr1_input": "700",
    "devices/platform/bus@0/17000000.gpu/load": "437",
    "class/devfreq/17000000.gpu/cur_freq": "306000000",
    "class/thermal/cooling_device0/type": "pwm-fan",
    "class/thermal/cooling_device0/cur_state": "3",
    "class/thermal/cooling_device1/type": "cpu-throttle-alert",
    "class/thermal/cooling_device1/cur_state": "1",
    "class/hwmon/hwmon3/oc1_event_cnt": "2",
}


def test_power_gpu_and_what_holds_clocks_back_are_read(tmp_path):
    for path, content in JETSON.items():
        put(tmp_path, f"sys/{path}", content + "\n")
    sample = Telemetry(str(tmp_path)).sample()
    assert sample.rail_mv == {"VDD_IN": 5072, "VDD_SOC": 5064, "VIN": 19000, "POM_5V_GPU": 4976}
    assert sample.rail_ma == {"VDD_IN": 1035, "VDD_SOC": None, "VIN": 700, "POM_5V_GPU": 16}
    assert (sample.gpu_load, sample.gpu_hz) == (0.437, 306_000_000)
    assert sample.cooling == {"cpu-throttle-alert": 1}
    assert sample.alerts == {"oc1_event_cnt": 2}


# Names as NVIDIA's kernels of L4T 32 register them (t210 and t186 platforms).
JETPACK_4 = {
    "PWM-fan": 0,
    "cpu-balanced": 2,
    "gpu-balanced": 0,
    "emergency-balanced": 1,
    "tegra-heavy": 0,
    "CORE-floor": 1,
}


def test_what_holds_clocks_back_on_jetpack_4_is_read(tmp_path):
    for index, (kind, state) in enumerate(JETPACK_4.items()):
        folder = f"sys/class/thermal/cooling_device{index}"
        put(tmp_path, f"{folder}/type", kind + "\n")
        put(tmp_path, f"{folder}/cur_state", f"{state}\n")
    assert Telemetry(str(tmp_path)).sample().cooling == {
        "cpu-balanced": 2,
        "gpu-balanced": 0,
        "emergency-balanced": 1,
        "tegra-heavy": 0,
    }


def test_what_cannot_be_read_is_noted_once_and_with_its_time(tmp_path):
    zone(tmp_path, 0, "gpu-thermal", "-256000\n")
    telemetry = Telemetry(str(tmp_path))
    for _ in range(3):
        telemetry.sample()
    (note,) = telemetry.notes()
    assert (note.about, note.reason) == ("thermal zone gpu-thermal", "is off")
    assert note.at_ns > 0
    assert telemetry.notes() == []
