"""The file of a sensitivity, and what is done about files that are none."""

from __future__ import annotations

import io
import json
import tracemalloc
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.quantize.conftest import Subject
from toolchain.errors import DataError
from toolchain.quantize import calibration, sensitivity
from toolchain.quantize.histogram import BINS
from toolchain.quantize.sensitivity import LayerSensitivity, Sensitivity, load, save

MADE = Sensitivity(
    model_sha256="ab" * 32,
    images=("a.png", "søppel—1.jpg"),
    counts={"x": np.linspace(0, 1, BINS), "y": np.zeros(BINS)},
    layers={"conv": LayerSensitivity(np.array([1.0, 0.0]), np.ones((2, 4, 3), np.float32))},
)


def same(one: Sensitivity, other: Sensitivity) -> bool:
    return (
        (one.model_sha256, one.images) == (other.model_sha256, other.images)
        and one.counts.keys() == other.counts.keys()
        and one.layers.keys() == other.layers.keys()
        and all(np.array_equal(one.counts[name], other.counts[name]) for name in one.counts)
        and all(
            np.array_equal(layer.energy, other.layers[name].energy)
            and np.array_equal(layer.positions, other.layers[name].positions)
            for name, layer in one.layers.items()
        )
    )


def changed(path: Path, **arrays: Any) -> Path:
    """The file with other arrays, by numpy's own writer."""
    save(MADE, path)
    with np.load(path) as archive:
        entries = {**archive, **arrays}
    np.savez(path, **entries)
    return path


def headed(**fields: Any) -> np.ndarray[Any, Any]:
    header = {
        "schema": "halfbyte.sensitivity",
        "version": 1,
        "model_sha256": "ab" * 32,
        "images": ["a.png", "b.png"],
        "tensors": ["x", "y"],
        "layers": ["conv"],
    } | fields
    return np.frombuffer(json.dumps(header).encode(), np.uint8)


@pytest.mark.parametrize("found", ["made", "measured"])
def test_a_saved_sensitivity_is_read_back_whole(found: str, small: Subject, tmp_path: Path) -> None:
    value = MADE if found == "made" else small.sensitivity
    save(value, tmp_path / "sensitivity.npz")
    assert same(load(tmp_path / "sensitivity.npz"), value)


def test_the_same_sensitivity_gives_the_same_bytes(tmp_path: Path) -> None:
    for name in ("a", "b"):
        save(MADE, tmp_path / name)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_a_copy_written_by_numpy_is_as_good(tmp_path: Path) -> None:
    assert same(load(changed(tmp_path / "plain.npz")), MADE)


@pytest.mark.parametrize(
    "arrays",
    [
        {"energy.0": np.array([np.nan, 1.0])},
        {"energy.0": np.array([-1.0, 1.0])},
        {"energy.0": np.array([np.inf, 1.0])},
        {"energy.0": np.ones((2, 2))},
        {"energy.0": np.ones(2, np.float32)},
        {"energy.0": np.array([{}, 1], object)},
        {"positions.0": np.ones((3, 4, 3), np.float32)},
        {"positions.0": np.ones((2, 12), np.float32)},
        {"positions.0": np.ones((2, 4, 3))},
        {"counts.1": np.ones(3)},
        {"counts.1": np.full(BINS, "1")},
        {"header": headed(schema="halfbyte.calibration")},
        {"header": headed(version=2)},
        {"header": headed(tensors=["x", "y", "z"])},
        {"header": headed(layers=7)},
        {"header": headed(images=["a.png"])},
        {"header": np.frombuffer(b"[" * 100_000, np.uint8)},
        {"header": np.frombuffer(b"\xff\xfe", np.uint8)},
        {"header": np.frombuffer(b'["schema"]', np.uint8)},
        {"header": np.ones(4)},
    ],
)
def test_numbers_that_do_not_fit_are_refused(arrays: dict[str, Any], tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"bad\.npz is no sensitivity") as refused:
        load(changed(tmp_path / "bad.npz", **arrays))
    assert "measure again" in refused.value.hint


def test_what_is_no_archive_is_refused(tmp_path: Path) -> None:
    (tmp_path / "text.npz").write_text("hello")
    (tmp_path / "empty.npz").write_bytes(b"")
    with zipfile.ZipFile(tmp_path / "other.npz", "w") as archive:
        archive.writestr("header.npy", "no array")
    with zipfile.ZipFile(tmp_path / "nothing.npz", "w"):
        pass
    for name in ("text", "empty", "other", "nothing", "absent"):
        with pytest.raises(DataError, match=f"{name}.npz is no sensitivity"):
            load(tmp_path / f"{name}.npz")


@settings(max_examples=150)
@given(st.data())
def test_a_damaged_file_is_refused_or_harmless(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    path = tmp_path_factory.getbasetemp() / "damaged.npz"
    save(MADE, path)
    content = bytearray(path.read_bytes())
    for _ in range(data.draw(st.integers(1, 4))):
        place = data.draw(st.integers(0, len(content) - 1))
        content[place] = data.draw(st.integers(0, 255))
    content = content[: data.draw(st.integers(len(content) - 50, len(content)))]
    path.write_bytes(content)
    try:
        found = load(path)
    except DataError:
        return
    assert np.isfinite(found.layers[next(iter(found.layers))].energy).all()


def bomb(path: Path, claim: int, size: int, shape: str) -> Path:
    """An archive whose header is `size` zeros, said to be `claim` bytes and of that shape."""
    array = io.BytesIO()
    array.write(b"\x93NUMPY\x01\x00")
    text = f"{{'descr': '|u1', 'fortran_order': False, 'shape': {shape}, }}".encode()
    array.write(len(text).to_bytes(2, "little") + text)
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("header.npy", array.getvalue() + bytes(size))
    data = path.read_bytes()
    real = (len(array.getvalue()) + size).to_bytes(4, "little")
    path.write_bytes(data.replace(real, claim.to_bytes(4, "little")))
    return path


@pytest.mark.parametrize("reader", [sensitivity, calibration])
@pytest.mark.parametrize(
    ("claim", "size", "shape"),
    [
        (200, 40 << 20, "(100,)"),  # inflates to more than it says
        (120, 40, "(1000000000000,)"),  # an array of more than there is
        (120, 40, "(-1,)"),
        (0xF0000000, 1 << 20, "(4000000000,)"),  # more than is ever taken
    ],
)
def test_a_file_cannot_make_its_reader_take_memory(
    reader: Any, claim: int, size: int, shape: str, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.setattr(reader, "MAX_FILE_BYTES", 1 << 30)
    path = bomb(tmp_path / "bomb.npz", claim, size, shape)
    tracemalloc.start()
    try:
        with pytest.raises(DataError):
            reader.load(path)
        assert tracemalloc.get_traced_memory()[1] < 8 << 20
    finally:
        tracemalloc.stop()
