"""Run folders that are cut, damaged or made to do harm: told with file, line and field."""

import json
import os
from pathlib import Path

import pytest

from targets.agent import wire
from targets.allowance import RECORDS_BYTES
from tests.report.folders import create, keep, meta, records, three_runs
from toolchain.errors import RunFolderError
from toolchain.runmeta import Outcome
from toolchain.runs import RunFolder

CUT = Outcome(whole=False, reason="link lost")


def line(record: object, seq: int = 0) -> bytes:
    return wire.encode(record, seq, 1)


def test_a_line_cut_off_by_a_crash_is_left_out_and_told(tmp_path: Path) -> None:
    folder = create(tmp_path)
    keep(folder, "a", meta(), records())
    [path] = (tmp_path / "records").iterdir()
    path.write_bytes(path.read_bytes()[:-5])
    [run] = RunFolder.open(tmp_path).load().runs
    assert run.torn
    assert not run.whole
    assert len(run.records) == len(records()) - 1


def test_a_file_larger_than_any_run_is_refused_before_it_is_read(tmp_path: Path) -> None:
    keep(create(tmp_path), "a", meta(), records())
    [path] = (tmp_path / "records").iterdir()
    os.truncate(path, RECORDS_BYTES + 1)
    with pytest.raises(RunFolderError, match=f"more than the {RECORDS_BYTES} bytes"):
        RunFolder.open(tmp_path).load()


def test_a_line_longer_than_any_record_is_refused(tmp_path: Path) -> None:
    keep(create(tmp_path), "a", meta(), records())
    [path] = (tmp_path / "records").iterdir()
    os.truncate(path, path.stat().st_size + 2 * wire.MAX_LINE_BYTES)
    with pytest.raises(RunFolderError, match="a record of 4194305 bytes"):
        RunFolder.open(tmp_path).load()


@pytest.mark.parametrize("key", ["", "../a", "a/b", ".hidden", "a b", "x" * 101])
def test_a_key_that_is_no_file_name_is_refused(tmp_path: Path, key: str) -> None:
    with pytest.raises(ValueError, match="run key"):
        create(tmp_path).start(key, meta())


def test_a_folder_without_a_run_is_told(tmp_path: Path) -> None:
    with pytest.raises(RunFolderError, match="is no run folder"):
        RunFolder.open(tmp_path)


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        ('"halfbyte.run"', '"something.else"', "its schema is not"),
        ('"version": 1', '"version": 2', "of version 2"),
        ('"threads": 2', '"threads": "2"', "settings.threads should be int"),
        ('"threads": 2,', "", "settings.threads should be there"),
        ('"file_bytes": 4000000', '"file_bytes": true', "file_bytes should be int"),
        ('"names": [', '"names": [7, ', "names[0] should be str"),
        ('"whole": true', '"whole": "yes"', "outcome.whole should be bool"),
        ('"runs"', '"walks"', "runs is missing"),
        ('"tiny"', '"tiny', "run.json: "),
    ],
)
def test_a_damaged_manifest_is_told_with_its_field(
    tmp_path: Path, old: str, new: str, told: str
) -> None:
    keep(create(tmp_path), "a", meta(), records())
    path = tmp_path / "run.json"
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, 1))
    with pytest.raises(RunFolderError) as caught:
        RunFolder.open(tmp_path).load()
    assert told in caught.value.message
    assert caught.value.hint


@pytest.mark.parametrize(
    "bad",
    [
        b"not json\n",
        b'{"record": "timed"}\n',
        b'{"seq":99,"monotonic_ns":1,"record":"timed","inference_ns":NaN}\n',
        b'{"seq":0,"monotonic_ns":1,"record":"finished"}\n',
    ],
)
def test_damaged_records_are_told_with_file_and_line(tmp_path: Path, bad: bytes) -> None:
    keep(create(tmp_path), "a", meta(), records())
    path = tmp_path / "records" / "a.1.jsonl"
    path.write_bytes(path.read_bytes() + bad)
    with pytest.raises(RunFolderError) as caught:
        RunFolder.open(tmp_path).load()
    assert caught.value.message.startswith(f"a.1.jsonl, line {len(records()) + 1}: ")


def test_a_damaged_data_set_is_told(tmp_path: Path) -> None:
    folder = three_runs(tmp_path)
    (folder.path / "dataset.json").write_text('{"images": []}')
    with pytest.raises(RunFolderError, match=r"dataset\.json"):
        folder.load()


def test_a_key_in_the_manifest_names_no_file_elsewhere(tmp_path: Path) -> None:
    keep(create(tmp_path), "a", meta(), records())
    path = tmp_path / "run.json"
    manifest = json.loads(path.read_text())
    manifest["runs"]["../../a"] = manifest["runs"].pop("a")
    path.write_text(json.dumps(manifest))
    with pytest.raises(RunFolderError, match="misnamed"):
        RunFolder.open(tmp_path).load()
