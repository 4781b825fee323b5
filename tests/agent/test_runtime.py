"""Which runtime is taken where the first choice is not there."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from targets.agent import runtime
from targets.agent.runtime import Model, find_runtime
from tests.quantize import models


def test_tensorflow_serves_where_there_is_no_smaller_runtime() -> None:
    pytest.importorskip("tensorflow")
    code = (
        "import sys\n"
        "sys.modules['ai_edge_litert'] = sys.modules['tflite_runtime'] = None\n"
        "from targets.agent.runtime import find_runtime\n"
        "found = find_runtime()\n"
        "print(found.name.split()[0], found.interpreter.__name__)\n"
    )
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)

    assert ended.stdout == "tensorflow Interpreter\n", ended.stderr[-2000:]


def test_packing_filters_at_a_small_size_first_changes_no_output(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Asked for when pages are dropped: the file's go before the working memory comes."""
    monkeypatch.setattr(runtime, "_SMALL", models.SIDE // 2)
    path = tmp_path / "model.tflite"
    path.write_bytes(models.detector())
    calls: list[str] = []
    outputs = []
    for packed in (None, lambda: calls.append("packed")):
        model = Model(str(path), threads=1, runtime=find_runtime(), packed=packed)
        shape = model.inputs[0].shape
        model.run((np.random.default_rng(1).random(shape, np.float32),))
        outputs.append([model.output(place) for place in range(len(model.outputs))])

    assert calls == ["packed"]
    for plain, small_first in zip(*outputs, strict=True):
        np.testing.assert_array_equal(plain, small_first)
