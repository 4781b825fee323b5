"""One run of a plan, told as records in the order in which things happen."""

from __future__ import annotations

import hashlib
import os
import time
from typing import TYPE_CHECKING, Any, Iterator, Optional, Tuple

from . import pages
from .decoding import OutputMismatch, OutputNotFinite
from .detect import Detection
from .expand_kept import Keeper, Kept
from .faults import FileChanged, FileMissing, Interrupted, OutputNotUnderstood
from .frames import FrameUnreadable, decode_picture
from .inputs import InputMismatch
from .pictures import PictureInput, encoded, synthetic
from .plan import Plan, PlanFile
from .probing import samples
from .records import (
    Loaded,
    Loading,
    Memory,
    Peak,
    Sample,
    Skipped,
    Timed,
    TimedInput,
    Warmed,
)
from .runtime import Model, Runtime
from .sampler import Sampler
from .steady import Waiting
from .telemetry import Telemetry

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from .signals import Stopping


class Run:
    """A plan, a runtime and a machine to read.

    keeper: at work already where `kept`, what it has found, is None; closed by who made it.  cpus:
    that are bound to, for the records.
    """

    def __init__(
        self,
        plan: Plan,
        runtime: Runtime,
        telemetry: Telemetry,
        stopping: Stopping,
        keeper: Keeper,
        kept: Optional[Kept],
        *,
        cpus: Tuple[int, ...] = (),
    ) -> None:
        self._plan = plan
        self._cpus = cpus
        self._runtime = runtime
        self._telemetry = telemetry
        self._stopping = stopping
        self._sampler = Sampler(telemetry, period_s=plan.sample_period_s)
        self._keeper, self._kept = keeper, kept
        self._has_run = False

    def records(self) -> Iterator[Any]:
        """Load, warm up, time, detect.  Raises Fault, MemoryError."""
        try:
            yield from self._steps()
        except Interrupted:
            yield from self._end()
            raise
        finally:
            self._sampler.stop()
        yield from self._end()

    def _steps(self) -> Iterator[Any]:
        kept = self._kept
        # No PSS while a child expands: much of ours is shared with it, and would count by half.
        telemetry = self._telemetry
        memory = telemetry.quick_memory() if self._keeper.is_at_work else telemetry.memory()
        # A kept file that is whole is the model that the plan names.
        file_bytes = self._checked_bytes() if kept is None else self._size()
        yield Loading(
            file_bytes=file_bytes,
            memory=memory,
            mem_available_bytes=self._telemetry.mem_available_bytes(),
        )
        model, loaded = self._load(kept, memory)
        yield loaded
        pictures, refusal = self._picture_input(model)
        source, tensors = self._timed_input(model, pictures)
        yield source
        self._sampler.start()
        yield from self._timings(model, tensors)
        yield from self._detections(model, pictures, refusal)

    def _end(self) -> Iterator[Any]:
        """The sampler's last words, what it took, and the memory that the run has needed."""
        self._sampler.stop()
        memory = self._telemetry.memory()
        yield from self._sampler.take()
        yield Sample(memory=memory, at_ns=time.monotonic_ns())
        yield self._sampler.cost()
        yield Peak(memory=memory, peak_pss_bytes=self._telemetry.peak_pss_bytes)

    def _checked_bytes(self) -> int:
        """The size of the model's file, whose content is the one that the plan names."""
        digest, path = hashlib.sha256(), self._plan.model.path.encode("utf-8")
        try:
            with open(path, "rb") as stream:
                for piece in iter(lambda: stream.read(1 << 20), b""):
                    digest.update(piece)
                size = os.fstat(stream.fileno()).st_size
        except OSError as error:
            raise FileMissing(f"the model: {error.strerror}") from error
        if digest.hexdigest() != self._plan.model.sha256:
            raise FileChanged("the model on the board is not the one that was sent")
        return size

    def _size(self) -> int:
        try:
            return os.stat(self._plan.model.path.encode("utf-8")).st_size
        except OSError as error:
            raise FileMissing(f"the model: {error.strerror}") from error

    def _load(self, kept: Optional[Kept], before: Memory) -> Tuple[Model, Loaded]:
        if kept is None:
            kept = self._keeper.make()
        start_ns = time.perf_counter_ns()
        model = Model(
            self._plan.model.path if kept is None else kept.path,
            threads=self._plan.threads,
            runtime=self._runtime,
            imgsz=self._plan.imgsz,
            content=None if kept is None else kept.content,
            packed=self._drop_pages if self._plan.drop_pages else None,
        )
        load_ns = time.perf_counter_ns() - start_ns
        self._drop_pages()
        loaded = Loaded(
            load_ns=load_ns,
            expand_ns=None if kept is None else kept.expand_ns,
            expand_peak_rss_bytes=None if kept is None else kept.peak_rss_bytes,
            expanded_bytes=None if kept is None else kept.size_bytes,
            kept=None if kept is None else kept.how,
            before=before,
            after=self._telemetry.memory(),
            inputs=model.inputs,
            outputs=model.outputs,
            threads=self._plan.threads,
            cpus=self._cpus,
        )
        return model, loaded

    def _picture_input(self, model: Model) -> Tuple[Optional[PictureInput], str]:
        """How pictures go in; None and the reason for a model that takes none."""
        try:
            return PictureInput(model.inputs, self._plan.imgsz), ""
        except InputMismatch as error:
            return None, str(error)

    def _timed_input(
        self, model: Model, pictures: Optional[PictureInput]
    ) -> Tuple[TimedInput, Tuple[NDArray[Any], ...]]:
        """The first picture that can be read, so that the timed layers see real activations."""
        for image in self._plan.images:
            if pictures is None:
                break
            try:
                tensor, _ = pictures.fit(decode_picture(encoded(image)))
            except FrameUnreadable:
                continue  # told as Skipped when its turn comes
            return TimedInput(source="picture", image=image.id), (tensor,)
        return TimedInput(source="synthetic"), synthetic(model.inputs)

    def _timings(self, model: Model, tensors: Tuple[NDArray[Any], ...]) -> Iterator[Any]:
        for index in range(self._plan.warmup):
            yield Warmed(index=index, inference_ns=_time_ns(model, tensors))
            yield from self._between()
        if self._plan.steady_s and not self._is_timed:
            yield from self._until_steady(model, tensors)
        for index in range(self._plan.first_timed, self._plan.timed_runs):
            yield Timed(index=index, inference_ns=_time_ns(model, tensors))
            yield from self._between()

    @property
    def _is_timed(self) -> bool:
        """Whether all was timed before a restart: pictures alone do not wait for a steady state."""
        return 0 < self._plan.timed_runs <= self._plan.first_timed

    def _until_steady(self, model: Model, tensors: Tuple[NDArray[Any], ...]) -> Iterator[Any]:
        """Warm-up inferences until nothing moves any more, or until the time is up."""
        wait = Waiting(self._plan.steady_s, self._plan.warmup, self._telemetry.hottest_c)
        while not wait.is_over:
            inference_ns = _time_ns(model, tensors)
            yield Warmed(index=wait.inferences, inference_ns=inference_ns)
            wait.note(inference_ns)
            yield from self._between()
        yield wait.end()

    def _detections(
        self, model: Model, pictures: Optional[PictureInput], refusal: str
    ) -> Iterator[Any]:
        detection = None if pictures is None else Detection(self._plan, model, pictures)
        first = self._plan.first_image
        for index, image in enumerate(self._plan.images[first:], start=first):
            record = self._detected(detection, index, image, refusal)
            yield record
            if self._plan.probe_values and not isinstance(record, Skipped):
                yield from samples(model, index, image.id, self._plan.probe_values)
            yield from self._between()

    def _detected(
        self, detection: Optional[Detection], index: int, image: PlanFile, refusal: str
    ) -> Any:
        if detection is None:
            return Skipped(index=index, image=image.id, reason=refusal)
        try:
            return detection.of(index, image)
        except FrameUnreadable as error:
            return Skipped(index=index, image=image.id, reason=str(error)[:1000])
        except (OutputMismatch, OutputNotFinite) as error:
            raise OutputNotUnderstood(str(error)) from error

    def _between(self) -> Iterator[Any]:
        """Between two inferences: end if asked to, and tell what the sampler has read."""
        if not self._has_run:
            self._has_run = True
            self._keeper.settle()
            self._drop_pages()
        if self._stopping.name is not None:
            raise Interrupted(self._stopping.name)
        yield from self._sampler.take()
        yield from self._sampler.with_pss()

    def _drop_pages(self) -> None:
        if self._plan.drop_pages:
            pages.drop(self._plan.model.path, *self._keeper.paths)


def _time_ns(model: Model, tensors: Tuple[NDArray[Any], ...]) -> int:
    """Of one inference: set input and invoke."""
    start_ns = time.perf_counter_ns()
    model.run(tensors)
    return time.perf_counter_ns() - start_ns
