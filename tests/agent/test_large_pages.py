"""Boards whose kernel has pages of 16 or 64 KiB: nothing that is mapped may assume 4 KiB."""

import mmap

import pytest

from targets.agent import expand, expand_kept, wire
from targets.agent.expand_kept import Keeper
from targets.agent.plan import PlanFile
from targets.zipapp import build
from tests.agent.running import of_kind, records_of, run, small_plan
from tests.tflite.packing_cases import packed_mixed

LARGE = 65536


@pytest.fixture
def large_pages(monkeypatch):
    """`mmap` as on such a board: an offset that is no multiple of its pages is refused."""

    class Mapped(mmap.mmap):
        def __new__(cls, descriptor, length, *rest, offset=0, **more):
            if offset % LARGE:
                raise ValueError("[Errno 22] Invalid argument")
            return super().__new__(cls, descriptor, length, *rest, offset=offset, **more)

    monkeypatch.setattr(mmap, "PAGESIZE", LARGE)
    monkeypatch.setattr(mmap, "ALLOCATIONGRANULARITY", LARGE)
    for module in (expand, expand_kept):
        monkeypatch.setattr(module.mmap, "mmap", Mapped)


def test_such_a_board_refuses_what_a_desktop_takes(large_pages, tmp_path):
    path = tmp_path / "file"
    path.write_bytes(bytes(3 * LARGE))
    with path.open("rb") as stream, pytest.raises(ValueError, match="Invalid argument"):
        mmap.mmap(stream.fileno(), LARGE, access=mmap.ACCESS_READ, offset=4096)


def test_a_packed_model_is_expanded_kept_and_found_again(large_pages, tmp_path):
    plan = small_plan(tmp_path, packed_mixed(), pictures=0, head=None)
    model = PlanFile(plan.model.path, plan.model.sha256)
    for how in ("made", "found"):
        keeper = Keeper(model, keep=True, int4=False)
        kept = keeper.find()
        if kept is None:
            keeper.prepare()
            kept = keeper.make()
            keeper.settle()
        keeper.close()
        assert kept is not None
        assert kept.how == how


def test_a_board_tells_the_size_of_its_pages(tmp_path):
    agent = build(tmp_path).path
    (facts,) = of_kind(records_of(run(agent, small_plan(tmp_path)).stdout), wire.Facts)
    assert facts.page_size_bytes == mmap.PAGESIZE
