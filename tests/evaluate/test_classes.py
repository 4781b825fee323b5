import dataclasses
from collections.abc import Sequence

import pytest

from tests.evaluate.sets import made
from toolchain.errors import LabelsDisagree
from toolchain.evaluate.classes import match_classes
from toolchain.evaluate.truth import Category, Dataset


def dataset(
    names: Sequence[str], *, ids: Sequence[int] = (), boxes_of: Sequence[int] = ()
) -> Dataset:
    ids = ids or range(1, len(names) + 1)
    plain = made([(1, category, 5, 5, 20, 20) for category in boxes_of], images=1)
    categories = tuple(Category(i, name) for i, name in zip(ids, names, strict=True))
    return dataclasses.replace(plain, categories=categories)


def test_names_find_their_category_whatever_the_order_and_the_ids() -> None:
    found = match_classes(["dog", "cat"], dataset(["cat", "dog"], ids=[17, 90]))
    assert found.category_ids == (90, 17)
    assert found.by == "name"


def test_case_underscores_and_older_spellings_do_not_matter() -> None:
    found = match_classes(
        ["Traffic_Light", "tvmonitor", "pottedplant"],
        dataset(["potted plant", "traffic light", "tv"]),
    )
    assert found.category_ids == (2, 3, 1)


def test_classes_that_the_data_set_does_not_know_are_not_scored_and_it_is_said() -> None:
    found = match_classes(["cat", "dog", "bird"], dataset(["dog"]))
    assert found.category_ids == (None, 1, None)
    assert "other 2 are not in the data set" in found.note


def test_a_category_with_objects_that_the_model_does_not_know_is_an_error_with_both() -> None:
    with pytest.raises(LabelsDisagree) as caught:
        match_classes(["cat"], dataset(["cat", "dog"], boxes_of=[1, 2]))
    assert "the model has 1 classes (cat) and the data set 2 (cat, dog)" in caught.value.message
    assert "dog is not among the model's" in caught.value.message


def test_a_category_without_objects_may_be_unknown_to_the_model() -> None:
    """Exports add a parent category that no box has."""
    found = match_classes(["cat"], dataset(["animals", "cat"], ids=[0, 1], boxes_of=[1]))
    assert found.category_ids == (1,)


def test_a_model_of_three_classes_against_eighty_is_an_error_with_both_numbers() -> None:
    with pytest.raises(LabelsDisagree, match=r"3 classes .* and the data set 80"):
        match_classes(["0", "1", "2"], dataset([f"thing {n}" for n in range(80)]))


def test_without_names_equal_counts_match_by_position_and_it_is_said() -> None:
    found = match_classes(["class0", "class1"], dataset(["cat", "dog"], ids=[5, 9]))
    assert found.category_ids == (5, 9)
    assert found.by == "position"
    assert "by position" in found.note


def test_other_names_of_equal_number_are_an_error_not_a_guess() -> None:
    with pytest.raises(LabelsDisagree, match="helmet"):
        match_classes(["helmet", "vest"], dataset(["cat", "dog"]))


def test_a_name_that_stands_twice_is_an_error_unless_both_sides_agree() -> None:
    twice = dataset(["cat", "cat"])
    assert match_classes(["cat", "cat"], twice).category_ids == (1, 2)
    with pytest.raises(LabelsDisagree, match="twice"):
        match_classes(["dog", "cat", "cat"], twice)


def test_images_alone_take_the_models_own_classes() -> None:
    alone = dataclasses.replace(made([], images=1), categories=())
    assert match_classes(["cat", "dog"], alone).category_ids == (0, 1)
    assert match_classes(["cat", "dog"], alone).by == "model"
