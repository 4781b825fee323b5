import os
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from targets.agent import wire
from targets.agent.wire import Envelope
from targets.errors import StreamBroken
from tests.evaluate.sets import PEOPLE
from tests.report.folders import create, dataset, keep, meta, records
from toolchain import keeping
from toolchain.errors import RunFolderError
from toolchain.runmeta import Outcome
from toolchain.runs import RunFolder

CUT = Outcome(whole=False, reason="link lost")


def line(record: object, seq: int = 0) -> bytes:
    return wire.encode(record, seq, 1)


def test_what_was_written_is_loaded_by_anyone_who_opens_the_folder(tmp_path: Path) -> None:
    folder = create(tmp_path / "run", dataset(tmp_path / "set"))
    sent = records()
    keep(folder, "float", meta(), sent)
    loaded = RunFolder.open(tmp_path / "run").load()
    [run] = loaded.runs
    assert run.meta == meta()
    assert [envelope.record for envelope in run.records] == sent
    assert run.outcome == Outcome(whole=True)
    assert run.whole
    assert loaded.command == ("halfbyte", "run", "--bits", "4 8")
    assert loaded.dataset is not None
    assert len(loaded.dataset.boxes) == len(PEOPLE["annotations"])
    assert sorted(loaded.examples) == [1, 2]


def test_lines_are_on_the_disk_as_soon_as_they_came(tmp_path: Path) -> None:
    folder = create(tmp_path)
    folder.start("a", meta())
    folder.append("a", line(wire.Hello()))
    [run] = RunFolder.open(tmp_path).load().runs
    assert len(run.records) == 1
    assert run.outcome is None
    assert not run.whole


def test_a_run_that_the_host_never_ended_is_not_whole(tmp_path: Path) -> None:
    folder = create(tmp_path)
    keep(folder, "a", meta(), records(), outcome=None)
    assert not folder.load().runs[0].whole


def test_a_run_without_its_last_record_is_not_whole(tmp_path: Path) -> None:
    folder = create(tmp_path)
    keep(folder, "a", meta(), records()[:-1])
    assert not folder.load().runs[0].whole


