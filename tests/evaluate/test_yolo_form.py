from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.evaluate.sets import picture
from toolchain.errors import DataError
from toolchain.evaluate.datasets import load
from toolchain.evaluate.yolo_form import label_path, parse_line


def labelled(root: Path, name: str, text: str | None, split: str = "val", **size: int) -> None:
    picture(root / "images" / split / f"{name}.jpg", **size)
    if text is not None:
        path = root / "labels" / split / f"{name}.txt"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


def yaml(root: Path, text: str = "val: images/val\nnames: [cat, dog]\n") -> Path:
    path = root / "data.yaml"
    path.write_text(text)
    return path


def test_boxes_come_in_pixels_with_their_class(tmp_path: Path) -> None:
    labelled(tmp_path, "a", "1 0.5 0.25 0.2 0.1\n", width=200, height=400)
    dataset = load(yaml(tmp_path))
    [box] = dataset.boxes
    assert (box.x, box.y, box.width, box.height) == pytest.approx((80, 80, 40, 40))
    assert box.area == pytest.approx(1600)
    assert dataset.categories[box.category_id].name == "dog"


def test_pixels_are_those_of_the_upright_picture(tmp_path: Path) -> None:
    labelled(tmp_path, "a", "0 0.5 0.5 1 1", width=160, height=96, orientation=6)
    dataset = load(yaml(tmp_path))
    assert (dataset.images[0].width, dataset.images[0].height) == (96, 160)
    assert (dataset.boxes[0].width, dataset.boxes[0].height) == (96, 160)


def test_outlines_count_by_the_box_around_them_and_it_is_said(tmp_path: Path) -> None:
    labelled(tmp_path, "a", "0 0.1 0.2 0.5 0.1 0.3 0.6")
    dataset = load(yaml(tmp_path))
    [box] = dataset.boxes
    assert (box.x, box.y, box.width, box.height) == pytest.approx((20, 20, 80, 100))
    assert any("outlines" in note for note in dataset.notes)


def test_an_empty_label_file_means_no_objects_and_a_missing_one_is_counted(tmp_path: Path) -> None:
    labelled(tmp_path, "a", "0 0.5 0.5 0.1 0.1")
    labelled(tmp_path, "b", "")
    labelled(tmp_path, "c", None)
    dataset = load(yaml(tmp_path))
    assert len(dataset.images) == 3
    assert len(dataset.boxes) == 1
    assert [note for note in dataset.notes if note.startswith("1 of 3 images have no label file")]


def test_no_label_file_at_all_is_an_error(tmp_path: Path) -> None:
    labelled(tmp_path, "a", None)
    with pytest.raises(DataError, match="none of its 1 images has a label file") as caught:
        load(yaml(tmp_path))
    assert str(tmp_path / "labels" / "val" / "a.txt") in caught.value.hint


def test_names_may_be_numbered_and_splits_may_be_several(tmp_path: Path) -> None:
    labelled(tmp_path, "a", "0 0.5 0.5 0.1 0.1", split="one")
    labelled(tmp_path, "b", "1 0.5 0.5 0.1 0.1", split="two")
    text = "path: .\nval: [images/one, images/two]\nnames:\n  0: cat\n  1: dog\n"
    dataset = load(yaml(tmp_path, text))
    assert [p.path.name for p in dataset.images] == ["a.jpg", "b.jpg"]
    assert [c.name for c in dataset.categories] == ["cat", "dog"]


def test_a_split_may_be_a_list_of_files(tmp_path: Path) -> None:
    labelled(tmp_path, "a", "0 0.5 0.5 0.1 0.1")
    labelled(tmp_path, "b", "0 0.5 0.5 0.1 0.1")
    (tmp_path / "val.txt").write_text("./images/val/b.jpg\n\n")
    dataset = load(yaml(tmp_path, "val: val.txt\nnames: [cat]\n"))
    assert [p.path.name for p in dataset.images] == ["b.jpg"]


def test_a_split_written_relative_to_the_wrong_folder_is_found(tmp_path: Path) -> None:
    picture(tmp_path / "valid" / "images" / "a.jpg")
    (tmp_path / "valid" / "labels").mkdir()
    (tmp_path / "valid" / "labels" / "a.txt").write_text("0 0.5 0.5 0.1 0.1")
    dataset = load(yaml(tmp_path, "val: ../valid/images\nnc: 1\nnames: [cat]\n"))
    assert len(dataset.boxes) == 1


