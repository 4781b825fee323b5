"""Plan files that are wrong, damaged or hostile."""

from __future__ import annotations

import contextlib
import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from toolchain.errors import RecipeError
from toolchain.quantize import Recipe, planfile

HEAD = 'schema = "halfbyte.plan"\nversion = 1\nrecipe = "w4e-a8"\n'


@pytest.mark.parametrize(
    ("text", "what", "hint"),
    [
        ("", "does not say schema", ".plan.toml"),
        (HEAD.replace("halfbyte.plan", "halfbyte.targets"), "does not say schema", ".plan.toml"),
        (HEAD.replace("1", "2"), "version 2; this halfbyte reads version 1", "newer halfbyte"),
        (HEAD.replace("1", "true"), "version True", "Write version = 1"),
        (HEAD.replace("1", "1.0"), "version 1.0", "Write version = 1"),
        (HEAD.replace("w4e-a8", "w4x"), "no recipe is called 'w4x'", "Did you mean"),
        (HEAD.replace("w4e-a8", "float32"), "quantizes nothing", "w4e-a8"),
        (HEAD.replace('"w4e-a8"', "4"), "names no recipe", "w4e-a8"),
        (HEAD + "bugdet = 4\n", "no key 'bugdet'", "Did you mean budget?"),
        (HEAD + "budget = 0\n", "budget is 0", "above 0"),
        (HEAD + "budget = nan\n", "budget is nan", "above 0"),
        (HEAD + 'budget = "4MB"\n', "budget is '4MB'", "above 0"),
        (HEAD + "float_boxes = 1\n", "float_boxes is 1", "true or false"),
        (HEAD + "default = 3\n", "[default]: it is no table", "[default]"),
        (HEAD + "[default]\nfloat_output = true\n", "no key 'float_output'", "Keys are"),
        (HEAD + "layer = 3\n", "no list of tables", "[[layer]]"),
        (HEAD + "layer = [3]\n", "layer 1: it is no table", "[[layer]]"),
        (HEAD + "[[layer]]\nbits = 3\n", "layer 1: it has no name", "name ="),
        (HEAD + '[[layer]]\nname = ""\n', "layer 1: it has no name", "name ="),
    ],
)  # fmt: skip
def test_a_file_that_is_wrong_is_refused_with_what_to_do(text: str, what: str, hint: str) -> None:
    with pytest.raises(RecipeError, match=re.escape(what)) as refused:
        planfile.parse(text)
    assert hint in refused.value.hint


@pytest.mark.parametrize(
    ("lines", "what", "hint"),
    [
        ("bitss = 3", "no key 'bitss'", "Did you mean bits?"),
        ("bits = -1", "bits is -1", "above 0"),
        ("bits = true", "bits is True", "above 0"),
        ("bits = inf", "bits is inf", "above 0"),
        ('scheme = "unifrom"', "scheme is 'unifrom'", "Did you mean uniform?"),
        ('scheme = "piecewise"\nbits = 4', "scheme is 'piecewise'", "one of"),
        ('scheme = "uniform"', "uniform needs bits", "bits = 4"),
        ('scheme = "uniform"\nbits = 4.5', "bits is 4.5", "2 to 8"),
        ('scheme = "affine"\nbits = 8', "bits is 8", "2 to 7"),
        ('scheme = "uniform"\nbits = 4\ngranularity = "group 64"', "granularity is", "channel"),
        ('scheme = "grouped"\nbits = 4', "says no granularity", "group 64"),
        ('scheme = "grouped"\nbits = 4\ngranularity = "group 0"', "granularity is", "group 64"),
        ('scheme = "grouped"\nbits = 4\ngranularity = "group 99999"', "granularity is", "group 64"),
        ('granularity = ["channel"]', "granularity is", "channel"),
        ('search = "min-max"', "search is 'min-max'", "weighted"),
        ("float_output = 0", "float_output is 0", "true or false"),
    ],
)
def test_a_layer_that_is_wrong_is_refused_by_its_name(lines: str, what: str, hint: str) -> None:
    with pytest.raises(RecipeError, match=re.escape("plan, layer 'stem'")) as refused:
        planfile.parse(HEAD + f'[[layer]]\nname = "stem"\n{lines}\n')
    assert what in refused.value.message
    assert hint in refused.value.hint


def test_a_layer_that_is_there_twice_is_refused() -> None:
    layer = '[[layer]]\nname = "stem"\nbits = 4\n'
    with pytest.raises(RecipeError, match="'stem': it is there twice"):
        planfile.parse(HEAD + layer + layer)


def test_entropy_coding_without_bits_needs_a_budget() -> None:
    layer = '[[layer]]\nname = "stem"\nscheme = "entropy"\n'
    with pytest.raises(RecipeError, match="'stem': it is entropy-coded without bits") as refused:
        planfile.parse(HEAD.replace("w4e", "w4c") + layer)
    assert "budget = 4.08" in refused.value.hint
    assert planfile.parse(HEAD.replace("w4e", "w4c") + "budget = 5\n" + layer).budget == 5


@pytest.mark.parametrize(
    "data",
    [
        b"\xff\xfe\x00",
        b"\x00" * 100,
        b"a = " + b"[" * 900,
        b"\n".join([b"a = ", *[b"[" * 900] * 20]),
        b"a" + b".a" * 100_000 + b" = 1",
        b"a = " + b"9" * 900 + b"e" + b"9" * 50,
        b"a = [" + b"{}," * 10_000_000,
    ],
    ids=lambda data: f"{data[:4]!r} {len(data)}",
)
def test_a_hostile_file_is_refused_at_once(data: bytes, tmp_path: Path) -> None:
    path = tmp_path / "hostile.plan.toml"
    path.write_bytes(data)
    with pytest.raises(RecipeError, match=r"hostile\.plan\.toml: "):
        planfile.read(path)


VALID = (
    HEAD + 'budget = 4.08\nfloat_boxes = true\n[default]\nscheme = "entropy"\n'
    '[[layer]]\nname = "a"\nbits = 3.5\n[[layer]]\nname = "b"\nscheme = "grouped"\nbits = 4\n'
    'granularity = "group 64"\nsearch = "mse"\nfloat_output = true\n'
)


@given(st.data())
def test_a_damaged_file_is_read_or_refused(data: st.DataObject) -> None:
    start = data.draw(st.integers(0, len(VALID)))
    end = data.draw(st.integers(start, min(len(VALID), start + 30)))
    put = data.draw(st.text(max_size=10) | st.sampled_from(["[", "=", '"', "1e999", "0x9", "'''"]))
    text = VALID[:start] + put + VALID[end:]
    with contextlib.suppress(RecipeError):
        assert isinstance(planfile.parse(text).recipe, Recipe)
