"""The process that touches a checkpoint first: limited, without secrets, gone afterwards.

Started by `toolchain.detector.checkpoint` as `python -I -c ... FOLDER LIMIT_BYTES LIMIT_S` with
the checkpoint as its standard input.  It writes `tree.json` (a table, or why there is none) and
`storages.bin` (the numbers that the table looks at) into FOLDER, and nothing anywhere else.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import IO, Any

from toolchain.detector.archive import NotACheckpoint, Unreadable, open_container
from toolchain.detector.tree import encode
from toolchain.detector.unpickling import RefusedName, StandIn, Storage, Tensor
from toolchain.detector.views import Malformed

ALIGNMENT_BYTES = 64
# Of these, in this order, a checkpoint in training form validates: `ema` is what was scored.
_WEIGHTS = ("ema", "model")
_STATE_DICTS = ("ema_state_dict", "model_state_dict", "state_dict")


def main(folder: str, limit_bytes: str, limit_s: str) -> None:
    """Read standard input, leave the outcome in `folder`."""
    _confine(int(limit_bytes), int(limit_s))
    try:
        outcome = _read(sys.stdin.buffer, Path(folder) / "storages.bin", int(limit_bytes))
    except RefusedName as error:
        outcome = {"refused": str(error)}
    except Malformed as error:
        outcome = {"malformed": str(error)}
    except NotACheckpoint as error:
        outcome = {"other": str(error)}
    except Unreadable as error:
        outcome = {"unreadable": str(error)}
    except MemoryError:
        outcome = {"memory": True}
    (Path(folder) / "tree.json").write_text(json.dumps(outcome), encoding="utf-8")


def _read(stream: IO[bytes], to: Path, limit_bytes: int) -> dict[str, Any]:
    container = open_container(stream)
    chosen, root = _weights_of(container.top)
    table, used = encode(root)
    wanted = [storage for storage in container.storages.values() if storage.row in used]
    storages: dict[str, tuple[int, int]] = {}
    with to.open("wb") as out:
        for storage, chunks in container.contents(wanted):
            out.seek(-out.tell() % ALIGNMENT_BYTES, 1)
            start = out.tell()
            for chunk in chunks:
                if out.tell() + len(chunk) > limit_bytes:
                    raise Malformed(f"its weights take more than {limit_bytes} bytes")
                out.write(chunk)
            storages[str(storage.row)] = (start, out.tell() - start)
        out.truncate(out.tell())
    return {
        "chosen": chosen,
        "table": table,
        "storages": storages,
        "dtypes": _dtypes(wanted),
    }


def _dtypes(storages: list[Storage]) -> list[str]:
    return sorted({storage.dtype for storage in storages})


def _weights_of(top: object) -> tuple[str, object]:
    """Which entry of a checkpoint has the weights that training scored, and that entry."""
    if not isinstance(top, dict):
        return "", top
    for name in _WEIGHTS:
        entry = top.get(name)
        # Early versions of YOLOv5 kept (weights, number of updates) there.
        if isinstance(entry, tuple) and entry:
            entry = entry[0]
        if isinstance(entry, StandIn) or _is_state_dict(entry):
            return name, entry
    for name in _STATE_DICTS:
        if _is_state_dict(top.get(name)):
            return name, top[name]
    return "", top


def _is_state_dict(entry: object) -> bool:
    return isinstance(entry, dict) and any(isinstance(value, Tensor) for value in entry.values())


def _confine(limit_bytes: int, limit_s: int) -> None:
    """No more memory, time or output than stated, no core file."""
    if sys.platform == "win32":  # the parent's deadline still holds there
        return
    import resource

    for what, limit in (
        (resource.RLIMIT_AS, limit_bytes),
        (resource.RLIMIT_FSIZE, limit_bytes),
        (resource.RLIMIT_CPU, limit_s),
        (resource.RLIMIT_CORE, 0),
        (resource.RLIMIT_NOFILE, 64),
    ):
        _, highest = resource.getrlimit(what)
        allowed = limit if highest == resource.RLIM_INFINITY else min(limit, highest)
        try:
            resource.setrlimit(what, (allowed, allowed))
        except (ValueError, OSError):  # macOS refuses some of them
            continue
