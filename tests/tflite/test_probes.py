"""What the runtime here makes of 4-bit operators that we wrote, next to numpy's answer."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from scripts.probes import one, table
from scripts.probes.cases import Case, all_cases

CASES = all_cases()


def ask(case: Case, folder: Path) -> dict[str, object]:
    (folder / "model.tflite").write_bytes(case.model)
    np.save(folder / "inputs.npy", case.inputs)
    if case.expected is not None:
        np.save(folder / "expected.npy", case.expected)
    ended = subprocess.run(
        [sys.executable, one.__file__, str(folder), "1", "0"], capture_output=True, check=True
    )
    return dict(json.loads(ended.stdout))


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_it_is_right_within_one_step_or_refused_by_name(case: Case, tmp_path: Path) -> None:
    answer = ask(case, tmp_path)

    if case.expected is None:
        assert "HalfbyteExpand" in str(answer["refused"])
    else:
        assert answer["shape"] == list(case.expected.shape)
        assert answer["off_by"] in (0, 1)


def test_the_page_in_the_docs_has_a_row_for_every_case() -> None:
    text = (Path(__file__).parents[2] / "docs" / "runtime-support.md").read_text()
    made = text.split(table.BEGIN)[1].split(table.END)[0]

    assert [case.title for case in CASES if f"| {case.title} |" not in made] == []
