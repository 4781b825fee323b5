"""Why an agent ended: its last words, its supervisor's and the server's, as an error of ours."""

from __future__ import annotations

import json
import signal
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from targets.agent.faults import CHANGED
from targets.agent.records import (
    Detected,
    Facts,
    Failed,
    Finished,
    Hello,
    Loaded,
    Loading,
    Memory,
    Peak,
    Probed,
    Sample,
    Skipped,
    Timed,
    TimedInput,
    Warmed,
)
from targets.agent.wire import Envelope
from targets.errors import (
    AgentFailed,
    AgentKilled,
    AgentMismatch,
    CommandFailed,
    HalfbyteError,
    NoRuntime,
    NoSpace,
    RunIncomplete,
)
from targets.process import Completed
from targets.provision.refusals import busy

_ENOSPC = 28
_NO_ROOM = 4  # exit code of the agent
_STOPPED = {
    "limit": "it took longer than a day",
    "alone": "nobody had followed it for long",
    "journal-full": "its journal grew too large",
}
_PHASES: dict[type, str] = {
    Hello: "starting",
    Facts: "starting",
    Loading: "loading the model",
    Loaded: "warming up",
    TimedInput: "warming up",
    Warmed: "warming up",
    Timed: "timing",
    Detected: "detecting",
    Probed: "detecting",
    Skipped: "detecting",
    Peak: "ending",
}


@dataclass
class Seen:
    """What the records so far tell about the agent's state."""

    name: str
    records: int = 0
    phase: str = "starting"
    memory: Memory = field(default_factory=Memory)
    model_bytes: int | None = None
    timed: int = 0
    images: int = 0
    free_bytes: int | None = None  # before the model was loaded, within the limits set there
    limit_bytes: int | None = None
    failed: Failed | None = None
    finished: bool = False
    changed_images: set[int] = field(default_factory=set)  # by their place in the plan

    def note(self, envelope: Envelope) -> None:
        """One more record."""
        self.records += 1
        record = envelope.record
        self.phase = _PHASES.get(type(record), self.phase)
        if isinstance(record, Timed):
            self.timed += 1
        elif isinstance(record, Detected | Skipped):
            self.images += 1
            if isinstance(record, Skipped) and record.reason == CHANGED and record.index >= 0:
                self.changed_images.add(record.index)
        elif isinstance(record, Facts):
            self.limit_bytes = record.memory_limit_bytes
        if isinstance(record, Loading):
            self.model_bytes = record.file_bytes
            known = [n for n in (record.mem_available_bytes, self.limit_bytes) if n is not None]
            self.free_bytes = min(known, default=None)
        if isinstance(record, Loading | Sample | Peak):
            self.memory = record.memory
        elif isinstance(record, Loaded):
            self.memory = record.after
        elif isinstance(record, Failed):
            self.failed = record
        elif isinstance(record, Finished):
            self.finished = True

    @property
    def kept(self) -> str:
        """For messages."""
        return f"The {self.records} records that came are kept." if self.records else ""


def supervisor_words(stderr: bytes, mark: str) -> dict[str, Any]:
    """What `start` on the board said last, if anything."""
    words: dict[str, Any] = {}
    for line in stderr.decode("utf-8", "replace").splitlines():
        if line.startswith(mark):
            try:
                said = json.loads(line[len(mark) :])
            except ValueError:
                continue
            if isinstance(said, dict):
                words = said
    return words


def error_of(seen: Seen, words: Mapping[str, Any]) -> HalfbyteError | None:
    """The error for how a run ended; None for a whole one.  words: the board's own."""
    if seen.finished:
        return None
    if words.get("problem"):
        return RunIncomplete(
            f"{seen.name} has nothing more of the run: {words.get('detail') or words['problem']}.",
            hint=_and("Run again for the rest.", seen.kept),
        )
    if words.get("gone") == "rebooted":
        return RunIncomplete(
            f"{seen.name} restarted in the run, while {seen.phase}.",
            hint=_and("Run again for the rest.", seen.kept),
        )
    ended = words.get("ended")
    ended = ended if isinstance(ended, dict) else {}
    number = _whole(ended.get("signal"))
    if number is None and words.get("gone"):
        number = int(signal.SIGKILL)  # the supervisor went with it
    said = _last_lines(ended.get("log"))
    if number is not None:
        return _killed(seen, number, ended, said)
    if ended.get("exit_status") == _NO_ROOM:
        return RunIncomplete(
            f"{seen.name} ran out of room for what was measured, while {seen.phase}.",
            hint=_and("Remove files there, then run again for the rest.", seen.kept),
        )
    stopped = _STOPPED.get(str(ended.get("stopped")))
    if stopped is not None:
        return RunIncomplete(
            f"The run on {seen.name} was ended while {seen.phase}: {stopped}.",
            hint=_and("Run again for the rest.", seen.kept),
        )
    if seen.failed is not None:
        return _failed(seen, seen.failed)
    return RunIncomplete(
        f"The agent on {seen.name} ended early (exit status {ended.get('exit_status')}) while "
        f"{seen.phase}" + (f": {said}" if said else "."),
        hint=_and("Look at the board's log, then run again.", seen.kept),
    )


