"""One run of a model on a grey picture, in a process of its own: the model may be anyone's.

    python -m toolchain.tflite.trial MODEL      -> JSON on stdout: the reach of its output

A runtime trusts its model, so a hostile one may crash it or ask for all memory.
"""

from __future__ import annotations

import json
import logging
import os
import resource
import subprocess
import sys
from pathlib import Path
from typing import Any, Final, Literal

TIME_LIMIT_S: Final = 120
MEMORY_LIMIT_BYTES: Final = 8 << 30
_ROOT: Final = Path(__file__).resolve().parents[2]
_log = logging.getLogger(__name__)


def reach_of_centres(path: Path, layout: Literal["rows", "columns"]) -> float | None:
    """The largest centre coordinate, in absolute value, that the model's only output gives.

    None where the model does not run here, or gives values that are not finite.
    """
    command = [sys.executable, "-m", "toolchain.tflite.trial", str(path.resolve()), layout]
    inherited = os.environ.get("PYTHONPATH")
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join([str(_ROOT), *([inherited] if inherited else [])]),
    }
    try:
        ended = subprocess.run(
            command,
            env=environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=TIME_LIMIT_S,
            check=True,
        )
        reach = json.loads(ended.stdout)
    except subprocess.CalledProcessError as error:
        words = error.stderr.decode("utf-8", "replace").strip().splitlines() or ["no word"]
        _log.warning("%s does not run here (status %d): %s", path, error.returncode, words[-1])
        return None
    except (subprocess.TimeoutExpired, ValueError) as error:
        _log.warning("%s does not run here: %s", path, error)
        return None
    return reach if isinstance(reach, float) else None


def main(path: str, layout: str) -> int:
    """Prints the number, or null where values are not finite."""
    import numpy as np
    from ai_edge_litert.interpreter import Interpreter

    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_LIMIT_BYTES, MEMORY_LIMIT_BYTES))
    wire = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    from toolchain.tflite.plain import plain_bytes

    content = plain_bytes(Path(path).read_bytes(), Path(path).name)
    interpreter = Interpreter(model_content=content, num_threads=os.cpu_count())
    interpreter.allocate_tensors()
    entry, end = interpreter.get_input_details()[0], interpreter.get_output_details()[0]
    interpreter.set_tensor(entry["index"], _grey(entry))
    interpreter.invoke()
    values = np.asarray(interpreter.get_tensor(end["index"]), np.float32)
    scale, zero_point = end["quantization"]
    if scale:
        values = (values - zero_point) * scale
    centres = values[0, :, :2] if layout == "rows" else values[0, :2]
    reach = float(np.abs(centres).max()) if np.isfinite(centres).all() else None
    wire.write(json.dumps(reach))
    wire.close()
    return 0


def _grey(entry: Any) -> Any:
    """Mid grey in the input's own type."""
    import numpy as np

    shape, kind = entry["shape"], entry["dtype"]
    if np.issubdtype(kind, np.floating):
        return np.full(shape, 0.5, kind)
    scale, zero_point = entry["quantization"]
    info = np.iinfo(kind)
    value = round(0.5 / scale + zero_point) if scale else (info.max + info.min) // 2
    return np.full(shape, np.clip(value, info.min, info.max), kind)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], sys.argv[2]))
