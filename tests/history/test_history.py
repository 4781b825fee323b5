"""Run folders are the truth: the list of them and the index may be lost, damaged or stale."""

from __future__ import annotations

import fcntl
import sqlite3
import threading
from pathlib import Path
from typing import IO

import pytest

from targets.errors import InputError
from tests.report.folders import create, keep, meta, records, three_runs
from toolchain import history
from toolchain.errors import RunFolderError
from toolchain.history import index, known
from toolchain.history.delete import delete, plan
from toolchain.history.find import find
from toolchain.report.writer import make
from toolchain.runs import RunFolder


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("HALFBYTE_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    path = three_runs(tmp_path).path
    history.note(path)
    return path


def test_a_noted_folder_is_listed_with_its_figures(folder: Path) -> None:
    [entry] = index.entries()
    assert entry.folder == folder
    assert [line.key for line in entry.lines] == ["float", "int8", "int4"]
    plain, few, _ = entry.lines
    assert plain.ap == pytest.approx(100)
    assert (plain.p50_ms, few.p50_ms) == (10, 4)
    assert all(line.whole for line in entry.lines)
    assert entry.images == 2


def test_what_is_in_the_index_is_not_read_again(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = index.entries()
    monkeypatch.setattr("toolchain.history.index.read", None)  # calling it would fail
    assert index.entries() == first


def test_a_folder_that_changed_is_read_again(folder: Path) -> None:
    index.entries()
    run = create(folder.parent / "other")
    keep(run, "late", meta(), records())
    history.note(run.path)
    history.note(folder)
    before, after = index.entries()
    assert len(before.lines) + len(after.lines) == 4
    keep(RunFolder.open(folder), "more", meta("w4k-a8", 4), records())
    assert sorted(len(entry.lines) for entry in index.entries()) == [1, 4]


@pytest.mark.parametrize("damage", ["deleted", "garbage", "truncated", "other version", "no table"])
def test_an_index_that_is_gone_or_damaged_is_made_anew(folder: Path, damage: str) -> None:
    first = index.entries()
    path = known.place() / "index.sqlite"
    if damage == "deleted":
        path.unlink()
    elif damage == "garbage":
        path.write_bytes(b"not a database" * 999)
    elif damage == "truncated":
        path.write_bytes(path.read_bytes()[:5000])
    else:
        with sqlite3.connect(path) as base:
            base.execute(
                "pragma user_version = 99" if "version" in damage else "drop table folders"
            )
        base.close()
    assert index.entries() == first
    assert index.entries() == first


def test_an_entry_that_is_no_entry_is_read_again(folder: Path) -> None:
    first = index.entries()
    with sqlite3.connect(known.place() / "index.sqlite") as base:
        base.execute("update folders set entry = '{\"lines\": [7]}'")
    base.close()
    assert index.entries() == first


def test_an_index_that_cannot_be_used_costs_time_and_not_an_answer(folder: Path) -> None:
    path = known.place() / "index.sqlite"
    path.mkdir()
    (path / "in the way").touch()
    assert len(index.entries()) == 1


def test_a_folder_that_is_gone_is_forgotten(folder: Path) -> None:
    index.entries()
    folder.rename(folder.with_name("moved"))
    assert index.entries() == []
    assert known.folders() == []
    [entry] = index.entries([folder.with_name("moved")])
    assert entry.folder.name == "moved"
    assert len(index.entries()) == 1  # known from then on


def test_a_folder_of_a_disk_that_is_away_is_listed_again_when_it_is_back(
    folder: Path, tmp_path: Path
) -> None:
    del folder
    disk = tmp_path / "disk"
    for name in ("a", "b/c"):
        create(disk / name)
        history.note(disk / name)
    disk.rename(tmp_path / "away")
    disk.mkdir()  # the place where it belongs
    assert len(index.entries()) == 1
    disk.rmdir()
    assert len(index.entries()) == 1
    (tmp_path / "away").rename(disk)
    assert {entry.folder.name for entry in index.entries()} == {"run", "a", "c"}


def test_a_folder_that_is_noted_while_others_are_listed_stays_known(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    history.note(tmp_path / "gone")
    late = create(tmp_path / "late").path
    stamp = index.stamp

    def slow(path: Path) -> str | None:
        history.note(late)
        return stamp(path)

    monkeypatch.setattr(index, "stamp", slow)
    index.entries()
    assert set(known.folders()) == {folder, late}


def test_what_several_write_into_the_list_at_once_is_all_in_it(tmp_path: Path) -> None:
    for number in range(20):
        history.note(tmp_path / f"old-{number}")

    def work(number: int) -> None:
        known.change(drop=[tmp_path / f"old-{number}"])
        history.note(tmp_path / f"new-{number}")

    threads = [threading.Thread(target=work, args=(number,)) for number in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert {path.name for path in known.folders()} == {f"new-{number}" for number in range(20)}


def test_a_damaged_folder_is_listed_with_what_is_wrong(folder: Path) -> None:
    (folder / "run.json").write_text("{")
    [entry] = index.entries()
    assert "run.json" in entry.problem
    assert entry.lines == ()


def test_noting_never_fails(tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cache.parent.mkdir(exist_ok=True)
    cache.write_text("a file where the cache should be")
    history.note(tmp_path)
    monkeypatch.setenv("HALFBYTE_CACHE", "/proc/nowhere")
    history.note(tmp_path)


def test_several_processes_may_note_at_once_and_bad_lines_are_passed_over(tmp_path: Path) -> None:
    threads = [threading.Thread(target=history.note, args=(tmp_path / str(n),)) for n in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    history.note(tmp_path / "3")
    with (known.place() / "known.jsonl").open("ab") as stream:
        stream.write(b'{"folder": "/x"}\n[' + b"[" * 5000 + b'\n\xff\n{"schema": 1}\n7\n')
        stream.write(b'{"schema":"halfbyte.known-runs","version":1,"folder":"relative"}\n')
        stream.write(b'{"schema":"halfbyte.known-runs","version":1,"folder":"/a\\u0000b"}\n')
    assert sorted(path.name for path in known.folders()) == sorted(str(n) for n in range(20))


def test_a_tree_is_looked_through_without_following_links(tmp_path: Path, folder: Path) -> None:
    tree = tmp_path / "tree"
    for name in ("b/c", "a", ".hidden/d"):
        create(tree / name)
    (tree / "b" / "c" / "records" / "run.json").write_text("{}")
    (tree / "link").symlink_to(folder)
    (tree / "round").symlink_to(tree)
    assert list(find(tree)) == [tree / "a", tree / "b" / "c"]
    assert list(find(tmp_path / "nothing")) == []
    assert list(find(tree / "a")) == [tree / "a"]


def test_deleting_takes_what_halfbyte_wrote_and_the_folder(folder: Path) -> None:
    make(folder)
    (folder / "models").mkdir()
    (folder / "models" / "best-640x640-w8c-a8.tflite").write_bytes(b"TFL3")
    removal = plan(folder)
    assert removal.stays == ()
    assert removal.bytes > 1000
    delete(removal)
    assert not folder.exists()
    assert index.entries() == []


def test_deleting_leaves_what_is_somebody_elses_and_never_follows_a_link(
    folder: Path, tmp_path: Path
) -> None:
    make(folder)
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "precious.jpg").write_text("keep me")
    (folder / "notes.txt").write_text("mine")
    (folder / "examples" / "holiday.png").write_text("mine")
    (folder / "examples" / "linked.jpg").symlink_to(outside / "precious.jpg")
    (folder / "models").symlink_to(outside)
    removal = plan(folder)
    assert {path.name for path in removal.stays} == {"notes.txt", "holiday.png", "models"}
    delete(removal)
    assert (outside / "precious.jpg").read_text() == "keep me"
    assert {str(path.relative_to(folder)) for path in folder.rglob("*")} == {
        "notes.txt",
        "examples",
        "examples/holiday.png",
        "models",
    }


def test_a_folder_in_which_a_command_is_at_work_is_not_deleted(folder: Path) -> None:
    before = plan(folder)
    files = sorted(folder.rglob("*"))
    with RunFolder.open(folder).claimed():
        with pytest.raises(RunFolderError, match="in use by another command"):
            plan(folder)
        with pytest.raises(RunFolderError, match="in use by another command"):
            delete(before)
        assert [path for path in files if not path.exists()] == []
    delete(before)
    assert not folder.exists()


def test_a_command_that_waited_for_a_folder_that_is_deleted_does_not_write_into_it(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ours = RunFolder.open(folder)
    removal = plan(folder)
    flock = fcntl.flock

    def late(lock: IO[str], how: int) -> None:
        monkeypatch.setattr(fcntl, "flock", flock)
        delete(removal)
        flock(lock, how)

    monkeypatch.setattr(fcntl, "flock", late)
    with pytest.raises(RunFolderError, match="deleted by another command"), ours.claimed():
        pass


def test_a_lock_that_is_a_link_is_removed_and_not_followed(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "precious").write_text("keep me")
    (folder / "run.lock").symlink_to(tmp_path / "precious")
    delete(plan(folder))
    assert not folder.exists()
    assert (tmp_path / "precious").read_text() == "keep me"


def test_what_is_no_run_folder_is_not_deleted(tmp_path: Path, folder: Path) -> None:
    (tmp_path / "mine").mkdir()
    with pytest.raises(RunFolderError, match="no run folder"):
        plan(tmp_path / "mine")
    (tmp_path / "mine" / "run.json").write_text('{"schema": "somebody.else"}')
    with pytest.raises(RunFolderError, match="schema"):
        plan(tmp_path / "mine")
    (tmp_path / "link").symlink_to(folder)
    with pytest.raises(InputError, match="is a link"):
        plan(tmp_path / "link")
    assert (folder / "run.json").exists()
