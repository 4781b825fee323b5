"""Wheels without what a board does not need, as they lie in the cache: right, or made anew."""

from __future__ import annotations

import base64
import hashlib
import os
import zipfile
from collections.abc import Mapping
from pathlib import Path

import pytest

from targets.files import sha256_file
from targets.provision.catalogue import Wheel
from targets.provision.wheels import Parcel, parcels

NAME = "tiny-1.0-py3-none-any.whl"


@pytest.fixture(autouse=True)
def _cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HALFBYTE_CACHE", str(tmp_path / "cache"))


def write(path: Path, members: Mapping[str, bytes]) -> None:
    """A wheel, with a RECORD that is right."""
    lines = "".join(
        f"{name},sha256={_digest(data)},{len(data)}\n" for name, data in members.items()
    )
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in members.items():
            archive.writestr(name, data)
        archive.writestr("tiny-1.0.dist-info/RECORD", f"{lines}tiny-1.0.dist-info/RECORD,,\n")


def _digest(data: bytes) -> str:
    return base64.urlsafe_b64encode(hashlib.sha256(data).digest()).rstrip(b"=").decode()


@pytest.fixture
def wheel(tmp_path: Path) -> Wheel:
    house = tmp_path / "house"
    house.mkdir()
    path = house / NAME
    write(path, {"tiny/__init__.py": os.urandom(5000), "tiny/tests/test_it.py": b"assert True"})
    size_bytes = path.stat().st_size
    return Wheel("tiny", "1.0", NAME, sha256_file(path), size_bytes, omit=("tiny/tests/*",))


def parcel(tmp_path: Path, wheel: Wheel) -> Parcel:
    (only,) = parcels([wheel], wheelhouse=tmp_path / "house")
    return only


def place(parcel: Parcel) -> Path:
    assert isinstance(parcel.item.source, Path)
    return parcel.item.source


def test_what_a_board_does_not_need_is_left_out_and_the_rest_is_as_it_was(
    tmp_path: Path, wheel: Wheel
) -> None:
    first = parcel(tmp_path, wheel)
    with (
        zipfile.ZipFile(place(first)) as small,
        zipfile.ZipFile(tmp_path / "house" / NAME) as whole,
    ):
        assert small.namelist() == ["tiny/__init__.py", "tiny-1.0.dist-info/RECORD"]
        assert all(small.read(name) == whole.read(name) for name in small.namelist())


def test_a_small_wheel_that_is_right_is_not_made_again(tmp_path: Path, wheel: Wheel) -> None:
    first = parcel(tmp_path, wheel)
    made_ns = place(first).stat().st_mtime_ns
    assert parcel(tmp_path, wheel) == first
    assert place(first).stat().st_mtime_ns == made_ns


@pytest.mark.parametrize("at", [40, 600, -200, -30, -6])
def test_a_small_wheel_with_one_bit_changed_is_never_sent(
    tmp_path: Path, wheel: Wheel, at: int
) -> None:
    """In a name, in what is compressed, in the directory, in the record of its end."""
    first = parcel(tmp_path, wheel)
    data = bytearray(place(first).read_bytes())
    data[at] ^= 1
    place(first).write_bytes(data)
    assert parcel(tmp_path, wheel).item.sha256 == first.item.sha256
    assert sha256_file(place(first)) == first.item.sha256


@pytest.mark.parametrize("kept_bytes", [0, 100, 5100])
def test_a_small_wheel_that_was_cut_short_is_never_sent(
    tmp_path: Path, wheel: Wheel, kept_bytes: int
) -> None:
    first = parcel(tmp_path, wheel)
    os.truncate(place(first), kept_bytes)
    assert parcel(tmp_path, wheel).item.sha256 == first.item.sha256


def test_another_wheel_in_its_place_is_never_sent_though_its_own_record_is_right(
    tmp_path: Path, wheel: Wheel
) -> None:
    first = parcel(tmp_path, wheel)
    write(place(first), {"tiny/__init__.py": b"another's"})
    assert parcel(tmp_path, wheel).item.sha256 == first.item.sha256
    write(place(first), {"tiny/__init__.py": bytes(5000)})  # of the same size
    assert parcel(tmp_path, wheel).item.sha256 == first.item.sha256
