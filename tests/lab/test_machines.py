"""Whole machines: memory figures that are true, reboots that are ones."""

from __future__ import annotations

import io
import json
import subprocess
import tarfile
from pathlib import Path
from typing import Any

from tests.lab import machines, processes
from tests.lab.cli import ROOT, Host
from tests.lab.machines import Machine
from tests.lab.places import client_key


def as_root(machine: Machine, words: str, stdin: bytes = b"") -> str:
    """Standard output of a command of root's, over the system's own ssh."""
    known = ["-o", "StrictHostKeyChecking=no", "-o", "UserKnownHostsFile=/dev/null"]
    # A machine that restarts under a session says nothing.
    known += ["-o", "ServerAliveInterval=5", "-o", "ServerAliveCountMax=3"]
    command = ["ssh", "-q", *known, "-i", str(client_key()), f"root@{machine.address}", words]
    done = subprocess.run(command, input=stdin, capture_output=True, timeout=200, check=False)
    return done.stdout.decode()


def boot_id(machine: Machine) -> str:
    return as_root(machine, "cat /proc/sys/kernel/random/boot_id")


def agents_word(machine: Machine) -> list[str]:
    """Model and `emulated` as the agent's own code finds them on the board.

    Its modules alone: QEMU's USB network is too slow for a runtime.
    """
    archive = io.BytesIO()
    with tarfile.open(fileobj=archive, mode="w:gz") as tar:
        for path in (ROOT / "targets" / "agent").glob("*.py"):
            tar.add(path, f"targets/agent/{path.name}")
    code = (
        "from targets.agent import board; "
        "facts = board.facts(versions=dict(numpy=None, pillow=None, runtime=None)); "
        "print(facts.board_model, facts.emulated, sep=chr(10))"
    )
    unpack = "cd $(mktemp -d) && tar xz 2>/dev/null"
    return as_root(machine, f"{unpack} && python3 -c '{code}'", archive.getvalue()).splitlines()


def test_memory_on_a_machine_is_what_the_same_run_takes_here(
    host: Host, virt: Machine, model: Path, tmp_path: Path
) -> None:
    quick = ["--runs", "2", "--warmup", "0", "--threads", "2", "--json"]
    peaks = {}
    for target in (virt.name, "loopback"):
        out = tmp_path / target
        words = ["bench", str(model), "--target", target, "--accept-new", "--out", str(out)]
        done = host.halfbyte(*words, *quick)
        assert done.status == 0, done.stderr
        (run,) = json.loads((out / "report.json").read_text())["runs"]
        assert run["target"]["emulated"] is (True if target == virt.name else None)
        peaks[target] = run["memory"]["peak_rss_bytes"]
    assert 0.6 < peaks[virt.name] / peaks["loopback"] < 1.6, peaks


def test_a_pi_that_qemu_plays_is_found_to_be_emulated(raspi3b: Machine) -> None:
    assert agents_word(raspi3b) == [raspi3b.model, "True"]


def test_after_a_reboot_what_was_sent_is_still_there(host: Host, virt: Machine) -> None:
    assert host.halfbyte("target", "provision", virt.name, "--accept-new").status == 0
    before = boot_id(virt)
    as_root(virt, "sync; echo b > /proc/sysrq-trigger")
    processes.wait("the reboot", lambda: boot_id(virt) not in ("", before), seconds=300)
    again = host.halfbyte("target", "provision", virt.name, "--json")
    assert again.status == 0, again.stderr
    assert again.value["made"] is False
    assert again.value["sent_bytes"] == 0


def test_a_run_goes_on_after_a_reset_of_its_board_and_over_a_clock_that_jumps(
    host: Host, virt: Machine, model: Path, tmp_path: Path
) -> None:
    out, runs = tmp_path / "run", 60
    words = ["bench", str(model), "--target", virt.name, "--runs", str(runs), "--warmup", "0"]
    with host.running(*words, "--out", str(out), "--json", "--accept-new") as process:
        processes.wait("records", lambda: len(timed(out)) >= 2, seconds=300)
        as_root(virt, "date -s @$(($(date +%s) + 31536000))")
        seen = len(timed(out))
        processes.wait("more records", lambda: len(timed(out)) >= seen + 4, seconds=100)
        machines.reset(virt)
        stdout, stderr = process.communicate(timeout=550)
    assert process.returncode == 0, stdout[:600] + stderr
    told = records(out)
    assert [record["seq"] for record in told] == list(range(len(told)))
    assert [record["index"] for record in timed(out)] == list(range(runs))
    assert len({record["boot"] for record in told}) == 2
    assert all(record["inference_ns"] < 60e9 for record in timed(out))
    report = json.loads((out / "report.json").read_text())
    assert report["partial"] is False
    assert "restarted" in {doubt["code"] for doubt in report["doubts"]}


def records(out: Path) -> list[dict[str, Any]]:
    """The records in the run folder so far."""
    files = list((out / "records").glob("*.jsonl"))
    return [json.loads(line) for path in files for line in path.read_text().split("\n")[:-1]]


def timed(out: Path) -> list[dict[str, Any]]:
    return [record for record in records(out) if record["record"] == "timed"]
