from __future__ import annotations

import dataclasses
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.quantize import models
from toolchain.errors import DataError, EmptyCalibration, NotFinite, UnsupportedModel
from toolchain.quantize import Calibration, calibrate, load, save


@pytest.fixture
def float_model(float_bytes: bytes, tmp_path: Path) -> Path:
    path = tmp_path / "float.tflite"
    path.write_bytes(float_bytes)
    return path


def same(one: Calibration, other: Calibration) -> bool:
    return (
        dataclasses.replace(one, tensors={}) == dataclasses.replace(other, tensors={})
        and one.tensors.keys() == other.tensors.keys()
        and all(
            np.array_equal(getattr(found, field.name), getattr(other.tensors[name], field.name))
            for name, found in one.tensors.items()
            for field in dataclasses.fields(found)
        )
    )


def test_extremes_and_means_are_those_of_the_float_model(tmp_path: Path) -> None:
    weights = np.array([2.0, -1.0, 0.5], np.float32).reshape(1, 1, 1, 3)
    path = tmp_path / "one.tflite"
    path.write_bytes(models.one_convolution(weights, np.array([0.25], np.float32)))
    images = models.pictures(tmp_path / "pictures", 3)
    runner = models.Runner(path.read_bytes())
    found = calibrate(path, images).tensors
    from targets.agent.frames import letterbox, read_picture

    inputs = [letterbox(read_picture(image), (models.SIDE,) * 2).pixels for image in images]
    outputs = np.stack([runner.real(pixels)["conv"][0] for pixels in inputs])
    np.testing.assert_array_equal(found["conv"].low, outputs.min(axis=(1, 2, 3)))
    np.testing.assert_array_equal(found["conv"].high, outputs.max(axis=(1, 2, 3)))
    np.testing.assert_allclose(found["conv"].mean, outputs.mean(axis=(0, 1, 2)), rtol=1e-5)
    np.testing.assert_allclose(
        found["images"].mean_square,
        ((np.stack(inputs) / 255) ** 2).mean(axis=(0, 1, 2)),
        rtol=1e-5,
    )
    assert found["conv"].counts.sum() == outputs.size


def test_the_same_pictures_give_the_same_bytes(float_model: Path, tmp_path: Path) -> None:
    images = models.pictures(tmp_path / "pictures", 3)
    for name in ("a", "b"):
        save(calibrate(float_model, images), tmp_path / name)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_a_saved_calibration_is_read_back_whole(calibration: Calibration, tmp_path: Path) -> None:
    save(calibration, tmp_path / "calibration.npz")
    assert same(load(tmp_path / "calibration.npz"), calibration)


def test_unreadable_pictures_are_left_out_and_named(float_model: Path, tmp_path: Path) -> None:
    good = models.pictures(tmp_path / "pictures", 3)
    Image.open(good[0]).convert("RGB").resize((200, 200)).save(tmp_path / "cut.jpg")
    whole = (tmp_path / "cut.jpg").read_bytes()
    (tmp_path / "cut.jpg").write_bytes(whole[: len(whole) * 6 // 10])
    (tmp_path / "notes.txt").write_text("no picture")
    bad = [tmp_path / "cut.jpg", tmp_path / "notes.txt", tmp_path / "gone.png"]
    mixed = calibrate(float_model, [bad[0], *good[:2], bad[1], good[2], bad[2]])
    assert mixed.images == tuple(path.name for path in good)
    assert [name for name, _ in mixed.left_out] == ["cut.jpg", "notes.txt", "gone.png"]
    assert all(reason for _, reason in mixed.left_out)
    clean = calibrate(float_model, good)
    assert same(dataclasses.replace(mixed, left_out=()), clean)


def test_no_pictures_at_all_are_refused(float_model: Path) -> None:
    with pytest.raises(EmptyCalibration, match="no calibration images"):
        calibrate(float_model, [])


def test_a_folder_of_unreadable_pictures_is_refused_with_the_count_and_one_reason(
    float_model: Path, tmp_path: Path
) -> None:
    for name in ("a.jpg", "b.jpg"):
        (tmp_path / name).write_bytes(b"\xff\xd8\xff\xe0 and nothing more")
    with pytest.raises(EmptyCalibration, match=r"none of 2 .* a\.jpg: "):
        calibrate(float_model, [tmp_path / "a.jpg", tmp_path / "b.jpg"])


def test_a_16_bit_picture_is_seen_in_all_its_levels(float_model: Path, tmp_path: Path) -> None:
    ramp = np.linspace(0, 65535, 256 * 64).astype(np.uint16).reshape(64, 256)
    Image.fromarray(ramp).save(tmp_path / "ramp.png")
    found = calibrate(float_model, [tmp_path / "ramp.png"]).tensors["images"]
    assert found.mean == pytest.approx(0.47, abs=0.03)  # half grey, or the letterbox's 114


def test_an_activation_that_overflows_names_picture_and_tensor(tmp_path: Path) -> None:
    huge = np.full((2, 1, 1, 3), 3e38, np.float32)
    path = tmp_path / "huge.tflite"
    path.write_bytes(models.one_convolution(huge, np.zeros(2, np.float32)))
    images = models.pictures(tmp_path / "pictures", 2)
    with pytest.raises(NotFinite, match=r"00\.png makes infinity in tensor conv"):
        calibrate(path, images)


def test_a_model_that_takes_no_picture_is_refused(tmp_path: Path) -> None:
    net = models.Net()
    x = net._tensor("vector", (4, 4, 7))
    path = tmp_path / "vector.tflite"
    path.write_bytes(net.finish(x, net.conv(x, 2, "conv")))
    with pytest.raises(UnsupportedModel, match=r"\[1, 4, 4, 7\]"):
        calibrate(path, models.pictures(tmp_path / "pictures", 1))


def damaged(path: Path, name: str, **arrays: np.ndarray) -> Path:
    with np.load(path) as archive:
        entries = {**dict(archive), **arrays}
    np.savez(path.parent / name, **entries)
    return path.parent / name


def test_a_damaged_file_is_refused(calibration: Calibration, tmp_path: Path) -> None:
    path = tmp_path / "good.npz"
    save(calibration, path)
    images = len(calibration.images)
    bad = [
        damaged(path, "nan.npz", **{"0.low": np.full(images, np.nan, np.float32)}),
        damaged(path, "crossed.npz", **{"0.low": np.full(images, 1e9, np.float32)}),
        damaged(path, "short.npz", **{"1.counts": np.zeros(3, np.int64)}),
        damaged(path, "typed.npz", **{"0.mean": np.zeros(1, np.float32)}),
        damaged(path, "header.npz", header=np.frombuffer(b'{"schema": "x"}', np.uint8)),
        damaged(path, "object.npz", **{"0.low": np.array([{}], object)}),
    ]
    (tmp_path / "cut.npz").write_bytes(path.read_bytes()[:1000])
    (tmp_path / "text.npz").write_text("hello")
    bad += [tmp_path / "cut.npz", tmp_path / "text.npz", tmp_path / "absent.npz"]
    for file in bad:
        with pytest.raises(DataError, match=f"{file.name} is no calibration"):
            load(file)
    assert same(load(path), calibration)
    shutil.rmtree(tmp_path)
