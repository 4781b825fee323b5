"""Agents with a process at work that expands their model."""

import contextlib
import os
import signal
import sys
from pathlib import Path

import pytest

from targets.agent import wire
from tests.agent.expanding import packed_large
from tests.agent.running import kinds, of_kind, records_of, run, small_plan, start
from tests.processes import ends, runs_still
from tests.tflite.packing_cases import packed_mixed

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="needs Linux")


@pytest.fixture(scope="module")
def large():
    return packed_large()


@contextlib.contextmanager
def halted(agent, folder, model, **changes):
    """An agent whose expanding process is stopped at its beginning; that process's id."""
    plan = small_plan(folder, model, pictures=0, head=None, **changes)
    process = start(agent)
    child = 0
    try:
        process.stdin.write(plan.to_json())
        process.stdin.close()
        process.stdin = None
        children = Path(f"/proc/{process.pid}/task/{process.pid}/children")
        while not child:
            assert process.poll() is None, "it ended before its child was met"
            child = int((children.read_text().split() or [0])[0])
        os.kill(child, signal.SIGSTOP)
        yield process, child
    finally:
        for pid in filter(None, (process.pid, child)):  # 0 would be all of our own group
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        process.communicate(timeout=30)


def kept_files(folder):
    return sorted(path.name for path in folder.iterdir() if ".expanded-" in path.name)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_a_signal_while_it_expands_ends_both(agent, tmp_path, large, number):
    with halted(agent, tmp_path, large) as (process, child):
        assert len(kept_files(tmp_path)) == 1
        process.send_signal(number)
        out, err = process.communicate(timeout=30)
        assert not runs_still(child)
    records = records_of(out)
    assert process.returncode == 1, err
    assert kinds(records)[-2:] == ["Peak", "Failed"]
    assert (records[-1].kind, records[-1].message) == ("interrupted", number.name)
    assert not of_kind(records, wire.Loaded)
    assert kept_files(tmp_path) == []


@pytest.mark.parametrize("keep", [True, False])
def test_a_child_that_the_kernel_kills_is_told_as_too_little_memory(agent, tmp_path, large, keep):
    with halted(agent, tmp_path, large, keep_expanded=keep) as (process, child):
        os.kill(child, signal.SIGKILL)
        out, _ = process.communicate(timeout=30)
    failed = records_of(out)[-1]
    assert failed.kind == "out-of-memory"
    assert "was killed" in failed.message
    assert kept_files(tmp_path) == []


def test_it_does_not_outlive_the_agent_for_long(agent, tmp_path, large):
    with halted(agent, tmp_path, large) as (process, child):
        process.kill()
        os.kill(child, signal.SIGCONT)
        out, _ = process.communicate(timeout=30)  # the end of its streams: none holds them any more
        assert kinds(records_of(out))[-1] in ("Hello", "Facts", "Loading")
        assert ends(child)


def test_a_model_that_is_not_the_one_that_was_sent_leaves_nothing(agent, tmp_path):
    plan = small_plan(tmp_path, packed_mixed(), pictures=0, head=None)
    Path(plan.model.path).write_bytes(packed_mixed(seed=1))
    done = run(agent, plan)
    assert records_of(done.stdout)[-1].kind == "file-changed"
    assert kept_files(tmp_path) == []


def test_the_record_tells_what_that_process_took(agent, tmp_path, large):
    plan = small_plan(tmp_path, large, pictures=0, head=None)
    first, second = (of_kind(records_of(run(agent, plan).stdout), wire.Loaded)[0] for _ in range(2))
    assert first.expand_peak_rss_bytes > 4_500_000
    assert second.expand_peak_rss_bytes is None
