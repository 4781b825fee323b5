"""`runs`, `compare` and `check`, as they are typed."""

from __future__ import annotations

import io
import json
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from tests.report.folders import three_runs
from toolchain import history
from toolchain.cli.compare import differences
from toolchain.cli.main import main
from toolchain.history.delete import plan

Command = Callable[..., tuple[int, str, str]]


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a run folder `run` in it, noted."""
    monkeypatch.setenv("HALFBYTE_CACHE", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.stdin", io.StringIO())  # nobody answers
    history.note(three_runs(tmp_path).path)
    return tmp_path


@pytest.fixture
def halfbyte(place: Path, capsys: pytest.CaptureFixture[str]) -> Command:
    def call(*words: str) -> tuple[int, str, str]:
        capsys.readouterr()
        with pytest.raises(SystemExit) as ended:
            main([*words])
        assert isinstance(ended.value.code, int)
        return ended.value.code, *capsys.readouterr()

    return call


def body(output: str) -> Any:
    return json.loads(output)


def test_known_runs_are_listed_and_those_in_a_folder_are_found(
    place: Path, halfbyte: Command
) -> None:
    code, out, _ = halfbyte("runs", "list")
    assert code == 0
    assert "tiny w8c-a8" in out
    assert out.rstrip().count("\n") == 3
    [entry] = body(halfbyte("runs", "list", "--json")[1])
    assert [line["key"] for line in entry["lines"]] == ["float", "int8", "int4"]
    three_runs(place / "deep")
    assert len(body(halfbyte("runs", "list", "--in", ".", "--json")[1])) == 2
    assert len(body(halfbyte("runs", "list", "--json")[1])) == 2


def test_without_any_run_it_says_how_to_find_them(place: Path, halfbyte: Command) -> None:
    halfbyte("runs", "delete", "run", "--yes")
    assert "--in DIR" in halfbyte("runs", "list")[1]


def test_a_run_is_shown_without_writing_anything(place: Path, halfbyte: Command) -> None:
    before = {path: path.stat().st_mtime_ns for path in (place / "run").rglob("*")}
    code, out, _ = halfbyte("runs", "show", "run")
    assert code == 0
    assert "int4 w" in out or "4-bit w4c-a8" in out
    one = body(halfbyte("runs", "show", "run:int8", "--json")[1])
    assert [run["key"] for run in one["runs"]] == ["int8"]
    assert {path: path.stat().st_mtime_ns for path in (place / "run").rglob("*")} == before


def test_deleting_asks_and_without_an_answer_deletes_nothing(
    place: Path, halfbyte: Command
) -> None:
    code, _, _ = halfbyte("runs", "delete", "run")
    assert code == 130
    assert (place / "run" / "run.json").exists()
    assert halfbyte("runs", "delete", "set", "run", "--yes")[0] == 3  # set is none: nothing goes
    assert (place / "run" / "run.json").exists()
    assert halfbyte("runs", "delete", "run", "--yes")[0] == 0
    assert not (place / "run").exists()


def test_comparing_writes_the_files_that_are_asked_for(place: Path, halfbyte: Command) -> None:
    code, out, err = halfbyte("compare", "run", "--html", "c.html", "--markdown", "c.md")
    assert code == 0
    assert "Different: " in out
    assert "wrote c.html" in err
    assert "<h1>" in (place / "c.html").read_text()
    assert "| latency, p25 |" in (place / "c.md").read_text()
    found = body(halfbyte("compare", "run:int8", "run:int4", "--json")[1])
    assert len(found["pairs"]) == 1
    assert found["different"] is True


def test_a_device_is_written_to_and_not_replaced(place: Path, halfbyte: Command) -> None:
    os.mkfifo(place / "pipe")
    with ThreadPoolExecutor(1) as pool:
        read = pool.submit((place / "pipe").read_text)
        assert halfbyte("compare", "run", "--markdown", "pipe")[0] == 0
        assert "| latency, p25 |" in read.result(timeout=30)
    assert (place / "pipe").is_fifo()


def test_what_differs_in_a_folder_is_told_and_written_beside_the_report(
    place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    differences(place / "run")
    assert capsys.readouterr().out.count("B against A") == 2
    assert "<h1>" in (place / "run" / "compare.html").read_text()
    assert (place / "run" / "compare.html") in plan(place / "run").files


def test_comparing_a_run_with_itself_is_no_difference(place: Path, halfbyte: Command) -> None:
    assert "No difference that is more than noise" in halfbyte("compare", "run:int8", "run:int8")[1]
    assert body(halfbyte("compare", "run", "run", "--json")[1])["different"] is False


def test_a_folder_that_is_not_there_is_told(halfbyte: Command) -> None:
    code, _, err = halfbyte("compare", "nothing", "run")
    assert code == 3
    assert "there is no run folder nothing" in err
    code, _, err = halfbyte("compare", "run", "--more-a", "run")
    assert code == 2


def test_a_check_that_fails_has_exit_code_8_and_says_which_gate(
    place: Path, halfbyte: Command
) -> None:
    words = ["check", "run", "--max-memory", "1GB", "--max-latency-p95", "4.5ms"]
    code, out, err = halfbyte(*words, "--junit", "j.xml", "--markdown", "j.md")
    assert code == 8
    assert "1 of 4 gates failed: latency p95" in err
    assert out.count("ok ") == 3
    assert "<failure" in (place / "j.xml").read_text()
    assert ":x:" in (place / "j.md").read_text()
    code, out, _ = halfbyte(*words, "--json")
    assert code == 8
    assert [gate["passed"] for gate in body(out)["gates"]] == [True, True, True, False]


def test_a_check_that_passes_has_exit_code_0(halfbyte: Command) -> None:
    code, _, err = halfbyte("check", "run:int8", "--max-ap-drop", "0", "--max-file", "2MB")
    assert (code, err) == (0, "")


@pytest.mark.parametrize(
    ("words", "told"),
    [
        ((), "nothing to check"),
        (("--max-memory", "2"), "no size; units: B, kB"),
        (("--max-memory", "-2MB"), "no size"),
        (("--max-latency-p95", "1e400s"), "no time"),
        (("--max-latency-p95", "0ms"), "no time"),
    ],
)
def test_limits_that_are_none_are_told(
    halfbyte: Command, words: tuple[str, ...], told: str
) -> None:
    code, _, err = halfbyte("check", "run", *words)
    assert code == 2
    assert told in err