def test_a_folder_of_images_may_stand_in_for_the_split(tmp_path: Path) -> None:
    labelled(tmp_path, "a", "0 0.5 0.5 0.1 0.1", split="mine")
    dataset = load(yaml(tmp_path, "names: [cat]\n"), tmp_path / "images" / "mine")
    assert len(dataset.boxes) == 1


def test_a_folder_with_a_yaml_inside_is_taken_as_one(tmp_path: Path) -> None:
    labelled(tmp_path, "a", "0 0.5 0.5 0.1 0.1")
    yaml(tmp_path)
    assert len(load(tmp_path).boxes) == 1


def test_lines_that_stand_twice_count_once(tmp_path: Path) -> None:
    labelled(tmp_path, "a", "0 0.5 0.5 0.1 0.1\n0 0.5 0.5 0.1 0.1\n")
    dataset = load(yaml(tmp_path))
    assert len(dataset.boxes) == 1
    assert any("twice" in note for note in dataset.notes)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("2 0.5 0.5 0.1 0.1", "class 2, but the names go from 0 to 1"),
        ("0.5 0.5 0.5 0.1 0.1", "class 0.5"),
        ("-1 0.5 0.5 0.1 0.1", "class -1"),
        ("0 250 120 80 60", "not in fractions"),
        ("0 nan 0.5 0.1 0.1", "not in fractions"),
        ("0 0.5 0.5 -0.1 0.1", "not in fractions"),
        ("0 0.9 0.5 0.8 0.1", "reaches out of the picture"),
        ("0 0.5 0.5 0.1", "4 numbers"),
        ("0 0.5 0.5 0.1 0.1 0.9", "a detection with its score"),
        ("cat 0.5 0.5 0.1 0.1", "not all numbers"),
    ],
)
def test_bad_lines_are_told_with_file_and_line(tmp_path: Path, text: str, told: str) -> None:
    labelled(tmp_path, "a", f"0 0.5 0.5 0.1 0.1\n{text}\n")
    with pytest.raises(DataError) as caught:
        load(yaml(tmp_path))
    assert caught.value.message.startswith("a.txt, line 2: ")
    assert told in caught.value.message


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("names: [cat", "not YAML"),
        ("- cat\n", "no settings"),
        ("val: images/val\n", "`names` is missing"),
        ("val: images/val\nnames: {1: cat, 2: dog}\n", "not numbered from 0"),
        ("val: images/val\nnc: 3\nnames: [cat, dog]\n", "nc is 3, but there are 2 names"),
        ("train: images/val\nnames: [cat]\n", "no split 'val' (it has: train)"),
        ("val: images/nowhere\nnames: [cat]\n", "'images/nowhere' does not exist"),
        ("val: !!python/object/apply:os.getcwd []\nnames: [cat]\n", "not YAML"),
    ],
)
def test_a_bad_yaml_is_told(tmp_path: Path, text: str, told: str) -> None:
    labelled(tmp_path, "a", "0 0.5 0.5 0.1 0.1")
    with pytest.raises(DataError) as caught:
        load(yaml(tmp_path, text))
    assert told in caught.value.message


def test_only_the_last_images_folder_is_replaced() -> None:
    assert label_path(Path("/images/set/images/val/a.b.jpg")) == Path(
        "/images/set/labels/val/a.b.txt"
    )
    assert label_path(Path("/set/a.jpg")) == Path("/set/a.txt")


@given(
    st.integers(0, 79),
    st.floats(0, 1, allow_nan=False),
    st.floats(0, 1, allow_nan=False),
    st.floats(0, 1, allow_nan=False),
    st.floats(0, 1, allow_nan=False),
)
def test_a_box_inside_the_picture_reads_as_it_was_written(
    index: int, left: float, top: float, w: float, h: float
) -> None:
    width, height = w * (1 - left), h * (1 - top)
    line = parse_line(f"{index} {left + width / 2!r} {top + height / 2!r} {width!r} {height!r}", 80)
    assert line.index == index
    assert (line.x, line.y) == pytest.approx((left, top), abs=1e-9)
    assert (line.width, line.height) == pytest.approx((width, height), abs=1e-9)


@given(st.text())
def test_any_text_is_a_line_or_an_error_of_ours(text: str) -> None:
    try:
        line = parse_line(text, 80)
    except ValueError:
        return
    assert 0 <= line.index < 80
    assert line.width >= 0
    assert line.height >= 0
