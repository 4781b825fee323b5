"""The agent with packed models: expanded once, kept, checked, or expanded to memory."""

import hashlib
import json
import os
from pathlib import Path

import pytest

from targets.agent import wire
from targets.agent.expand_kept import Keeper
from targets.agent.plan import PlanFile
from tests.agent.running import of_kind, records_of, run, small_plan
from tests.tflite.packing_cases import int4_model, large_model, mixed, packed_mixed
from toolchain.tflite.flatbuffer import serialize


def model_plan(folder, model, **changes):
    return small_plan(folder, model, pictures=0, head=None, **changes)


def loaded_by(agent, plan):
    done = run(agent, plan)
    assert done.returncode == 0, done.stderr[-2000:]
    records = records_of(done.stdout)
    return of_kind(records, wire.Loaded)[0], records


def kept_files(folder):
    return sorted(path.name for path in folder.iterdir() if ".expanded-" in path.name)


def test_a_packed_model_is_expanded_once_and_found_by_the_next_run(agent, tmp_path):
    plan = model_plan(tmp_path, packed_mixed())
    first, records = loaded_by(agent, plan)
    second, _ = loaded_by(agent, plan)

    sha256 = plan.model.sha256
    kept = tmp_path / f"{sha256}.expanded-1.tflite"
    assert (first.kept, second.kept) == ("made", "found")
    assert first.expand_ns > 0
    assert second.expand_ns is None
    assert first.expanded_bytes == second.expanded_bytes == kept.stat().st_size
    assert kept_files(tmp_path) == [f"{sha256}.expanded-1.json", kept.name]
    assert len(of_kind(records, wire.Timed)) == 3
    loading = of_kind(records, wire.Loading)[0]
    assert loading.file_bytes == (tmp_path / "model.tflite").stat().st_size


def test_a_plain_model_is_loaded_as_it_is(agent, tmp_path):
    model, _ = mixed()
    loaded, _ = loaded_by(agent, model_plan(tmp_path, serialize(model)))

    assert (loaded.kept, loaded.expand_ns, loaded.expanded_bytes) == (None, None, None)
    assert kept_files(tmp_path) == []


def test_a_plan_may_keep_the_expanded_model_in_memory(agent, tmp_path):
    loaded, _ = loaded_by(agent, model_plan(tmp_path, packed_mixed(), keep_expanded=False))

    assert loaded.kept == "memory"
    assert loaded.expand_ns > 0
    assert kept_files(tmp_path) == []


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_folder_that_cannot_be_written_to_means_memory(agent, tmp_path):
    plan = model_plan(tmp_path, packed_mixed())
    tmp_path.chmod(0o500)
    try:
        loaded, _ = loaded_by(agent, plan)
    finally:
        tmp_path.chmod(0o700)
    assert loaded.kept == "memory"


def test_without_room_the_expanded_model_lives_in_memory(tmp_path, monkeypatch):
    keeper = keeper_of(tmp_path)
    full = os.statvfs_result((4096, 4096, 1000, 10, 10, 1000, 10, 10, 0, 255))
    monkeypatch.setattr("targets.agent.expand_kept.os.statvfs", lambda _: full)

    kept = keeper.make()

    assert kept.how == "memory"
    assert len(kept.content) == kept.size_bytes
    assert kept_files(tmp_path) == []


@pytest.mark.parametrize("where", ["tflite", "json"])
def test_a_damaged_kept_file_is_made_again(agent, tmp_path, where):
    plan = model_plan(tmp_path, packed_mixed())
    loaded_by(agent, plan)
    path = tmp_path / f"{plan.model.sha256}.expanded-1.{where}"
    whole = path.read_bytes()
    path.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))

    loaded, _ = loaded_by(agent, plan)

    assert loaded.kept == "made"
    assert path.read_bytes() == whole


def test_a_kept_file_of_another_model_is_not_taken(agent, tmp_path):
    plan = model_plan(tmp_path, packed_mixed())
    loaded_by(agent, plan)
    record = tmp_path / f"{plan.model.sha256}.expanded-1.json"
    told = json.loads(record.read_text())
    record.write_text(json.dumps({**told, "packed_sha256": "0" * 64}))

    assert loaded_by(agent, plan)[0].kept == "made"


def test_a_damaged_packed_model_is_refused_with_a_reason(agent, tmp_path):
    packed = bytearray(packed_mixed())
    packed[packed.index(b"\x05\x01\x05\x00") + 2] = 77  # the codec, in an operator's options
    done = run(agent, model_plan(tmp_path, bytes(packed)))
    failed = records_of(done.stdout)[-1]

    assert failed.kind == "model-refused"
    assert "codec 77" in failed.message
    assert kept_files(tmp_path) == []


def test_int4_filters_are_expanded_where_the_plan_asks_for_it(agent, tmp_path):
    data = int4_model()
    plain, _ = loaded_by(agent, model_plan(tmp_path, data))
    asked, _ = loaded_by(agent, model_plan(tmp_path, data, expand_int4=True))
    again, _ = loaded_by(agent, model_plan(tmp_path, data))

    assert [loaded.kept for loaded in (plain, asked, again)] == [None, "made", None]


def keeper_of(folder, **settings):
    path = folder / "model.tflite"
    path.write_bytes(packed_mixed())
    sha256 = hashlib.sha256(path.read_bytes()).hexdigest()
    return Keeper(PlanFile(str(path), sha256), **{"keep": True, "int4": False, **settings})


def test_nothing_is_kept_of_a_run_that_ends_before_its_first_inference(tmp_path):
    keeper = keeper_of(tmp_path)
    assert keeper.make().how == "made"
    keeper.close()
    assert kept_files(tmp_path) == []


def test_two_runs_at_once_do_not_write_into_each_others_file(tmp_path):
    first, second = keeper_of(tmp_path), keeper_of(tmp_path)
    made = first.make()
    other = second.make()

    assert (made.how, other.how) == ("made", "memory")
    first.settle()
    assert second.find().how == "found"
    assert Path(second.find().path).read_bytes() == other.content


def test_what_a_killed_run_left_is_written_over(tmp_path):
    keeper = keeper_of(tmp_path)
    left = tmp_path / f"{keeper._model.sha256}.expanded-1.tflite.part"
    left.write_bytes(b"x" * 1_000_000)

    made = keeper.make()
    keeper.settle()

    assert keeper.find().size_bytes == made.size_bytes
    assert not left.exists()


def test_dropped_pages_leave_the_resident_memory(agent, tmp_path):
    """A filter large enough to be seen: 9 MB, of which the runtime packs its own copy."""
    data = large_model()
    resident = {}
    for drop in (False, True):
        _, records = loaded_by(agent, model_plan(tmp_path, data, drop_pages=drop))
        resident[drop] = of_kind(records, wire.Sample)[0].memory.rss_bytes
    assert resident[True] < resident[False] - 7_000_000
