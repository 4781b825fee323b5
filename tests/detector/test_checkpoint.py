"""What a checkpoint may hold besides weights, which weights count, and files that are broken."""

from __future__ import annotations

import argparse
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from tests.detector import authors
from tests.detector.comparing import assert_close, outputs_of, pictures
from toolchain.detector import Detector, load_detector
from toolchain.errors import CheckpointError, HostileCheckpoint, NotADetector, NotFinite

OPTIONS = argparse.Namespace(save_dir=Path("touch ran"), epochs=3)


def rewritten(path: Path, change: Callable[[bytes], bytes], to: Path) -> Path:
    """The same zip with another pickle in it."""
    with zipfile.ZipFile(path) as old, zipfile.ZipFile(to, "w") as new:
        for info in old.infolist():
            data = old.read(info)
            if info.filename.endswith("/data.pkl"):
                changed = change(data)
                assert changed != data
                data = changed
            new.writestr(info.filename, data)
    return to


def with_global(path: Path, name: str, to: Path) -> Path:
    """`OPTIONS.save_dir` rebuilt by another global: the protocol-2 stream spells it in text."""
    module, _, attribute = name.rpartition(".")
    new = f"c{module}\n{attribute}\n".encode()
    return rewritten(path, lambda data: data.replace(b"cpathlib\nPosixPath\n", new), to)


@pytest.fixture
def with_options(tmp_path: Path) -> Path:
    content = {"model": authors.small(), "ema": None, "opt": OPTIONS, "epoch": -1}
    return authors.save(tmp_path / "options.pt", content)


def assert_same_weights(one: Detector, other: Detector) -> None:
    assert one.weights.keys() == other.weights.keys()
    for name, conv in one.weights.items():
        np.testing.assert_array_equal(conv.weight, other.weights[name].weight)
        np.testing.assert_array_equal(conv.bias, other.weights[name].bias)


# --- objects beside the weights


@pytest.mark.parametrize(
    "spelling",
    ["pathlib.PosixPath", "pathlib.WindowsPath", "pathlib._local.PosixPath",
     "pathlib._local.WindowsPath"],
)  # fmt: skip
def test_path_objects_in_every_spelling_are_harmless(
    spelling: str, with_options: Path, small_file: Path, tmp_path: Path
) -> None:
    path = with_options
    if spelling != "pathlib.PosixPath":
        path = with_global(with_options, spelling, tmp_path / "other.pt")
    assert_same_weights(load_detector(path), load_detector(small_file))


