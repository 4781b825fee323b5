import copy
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.evaluate.sets import PEOPLE, PERFECT, coco, picture, truncated
from tests.places import shared_coco
from toolchain.errors import DataError
from toolchain.evaluate.coco_ap import average_precision
from toolchain.evaluate.datasets import load

Change = Callable[[dict[str, Any]], object]


def changed(change: Change) -> dict[str, Any]:
    content = copy.deepcopy(PEOPLE)
    change(content)
    return content


def test_missing_area_and_iscrowd_are_filled_in_and_said(tmp_path: Path) -> None:
    dataset = load(coco(tmp_path))
    assert [box.area for box in dataset.boxes] == [1600, 2500, 3600]
    assert not any(box.crowd for box in dataset.boxes)
    assert any("no area" in note for note in dataset.notes)
    assert any("no iscrowd" in note for note in dataset.notes)
    assert average_precision(dataset, PERFECT).ap == pytest.approx(1.0)


def test_annotation_id_zero_is_renumbered_so_that_a_match_is_no_miss(tmp_path: Path) -> None:
    def from_zero(content: dict[str, Any]) -> None:
        for number, annotation in enumerate(content["annotations"]):
            annotation |= {"id": number, "area": 100.0, "iscrowd": 0}

    dataset = load(coco(tmp_path, changed(from_zero)))
    assert [box.id for box in dataset.boxes] == [1, 2, 3]
    assert any("renumbered" in note for note in dataset.notes)
    assert average_precision(dataset, PERFECT).ap == pytest.approx(1.0)


def test_repeated_annotation_ids_are_renumbered(tmp_path: Path) -> None:
    content = changed(lambda c: c["annotations"][2].update(id=1))
    dataset = load(coco(tmp_path, content))
    assert [box.id for box in dataset.boxes] == [1, 2, 3]
    assert average_precision(dataset, PERFECT).ap == pytest.approx(1.0)


def test_good_ids_are_kept_and_nothing_is_said(tmp_path: Path) -> None:
    def whole(content: dict[str, Any]) -> None:
        for annotation in content["annotations"]:
            annotation |= {"id": annotation["id"] + 10**13, "area": 5.5, "iscrowd": 0}

    dataset = load(coco(tmp_path, changed(whole)))
    assert [box.id for box in dataset.boxes] == [10**13 + n for n in (1, 2, 3)]
    assert dataset.notes == ()


def test_category_ids_with_gaps_are_kept(tmp_path: Path) -> None:
    def gaps(content: dict[str, Any]) -> None:
        content["categories"] = [{"id": 90, "name": "toothbrush"}, {"id": 1, "name": "person"}]

    dataset = load(coco(tmp_path, changed(gaps)))
    assert [(c.id, c.name) for c in dataset.categories] == [(1, "person"), (90, "toothbrush")]


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda c: c.pop("images"), "'images' is missing"),
        (lambda c: c.update(annotations={}), "'annotations' is missing or no list"),
        (lambda c: c["images"].clear(), "no images"),
        (lambda c: c["categories"].clear(), "no categories"),
        (lambda c: c["images"].append(3), "images[2] is no object"),
        (lambda c: c["images"][0].update(id="1"), "images[0].id is '1'"),
        (lambda c: c["images"][1].update(id=1), "images[1].id 1 is there twice"),
        (lambda c: c["images"][1].update(file_name=""), "images[1].file_name"),
        (lambda c: c["categories"].append({"id": 1, "name": "x"}), "categories[1].id 1"),
        (lambda c: c["annotations"][1].pop("bbox"), "annotations[1].bbox is missing"),
        (lambda c: c["annotations"][1].update(bbox=[1, 2, 3]), "annotations[1].bbox"),
        (lambda c: c["annotations"][1].update(bbox=[1, 2, "x", 4]), "annotations[1].bbox[2]"),
        (lambda c: c["annotations"][1].update(bbox=[50, 50, -3, 4]), "width -3"),
        (lambda c: c["annotations"][0].update(image_id=9), "annotations[0].image_id 9"),
        (lambda c: c["annotations"][0].update(category_id=7), "annotations[0].category_id 7"),
        (lambda c: c["annotations"][0].update(iscrowd=2), "annotations[0].iscrowd is 2"),
        (lambda c: c["annotations"][0].update(area="big"), "annotations[0].area"),
    ],
)
def test_what_is_wrong_is_told_with_file_and_field(
    tmp_path: Path, change: Change, told: str
) -> None:
    for entry in PEOPLE["images"]:
        picture(tmp_path / entry["file_name"])
    path = tmp_path / "instances.json"
    path.write_text(json.dumps(changed(change)))
    with pytest.raises(DataError) as caught:
        load(path)
    assert caught.value.message.startswith("instances.json: ")
    assert told in caught.value.message
    assert caught.value.hint


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ('{"images": [', "not JSON"),
        ('{"images": [{"id": NaN}]}', "NaN is not JSON"),
        ("[]", "a list, not an object"),
        ("7", "no JSON object"),
        ("[" * 100_000, "not JSON"),
    ],
)
def test_files_that_are_no_annotations_are_refused(tmp_path: Path, text: str, told: str) -> None:
    path = tmp_path / "x.json"
    path.write_text(text)
    with pytest.raises(DataError, match=told):
        load(path)