def test_a_board_that_does_not_stop_is_cut_off_and_its_run_ended(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What a record leaves out is written in full, so less may come than is kept."""
    monkeypatch.setattr("toolchain.keeping.RECORDS_BYTES", 100_000)
    ended = []

    def told() -> Iterator[Envelope]:
        try:
            for seq in range(10**9):
                yield Envelope(seq, 1, wire.Sample())
        finally:
            ended.append(True)

    folder = create(tmp_path)
    folder.start("a", meta())
    fault = keeping.keep("a", told(), folder, "a on pi", meta())
    assert isinstance(fault, StreamBroken)
    assert "more bytes than" in fault.message
    assert ended
    assert 99_000 < folder.bytes_of("a") <= 100_000
    folder.take_up("a")
    assert isinstance(keeping.keep("a", told(), folder, "a on pi", meta()), StreamBroken)
    assert folder.bytes_of("a") <= 100_000, "what was there before counts"


def test_records_that_are_missing_in_between_are_counted(tmp_path: Path) -> None:
    folder = create(tmp_path)
    folder.start("a", meta())
    for seq in (0, 1, 4):
        folder.append("a", line(wire.Finished(), seq))
    folder.finish("a", Outcome(whole=True))
    [run] = folder.load().runs
    assert run.missing == 2
    assert not run.whole


def test_records_of_a_later_version_are_passed_over_and_are_not_missing(tmp_path: Path) -> None:
    folder = create(tmp_path)
    folder.start("a", meta())
    folder.append("a", b'{"seq":0,"monotonic_ns":1,"record":"aura"}')
    folder.append("a", line(wire.Finished(), 1))
    folder.finish("a", Outcome(whole=True))
    [run] = folder.load().runs
    assert run.whole
    assert len(run.records) == 1


def test_a_second_attempt_keeps_the_first_ones_records(tmp_path: Path) -> None:
    folder = create(tmp_path)
    keep(folder, "a", meta(), records()[:5], CUT)
    keep(folder, "a", meta(), records())
    assert folder.load().runs[0].whole
    assert sorted(path.name for path in (tmp_path / "records").iterdir()) == [
        "a.1.jsonl",
        "a.2.jsonl",
    ]


def test_a_failed_attempt_does_not_hide_an_earlier_whole_one_that_was_asked_the_same(
    tmp_path: Path,
) -> None:
    folder = create(tmp_path)
    keep(folder, "a", meta(), records())
    keep(folder, "a", meta(), records()[:5], CUT)
    assert folder.load().runs[0].whole


def test_an_earlier_whole_attempt_with_another_model_does_not_stand_in(tmp_path: Path) -> None:
    folder = create(tmp_path)
    keep(folder, "a", meta(sha256="1" * 64), records())
    keep(folder, "a", meta(sha256="2" * 64), records()[:5], CUT)
    [run] = folder.load().runs
    assert run.meta.model.sha256 == "2" * 64
    assert not run.whole


def test_a_folder_that_holds_a_run_is_not_taken_again(tmp_path: Path) -> None:
    create(tmp_path)
    with pytest.raises(RunFolderError, match="holds a run already"):
        create(tmp_path)


def test_several_boards_may_write_at_once(tmp_path: Path) -> None:
    folder = create(tmp_path)
    threads = [
        threading.Thread(target=keep, args=(folder, f"board{n}", meta(), records()))
        for n in range(6)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    loaded = RunFolder.open(tmp_path).load()
    assert len(loaded.runs) == 6
    assert all(run.whole for run in loaded.runs)


def test_a_place_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(RunFolderError, match="cannot be written"):
        create(tmp_path / "file" / "run")


def test_one_line_is_one_record(tmp_path: Path) -> None:
    folder = create(tmp_path)
    folder.start("a", meta())
    with pytest.raises(ValueError, match="one record"):
        folder.append("a", line(wire.Hello()) + line(wire.Finished(), 1))


def test_several_threads_add_runs_while_another_reads(tmp_path: Path) -> None:
    folder = RunFolder.create(tmp_path / "run", command=("halfbyte",), versions={})

    def add(board: int) -> int:
        for model in range(20):
            key = f"model-{model}@board-{board}"
            folder.start(key, meta())
            folder.append(key, wire.encode(wire.Hello(), 0, 1))
            folder.finish(key, Outcome(whole=False, reason="cut"))
        return len(folder.load().runs)

    with ThreadPoolExecutor(8) as pool:
        seen = list(pool.map(add, range(8)))
    assert max(seen) == len(folder.run_keys) == len(RunFolder.open(folder.path).load().runs) == 160


def test_a_run_that_was_left_is_taken_up_with_what_it_told(tmp_path: Path) -> None:
    folder = RunFolder.create(tmp_path / "run", command=("halfbyte",), versions={})
    folder.start("a", meta(), run_id="0123456789abcdef")
    folder.append("a", wire.encode(wire.Hello(), 0, 1))
    folder.append("a", wire.encode(wire.Facts(), 1, 2))
    with (folder.path / "records" / "a.1.jsonl").open("a") as stream:
        stream.write('{"seq": 2, "mono')
    found = RunFolder.open(folder.path)
    left = found.unfinished("a")
    assert left is not None
    assert (left.run_id, left.meta, len(left.records)) == ("0123456789abcdef", meta(), 2)
    found.take_up("a")
    found.append("a", wire.encode(wire.Finished(), 2, 3))
    found.finish("a", Outcome(whole=True))
    assert found.unfinished("a") is None
    [run] = RunFolder.open(folder.path).load().runs
    assert run.whole


def test_a_run_without_a_name_on_its_board_cannot_be_taken_up(tmp_path: Path) -> None:
    folder = RunFolder.create(tmp_path / "run", command=("halfbyte",), versions={})
    folder.start("a", meta())
    assert folder.unfinished("a") is None
    assert folder.unfinished("b") is None


def test_a_folder_is_written_by_one_command_at_a_time(tmp_path: Path) -> None:
    folder = create(tmp_path / "run")
    other = RunFolder.open(tmp_path / "run")
    with (
        folder.claimed(),
        pytest.raises(RunFolderError, match=f"in use by another command .process {os.getpid()}"),
        other.claimed(),
    ):
        pass
    with other.claimed():
        pass


def test_an_attempt_that_never_began_leaves_nothing(tmp_path: Path) -> None:
    folder = create(tmp_path / "run")
    keep(folder, "a", meta(), records())
    folder.start("a", meta(), run_id="0123456789abcdef")
    folder.withdraw("a")
    folder.start("b", meta())
    folder.withdraw("b")
    [run] = RunFolder.open(folder.path).load().runs
    assert run.whole
    assert [path.name for path in (folder.path / "records").iterdir()] == ["a.1.jsonl"]