def _killed(seen: Seen, number: int, ended: Mapping[str, Any], said: str) -> AgentKilled:
    told = ended.get("memory")
    told = told if isinstance(told, dict) else {}
    rss, hwm = _whole(told.get("rss_bytes")), _whole(told.get("hwm_bytes"))
    if not rss or (hwm or 0) < (seen.memory.hwm_bytes or 0):
        # A peak only grows: the agent's own record is the later of the two.
        rss, hwm = seen.memory.rss_bytes, seen.memory.hwm_bytes
    kills = _whole(ended.get("oom_kills"))
    oom = None if kills is None else kills > 0
    facts = [_headline(seen, number, oom)]
    if rss is not None:
        facts.append(f"it held {_mib(rss)} just before" + (f", {_mib(hwm)} at most" if hwm else ""))
    if seen.free_bytes is not None:
        facts.append(f"{_mib(seen.free_bytes)} were free before it loaded")
    if number == signal.SIGKILL and oom is False:
        advice = "Who ends processes there (kill, a service limit, a watchdog)? Then run again."
    elif number == signal.SIGKILL:
        need = "The model" if seen.model_bytes is None else f"This {_mib(seen.model_bytes)} model"
        advice = (
            f"{need} needs more than that. Try fewer bits, a smaller --imgsz, fewer programs "
            "on the board, or swap."
        )
    elif number == signal.SIGILL:
        advice = (
            "The runtime uses instructions that this processor lacks: set `runtime` of this "
            "target to another."
        )
    else:
        advice = "The runtime crashed: try another `runtime` for this target."
    message = "; ".join(facts) + "."
    if number not in (signal.SIGKILL, signal.SIGTERM) and said:
        message += f" It said: {said}"
    return AgentKilled(
        message,
        hint=_and(advice, seen.kept),
        signal=number,
        phase=seen.phase,
        rss_bytes=rss,
        hwm_bytes=hwm,
        oom=oom,
    )


def _headline(seen: Seen, number: int, oom: bool | None) -> str:
    how = f"the agent on {seen.name} (signal {number}) while {seen.phase}"
    if number == signal.SIGKILL and oom:
        return f"The kernel's out-of-memory killer killed {how}"
    passive = f"The agent on {seen.name} was killed (signal {number}) while {seen.phase}"
    if number != signal.SIGKILL:
        return passive
    if oom is None:
        return f"{passive}, probably by the kernel's out-of-memory killer"
    return f"{passive}, and not by the kernel for want of memory"


def _failed(seen: Seen, failed: Failed) -> HalfbyteError:
    advice = {
        "out-of-memory": "Try fewer bits, a smaller --imgsz, or end other programs on the board.",
        "model-refused": "The board's runtime is another than the host's: try `runtime` of this "
        "target, or convert anew.",
        "file-missing": "Run again: it is sent anew.",
        "file-changed": "It was removed; run again to send it anew. If it happens again, check "
        "the board's storage.",
        "interrupted": "Somebody or something on the board stopped it; run again.",
        "cpus-refused": "Name CPUs that the board has and lets us use, or leave --cpus out.",
        "bad-plan": "Host and agent do not agree: this is a fault of ours.",
        "output-not-understood": "The model is not what it says: convert it anew.",
    }.get(failed.kind, "The agent's own words are above; `-v` shows where it was.")
    message = f"On {seen.name}, while {seen.phase}: {failed.message or failed.kind}."
    if failed.kind == "no-runtime":
        return NoRuntime(message, hint="Run `halfbyte target check`: it looks at the runtime.")
    return AgentFailed(message, hint=_and(advice, seen.kept))


def not_started(name: str, words: Mapping[str, Any], done: Completed) -> HalfbyteError:
    """The error for a run that the board did not begin."""
    detail = str(words.get("detail") or words.get("problem") or done.complaint or done.how)
    match words.get("problem"):
        case "busy":
            return busy(name, str(words.get("holder")))
        case "agent-mismatch":
            return AgentMismatch(
                f"The agent on {name} is not the one that was sent: {detail}. It was not started.",
                hint="It was removed; run again to send it anew. If it happens again, somebody "
                "else writes to this account, or its storage fails.",
            )
        case "os-error" if words.get("number") == _ENOSPC:
            return NoSpace(
                f"{name} has no room to start a run: {detail}.",
                hint="Remove files there, or set `root` of this target to another file system.",
            )
    return CommandFailed(
        f"The agent on {name} could not be started: {detail}.",
        hint="The words after the colon are the board's own.",
    )


def _and(advice: str, more: str) -> str:
    return f"{advice} {more}".strip()


def _last_lines(log: Any) -> str:
    lines = log.strip().splitlines() if isinstance(log, str) else []
    return " / ".join(line.strip() for line in lines[-3:])[-600:]


def _whole(value: Any) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def _mib(count: int) -> str:
    return f"{count / (1 << 20):.0f} MiB"
