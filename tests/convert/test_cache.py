"""Results made once for each content."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from toolchain.cache import Cache, content_key

JSON = st.dictionaries(st.text(), st.integers() | st.text() | st.lists(st.integers()))


def write(text: str) -> object:
    return lambda folder: (folder / "result.txt").write_text(text)


@given(JSON)
def test_a_key_does_not_depend_on_the_order_of_its_parts(parts: dict[str, object]) -> None:
    assert content_key(parts) == content_key(dict(reversed(parts.items())))


@given(JSON, JSON)
def test_other_parts_have_another_key(one: dict[str, object], two: dict[str, object]) -> None:
    assert (content_key(one) == content_key(two)) == (one == two)


def test_a_result_is_made_once(tmp_path: Path) -> None:
    cache = Cache(tmp_path, "kind")
    first = cache.get_or_make("a1", write("made"))
    second = cache.get_or_make("a1", write("made again"))

    assert (first.found, second.found) == (False, True)
    assert (second.folder / "result.txt").read_text() == "made"


def test_nothing_is_kept_of_what_failed(tmp_path: Path) -> None:
    def fail(folder: Path) -> None:
        (folder / "half.txt").write_text("half")
        raise RuntimeError("half way")

    cache = Cache(tmp_path, "kind")
    with pytest.raises(RuntimeError, match="half way"):
        cache.get_or_make("a1", fail)

    assert not list(tmp_path.rglob("half.txt"))
    assert not cache.get_or_make("a1", write("whole")).found


@pytest.mark.parametrize("damage", [b"", b"mad", b"made\n"])
def test_a_damaged_result_is_made_again(tmp_path: Path, damage: bytes) -> None:
    cache = Cache(tmp_path, "kind")
    (cache.get_or_make("a1", write("made")).folder / "result.txt").write_bytes(damage)

    again = cache.get_or_make("a1", write("made"))

    assert not again.found
    assert (again.folder / "result.txt").read_text() == "made"


def test_a_missing_file_or_a_bad_list_of_files_means_made_again(tmp_path: Path) -> None:
    cache = Cache(tmp_path, "kind")
    for name in ("result.txt", "entry.json"):
        folder = cache.get_or_make("a1", write("made")).folder
        (folder / name).unlink()
        assert not cache.get_or_make("a1", write("made")).found
    for text in ("{", "[]", '{"schema": "halfbyte.cache", "version": 1, "files": 3}'):
        (folder / "entry.json").write_text(text)
        assert not cache.get_or_make("a1", write("made")).found


def test_what_a_killed_process_left_is_cleared_away(tmp_path: Path) -> None:
    left = tmp_path / "kind" / ".a1.x7y.part"
    left.mkdir(parents=True)
    Cache(tmp_path, "kind").get_or_make("a1", write("made"))

    assert not left.exists()


def test_clearing_leaves_no_result(tmp_path: Path) -> None:
    cache = Cache(tmp_path, "kind")
    cache.get_or_make("a1", write("made"))
    cache.clear()

    assert not cache.get_or_make("a1", write("made")).found


def test_processes_that_need_the_same_make_it_once(tmp_path: Path) -> None:
    code = (
        "import sys, time; from pathlib import Path; from toolchain.cache import Cache\n"
        "def make(folder):\n"
        "    time.sleep(0.3)\n"
        "    (folder / 'made').touch()\n"
        "print(Cache(Path(sys.argv[1]), 'kind').get_or_make('a1', make).found)\n"
    )
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", code, str(tmp_path)], stdout=subprocess.PIPE, text=True
        )
        for _ in range(4)
    ]
    found = sorted(process.communicate(timeout=60)[0].strip() for process in processes)

    assert found == ["False", "True", "True", "True"]


def test_a_wait_for_another_process_is_told_after_a_moment(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    cache = Cache(tmp_path, "kind")
    cache.get_or_make("a1", write("made")).folder.joinpath("result.txt").unlink()
    lock = tmp_path / "kind" / "a1.lock"
    code = (
        "import fcntl, sys, time; stream = open(sys.argv[1], 'ab')\n"
        "fcntl.flock(stream, fcntl.LOCK_EX); print('held', flush=True); time.sleep(1.6)\n"
    )
    holder = subprocess.Popen(
        [sys.executable, "-c", code, str(lock)], stdout=subprocess.PIPE, text=True
    )
    assert holder.stdout is not None
    assert holder.stdout.readline() == "held\n"
    assert not cache.get_or_make("a1", write("made")).found
    holder.communicate(timeout=60)

    told = [record.getMessage() for record in caplog.records if "waiting" in record.message]
    assert len(told) == 1
    assert "kind a1" in told[0].replace(",", "")
    assert "Ctrl-C is safe" in told[0]
