"""Runs one case in whatever runtime is importable.  Python 3.8, numpy, nothing of ours.

    python one.py FOLDER THREADS SECONDS      -> one JSON object on stdout

FOLDER holds model.tflite, inputs.npy and, where the case has an answer, expected.npy.
"""

import importlib
import json
import pathlib
import sys
import time

import numpy as np


def find_interpreter():
    for module in ("ai_edge_litert.interpreter", "tflite_runtime.interpreter"):
        try:
            return importlib.import_module(module).Interpreter
        except ImportError:
            continue
    # The module tensorflow.lite has no such attribute; the lazily made tensorflow.lite has.
    return importlib.import_module("tensorflow").lite.Interpreter


def is_delegated(interpreter):
    """Does a delegate write the model's output?  None where the runtime does not tell."""
    try:
        operators = interpreter._get_ops_details()
    except AttributeError:
        return None
    wanted = {detail["index"] for detail in interpreter.get_output_details()}
    writers = [op["op_name"] for op in operators if wanted & set(op["outputs"])]
    return any("delegate" in name.lower() for name in writers)


def main(folder, threads, seconds):
    interpreter_class = find_interpreter()
    try:
        interpreter = interpreter_class(
            model_path=str(folder / "model.tflite"), num_threads=threads
        )
        interpreter.allocate_tensors()
        source = interpreter.get_input_details()[0]["index"]
        result = interpreter.get_output_details()[0]["index"]
        interpreter.set_tensor(source, np.load(folder / "inputs.npy"))
        interpreter.invoke()
    except (ValueError, RuntimeError) as error:
        return {"refused": str(error)}
    said = {"delegated": is_delegated(interpreter)}
    expected = folder / "expected.npy"
    if expected.exists():
        difference = np.load(expected).astype(int) - interpreter.get_tensor(result).astype(int)
        said["shape"] = list(difference.shape)
        said["off_by"] = int(np.abs(difference).max())
        said["off"] = float((difference != 0).mean())
    times = []
    until = time.perf_counter() + seconds
    while len(times) < 5 or (time.perf_counter() < until and len(times) < 200):
        start = time.perf_counter()
        interpreter.invoke()
        times.append(1000 * (time.perf_counter() - start))
    said["median_ms"] = float(np.median(times))
    said["fastest_ms"] = min(times)
    return said


if __name__ == "__main__":
    print(json.dumps(main(pathlib.Path(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3]))))
