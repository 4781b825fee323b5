"""The program that runs as root turns what it knows, and nothing else."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from targets.firmware.program import bundle
from targets.provision.on_board.knobs import Refused, checked, look
from targets.provision.on_board.place import Place, loaded, save

POLICY = "/sys/devices/system/cpu/cpufreq/policy0"


@pytest.mark.parametrize(
    ("kind", "path", "value"),
    [
        ("file", f"{POLICY}/scaling_governor", "performance"),
        ("file", f"{POLICY}/scaling_max_freq", "1800000\n"),
        ("file", "/sys/class/hwmon/hwmon2/pwm1", "255"),
        ("file", "/sys/class/devfreq/17000000.gpu/min_freq", "306000000\n"),
        ("file", "/proc/sys/vm/swappiness", "60\n"),
        ("mode", "", "2"),
        ("clocks", "", "on"),
        ("swap", "/dev/zram0", "on 100"),
        ("service", "nvfancontrol", "active"),
    ],
)
def test_known_settings_may_be_turned(kind: str, path: str, value: str) -> None:
    assert checked(kind, path, value) == (kind, path)


@pytest.mark.parametrize(
    ("kind", "path", "value"),
    [
        ("file", "/etc/passwd", "x"),
        ("file", "/proc/sys/kernel/core_pattern", "x"),
        ("file", f"{POLICY}/../../../../../etc/shadow", "x"),
        ("file", f"{POLICY}/scaling_governor/", "x"),
        ("file", f"{POLICY}/scaling_governor\n", "x"),
        ("file", f"{POLICY}/scaling_governor", "a b"),
        ("file", f"{POLICY}/scaling_governor", "x\ny"),
        ("mode", "", "2; reboot"),
        ("mode", "", "-1"),
        ("swap", "/dev/../etc/passwd", "off"),
        ("swap", "-a", "off"),
        ("swap", "/dev/zram0", "on"),
        ("service", "ssh", "inactive"),
        ("run", "", "x"),
        (["file"], "", "x"),
        ("file", 3, "x"),
        ("mode", "", 2),
    ],
)
def test_nothing_else_may(kind: object, path: object, value: object) -> None:
    with pytest.raises((Refused, TypeError)):
        checked(kind, path, value)


@given(st.text(), st.text())
def test_no_made_up_path_is_a_setting(path: str, value: str) -> None:
    with pytest.raises(Refused):
        checked("file", "/" + path, value)


@pytest.mark.parametrize(
    "asked",
    [
        {"files": ["/etc/shadow"], "commands": []},
        {"files": ["/sys/devices/system/cpu/../../../../etc/shadow"], "commands": []},
        {"files": [], "commands": ["nvpmodel -m 0"]},
        {"files": [], "commands": ["nvpmodel -q; id"]},
    ],
)
def test_nothing_else_is_read_or_run(asked: dict[str, list[str]]) -> None:
    with pytest.raises(Refused):
        look(asked)


@pytest.mark.parametrize(
    "text",
    ["", "{", "[]", '{"schema": "other"}', '{"schema": "halfbyte.firmware-backup", "version": 9}'],
)
def test_a_backup_of_another_form_is_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / "backup.json"
    path.write_text(text)
    with pytest.raises(Refused):
        loaded(str(path))


def test_a_backup_that_would_write_elsewhere_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "backup.json"
    save(
        str(path),
        {
            "schema": "halfbyte.firmware-backup",
            "version": 1,
            "id": "0" * 16,
            "label": "x",
            "boot_id": "y",
            "before": [["file", "/etc/crontab", "x"]],
        },
    )
    with pytest.raises(Refused, match="crontab"):
        loaded(str(path))


def test_nothing_is_left_of_a_folder_that_was_only_locked(tmp_path: Path) -> None:
    place = Place(str(tmp_path / "f"), as_root=False)
    with place.locked():
        assert (tmp_path / "f" / "lock").exists()
        assert place.guard() is None
    assert not (tmp_path / "f").exists()


def test_the_programs_run_as_one_text(tmp_path: Path) -> None:
    """By this machine's interpreter, in its isolated mode; it only reads."""
    request = {
        "do": "look",
        "folder": str(tmp_path),
        "look": {"files": ["/proc/sys/vm/swappiness", "/proc/swaps"], "commands": []},
    }
    words = [sys.executable, "-I", "-S", "-c", "import sys;exec(sys.stdin.buffer.read())"]
    done = subprocess.run(words, input=bundle(request), capture_output=True, check=True)
    answer = json.loads(done.stdout)
    assert set(answer["files"]) <= {"/proc/sys/vm/swappiness", "/proc/swaps"}
    assert answer["boot_id"]
    assert answer["held"]["user"]["backup"] is None
