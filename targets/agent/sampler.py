"""Reads the sensors in a thread of its own while the model runs, and counts what that takes.

The thread only fills a queue: records are sent by the main thread, between inferences.
"""

from __future__ import annotations

import collections
import dataclasses
import threading
import time
from typing import Any, Deque, List, Optional

from .records import Sample, Sampled
from .telemetry import Telemetry
from .tools import compatible, find_tools

SHARE = 0.005  # of one core: a sample that takes more than that of its period makes it longer
PSS_PERIOD_NS = 5_000_000_000
PSS_SHARE = 0.002  # of the time between two readings
_MOST_HELD = 100_000


class Sampler:
    """Samples of `telemetry` every `period_s`, from `start` to `stop`.

    tools: None looks for those of this board.
    """

    def __init__(
        self, telemetry: Telemetry, *, period_s: float, tools: Optional[List[Any]] = None
    ) -> None:
        self._telemetry = telemetry
        self._period_ns = int(period_s * 1e9)
        self._tools = self._found() if tools is None else list(tools)
        self._all = tuple(self._tools)
        self._held: Deque[Any] = collections.deque(maxlen=_MOST_HELD)
        self._stop = threading.Event()
        self._thread: Optional[threading.Thread] = None
        self._pss_due_ns = 0
        self._cost = Sampled(period_ns=self._period_ns)

    def start(self) -> None:
        """The first sample at once, on this thread; the others from the new one."""
        self._read()
        self._tool_costs(-1)
        thread = threading.Thread(target=self._work, name="sampler", daemon=True)
        try:
            thread.start()
        except RuntimeError as error:  # a limit on threads or memory: measure without
            self._telemetry.note("sampler", str(error))
            self._held.extend(self._telemetry.notes())
        else:
            self._thread = thread

    def stop(self) -> None:
        """End the thread, with a last sample on this one; again it does nothing."""
        thread, self._thread = self._thread, None
        if thread is None:
            return
        self._stop.set()
        thread.join()
        self._tool_costs(1)
        self._read(last=True)
        for tool in self._all:
            tool.close()

    def take(self) -> List[Any]:
        """What was read since the last call, in order: Sample, ToolSaid and Noted."""
        taken = []
        while self._held:
            taken.append(self._held.popleft())
        return taken

    def with_pss(self) -> List[Sample]:
        """Memory with PSS, where it is time for that: to be called between inferences."""
        now_ns = time.monotonic_ns()
        if now_ns < self._pss_due_ns:
            return []
        before_ns = self._telemetry.pss_ns
        memory = self._telemetry.memory()
        took_ns = self._telemetry.pss_ns - before_ns
        self._pss_due_ns = now_ns + max(PSS_PERIOD_NS, self._period_ns, int(took_ns / PSS_SHARE))
        return [Sample(memory=memory, at_ns=now_ns)]

    def cost(self) -> Sampled:
        """What it took, after `stop`."""
        return dataclasses.replace(
            self._cost, pss_reads=self._telemetry.pss_reads, pss_ns=self._telemetry.pss_ns
        )

    def _found(self) -> List[Any]:
        sensors = self._telemetry.sensors
        enough = sensors.tells_power and sensors.tells_gpu
        return find_tools(compatible=compatible(), enough=enough, period_s=self._period_ns / 1e9)

    def _work(self) -> None:
        start_ns = time.monotonic_ns()
        due_ns = start_ns + self._period_ns
        while not self._stop.wait(max(0, due_ns - time.monotonic_ns()) / 1e9):
            before_ns = time.thread_time_ns()
            self._sample()
            self._run_tools()
            took_ns = time.thread_time_ns() - before_ns
            # From the time that it was due, so that the rate is kept; never twice to catch up.
            due_ns += max(self._period_ns, int(took_ns / SHARE))
            due_ns = max(due_ns, time.monotonic_ns())
        self._add(cpu_ns=time.thread_time_ns(), wall_ns=time.monotonic_ns() - start_ns)

    def _read(self, *, last: bool = False) -> None:
        """Everything once, on the main thread: a short run has a beginning and an end too.

        No inference waits for that, so it is not counted.
        """
        self._sample()
        self._run_tools(last=last)

    def _sample(self) -> None:
        try:
            self._held.append(self._telemetry.sample())
            self._add(samples=1)
        except Exception as error:  # noqa: BLE001  whatever it is, the measuring goes on
            self._telemetry.note("sample", repr(error))

    def _run_tools(self, *, last: bool = False) -> None:
        for tool in tuple(self._tools):
            if not last and (self._stop.is_set() or not tool.due(time.monotonic_ns())):
                continue
            try:
                said = tool.run()
            except Exception as error:  # noqa: BLE001  a tool costs itself only
                self._telemetry.note(tool.name, str(error) or repr(error))
                self._tools.remove(tool)
                continue
            if said is not None:
                self._held.append(said)
                if said.exit_code:  # told once, then left alone
                    self._telemetry.note(tool.name, f"exit status {said.exit_code}: {said.text}")
                    self._tools.remove(tool)
        self._held.extend(self._telemetry.notes())

    def _tool_costs(self, sign: int) -> None:
        self._add(
            tool_runs=sign * sum(tool.runs for tool in self._all),
            tools_cpu_ns=sign * sum(tool.cpu_ns_so_far() for tool in self._all),
        )

    def _add(self, **more: int) -> None:
        values = {name: getattr(self._cost, name) + value for name, value in more.items()}
        self._cost = dataclasses.replace(self._cost, **values)
