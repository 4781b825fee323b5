"""A fan that is kept or set: what becomes of it at the end of a hold."""

from __future__ import annotations

import pytest

from targets.firmware import diff
from targets.firmware.resolve import Library, resolve, shipped
from tests.targets.firmware.asked import PERFORMANCE, end, request
from tests.targets.firmware.played import GOVERNOR, Played

PWM = "/sys/class/hwmon/hwmon2/pwm1"
FULL = ("file", PWM, "255")


def fan(board: Played, pwm: str) -> None:
    """A fan of the board's, at that duty cycle."""
    board.write("/sys/class/hwmon/hwmon2/name", "pwmfan\n")
    board.write(PWM, pwm)


def test_a_fan_that_is_kept_is_not_slowed_at_the_end(board: Played) -> None:
    """Its own control has raised it meanwhile, because the board became hot."""
    fan(board, "0\n")
    asked = resolve(Library(shipped()), "raspberry-pi-5", "field")
    assert asked["fan.pwm"].value == "keep"
    answer = board.ask(request(board, 1, PERFORMANCE, snapshot=diff.snapshot(asked)))
    assert GOVERNOR in {path for _, path, _ in answer["backup"]["before"]}
    board.write(PWM, "175\n")
    assert end(board, 1)["left"] == []
    assert board.read(PWM) == "175\n"
    assert board.read(GOVERNOR) == "ondemand\n"


@pytest.mark.parametrize(
    ("meanwhile", "millidegrees", "after"),
    [(None, "55000\n", "75\n"), ("175\n", "55000\n", "175\n"), (None, "78000\n", "255\n")],
    ids=["cool", "moved by the kernel", "hot"],
)
def test_a_fan_at_full_goes_back_unless_its_control_needs_more(
    board: Played, meanwhile: str | None, millidegrees: str, after: str
) -> None:
    fan(board, "75\n")
    board.write("/sys/class/thermal/cooling_device0/type", "pwm-fan\n")
    board.write("/sys/class/thermal/thermal_zone0/temp", "100000\n")  # a Jetson's PMIC
    board.write("/sys/class/thermal/thermal_zone1/temp", millidegrees)
    assert board.ask(request(board, 1, FULL))["held"]
    assert board.read(PWM).strip() == "255"
    if meanwhile is not None:
        board.write(PWM, meanwhile)
    assert end(board, 1)["left"] == []
    assert board.read(PWM).strip() == after.strip()


def test_a_service_that_moves_the_fan_as_it_starts_is_no_failure(board: Played) -> None:
    fan(board, "75\n")
    board.write("/service", "active")
    board.tool(
        "systemctl",
        'case $1 in is-active) cat "$HERE/service" ;;\n'
        'stop) printf inactive >"$HERE/service" ;;\n'
        f'start) printf active >"$HERE/service"; echo 141 >"$HERE{PWM}" ;;\nesac\n',
    )
    assert board.ask(request(board, 1, ("service", "nvfancontrol", "inactive"), FULL))["held"]
    assert board.read("/service") == "inactive"
    outcome = end(board, 1)
    assert (outcome["left"], outcome["restored"]) == ([], 2)
    assert board.read("/service") == "active"
    assert board.read(PWM) == "141\n"
