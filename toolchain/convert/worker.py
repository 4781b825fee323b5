"""ONNX -> float TFLite by onnx2tf, in a process of its own: its memory and crashes end with it.

    python -m toolchain.convert.worker

A JSON object on stdin: `onnx` and `tflite` (paths), `outputs` (names of the ONNX outputs, in the
order in which the flatbuffer shall have them).  JSON lines on stdout: `{"stage": ...}` as each
stage begins, then `{"done": {...}}` or `{"failed": ...}`.  What libraries print goes to stderr.
The process ends when its stdin closes.

onnx2tf is asked for the Keras model only, and the flatbuffer is written from a function with
ordered ends: its own way out saves, reloads and writes the model several times over (half of the
time).
"""

from __future__ import annotations

import json
import os
import resource
import sys
import threading
from pathlib import Path
from typing import IO, Any, Final

STAGES: Final = ("starting TensorFlow", "rebuilding the graph", "writing the flatbuffer")

# onnx2tf loads sample pictures for its dry run, and downloads them where this file is not in the
# working folder.
_SAMPLES: Final = "calibration_image_sample_data_20x128x128x3_float32.npy"


def main() -> int:
    """Convert as stdin says.  0, or 1 where the last line on stdout says what failed."""
    wire = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # a C library's print must not end up between our lines
    request = json.loads(sys.stdin.readline())
    threading.Thread(target=_end_with_parent, daemon=True).start()
    sys.addaudithook(_refuse_network)
    try:
        _convert(request, wire)
        peak_bytes = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
        _send(wire, done={"rss_peak_bytes": peak_bytes})
    except (Exception, SystemExit) as error:  # noqa: BLE001  whatever foreign code raises
        import traceback

        traceback.print_exc()
        _send(wire, failed=f"{type(error).__name__}: {error}")
        return 1
    return 0


def _convert(request: dict[str, Any], wire: IO[str]) -> None:
    _send(wire, stage=STAGES[0])
    import numpy as np
    import onnx2tf.onnx2tf
    import tensorflow as tf

    np.save(_SAMPLES, np.zeros((20, 128, 128, 3), np.float32))
    onnx2tf.onnx2tf.dummy_onnx_inference = _no_dry_run
    _send(wire, stage=STAGES[1])
    keras = onnx2tf.convert(
        input_onnx_file_path=_prepared(request["onnx"]),
        output_folder_path="saved_model",
        disable_model_save=True,
        # Our exporter leaves nothing to simplify.  The strict mode compares every layer with
        # ONNX Runtime to repair transpositions, which plain convolutional graphs do not need;
        # the whole model is compared with torch afterwards.
        not_use_onnxsim=True,
        not_use_opname_auto_generate=True,
        disable_strict_mode=True,
        verbosity="warn",
    )
    order = [keras.output_names.index(name) for name in request["outputs"]]

    def detect(images: Any) -> Any:
        outputs = keras(images)
        return [outputs[place] for place in order]

    images = tf.TensorSpec(keras.inputs[0].shape, tf.float32, name="images")
    concrete = tf.function(detect, input_signature=[images]).get_concrete_function()

    _send(wire, stage=STAGES[2])
    converter = tf.lite.TFLiteConverter.from_concrete_functions([concrete])
    converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS]
    converter.exclude_conversion_metadata = True
    Path(request["tflite"]).write_bytes(converter.convert())


def _prepared(path: str) -> str:
    """A copy of the ONNX file, in the working folder, with the shapes that onnx2tf needs.

    Not those of additions: onnx2tf takes an NHWC sum for a failed broadcast where it can compare it
    with the NCHW shape, and transposes it and all that is concatenated with it, to and fro.
    """
    import onnx

    model = onnx.shape_inference.infer_shapes(onnx.load(path), strict_mode=True)
    sums = {node.output[0] for node in model.graph.node if node.op_type == "Add"}
    shapes = [value for value in model.graph.value_info if value.name not in sums]
    del model.graph.value_info[:]
    model.graph.value_info.extend(shapes)
    onnx.save(model, "model.onnx")
    return "model.onnx"


def _no_dry_run(**_arguments: Any) -> None:
    """In place of onnx2tf's run of the ONNX model with every layer's output kept.

    It serves the strict mode alone, costs a YOLOv7 1.1 GB and seconds, and onnx2tf goes on without
    one where it fails.
    """
    raise RuntimeError("no dry run")


def _refuse_network(event: str, _arguments: tuple[Any, ...]) -> None:
    """An audit hook: a conversion needs nothing from anywhere, so nothing may ask."""
    if event in {"socket.connect", "socket.getaddrinfo", "socket.gethostbyname"}:
        raise PermissionError(f"no network while converting ({event})")


def _end_with_parent() -> None:
    sys.stdin.read()
    os._exit(1)


def _send(wire: IO[str], **record: Any) -> None:
    wire.write(json.dumps(record) + "\n")
    wire.flush()


if __name__ == "__main__":
    sys.exit(main())
