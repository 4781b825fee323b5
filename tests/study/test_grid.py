"""Grid files: what they stand for, and what is said of wrong ones."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from toolchain.errors import RecipeError
from toolchain.quantize.granularity import Channel, Group, Layer, Network
from toolchain.study import cell as cells
from toolchain.study import grid
from toolchain.study.cell import Cell, Combined

HEAD = 'schema = "halfbyte.grid"\nversion = 1\n'
ONE = '[[cells]]\nscheme = "uniform"\nbits = 4\n'

reaches = st.one_of(
    st.just(Network()),
    st.just(Layer()),
    st.just(Channel()),
    st.builds(Group, st.integers(1, cells.MAX_GROUP)),
    st.builds(Combined, st.integers(0, 999).map(lambda n: n / 1000)),
)


@pytest.mark.parametrize("name", grid.BUILT_IN)
def test_built_in_grids_can_be_read_and_no_two_cells_have_one_name(name: str) -> None:
    found = grid.built_in(name)
    assert found.name == name
    assert len({cell.name for cell in found.cells}) == len(found.cells)
    assert found.always <= set(found.cells)


def test_the_default_grid_has_the_papers_schemes_at_every_granularity() -> None:
    always = grid.built_in("default").always
    for scheme in ("uniform", "piecewise"):
        kinds = {type(c.reach) for c in always if c.scheme == scheme and c.recovery == "nearest"}
        assert kinds == {Network, Layer, Channel, Group, Combined}


def test_lists_stand_for_all_their_combinations() -> None:
    text = HEAD + (
        '[[cells]]\nscheme = ["uniform", "affine"]\nbits = [3, 4]\ngranularity = "layer"\n'
        '[[cells]]\nscheme = "uniform"\nbits = 4\ngranularity = "layer"\nalways = true\n'
    )
    found = grid.parse(text, "mine")
    assert [(c.scheme, c.bits) for c in found.cells] == [
        ("uniform", 3), ("uniform", 4), ("affine", 3), ("affine", 4)
    ]  # fmt: skip
    assert found.always == {Cell("uniform", 4, Layer())}


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "does not say schema"),
        (HEAD.replace("1", "2") + ONE, "does not say schema"),
        (HEAD, "no tables [[cells]]"),
        (HEAD + 'cells = "uniform"', "no tables [[cells]]"),
        (HEAD + "cells = []", "0 cells"),
        (HEAD + "fynalists = 3\n" + ONE, "no key 'fynalists'"),
        (HEAD + "finalists = -1\n" + ONE, "finalists -1"),
        (HEAD + "finalists = true\n" + ONE, "finalists True"),
        (HEAD + 'name = ""\n' + ONE, "name is no short text"),
        (HEAD + ONE + "bit = 4", "no key 'bit'"),
        (HEAD + ONE + "bits = 3", "is no TOML"),
        (HEAD + ONE + "granularity = []", "stands for 0 cells"),
        (HEAD + ONE + 'granularity = "tensor"', "no granularity is called 'tensor'"),
        (HEAD + ONE + 'granularity = "group 99999"', "no granularity"),
        (HEAD + ONE + "recovery = 2", "recovery 2"),
        (HEAD + ONE + "always = 1", "always 1"),
        (HEAD + ONE + "spare_ends = 1", "spare_ends 1"),
        (HEAD + '[[cells]]\nscheme = "unifrom"\nbits = 4', "scheme 'unifrom'"),
        (HEAD + '[[cells]]\nscheme = "uniform"\nbits = 9', "bits 9"),
        (HEAD + '[[cells]]\nscheme = "uniform"\nbits = nan', "bits nan"),
        (HEAD + '[[cells]]\nscheme = "uniform"\nbits = 3.5', "bits are not whole"),
        (HEAD + '[[cells]]\nscheme = {a = 1}\nbits = 3', "scheme {'a': 1}"),
        (HEAD + f"[[cells]]\nscheme = {['uniform'] * 40}\nbits = {[4] * 40}", "1600 cells"),
    ],
)  # fmt: skip
def test_a_wrong_file_is_told_with_its_place(text: str, said: str) -> None:
    with pytest.raises(RecipeError, match="mine") as raised:
        grid.parse(text, "mine")
    assert said in raised.value.message
    assert raised.value.hint


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ({"scheme": "codebook", "granularity": "group 64"}, "no such granularity"),
        ({"scheme": "grouped", "granularity": "channel"}, "no such granularity"),
        ({"scheme": "codebook", "granularity": "combined 0.1"}, "no such granularity"),
        ({"scheme": "piecewise", "search": "min-max"}, "no search by min-max"),
        ({"scheme": "uniform", "granularity": "network", "recovery": "second-order"}, "layers"),
        ({"scheme": "entropy", "spare_ends": True}, "spare what needs it"),
        ({"scheme": "piecewise", "activations": "int8"}, "no int8 filters"),
        ({"scheme": "uniform", "granularity": "group 64", "activations": "int8"}, "no int8"),
        ({"scheme": "uniform", "granularity": "combined 0.1", "activations": "int8"}, "no int8"),
        ({"scheme": "uniform", "granularity": "network", "activations": "int8"}, "float act"),
    ],
)
def test_what_does_not_go_together_is_refused_with_the_reason(
    words: dict[str, object], said: str
) -> None:
    with pytest.raises(RecipeError) as raised:
        cells.from_json({"bits": 4, **words})
    assert said in raised.value.message
    assert raised.value.hint


@given(reaches)
def test_a_granularity_is_read_as_it_is_written(reach: cells.Reach) -> None:
    assert cells.reach_of(cells.words_of(reach)) == reach


@given(st.sampled_from([c for name in grid.BUILT_IN for c in grid.built_in(name).cells]))
def test_a_cell_is_read_as_it_is_written(cell: Cell) -> None:
    assert cells.from_json(cells.to_json(cell)) == cell


def test_files_that_are_no_text_or_too_large_are_told(tmp_path: Path) -> None:
    (tmp_path / "latin.toml").write_bytes(b"name = '\xe4'")
    with pytest.raises(RecipeError, match="no UTF-8 text"):
        grid.load(tmp_path / "latin.toml")
    (tmp_path / "large.toml").write_bytes(b"#" * (grid.MAX_FILE_BYTES + 1))
    with pytest.raises(RecipeError, match="too large"):
        grid.load(tmp_path / "large.toml")
    (tmp_path / "deep.toml").write_text("a = " + "[" * 100_000)
    with pytest.raises(RecipeError, match="no TOML"):
        grid.load(tmp_path / "deep.toml")
