"""Where work is done: in this process, or on a Dask cluster."""

from __future__ import annotations

import contextlib
import importlib
import time
from collections.abc import Iterator, Sequence
from typing import Any, Final, Protocol

from targets.errors import RunIncomplete
from targets.progress import SILENT, Progress
from toolchain.errors import MissingExtra
from toolchain.study import running
from toolchain.study.material import Material
from toolchain.study.work import Done, Job, do

CONNECT_S: Final = 30.0
POLL_S: Final = 5.0
ALONE_S: Final = 120.0
"""So long a study waits for a worker where there is none left."""

_KEPT: Final = "What is finished is kept; the same command goes on from there."


class Engine(Protocol):
    """Does jobs, in any order."""

    @property
    def width(self) -> int:
        """How many at a time."""

    def results(self, material: Material, jobs: Sequence[Job]) -> Iterator[Done]:
        """One for each job, as they are ready.  Raises what `work.do` raises, RunIncomplete."""


class Here:
    """This process, one job after the other, all CPUs for each."""

    width = 1

    def __init__(self, progress: Progress = SILENT) -> None:
        self._progress = progress

    def results(self, material: Material, jobs: Sequence[Job]) -> Iterator[Done]:
        """In the order of the jobs."""
        for job in jobs:
            yield do(material, job, threads=running.cpus(), progress=self._progress)


class Cluster:
    """Workers of a Dask scheduler: one job at a time on each.

    A job whose worker dies goes to another one.  Workers may come and go.
    """

    def __init__(self, client: Any) -> None:
        self._client = client

    @property
    def width(self) -> int:
        """Workers that are there now, at least 1."""
        return max(1, len(self._workers()))

    def results(self, material: Material, jobs: Sequence[Job]) -> Iterator[Done]:
        """As they come.  Raises RunIncomplete where the cluster is lost."""
        distributed = _distributed()
        futures = [self._client.submit(on_worker, material, job, pure=False) for job in jobs]
        waiting, seen = set(futures), time.monotonic()
        try:
            while waiting:
                with (
                    self._client.as_current(),
                    contextlib.suppress(TimeoutError, distributed.TimeoutError),
                ):
                    distributed.wait(waiting, timeout=POLL_S, return_when="FIRST_COMPLETED")
                if self._client.status == "running" and self._workers():
                    seen = time.monotonic()
                elif time.monotonic() - seen > ALONE_S:
                    raise RunIncomplete("the cluster has no workers any more", hint=_KEPT)
                for future in [one for one in waiting if one.done()]:
                    waiting.remove(future)
                    yield self._result(future)
        finally:
            self._client.cancel(list(waiting))

    def _workers(self) -> dict[str, Any]:
        distributed = _distributed()
        try:
            found: dict[str, Any] = self._client.scheduler_info(n_workers=-1).get("workers", {})
        except (distributed.comm.CommClosedError, OSError, TimeoutError):
            return {}  # the client tries to come back by itself
        return found

    def _result(self, future: Any) -> Done:
        distributed = _distributed()
        killed = distributed.scheduler.KilledWorker
        try:
            done: Done = future.result()
        except killed as error:
            raise RunIncomplete(
                f"workers died again and again of the same cell: {error}",
                hint=f"They may lack memory: start them with --memory-limit 0.  {_KEPT}",
            ) from error
        except (distributed.CancelledError, distributed.comm.CommClosedError, OSError) as error:
            raise RunIncomplete(f"the cluster is lost: {error}", hint=_KEPT) from error
        return done


@contextlib.contextmanager
def cluster(address: str) -> Iterator[Cluster]:
    """A connection to the scheduler at `address`.  Raises MissingExtra, RunIncomplete."""
    distributed = _distributed()
    try:
        client = distributed.Client(address, timeout=CONNECT_S, set_as_default=False)
    except (OSError, ValueError, TimeoutError) as error:
        raise RunIncomplete(
            f"no Dask scheduler answers at {address}: {error}",
            hint="Start one with `dask scheduler`, and workers with `dask worker ADDRESS`.",
        ) from error
    try:
        yield Cluster(client)
    finally:
        client.close(timeout=POLL_S)


def on_worker(material: Material, job: Job) -> Done:
    """`work.do` with the threads that the worker was given."""
    worker = _distributed().get_worker()
    return do(material, job, threads=worker.state.nthreads)


def _distributed() -> Any:
    try:
        return importlib.import_module("distributed")
    except ModuleNotFoundError as error:
        raise MissingExtra(
            "a Dask cluster needs the package distributed",
            hint='Install it: pip install -e ".[study]" in the source folder, here and on workers.',
        ) from error