def test_pictures_that_are_not_there_are_left_out_and_named(tmp_path: Path) -> None:
    path = coco(tmp_path)
    (tmp_path / "b.jpg").unlink()
    dataset = load(path)
    assert [picture.id for picture in dataset.images] == [1]
    assert {box.image_id for box in dataset.boxes} == {1}
    assert [(e.name, "not found" in e.reason) for e in dataset.excluded] == [("b.jpg", True)]


def test_no_picture_at_all_is_an_error_that_says_where_it_looked(tmp_path: Path) -> None:
    path = coco(tmp_path)
    empty = tmp_path / "empty"
    empty.mkdir()
    with pytest.raises(DataError, match="none of its 2 images") as caught:
        load(path, empty)
    assert str(empty) in caught.value.hint


def test_names_that_climb_out_of_the_folder_count_by_their_last_part(tmp_path: Path) -> None:
    outside = picture(tmp_path / "secret.jpg")
    images = tmp_path / "images"
    picture(images / "a.jpg")

    def climb(content: dict[str, Any]) -> None:
        content["images"][0]["file_name"] = "train/a.jpg"  # a path of another machine
        content["images"][1]["file_name"] = "../secret.jpg"

    path = tmp_path / "instances.json"
    path.write_text(json.dumps(changed(climb)))
    dataset = load(path, images)
    assert [p.path for p in dataset.images] == [images / "a.jpg"]
    assert [e.name for e in dataset.excluded] == ["../secret.jpg"]
    assert outside.exists()


def test_a_picture_annotated_before_its_exif_turn_is_left_out_and_named(tmp_path: Path) -> None:
    def sizes(content: dict[str, Any]) -> None:
        content["images"][0].update(width=160, height=96)
        content["images"][1].update(width=96, height=160)

    picture(tmp_path / "a.jpg", 160, 96, orientation=6)
    picture(tmp_path / "b.jpg", 160, 96, orientation=6)
    dataset = load(coco(tmp_path, changed(sizes)))
    [good] = dataset.images
    assert (good.path.name, good.width, good.height) == ("b.jpg", 96, 160)
    [left_out] = dataset.excluded
    assert left_out.name == "a.jpg"
    assert "EXIF" in left_out.reason


def test_a_picture_of_another_size_is_left_out_and_named(tmp_path: Path) -> None:
    picture(tmp_path / "a.jpg", 400, 400)
    dataset = load(coco(tmp_path))
    assert [e.name for e in dataset.excluded] == ["a.jpg"]
    assert "200 x 200, but the picture is 400 x 400" in dataset.excluded[0].reason


def test_a_file_that_is_no_picture_is_left_out_and_named(tmp_path: Path) -> None:
    path = coco(tmp_path)
    (tmp_path / "a.jpg").write_bytes(b"<html>not found</html>")
    assert [e.name for e in load(path).excluded] == ["a.jpg"]


def test_a_truncated_picture_keeps_its_bytes_and_its_place(tmp_path: Path) -> None:
    """Its head is whole; that it ends early is found where it is decoded."""
    path = coco(tmp_path)
    before = truncated(tmp_path / "a.jpg").read_bytes()
    assert len(load(path).images) == 2
    assert (tmp_path / "a.jpg").read_bytes() == before


def test_boxes_without_extent_are_left_out_and_said(tmp_path: Path) -> None:
    dataset = load(coco(tmp_path, changed(lambda c: c["annotations"][0].update(bbox=[5, 5, 0, 9]))))
    assert len(dataset.boxes) == 2
    assert any("nobody can find" in note for note in dataset.notes)


def test_the_usual_places_of_pictures_are_found(tmp_path: Path) -> None:
    for name in ("a.jpg", "b.jpg"):
        picture(tmp_path / "val2017" / name)
    path = tmp_path / "annotations" / "instances_val2017.json"
    path.parent.mkdir()
    path.write_text(json.dumps(PEOPLE))
    assert len(load(path).images) == 2


def test_coco_itself_is_read_whole() -> None:
    dataset = load(shared_coco() / "dev" / "instances.json")
    assert (len(dataset.images), len(dataset.categories)) == (300, 80)
    assert dataset.excluded == ()
    assert {c.id for c in dataset.categories} <= set(range(1, 91))
