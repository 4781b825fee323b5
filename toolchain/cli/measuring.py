"""Options of commands that measure, and the `Measuring` that they ask for."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final

import click

from targets.errors import InputError
from toolchain.cli.options import F, wheelhouse_option
from toolchain.cli.paths import existing_file

if TYPE_CHECKING:
    from toolchain.measuring import Measuring
    from toolchain.settingsseen import Asked

_MOST_CPUS: Final = 1024

_placing: list[Callable[[Any], Any]] = [
    click.option("--threads", type=click.IntRange(1, 64), help="[default: the board's CPUs]"),
    click.option(
        "--cpus",
        metavar="LIST",
        callback=lambda _ctx, _param, value: cpus_of(value),
        help="The threads keep to these CPUs of the board, such as 4-7 or 0,2.",
    ),
    click.option(
        "--tune",
        is_flag=True,
        help="Choose threads and CPUs by short runs first; remembered for each board and model, "
        "measured anew with --again.",
    ),
]

_timing: list[Callable[[Any], Any]] = [
    click.option("--warmup", type=click.IntRange(0), default=3, show_default=True),
    click.option(
        "--runs",
        "timed_runs",
        type=click.IntRange(1),
        default=30,
        show_default=True,
        help="Timed inferences of the model alone.",
    ),
    click.option(
        "--steady",
        "steady_s",
        type=click.FloatRange(1),
        is_flag=False,
        flag_value=600.0,
        default=None,
        metavar="[SECONDS]",
        help="Warm up until latency and temperature stand still, for 600 s at most or as many as "
        "given; the report then shows the burst before beside what is sustained.",
    ),
    click.option(
        "--repeat",
        type=click.IntRange(1, 100),
        default=1,
        show_default=True,
        help="Run all models in turn this often (A B A B), so that differences can be told from "
        "drift.",
    ),
    click.option(
        "--profile",
        help="Settings to put in force on the board meanwhile, and back after: benchmark, field, "
        "quiet, or yours (`halfbyte firmware`).",
    ),
    click.option(
        "--set",
        "overrides",
        multiple=True,
        metavar="KEY=VALUE",
        help="One setting of the profile otherwise, such as cpu.governor=performance.",
    ),
    click.option(
        "--config",
        type=existing_file(),
        help="A file of board settings laid over all others.",
    ),
    click.option(
        "--ask-sudo",
        is_flag=True,
        help="Ask for the password of sudo on the board, where settings need it.",
    ),
    click.option(
        "--strict",
        is_flag=True,
        help="Fail (exit code 8) where the report doubts a figure.",
    ),
    click.option(
        "--wait",
        "busy_s",
        type=click.FloatRange(0),
        default=600.0,
        show_default=True,
        metavar="SECONDS",
        help="How long to wait for a target that another run holds.",
    ),
    click.option(
        "--drop-pages",
        is_flag=True,
        help="Give back the memory of the model's file once the runtime has its own copy of the "
        "filters: less memory, the same results.",
    ),
    click.option(
        "--expand-int4",
        is_flag=True,
        help="Run INT4 tensors (--format int4) as the int8 ones that they mean, which runtimes "
        "have fast kernels for.",
    ),
    click.option(
        "--expand-in-memory",
        is_flag=True,
        help="Keep no expanded model on the board: it takes the time at every start, and no "
        "storage.  Done anyway where there is no room.",
    ),
    wheelhouse_option,
]


def measuring_options(function: F) -> F:
    """How to measure: threads, warm-up, timed runs."""
    for option in reversed((*_placing, *_timing)):
        function = option(function)
    return function


def timing_options(function: F) -> F:
    """The same without threads and CPUs."""
    for option in reversed(_timing):
        function = option(function)
    return function


def cpus_of(text: str | None) -> tuple[int, ...]:
    """Numbers of "0-3,6".  Raises click.BadParameter."""
    found: list[int] = []
    for part in [] if text is None else text.split(","):
        match = re.fullmatch(r"(\d{1,4})(?:-(\d{1,4}))?", part.strip())
        low, high = (int(match[1]), int(match[2] or match[1])) if match else (1, 0)
        if not low <= high < _MOST_CPUS or set(found) & {*range(low, high + 1)}:
            raise click.BadParameter(f"{text!r} is no list of CPUs such as 0-3,6")
        found += range(low, high + 1)
    return tuple(sorted(found))


def measuring_of(asked: dict[str, Any]) -> Measuring:
    """How to measure, from `measuring_options` or `timing_options`.  Raises InputError."""
    from toolchain.measuring import Measuring

    threads, cpus, tune = asked.get("threads"), asked.get("cpus", ()), asked.get("tune", False)
    if tune and (threads or cpus):
        raise InputError(
            "--tune chooses threads and CPUs; --threads and --cpus give them",
            hint="Leave one of them out.",
        )
    if cpus and (threads or 1) > len(cpus):
        raise InputError(
            f"{threads} threads do not fit on {len(cpus)} CPUs",
            hint="Name more CPUs, or ask for fewer threads.",
        )
    return Measuring(
        threads=threads,
        cpus=cpus,
        tune=tune,
        warmup=asked["warmup"],
        timed_runs=asked["timed_runs"],
        wheelhouse=asked["wheelhouse"],
        again=asked["again"],
        busy_s=asked["busy_s"],
        steady_s=asked["steady_s"] or 0.0,
        repeat=asked["repeat"],
        asked=_board_settings(asked),
        expand_int4=asked["expand_int4"],
        keep_expanded=not asked["expand_in_memory"],
        drop_pages=asked["drop_pages"],
    )


def _board_settings(asked: dict[str, Any]) -> Asked:
    """Raises InputError: --set, --config or --ask-sudo without --profile."""
    from targets.firmware.resolve import override
    from toolchain.cli.trust import trust
    from toolchain.settingsseen import Asked

    if asked["profile"] is None:
        if asked["overrides"] or asked["ask_sudo"] or asked["config"]:
            raise InputError(
                "--set, --config and --ask-sudo are about the settings of a profile",
                hint="Add --profile benchmark.",
            )
        return Asked()
    password = trust(accept_new=False).password if asked["ask_sudo"] else None
    return Asked(
        asked["profile"],
        config=asked["config"],
        overrides=tuple(override(text) for text in asked["overrides"]),
        password=password,
    )
