"""Sensors are read beside the work, tools never hold it up, and what that takes is known."""

import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from targets.agent.records import Noted, Sample, ToolSaid
from targets.agent.sampler import Sampler
from targets.agent.telemetry import Telemetry
from targets.agent.tools import LIMIT_S, Monitor, Tool, find_tools


def script(folder: Path, name: str, body: str) -> str:
    path = folder / name
    path.write_text(f"#!/bin/sh\n{body}\n")
    path.chmod(0o755)
    return str(path)


def run_for(seconds: float, tools: list, period_s: float = 0.05) -> tuple:
    """What was read, and the cost, of a sampler beside a thread that works."""
    sampler = Sampler(Telemetry(), period_s=period_s, tools=tools)
    sampler.start()
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        sum(range(1000))
    sampler.stop()
    return sampler.take(), sampler.cost()


def of_kind(records, kind):
    return [record for record in records if isinstance(record, kind)]


def test_sensors_are_read_while_the_main_thread_works() -> None:
    records, cost = run_for(1.0, [])
    samples = of_kind(records, Sample)
    assert 4 < len(samples) <= 23
    assert cost.samples == len(samples)
    times = [sample.at_ns for sample in samples]
    assert times == sorted(times)
    assert 0.9e9 < cost.wall_ns < 5e9
    assert 0 < cost.cpu_ns < cost.wall_ns / 10
    loads = [share for s in samples for share in s.cpu_load.values() if share is not None]
    assert max(loads) > 0.5


def test_a_tool_is_run_and_its_words_kept_as_they_are(tmp_path: Path) -> None:
    tool = Tool("throttled", script(tmp_path, "vcgencmd", "echo throttled=0x50005"))
    records, cost = run_for(0.3, [tool])
    said = of_kind(records, ToolSaid)
    assert {(one.tool, one.text, one.exit_code) for one in said} == {
        ("throttled", "throttled=0x50005\n", 0)
    }
    assert len(said) == cost.tool_runs + 2  # at the beginning and at the end uncounted


def test_a_tool_that_takes_long_is_run_seldom(tmp_path: Path) -> None:
    path = script(tmp_path, "slow", "i=0; while [ $i -lt 20000 ]; do i=$((i+1)); done; echo 1")
    tool = Tool("slow", path)
    start_ns = time.monotonic_ns()
    tool.run()
    assert tool.cpu_ns_so_far() > 0
    assert not tool.due(time.monotonic_ns())
    assert tool.due(start_ns + int(tool.cpu_ns_so_far() / 0.0025) + 10**12)


def test_a_tool_that_hangs_is_ended_in_time(tmp_path: Path) -> None:
    path = script(tmp_path, "hangs", "echo begun; exec sleep 60")
    start = time.monotonic()
    said = Tool("hangs", path).run()
    assert time.monotonic() - start < LIMIT_S + 2
    assert (said.text, said.exit_code) == ("begun\n", None)


def test_a_tool_without_end_is_cut(tmp_path: Path) -> None:
    said = Tool("yes", script(tmp_path, "endless", "exec yes")).run()
    assert len(said.text) == 16 * 1024


def test_a_tool_that_fails_is_told_once_and_left_alone(tmp_path: Path) -> None:
    refused = script(tmp_path, "vcgencmd", 'echo "VCHI initialization failed"; exit 255')
    absent = Tool("absent", str(tmp_path / "absent"))
    records, _ = run_for(0.3, [Tool("throttled", refused), absent])
    assert len(of_kind(records, ToolSaid)) == 1
    notes = {note.about: note.reason for note in of_kind(records, Noted)}
    assert notes.keys() == {"throttled", "absent"}
    assert "VCHI" in notes["throttled"]
    assert "No such file" in notes["absent"]
    assert len(of_kind(records, Sample)) > 1


def test_a_monitor_is_started_once_and_its_newest_line_read(tmp_path: Path) -> None:
    body = 'i=0; while :; do i=$((i+1)); echo "RAM $i/10MB"; sleep 0.02; done'
    monitor = Monitor("tegrastats", script(tmp_path, "tegrastats", body))
    records, _ = run_for(0.5, [monitor], period_s=0.1)
    lines = [one.text for one in of_kind(records, ToolSaid)]
    assert len(lines) >= 2
    assert lines == sorted(set(lines), key=lambda line: int(line[4 : line.index("/")]))
    assert monitor.cpu_ns_so_far() == 0  # ended


