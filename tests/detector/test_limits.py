"""Checkpoints that lie about sizes, or want more memory or time than reading may take."""

from __future__ import annotations

import pickle
import struct
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from tests.detector import authors
from tests.detector.test_checkpoint import rewritten
from toolchain.detector import load_detector
from toolchain.detector.checkpoint import read_checkpoint
from toolchain.detector.views import View, fault_of
from toolchain.errors import CheckpointError, HostileCheckpoint

SEVEN_BY_ELEVEN = b"K\x07K\x0b\x86"  # how protocol 2 writes (7, 11)


def two(first: int, second: int) -> bytes:
    """How protocol 2 writes a pair of numbers."""
    return b"J" + struct.pack("<i", first) + b"J" + struct.pack("<i", second) + b"\x86"


@pytest.fixture
def tensor_file(tmp_path: Path) -> Path:
    return authors.save(tmp_path / "tensor.pt", {"model": {"weight": torch.ones(7, 11)}})


@pytest.mark.parametrize(
    "shape",
    [two(7, 12), two(1_000_000, 11), two(-7, 11), two(-7, -11), b"K\x07K\x0bK\x01\x87"],
    ids=["one more", "far", "negative", "both negative", "more dimensions than strides"],
)
def test_views_outside_their_storage_are_refused(
    shape: bytes, tensor_file: Path, tmp_path: Path
) -> None:
    assert read_checkpoint(tensor_file).root["weight"].shape == (7, 11)
    hostile = rewritten(
        tensor_file, lambda data: data.replace(SEVEN_BY_ELEVEN, shape), tmp_path / "h.pt"
    )
    with pytest.raises(HostileCheckpoint, match="contradicts itself: a tensor"):
        read_checkpoint(hostile)


@pytest.mark.parametrize("stride", [two(12, 1), two(11, -1), two(2**31 - 1, 1)])
def test_strides_outside_their_storage_are_refused(
    stride: bytes, tensor_file: Path, tmp_path: Path
) -> None:
    change = lambda data: data.replace(b"K\x0bK\x01\x86", stride)  # noqa: E731
    with pytest.raises(HostileCheckpoint, match="contradicts itself: a tensor"):
        read_checkpoint(rewritten(tensor_file, change, tmp_path / "hostile.pt"))


def test_a_storage_longer_than_its_record_is_refused(tensor_file: Path, tmp_path: Path) -> None:
    change = lambda data: data.replace(b"KMt", b"M\xff\xfft")  # noqa: E731
    with pytest.raises(HostileCheckpoint, match="308 bytes, its tensors need 262140"):
        read_checkpoint(rewritten(tensor_file, change, tmp_path / "hostile.pt"))


def test_one_number_does_not_become_a_filter(tmp_path: Path) -> None:
    model = authors.small()
    model.model[4].conv.weight = torch.nn.Parameter(
        torch.ones(1).expand(16, 16, 3, 3), requires_grad=False
    )
    with pytest.raises(HostileCheckpoint, match="only 1 numbers"):
        load_detector(authors.save(tmp_path / "expanded.pt", model))


def test_a_compressed_bomb_in_the_weights_stops_at_the_limit(tmp_path: Path) -> None:
    limit_bytes, numbers = 384 << 20, 100 << 20
    bomb = authors.save(tmp_path / "tensor.pt", {"model": {"weight": torch.ones(7, 11)}})
    with (
        zipfile.ZipFile(bomb) as old,
        zipfile.ZipFile(tmp_path / "b.pt", "w", 8, compresslevel=1) as new,
    ):
        for info in old.infolist():
            data = old.read(info)
            if info.filename.endswith("data.pkl"):
                data = data.replace(b"KMt", b"J" + struct.pack("<i", numbers) + b"t")
            if not info.filename.endswith("data/0"):
                new.writestr(info.filename, data)
        with new.open("tensor/data/0", "w", force_zip64=True) as record:
            for _ in range(numbers * 4 >> 20):
                record.write(bytes(1 << 20))
    assert (tmp_path / "b.pt").stat().st_size < 10 << 20
    with pytest.raises(HostileCheckpoint, match=f"more than {limit_bytes} bytes"):
        read_checkpoint(tmp_path / "b.pt", limit_bytes=limit_bytes)


