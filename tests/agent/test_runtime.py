"""Which runtime is taken where the first choice is not there."""

from __future__ import annotations

import subprocess
import sys

import pytest


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
