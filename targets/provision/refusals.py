"""What the program on the board could not do, as errors of ours."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from targets.errors import (
    BoardBusy,
    CommandFailed,
    CorruptUpload,
    HalfbyteError,
    NoRuntime,
    NoSpace,
)


def refusal(name: str, answer: Mapping[str, Any]) -> HalfbyteError:
    """The error for an answer that names a problem; `name` is the target's."""
    detail = str(answer.get("detail") or "")
    match answer.get("problem"):
        case "corrupt":
            return CorruptUpload(
                f"{answer.get('path')} on {name} is not what was sent.",
                hint="Try again; if it happens again, check the board's storage and memory.",
            )
        case "no-space":
            return NoSpace(
                f"{name} ran out of room on {answer.get('mount')} while unpacking.",
                hint="Remove files there, or set `root` of this target to another file system.",
            )
        case "bad-wheel":
            return NoRuntime(
                f"{answer.get('wheel')} was not unpacked: {detail}.",
                hint="This wheel is not plain enough; set `runtime` of this target to another.",
            )
        case "import-failed":
            return _import_failed(name, answer, detail)
        case "settings-held":
            return BoardBusy(
                f"Settings that halfbyte changed are still in force on {name}; cleaning would end "
                "them, or lose what they were.",
                hint=f"First `halfbyte firmware restore {name}`.",
            )
        case "busy":
            return busy(name, str(answer.get("holder")))
    return CommandFailed(
        f"{name} could not do it: {detail or answer.get('problem')}.",
        hint="The words after the colon are the board's own.",
    )


def held(name: str, label: str | None, holder: Mapping[str, Any] | None) -> BoardBusy:
    """Settings cannot be changed now: somebody else's are in force, or somebody's run is on."""
    if label is None:
        return busy(name, json.dumps(holder))
    words = holder or {}
    who = f"{words['user']}@{words['host']}" if {"user", "host"} <= words.keys() else "somebody"
    since = f" since {str(words['since'])[:40]}" if "since" in words else ""
    return BoardBusy(
        f"{name} has settings in force for {who[:100]}{since} ({label[:200]}).",
        hint=f"Wait for their end, or end them: `halfbyte firmware restore {name}`.",
    )


def busy(name: str, text: str) -> BoardBusy:
    """Names who holds the lock, as far as the board says."""
    try:
        holder = json.loads(text)
        pid, who = int(holder["pid"]), f"{holder['user']}@{holder['host']}"
        since = str(holder["since"])
    except (ValueError, KeyError, TypeError, OverflowError):
        return BoardBusy(f"{name} is busy with another run.", hint="Wait for its end.")
    return BoardBusy(
        f"{name} is busy with a run of {who[:100]} since {since[:40]}.",
        hint=f"Two runs at once would spoil each other's figures. Wait, or end process {pid} "
        "there (`kill`).",
    )


def _import_failed(name: str, answer: Mapping[str, Any], detail: str) -> NoRuntime:
    signal = answer.get("signal")
    words = detail.strip().splitlines()[-1:] or ["no reason given"]
    how = f"signal {signal} ended it" if signal else words[0]
    message = f"{answer.get('runtime')} does not start on {name}: {how}."
    if "libstdc++" in detail:
        return NoRuntime(message, hint="Install it on the board: sudo apt install libstdc++6")
    if signal == 4:
        return NoRuntime(
            message,
            hint="The processor lacks instructions that this build uses; set `runtime` of this "
            "target to another (ai-edge-litert, tflite-runtime).",
        )
    if signal == 9:
        return NoRuntime(message, hint="The board is short of memory: end other programs there.")
    return NoRuntime(
        message, hint="Set `python` or `runtime` of this target to another that the board has."
    )
