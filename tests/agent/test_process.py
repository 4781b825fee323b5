"""The agent's manners as a process: its stream, its end, its environment."""

import dataclasses
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from PIL import Image

from targets.agent import sending, wire
from tests.agent import small_models
from tests.agent.running import (
    MARKER,
    kinds,
    of_kind,
    plan_file,
    read_until,
    records_of,
    run,
    small_plan,
    start,
)

ENDLESS = {"timed_runs": 1_000_000, "sample_period_s": 0.05}


def begun(agent, plan, **options):
    """An agent in the middle of its timed runs, and the lines that it has told."""
    child = start(agent, **options)
    child.stdin.write(plan.to_json())
    child.stdin.close()
    return child, list(read_until(child.stdout, wire.Timed))


def ended(child):
    rest, errors = child.stdout.read(), child.stderr.read()
    child.stdout.close()
    child.stderr.close()
    return child.wait(timeout=60), rest, errors


def test_killed_in_the_middle_it_leaves_whole_records(agent, tmp_path):
    child, lines = begun(agent, small_plan(tmp_path, **ENDLESS))
    child.send_signal(signal.SIGKILL)
    code, rest, _ = ended(child)
    assert code == -signal.SIGKILL
    stream = b"".join(lines) + rest
    whole = stream[: stream.rindex(b"\n") + 1]
    records = records_of(whole)
    assert len(of_kind(records, wire.Timed)) >= 1
    # What a killed run was about to need stands in its records.
    [loading] = of_kind(records, wire.Loading)
    assert loading.file_bytes > 0
    assert loading.memory.rss_bytes > 0
    assert loading.mem_available_bytes > 0


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_asked_to_stop_it_says_so_after_the_inference_at_hand(agent, tmp_path, number):
    child, lines = begun(agent, small_plan(tmp_path, **ENDLESS))
    child.send_signal(number)
    code, rest, _ = ended(child)
    assert code == 1
    records = records_of(b"".join(lines) + rest)
    assert kinds(records)[-2:] == ["Peak", "Failed"]
    assert records[-1].kind == "interrupted"
    assert records[-1].message == number.name


def test_asked_to_stop_while_it_waits_for_its_plan_it_ends(agent):
    child = start(agent, "run", "--marker", MARKER)
    assert child.stdout.readline() == b"\n"
    assert child.stdout.readline() == MARKER.encode() + b"\n"
    time.sleep(0.5)
    child.send_signal(signal.SIGTERM)
    code, rest, _ = ended(child)
    child.stdin.close()
    assert code in (1, -signal.SIGTERM)  # the latter where it came before the handler
    if code == 1:
        assert kinds(records_of(MARKER.encode() + b"\n" + rest)) == ["Hello", "Failed"]


def test_when_nobody_listens_any_more_it_ends_quietly(agent, tmp_path):
    child, _ = begun(agent, small_plan(tmp_path, **ENDLESS))
    child.stdout.close()
    errors = child.stderr.read()
    child.stderr.close()
    assert child.wait(timeout=60) == 3
    assert b"Traceback" not in errors


def noisy(folder: Path) -> dict[str, str]:
    """An environment whose interpreter prints before anything else, and goes on printing."""
    (folder / "sitecustomize.py").write_text(
        "import os, threading, time\n"
        "os.write(1, b'Welcome to the board\\ndisk: 81% full')\n"
        "def chatter():\n"
        "    while True:\n"
        "        os.write(1, b'INFO: a library prints')\n"
        "        print('and a Python one')\n"
        "        time.sleep(0.001)\n"
        "threading.Thread(target=chatter, daemon=True).start()\n"
    )
    return {"PYTHONPATH": str(folder)}


def test_what_others_print_never_lands_in_the_stream(agent, tmp_path):
    done = run(agent, small_plan(tmp_path, timed_runs=3000), env=noisy(tmp_path))
    assert done.returncode == 0
    assert done.stdout.startswith(b"Welcome to the board\ndisk: 81% full")
    assert b"a library prints" in done.stderr
    records = records_of(done.stdout)  # every line after the marker is a record
    assert len(of_kind(records, wire.Timed)) == 3000


def test_the_marker_can_come_before_the_plan(agent, tmp_path):
    done = run(agent, small_plan(tmp_path), "run", "--marker", "another-marker")
    assert MARKER.encode() not in done.stdout
    assert kinds(records_of(done.stdout, "another-marker"))[-1] == "Finished"


@pytest.mark.parametrize(
    "plan",
    [b"", b"{}", b"[1, 2]", b"\xff\xfe", b'{"schema": "halfbyte.plan", "version": 99}'],
)
def test_a_plan_that_cannot_be_read_is_told(agent, plan):
    done = run(agent, plan, "run", "--marker", MARKER)
    assert done.returncode == 1
    records = records_of(done.stdout)
    assert kinds(records) == ["Hello", "Failed"]
    assert records[-1].kind == "bad-plan"


def test_a_bad_plan_with_a_good_marker_is_told_after_it(agent):
    done = run(agent, b'{"marker": "%s", "schema": "weather"}' % MARKER.encode())
    assert kinds(records_of(done.stdout)) == ["Hello", "Failed"]