def test_a_monitor_that_ends_is_told_once(tmp_path: Path) -> None:
    monitor = Monitor("tegrastats", script(tmp_path, "tegrastats", "echo Error: no such board"))
    records, _ = run_for(0.3, [monitor])
    (note,) = of_kind(records, Noted)
    assert note.about == "tegrastats"
    assert "ended" in note.reason


def test_an_error_in_a_reading_costs_that_reading_only(monkeypatch: pytest.MonkeyPatch) -> None:
    telemetry, whole = Telemetry(), Telemetry.sample
    calls: list[int] = []

    def sometimes(self: Telemetry) -> Sample:
        calls.append(1)
        if len(calls) == 2:
            raise ValueError("a new field")
        return whole(self)

    monkeypatch.setattr(Telemetry, "sample", sometimes)
    sampler = Sampler(telemetry, period_s=0.02, tools=[])
    sampler.start()
    time.sleep(0.5)
    sampler.stop()
    records = sampler.take()
    assert len(of_kind(records, Sample)) == len(calls) - 1 > 1
    assert [note.about for note in of_kind(records, Noted)] == ["sample"]


def test_nothing_is_left_running(tmp_path: Path) -> None:
    before = threading.active_count()
    monitor = Monitor("tegrastats", script(tmp_path, "tegrastats", "exec sleep 77.31"))
    sampler = Sampler(Telemetry(), period_s=60, tools=[monitor])
    sampler.start()
    sampler.stop()
    sampler.stop()
    assert threading.active_count() == before
    assert (
        "77.31"
        not in subprocess.run(
            ["ps", "-eo", "args"], capture_output=True, text=True, check=True
        ).stdout
    )


def test_pss_is_read_again_only_after_a_multiple_of_what_it_took() -> None:
    sampler = Sampler(Telemetry(), period_s=0.05, tools=[])
    (first,) = sampler.with_pss()
    assert first.memory.pss_bytes is not None
    assert first.at_ns is not None
    assert sampler.with_pss() == []


def test_a_large_process_is_not_copied_to_start_a_tool(tmp_path: Path) -> None:
    """posix_spawn: nothing of the model's memory is copied or marked for copying."""
    code = f"""
import resource, sys, time
sys.path.insert(0, {str(Path(__file__).parents[2])!r})
from targets.agent.tools import Tool
held = bytearray(400 << 20)
for place in range(0, len(held), 4096):
    held[place] = 1
tool = Tool("true", "/bin/true")
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(5):
    tool.run()
for place in range(0, len(held), 4096):
    held[place] = 2
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=120
    )
    assert int(done.stdout) < 20_000  # of 102,400 pages


def test_tools_are_those_of_the_board(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("vcgencmd", "tegrastats"):
        script(tmp_path, name, "exit 0")
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")

    def names(*compatible: str, enough: bool = False) -> list[str]:
        found = find_tools(compatible=compatible, enough=enough, period_s=0.5)
        return [tool.name for tool in found]

    assert names("raspberrypi,4-model-b", "brcm,bcm2711") == ["throttled", "tegrastats"]
    assert names("raspberrypi,5-model-b", "brcm,bcm2712", enough=True) == ["throttled", "pmic"]


@pytest.mark.parametrize("missing", [None, "curr1_input", "in1_input", "load"])
def test_files_that_cannot_be_read_do_not_stand_in_for_a_tool(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, missing: str | None
) -> None:
    """On some releases the files of power monitors are root's alone."""
    script(tmp_path, "tegrastats", "exit 0")
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    rail = tmp_path / "sys/bus/i2c/drivers/ina3221/1-0040/hwmon/hwmon1"
    gpu = tmp_path / "sys/devices/gpu.0"
    for folder, name, text in (
        (rail, "in1_label", "VDD_IN\n"),
        (rail, "in1_input", "5072\n"),
        (rail, "curr1_input", "1035\n"),
        (gpu, "load", "437\n"),
    ):
        folder.mkdir(parents=True, exist_ok=True)
        if name == missing:
            (folder / name).mkdir()  # is there and cannot be read, by root neither
        else:
            (folder / name).write_text(text)
    sampler = Sampler(Telemetry(str(tmp_path)), period_s=0.5)
    found = "tegrastats" in [tool.name for tool in sampler._tools]
    assert found == (missing is not None)


def test_where_no_thread_can_be_started_it_is_measured_without(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def refuse(self: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", refuse)
    sampler = Sampler(Telemetry(), period_s=0.01, tools=[])
    sampler.start()
    sampler.stop()
    assert [note.about for note in of_kind(sampler.take(), Noted)][-1:] == ["sampler"]