def test_a_compressed_bomb_in_the_pickle_is_not_unpacked(tensor_file: Path, tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "bomb.pt", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("archive/data.pkl", b"\x80\x02" + b"N0" * (33 << 20) + b"N.")
    with pytest.raises(HostileCheckpoint, match=r"data\.pkl states"):
        read_checkpoint(tmp_path / "bomb.pt")


def test_memory_beyond_the_limit_is_not_given(tmp_path: Path) -> None:
    """A memo index of 4 billion makes any pickle reader ask for a table of 32 GB and more."""
    greedy = b"\x80\x02Nr\xff\xff\xff\xff."
    path = authors.save(tmp_path / "x.pt", {"a": 1})
    with pytest.raises(CheckpointError, match="more than 1024 MiB"):
        read_checkpoint(rewritten(path, lambda _: greedy, tmp_path / "g.pt"), limit_bytes=1 << 30)


def test_a_pickle_without_end_is_stopped(tmp_path: Path) -> None:
    """Keys of one hash make a dict quadratic: a megabyte of them takes minutes."""
    colliding = {index * (2**61 - 1): None for index in range(3)}
    body = pickle.dumps(colliding, 2)
    assert hash([*colliding][2]) == 0
    keys = b"".join(
        b"\x8a" + bytes([len(raw)]) + raw + b"N"
        for index in range(1, 200_000)
        if (raw := (index * (2**61 - 1)).to_bytes(11, "little", signed=True))
    )
    endless = b"\x80\x02}(" + keys + b"u."
    path = authors.save(tmp_path / "x.pt", {"a": 1})
    assert body
    with pytest.raises(CheckpointError, match="stopped"):
        read_checkpoint(rewritten(path, lambda _: endless, tmp_path / "e.pt"), limit_s=2)


def test_repetition_inside_a_pickle_does_not_multiply(tmp_path: Path) -> None:
    """Forty lists, each holding the one before twice: 2**40 entries for whoever walks them."""
    nested: list[object] = []
    for _ in range(40):
        nested = [nested, nested]
    path = authors.save(tmp_path / "laughs.pt", {"model": authors.small(), "epoch": nested})
    load_detector(path)
    model = authors.small()
    model.history = nested
    load_detector(authors.save(tmp_path / "inside.pt", {"model": model}))


def test_modules_that_contain_themselves_are_refused(tmp_path: Path) -> None:
    model = authors.small()
    block = authors.C3(16, 16)
    block.m = torch.nn.Sequential()
    block.m._modules["0"] = block.m
    block.f, block.i = -1, 2
    model.model[2] = block
    with pytest.raises(CheckpointError, match="more than 20000 modules"):
        load_detector(authors.save(tmp_path / "loop.pt", model))
    nested = torch.nn.Sequential()
    for _ in range(10):
        nested = torch.nn.Sequential(*[nested] * 20)
    nested.f, nested.i = -1, 2
    model.model[2] = nested
    with pytest.raises(CheckpointError, match="more than 20000 modules"):
        load_detector(authors.save(tmp_path / "wide.pt", model))


def test_control_characters_of_a_hostile_name_are_not_shown(tmp_path: Path) -> None:
    path = authors.save(tmp_path / "x.pt", {"a": 1})
    attack = b"\x80\x02cos\x1b[2J\nsystem\n."
    with pytest.raises(HostileCheckpoint) as caught:
        read_checkpoint(rewritten(path, lambda _: attack, tmp_path / "escape.pt"))
    assert caught.value.message.isprintable()


sizes = st.integers(0, 6)


@given(st.lists(st.tuples(sizes, sizes), max_size=4), st.integers(0, 20), st.integers(0, 200))
def test_a_view_is_accepted_exactly_where_all_its_numbers_exist(
    dimensions: list[tuple[int, int]], offset: int, numbers: int
) -> None:
    shape = tuple(size for size, _ in dimensions)
    stride = tuple(step for _, step in dimensions)
    places = offset + sum(
        (index * step for index, step in zip(np.indices(shape), stride, strict=True)),
        np.zeros(shape, int),
    )
    inside = bool((places < numbers).all())
    assert (fault_of(View(0, offset, shape, stride), numbers) is None) == inside
