from pathlib import Path

import pytest
from PIL import Image

from tests.evaluate.sets import coco, made, picture, truncated
from toolchain.errors import DataError, ImageUnreadable
from toolchain.evaluate import snapshot
from toolchain.evaluate.datasets import load, with_unlabelled
from toolchain.evaluate.pictures import Size, find_pictures, keep_small, upright_size
from toolchain.evaluate.truth import Dataset


@pytest.mark.parametrize("orientation", range(1, 9))
def test_the_size_is_that_of_the_upright_picture(tmp_path: Path, orientation: int) -> None:
    size = upright_size(picture(tmp_path / "a.jpg", 160, 96, orientation=orientation))
    assert size == (Size(96, 160, turned=True) if orientation > 4 else Size(160, 96))


def test_what_is_no_picture_is_an_error_that_names_it(tmp_path: Path) -> None:
    path = tmp_path / "a.jpg"
    path.write_bytes(b"\xff\xd8 not really")
    with pytest.raises(ImageUnreadable, match=r"a\.jpg"):
        upright_size(path)


def test_pictures_are_found_in_folders_below_in_order_and_hidden_ones_passed_over(
    tmp_path: Path,
) -> None:
    for name in ("b/2.PNG", "a.jpeg", "b/1.jpg"):
        picture(tmp_path / name)
    (tmp_path / "._a.jpg").write_bytes(b"resource fork")
    (tmp_path / "notes.txt").write_text("no picture")
    (tmp_path / ".thumbnails").mkdir()
    picture(tmp_path / ".thumbnails" / "a.jpg")
    assert [p.relative_to(tmp_path).as_posix() for p in find_pictures(tmp_path)] == [
        "a.jpeg",
        "b/1.jpg",
        "b/2.PNG",
    ]


def test_a_folder_of_images_alone_has_no_ground_truth(tmp_path: Path) -> None:
    picture(tmp_path / "a.jpg", 160, 96, orientation=6)
    (tmp_path / "broken.png").write_bytes(b"")
    dataset = load(None, tmp_path)
    assert [(p.id, p.width, p.height) for p in dataset.images] == [(1, 96, 160)]
    assert not dataset.has_truth
    assert [e.name for e in dataset.excluded] == ["broken.png"]


def test_an_empty_folder_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no readable image"):
        load(None, tmp_path)


@pytest.mark.parametrize("path", ["nowhere", "nowhere.json"])
def test_a_path_that_does_not_exist_is_an_error(tmp_path: Path, path: str) -> None:
    with pytest.raises(DataError, match=path):
        load(None, tmp_path / path)
    with pytest.raises(DataError, match=path):
        load(tmp_path / path)


def test_pictures_without_labels_join_for_agreement_alone(tmp_path: Path) -> None:
    dataset = load(coco(tmp_path / "labelled"))
    picture(tmp_path / "frames" / "1.png")
    both = with_unlabelled(dataset, tmp_path / "frames")
    assert [(p.id, p.labelled) for p in both.images] == [(1, True), (2, True), (3, False)]
    assert both.labelled().images == dataset.images
    assert any("agreement only" in note for note in both.notes)


def test_only_keeps_the_boxes_of_its_pictures(tmp_path: Path) -> None:
    dataset = load(coco(tmp_path)).only([2])
    assert [p.id for p in dataset.images] == [2]
    assert [b.image_id for b in dataset.boxes] == [2]


def by_name(dataset: Dataset) -> list[tuple[object, ...]]:
    return [(p.id, p.path.name, p.width, p.height, p.labelled) for p in dataset.images]


def test_a_snapshot_reads_as_it_was_and_names_no_folder_of_the_user(tmp_path: Path) -> None:
    dataset = with_unlabelled(load(coco(tmp_path)), tmp_path)
    encoded = snapshot.dump(dataset)
    again = snapshot.parse(encoded)
    assert str(tmp_path).encode() not in encoded
    assert by_name(again) == by_name(dataset)
    assert (again.boxes, again.categories) == (dataset.boxes, dataset.categories)
    assert (again.notes, again.sha256, again.form) == (dataset.notes, dataset.sha256, "coco")
    assert snapshot.dump(again) == encoded


def test_a_snapshot_opens_as_coco(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    from pycocotools.coco import COCO

    path = tmp_path / "dataset.json"
    path.write_bytes(snapshot.dump(load(coco(tmp_path))))
    assert len(COCO(str(path)).getAnnIds(catIds=[1])) == 3


@pytest.mark.parametrize("encoded", [b"{}", b"[]", b'{"halfbyte": {"schema": "x"}}', b"\xff"])
def test_a_damaged_snapshot_is_refused(encoded: bytes) -> None:
    with pytest.raises(DataError):
        snapshot.parse(encoded)


def test_examples_are_small_upright_and_evenly_chosen(tmp_path: Path) -> None:
    for number in range(5):
        picture(tmp_path / f"{number}.jpg", 1600, 800, orientation=6)
    keep_small(load(None, tmp_path), tmp_path / "small", 3)
    small = tmp_path / "small"
    assert sorted(p.name for p in small.iterdir()) == ["1.jpg", "3.jpg", "5.jpg"]
    with Image.open(small / "1.jpg") as image:
        assert image.size == (320, 640)


def test_a_truncated_picture_is_no_example(tmp_path: Path) -> None:
    truncated(tmp_path / "1.jpg")
    picture(tmp_path / "2.jpg")
    keep_small(load(None, tmp_path), tmp_path / "small", 2)
    assert [p.name for p in (tmp_path / "small").iterdir()] == ["2.jpg"]


def test_a_set_of_crowds_alone_has_nothing_to_find() -> None:
    assert not made([(1, 1, 0, 0, 9, 9)], images=1, crowds=[1]).has_truth
