from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from targets.errors import FetchError, NotReachable
from targets.files import sha256_file
from toolchain.errors import CheckpointError
from toolchain.weights import WeightsFile, catalogue, place_of, resolve


def test_the_catalogue_pins_every_file_and_knows_where_it_comes_from() -> None:
    assert [*catalogue()] == ["yolov7-seg", "yolov5s-seg", "yolov7"]
    for entry in catalogue().values():
        assert len(entry.sha256) == 64
        assert entry.licence == "GPL-3.0"
        assert (entry.package is None) != (entry.url is None)


@pytest.mark.parametrize("name", ["yolov7-seg", "yolov5s-seg"])
def test_a_name_gives_the_pinned_file(name: str) -> None:
    found = resolve(name)
    entry = catalogue()[name]
    assert found == WeightsFile(name, place_of(entry), entry.sha256, "GPL-3.0")
    assert found.path.stat().st_size == entry.size_bytes
    assert sha256_file(found.path) == entry.sha256


def test_a_path_gives_that_file_without_a_licence(tmp_path: Path) -> None:
    path = tmp_path / "mine.pt"
    path.write_bytes(b"weights")
    digest = hashlib.sha256(b"weights").hexdigest()
    assert resolve(str(path)) == WeightsFile("mine", path, digest, None)


def test_a_path_to_known_bytes_keeps_their_licence(tmp_path: Path) -> None:
    copy = tmp_path / "copy.pt"
    copy.write_bytes(resolve("yolov5s-seg").path.read_bytes())
    assert resolve(str(copy)).licence == "GPL-3.0"


@pytest.mark.parametrize("given", ["yolov7seg", "YOLOv7-seg", "yolo7-seg"])
def test_a_mistyped_name_gets_a_suggestion(given: str) -> None:
    with pytest.raises(CheckpointError, match="no weights called") as caught:
        resolve(given)
    assert "Did you mean yolov7-seg?" in caught.value.hint


def test_a_path_that_is_not_there_says_so(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"nowhere\.pt does not exist"):
        resolve("nowhere.pt")


def test_a_folder_is_called_one_and_the_file_in_it_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(CheckpointError, match="is a folder"):
        resolve(str(tmp_path) + "/")
    monkeypatch.chdir(tmp_path)
    (tmp_path / "best.pt").write_bytes(b"")
    with pytest.raises(CheckpointError, match=r"^\. is a folder, not a checkpoint") as caught:
        resolve(".")
    assert "best.pt" in caught.value.hint


@pytest.fixture
def without_network(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache, and a proxy and an index that nobody listens at."""
    monkeypatch.setenv("HALFBYTE_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("HALFBYTE_INDEX_URL", "http://127.0.0.1:9/simple")
    monkeypatch.setenv("https_proxy", "http://127.0.0.1:9")
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    return tmp_path / "cache"


def test_without_the_authors_release_page_the_error_says_how_to_give_the_file(
    without_network: Path,
) -> None:
    with pytest.raises(NotReachable, match=r"yolov7 could not be fetched") as caught:
        resolve("yolov7")
    for needed in ("yolov7.pt", "75587165 bytes", "--weights path/to/yolov7.pt"):
        assert needed in caught.value.hint


def test_without_an_index_the_error_says_which_file_to_put_where(without_network: Path) -> None:
    with pytest.raises(FetchError) as caught:
        resolve("yolov7-seg")
    package = catalogue()["yolov7-seg"].package
    assert package is not None
    place = without_network / "packages" / package.sha256 / package.filename
    assert str(place) in caught.value.hint