@pytest.mark.parametrize(
    "locale",
    [
        {"LC_ALL": "en_US.ISO-8859-1"},
        {"LC_ALL": "C", "PYTHONCOERCECLOCALE": "0", "PYTHONUTF8": "0"},
    ],
)
def test_the_stream_is_the_same_in_every_locale(agent, tmp_path, locale):
    folder = tmp_path / "søppel—1 øl"
    folder.mkdir()
    plan = small_plan(folder, pictures=1)
    named = type(plan.images[0])(plan.images[0].path, plan.images[0].sha256, "søppel—1.jpg")
    done = run(agent, type(plan)(**{**vars(plan), "images": (named,)}), env=locale)
    assert done.returncode == 0, done.stderr
    assert done.stdout.isascii()
    [detected] = of_kind(records_of(done.stdout), wire.Detected)
    assert detected.image == "søppel—1.jpg"


def test_it_takes_streams_that_do_not_block_and_a_missing_stderr(agent, tmp_path):
    plan = small_plan(tmp_path)
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    command = f'exec "{sys.executable}" "{agent}" run 2>&-'
    child = subprocess.Popen(["sh", "-c", command], stdin=subprocess.PIPE, stdout=writer)
    os.close(writer)
    child.stdin.write(plan.to_json())
    child.stdin.close()
    with os.fdopen(reader, "rb") as stream:
        records = records_of(stream.read())
    assert child.wait() == 0
    assert kinds(records)[-1] == "Finished"


def test_a_run_goes_on_where_another_was_cut(agent, tmp_path):
    whole = run(agent, small_plan(tmp_path, pictures=4))
    rest = run(
        agent,
        dataclasses.replace(
            small_plan(tmp_path, pictures=4), first_seq=20, first_timed=2, first_image=3
        ),
    )
    lines = rest.stdout.split(b"\n", 2)[2].splitlines()
    envelopes = [wire.decode(line) for line in lines]
    assert [envelope.seq for envelope in envelopes] == list(range(20, 20 + len(lines)))
    records = [envelope.record for envelope in envelopes]
    assert [timed.index for timed in of_kind(records, wire.Timed)] == [2]
    [last] = of_kind(records, wire.Detected)
    *_, same = of_kind(records_of(whole.stdout), wire.Detected)
    assert (last.index, last.image, last.detections) == (3, "image 3", same.detections)


def test_every_record_says_in_which_boot_it_was_told(agent, tmp_path):
    done = run(agent, small_plan(tmp_path))
    boots = {wire.decode(line).boot for line in done.stdout.split(b"\n", 2)[2].splitlines()}
    (hello,) = of_kind(records_of(done.stdout), wire.Hello)
    assert boots == {hello.boot_id[:8]}


def test_a_full_card_is_waited_for_and_then_told(monkeypatch):
    if not Path("/dev/full").exists():
        pytest.skip("needs /dev/full")
    monkeypatch.setattr(sending, "FULL_WAIT_S", 0.5)
    out = sending.Wire(os.open("/dev/full", os.O_WRONLY))
    with pytest.raises(sending.NoRoom, match="No space left"):
        out.send(wire.Finished())


def limited(agent, plan, spare_bytes):
    """The agent in an address space with `spare_bytes` more than its libraries take."""
    script = (
        "import resource, runpy, sys\n"
        "import numpy, PIL.Image, PIL.PngImagePlugin, ai_edge_litert.interpreter\n"
        "size = int(open('/proc/self/statm').read().split()[0]) * resource.getpagesize()\n"
        f"resource.setrlimit(resource.RLIMIT_AS, (size + {spare_bytes},) * 2)\n"
        f"sys.argv = [{str(agent)!r}, 'run']\n"
        "sys.path.insert(0, sys.argv[0])\n"
        "runpy.run_path(sys.argv[0], run_name='__main__')\n"
    )
    command = [sys.executable, "-c", script]
    return subprocess.run(command, input=plan.to_json(), capture_output=True, timeout=120)


def test_a_model_that_does_not_fit_is_told_with_the_memory_before_it(agent, tmp_path):
    model = small_models.float_detector((8192, 8192))
    done = limited(agent, small_plan(tmp_path, model, pictures=0), 300_000_000)
    records = records_of(done.stdout)
    assert done.returncode == 1
    assert kinds(records) == ["Hello", "Facts", "Loading", "Failed"]
    assert records[2].memory.rss_bytes > 0
    # Some runtimes raise MemoryError, others say that a step of theirs failed.
    assert records[3].kind in ("out-of-memory", "model-refused")


def test_running_out_of_memory_later_keeps_what_was_measured(agent, tmp_path):
    Image.new("RGB", (7000, 7000)).save(tmp_path / "large.png", compress_level=1)
    plan = small_plan(tmp_path)
    images = (*plan.images, plan_file(tmp_path / "large.png"))
    done = limited(agent, type(plan)(**{**vars(plan), "images": images}), 150_000_000)
    records = records_of(done.stdout)
    assert done.returncode == 1
    assert len(of_kind(records, wire.Timed)) == 3
    assert len(of_kind(records, wire.Detected)) == 2
    assert records[-1].kind == "out-of-memory"
