"""The same model in two places: what differs is told in steps, layer by layer."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from targets import loopback
from targets.agent.records import Probed
from targets.agent.wire import Envelope
from targets.errors import NoRuntime, StreamBroken
from tests.quantize import models
from tests.quantize.conftest import calibrated
from tests.tflite import broken
from toolchain import boardcheck, onhost
from toolchain.boardcheck import Probes, compare, plan_batches
from toolchain.bundle import Bundle
from toolchain.errors import UnsupportedModel
from toolchain.quantize import W8C_A8, quantize
from toolchain.tflite.flatbuffer import parse
from toolchain.tflite.probing.cutting import probe, size_bytes
from toolchain.tflite.view import View


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[bytes, bytes, tuple[Path, ...]]:
    folder = tmp_path_factory.mktemp("made")
    model = models.detector()
    w8 = quantize(model, calibrated(model, folder), W8C_A8).model
    return w8, broken.as_int4(w8), tuple(sorted((folder / "pictures").iterdir())[:2])


def test_loopback_computes_what_this_machine_computes(
    made: tuple[bytes, bytes, tuple[Path, ...]], tmp_path: Path
) -> None:
    _, w4, images = made
    path = tmp_path / "w4.tflite"
    path.write_bytes(w4)
    with loopback.started(home=tmp_path / "home") as target:
        result = boardcheck.check(path, target, images, memory_bytes=20_000)
        left = [p for p in (tmp_path / "home").rglob("*") if p.is_file() and p.stat().st_size < 1e5]
        assert not [p for p in left if p.read_bytes()[4:8] == b"TFL3"], "probes stayed there"
    view = View(parse(w4))
    assert [layer.tensor for layer in result.layers] == [
        view.name(tensor) for tensor in view.activations if tensor not in view.inputs
    ]
    assert result.batches > 1
    assert result.runtime is not None
    assert result.worst.max_steps <= 1  # the same processor, perhaps another version
    assert result.first is None
    sizes = {view.name(t): view.tensors[t].elements for t in view.activations}
    assert all(layer.values == 2 * sizes[layer.tensor] for layer in result.layers)


def test_other_kernels_differ_by_some_steps_and_stay_within_the_bound(
    made: tuple[bytes, bytes, tuple[Path, ...]], tmp_path: Path
) -> None:
    w8, _, images = made
    path = tmp_path / "w8.tflite"
    path.write_bytes(w8)
    with loopback.started(home=tmp_path / "home") as target:
        other = dataclasses.replace(target, runtime="tflite-runtime")
        try:
            result = boardcheck.check(path, other, images)
        except NoRuntime as error:
            pytest.skip(error.message)  # it ends with Python 3.11
    assert str(result.runtime).startswith("tflite-runtime")
    assert 0 < result.worst.max_steps <= boardcheck.BOUND_STEPS
    assert result.first is None
    assert {layer.kind for layer in result.layers if not layer.judged} == {"LOGISTIC"}


def swapped(model: bytes) -> Probes:
    """A board whose kernels compute as if the model were another one: same graph, other weights."""
    view = View(parse(model))

    def run(job: Bundle) -> Iterator[Envelope]:
        asked = View(parse(job.model.source.read_bytes()))
        path = job.model.source.with_name("swapped.tflite")
        path.write_bytes(probe(view, asked.outputs))
        from targets.items import Item

        yield from onhost.run(dataclasses.replace(job, model=Item.of_file(path)))

    return Probes(run)


def test_the_first_layer_beyond_the_bound_is_where_the_board_differs(
    made: tuple[bytes, bytes, tuple[Path, ...]],
) -> None:
    w8, _, images = made
    other = broken.refiltered(w8, "inner/weights", lambda codes: np.roll(codes, 1, axis=0))
    view = View(parse(w8))
    [batch] = plan_batches(view, 1 << 20)
    layers = list(compare(view, batch, images, Probes(onhost.run), swapped(other)))
    result = boardcheck.BoardCheck("board", None, 2, 32, 1 << 20, 1, tuple(layers))
    assert result.first is not None
    assert (result.first.layer, result.first.kind) == ("inner", "CONV_2D")
    before = [layer for layer in layers if layer.operator < result.first.operator]
    assert before
    assert {layer.max_steps for layer in before} == {0}
    assert {layer.differing for layer in before} == {0}
    assert result.worst.max_steps > 50


def test_a_board_that_says_something_else_is_an_error_of_the_stream(
    made: tuple[bytes, bytes, tuple[Path, ...]],
) -> None:
    w8, _, images = made
    view = View(parse(w8))
    [batch] = plan_batches(view, 1 << 20)

    def lying(change: dict[str, object]) -> Probes:
        def run(job: Bundle) -> Iterator[Envelope]:
            for envelope in onhost.run(job):
                record = envelope.record
                if isinstance(record, Probed):
                    record = dataclasses.replace(record, **change)  # type: ignore[arg-type]
                yield dataclasses.replace(envelope, record=record)

        return Probes(run)

    for change in ({"dtype": "uint8"}, {"sample": "AAAA"}, {"output": 99}):
        with pytest.raises(StreamBroken, match="probe"):
            list(compare(view, batch, images[:1], Probes(onhost.run), lying(change)))


def test_batches_fit_the_memory_and_a_float_model_has_no_steps(
    made: tuple[bytes, bytes, tuple[Path, ...]],
) -> None:
    view = View(parse(made[0]))
    found = plan_batches(view, 10_000)
    assert sum(map(len, found)) == len(view.activations) - 1
    for batch in found:
        assert len(batch) == 1 or sum(size_bytes(view, tensor) for tensor in batch) <= 10_000
    with pytest.raises(UnsupportedModel, match="no quantized activations"):
        plan_batches(View(parse(models.detector())), 10_000)