@pytest.mark.parametrize("name", ["os.system", "posix.system", "subprocess.getoutput"])
def test_a_command_in_the_same_place_is_refused_by_name_and_not_run(
    name: str, with_options: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    hostile = with_global(with_options, name, tmp_path / "hostile.pt")
    with pytest.raises(HostileCheckpoint, match=name):
        load_detector(hostile)
    assert not (tmp_path / "ran").exists()
    authors.load(hostile)  # what torch does with it: the attack is real
    assert (tmp_path / "ran").exists()


@pytest.mark.parametrize(
    "name",
    [
        "builtins.eval",
        "builtins.__import__",
        "torch.load",
        "numpy.load",
        "__main__.Model",
        "collections.OrderedDict.fromkeys",
    ],
)
def test_names_that_no_weights_need_are_refused(
    name: str, with_options: Path, tmp_path: Path
) -> None:
    with pytest.raises(HostileCheckpoint, match=name.replace(".", r"\.")):
        load_detector(with_global(with_options, name, tmp_path / "hostile.pt"))


def test_attributes_are_never_looked_up(tmp_path: Path) -> None:
    """`getattr` spells a bound method: kept on stand-ins, never called, refused elsewhere."""
    model = authors.small()
    model.forward = model.state_dict
    load_detector(authors.save(tmp_path / "method.pt", model))
    pickle = (
        b"\x80\x02cbuiltins\ngetattr\nccollections\nOrderedDict\nX\x08\x00\x00\x00fromkeys\x86R."
    )
    path = authors.save(tmp_path / "x.pt", {"a": 1})
    with pytest.raises(HostileCheckpoint, match=r"builtins\.getattr"):
        load_detector(rewritten(path, lambda _: pickle, tmp_path / "attribute.pt"))


# --- which weights count


def test_the_moving_average_is_used_where_training_was_cut_short(tmp_path: Path) -> None:
    good = authors.small(authors.IDetect).half()
    other = authors.small(authors.IDetect).half()
    for conv in other.model[-1].m:
        conv.bias.neg_()
    optimizer = {"state": {i: {"momentum_buffer": torch.randn(50, 50)} for i in range(100)}}
    training = {"epoch": 12, "best_fitness": np.array([0.4]), "model": other, "ema": good,
                "updates": 1234, "optimizer": optimizer, "wandb_id": None}  # fmt: skip
    whole = load_detector(authors.save(tmp_path / "last.pt", training))
    stripped = load_detector(authors.save(tmp_path / "best.pt", {"model": good, "ema": None}))
    assert_same_weights(whole, stripped)
    assert any("ema" in note for note in whole.notes)
    assert not any("ema" in note for note in stripped.notes)


def test_the_first_yolov5_kept_the_moving_average_in_a_tuple(tmp_path: Path) -> None:
    good, other = authors.small(), authors.small()
    other.model[-1].m[0].bias.neg_()
    path = authors.save(tmp_path / "old.pt", {"model": other, "ema": (good, 7)})
    assert_same_weights(
        load_detector(path), load_detector(authors.save(tmp_path / "good.pt", {"model": good}))
    )


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
def test_other_float_types_are_read(dtype: torch.dtype, tmp_path: Path) -> None:
    model = authors.small().to(dtype)
    path = authors.save(tmp_path / "typed.pt", {"model": model})
    reference = authors.save(tmp_path / "float.pt", {"model": model.float()})
    x = pictures()
    assert_close(
        outputs_of(load_detector(path), x), outputs_of(load_detector(reference), x), relative=1e-5
    )


def test_tensors_may_lie_in_any_order_in_their_storage(tmp_path: Path, small_file: Path) -> None:
    model = authors.small().to(memory_format=torch.channels_last)
    assert not model.model[4].conv.weight.is_contiguous()
    path = authors.save(tmp_path / "last.pt", {"model": model})
    assert_same_weights(load_detector(path), load_detector(small_file))


OLD_FORM = pytest.mark.filterwarnings("ignore:Couldn't retrieve source code")


@OLD_FORM
def test_the_form_before_torch_1_6_is_read(tmp_path: Path, small_file: Path) -> None:
    optimizer = {"state": {0: torch.randn(1000)}}
    content = {"optimizer": optimizer, "model": authors.small()}
    old = authors.save(tmp_path / "old.pt", content, _use_new_zipfile_serialization=False)
    assert not zipfile.is_zipfile(old)
    assert_same_weights(load_detector(old), load_detector(small_file))


# --- numbers


def test_a_filter_of_zeros_stays_zero_and_gives_its_bias(tmp_path: Path) -> None:
    model = authors.small()
    model.model[4].conv.weight[3] = 0
    detector = load_detector(authors.save(tmp_path / "zero.pt", model))
    conv = detector.weights["model.4.conv"]
    norm = model.model[4].bn
    bias = norm.bias - norm.running_mean * norm.weight / (norm.running_var + norm.eps).sqrt()
    assert not conv.weight[3].any()
    assert conv.weight[2].any()
    np.testing.assert_allclose(conv.bias[3], bias[3].item(), rtol=1e-6)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
def test_not_finite_weights_are_refused_with_layer_channel_and_count(
    value: float, tmp_path: Path
) -> None:
    model = authors.small()
    model.model[4].conv.weight[3, 0, 0, :2] = value
    model.model[4].conv.weight[5, 0, 0, 0] = value
    with pytest.raises(NotFinite, match=r"model\.4.* 3 of 2304 .*weight.*channel 3, 5"):
        load_detector(authors.save(tmp_path / "wrong.pt", model))


def test_not_finite_statistics_are_refused(tmp_path: Path) -> None:
    model = authors.small()
    model.model[1].bn.running_var[7] = float("inf")
    with pytest.raises(NotFinite, match=r"model\.1.* 1 of 16 .*running_var.*channel 7"):
        load_detector(authors.save(tmp_path / "wrong.pt", model))
    model.model[1].bn.running_var[7] = -1
    with pytest.raises(CheckpointError, match=r"model\.1: the running variance of channel 7 is -1"):
        load_detector(authors.save(tmp_path / "negative.pt", model))


# --- files that are no checkpoint, or not all of one


def test_a_missing_file_and_a_folder_say_so(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="No such file") as caught:
        load_detector(tmp_path / "none.pt")
    assert "yolov7-seg" in caught.value.hint
    with pytest.raises(CheckpointError, match="Is a directory"):
        load_detector(tmp_path)


@OLD_FORM
@pytest.mark.parametrize("kept", [0, 10, 5_000, 60_000, -1])
@pytest.mark.parametrize("zipped", [True, False], ids=["zip", "legacy"])
def test_a_truncated_file_says_so(kept: int, zipped: bool, tmp_path: Path) -> None:
    path = authors.save(
        tmp_path / "whole.pt", {"model": authors.small()}, _use_new_zipfile_serialization=zipped
    )
    path.write_bytes(path.read_bytes()[:kept])
    with pytest.raises(CheckpointError, match=r"empty|cut off|damaged|header") as caught:
        load_detector(path)
    assert not isinstance(caught.value, (HostileCheckpoint, NotADetector))
    assert "sha256" in caught.value.hint


def test_a_flipped_bit_in_the_weights_is_noticed(small_file: Path) -> None:
    data = bytearray(small_file.read_bytes())
    with zipfile.ZipFile(small_file) as archive:
        largest = max(archive.infolist(), key=lambda info: info.file_size)
    data[largest.header_offset + 500] ^= 1
    small_file.write_bytes(data)
    with pytest.raises(CheckpointError, match="damaged"):
        load_detector(small_file)


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"<!DOCTYPE html><html>Sign in</html>", "web page"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:00\n", "git lfs pull"),
        (b"\x1c\x00\x00\x00TFL3" + bytes(100), "TFLite"),
        (b"\x40\x00\x00\x00\x00\x00\x00\x00" + b'{"model.0.conv.weight":{}}', "safetensors"),
        (b"\x80\x04}\x94.", "plain pickle"),
    ],
    ids=["page", "lfs", "tflite", "safetensors", "pickle"],
)
def test_other_kinds_of_files_are_named(content: bytes, says: str, tmp_path: Path) -> None:
    path = tmp_path / "other.pt"
    path.write_bytes(content)
    with pytest.raises(NotADetector, match=says):
        load_detector(path)


def test_a_torchscript_export_is_named(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "best.torchscript", "w") as archive:
        for name in ("data.pkl", "code/__torch__.py", "constants.pkl", "version"):
            archive.writestr(f"best/{name}", b"x")
    with pytest.raises(NotADetector, match="TorchScript"):
        load_detector(tmp_path / "best.torchscript")
