"""An agent that is told which CPUs to run on: all of its threads keep to them, and it says so."""

import json
import os
from pathlib import Path

import pytest

from targets.agent import affinity, wire
from targets.agent.faults import BadPlan
from targets.agent.plan import Plan, PlanFile, parse
from tests.agent.running import of_kind, records_of, run, small_plan, start

CPUS = sorted(os.sched_getaffinity(0))
several = pytest.mark.skipif(len(CPUS) < 2, reason="one CPU: nothing to choose from")


def one(records, kind):
    [found] = of_kind(records, kind)
    return found


@several
def test_the_cpus_in_force_are_told_beside_those_that_the_board_has(agent, tmp_path):
    records = records_of(run(agent, small_plan(tmp_path, cpus=(CPUS[1],))).stdout)
    assert one(records, wire.Loaded).cpus == (CPUS[1],)
    facts = one(records, wire.Facts)
    assert facts.allowed_cpus == tuple(CPUS)
    assert facts.cpus_allowed == len(CPUS)


@several
def test_every_thread_keeps_to_them(agent, tmp_path):
    plan = small_plan(tmp_path, threads=1, timed_runs=1_000_000, cpus=(CPUS[1],))
    child = start(agent)
    try:
        child.stdin.write(plan.to_json())
        child.stdin.close()
        for line in child.stdout:
            if b'"record":"timed"' in line:
                break
        threads = [int(task.name) for task in Path(f"/proc/{child.pid}/task").iterdir()]
        assert len(threads) > 1  # the sampler's too
        assert {tuple(os.sched_getaffinity(thread)) for thread in threads} == {(CPUS[1],)}
    finally:
        child.kill()
        child.wait()
        child.stdout.close()
        child.stderr.close()


def test_without_any_named_the_agent_stays_as_it_was_started(agent, tmp_path):
    records = records_of(run(agent, small_plan(tmp_path)).stdout)
    assert one(records, wire.Loaded).cpus == ()
    assert one(records, wire.Facts).allowed_cpus == tuple(CPUS)


@pytest.mark.parametrize("cpus", [(1000,), (CPUS[0], 1000)], ids=["none", "some"])
def test_cpus_that_are_not_there_are_refused_with_those_that_are(agent, tmp_path, cpus):
    done = run(agent, small_plan(tmp_path, cpus=cpus))
    failed = one(records_of(done.stdout), wire.Failed)
    assert done.returncode == 1
    assert failed.kind == "cpus-refused"
    assert f"may use {', '.join(map(str, CPUS))}" in failed.message


def test_what_was_bound_once_is_not_left_in_part():
    before = affinity.allowed()
    try:
        assert affinity.bind((CPUS[0],)) == (CPUS[0],)
        assert affinity.allowed() == (CPUS[0],)
    finally:
        os.sched_setaffinity(0, before)
    assert affinity.bind(()) == ()
    assert affinity.allowed() == before


@pytest.mark.parametrize(
    "change",
    [
        {"cpus": [0, 0]},
        {"cpus": [-1]},
        {"cpus": [1024]},
        {"cpus": ["0"]},
        {"cpus": 1},
        {"cpus": [True]},
        {"cpus": list(range(1025))},
        {"cpus": [0, 1], "threads": 3},
    ],
    ids=str,
)
def test_a_plan_of_cpus_that_makes_no_sense_is_refused(change):
    plan = json.loads(Plan(PlanFile("m.tflite", "0" * 64)).to_json())
    with pytest.raises(BadPlan):
        parse(json.dumps({**plan, **change}).encode())


def test_a_plan_with_as_many_threads_as_cpus_is_fine():
    plan = Plan(PlanFile("m.tflite", "0" * 64), threads=2, cpus=(4, 5))
    assert parse(plan.to_json()) == plan
