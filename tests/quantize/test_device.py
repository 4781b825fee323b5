"""Where torch computes: chosen, played, and left where it fails."""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from targets.errors import InputError
from tests.quantize import models
from tests.quantize.conftest import Subject
from tests.quantize.pretended import Pretended
from toolchain.quantize import device, gradients, parse
from toolchain.quantize.recovery import Settings

FAILED = "failed on the GPU"
QUICK = Settings(patches=32, epochs=1)


@pytest.fixture
def with_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(device.VARIABLE, raising=False)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)


@pytest.fixture
def without_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(device.VARIABLE, raising=False)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)


@pytest.mark.usefixtures("with_gpu")
def test_a_gpu_is_chosen_unless_the_cpu_is_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    assert device.chosen() == "cuda"
    monkeypatch.setenv(device.VARIABLE, "cpu")
    assert device.chosen() == "cpu"


@pytest.mark.usefixtures("without_gpu")
def test_without_a_gpu_it_is_the_cpu_and_asking_for_cuda_an_error(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert device.chosen() == "cpu"
    monkeypatch.setenv(device.VARIABLE, "cuda")
    with pytest.raises(InputError, match="asks for cuda, and torch finds none"):
        device.chosen()


def test_other_devices_are_refused_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(device.VARIABLE, "tpu")
    with pytest.raises(InputError, match="HALFBYTE_DEVICE is 'tpu'") as refused:
        device.chosen()
    assert "cpu or cuda" in refused.value.hint


@pytest.mark.parametrize(
    "failure", [torch.cuda.OutOfMemoryError("out of memory"), RuntimeError("CUDA error: launch")]
)
@pytest.mark.usefixtures("with_gpu")
def test_what_fails_on_the_gpu_is_done_again_on_the_cpu_with_a_warning(
    failure: RuntimeError, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING):
        assert device.on_best(failing("cuda", failure), "recovery") == "done on cpu"
    assert f"recovery {FAILED}" in caplog.text
    assert str(failure) in caplog.text


@pytest.mark.usefixtures("without_gpu")
def test_what_fails_on_the_cpu_is_not_tried_again() -> None:
    with pytest.raises(RuntimeError, match="broken"):
        device.on_best(failing("cpu", RuntimeError("broken")), "recovery")


def failing(where: str, failure: RuntimeError) -> Callable[[str], str]:
    def work(device: str) -> str:
        if device == where:
            raise failure
        return f"done on {device}"

    return work


def test_the_pretended_gpu_takes_no_mixing_of_devices() -> None:
    with Pretended():
        there, here = torch.ones(3, device="cuda"), torch.ones(3)
        assert (there.device.type, here.device.type) == ("cuda", "cpu")
        with pytest.raises(RuntimeError, match="same device"):
            there + here
        with pytest.raises(RuntimeError, match="same device"):
            torch.cat([here, there])
        with pytest.raises(RuntimeError, match="same device"):
            here[there > 0]
        with pytest.raises(TypeError):
            there.numpy()
        assert (there * 2).cpu().numpy().sum() == 6


@pytest.mark.parametrize("recipe", ["w8c-a8", "w4k-a8", "w4c"])
@pytest.mark.usefixtures("with_gpu")
def test_on_a_gpu_no_tensor_is_left_behind_and_the_model_is_the_same(
    small: Subject, recipe: str, caplog: pytest.LogCaptureFixture
) -> None:
    with Pretended() as gpu, caplog.at_level(logging.WARNING):
        there = small.quantize(parse(recipe), recovery=QUICK)
    assert gpu.operations > 1000
    assert FAILED not in caplog.text
    assert there.model == on_the_cpu(small, recipe, QUICK)


@pytest.mark.parametrize("operations", [20_000, 1 << 30], ids=["full", "whole"])
@pytest.mark.usefixtures("with_gpu")
def test_a_gpu_that_is_full_half_way_changes_no_bit_and_no_budget(
    wide: Subject, operations: int, caplog: pytest.LogCaptureFixture
) -> None:
    settings = dataclasses.replace(QUICK, rate=0.5)
    with Pretended(operations) as gpu, caplog.at_level(logging.WARNING):
        there = wide.quantize(parse("w4e-a8"), recovery=settings)
    assert gpu.operations > 20_000
    assert (f"recovery {FAILED}" in caplog.text) is (operations == 20_000)
    assert (FAILED in caplog.text) is (operations == 20_000)
    assert there.model == on_the_cpu(wide, "w4e-a8", settings)


def on_the_cpu(subject: Subject, recipe: str, settings: Settings) -> bytes:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(device.VARIABLE, "cpu")
        return subject.quantize(parse(recipe), recovery=settings).model


@pytest.mark.parametrize("operations", [300, 1 << 30], ids=["full", "whole"])
@pytest.mark.usefixtures("with_gpu")
def test_sensitivities_are_the_same_on_a_gpu(
    small: Subject, tmp_path: Path, operations: int, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "float.tflite"
    path.write_bytes(small.float_bytes)
    pictures = models.pictures(tmp_path / "pictures", 8)
    with Pretended(operations) as gpu, caplog.at_level(logging.WARNING):
        there = gradients.measure(path, pictures)
    assert gpu.operations > 300
    assert (FAILED in caplog.text) is (operations == 300)
    for name, layer in small.sensitivity.layers.items():
        np.testing.assert_array_equal(there.layers[name].energy, layer.energy)
        np.testing.assert_array_equal(there.layers[name].positions, layer.positions)
    for name, counts in small.sensitivity.counts.items():
        np.testing.assert_array_equal(there.counts[name], counts)
