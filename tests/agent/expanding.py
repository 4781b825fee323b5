"""A model that takes a while to expand, and processes that are to end."""

import time
from pathlib import Path

from tests.tflite.packing_cases import coded_filter, int8_model
from toolchain.quantize import coded
from toolchain.tflite.packed import pack


def packed_large():
    """One filter of 9 MB: its expanding takes long enough to be met."""
    codes = coded_filter("nibbles", (1024, 3, 3, 1024), seed=2)
    model, places = int8_model({"conv": coded.expand(codes)})
    return pack(model, {places["conv"]: codes})


def ends(pid):
    """Whether it does so, soon."""
    deadline = time.monotonic() + 5
    while is_running(pid) and time.monotonic() < deadline:
        time.sleep(0.01)
    return not is_running(pid)


def is_running(pid):
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state != "Z"
