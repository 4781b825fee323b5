"""The document of the packed format shows what the code does."""

from __future__ import annotations

import re

from targets.agent import expand, expand_kept, expand_packed, unpack, unpack_entropy
from tests.tflite.packed_example import PAGE, markdown, packed, part_of
from toolchain.tflite import flatbuffer


def test_the_worked_example_is_what_the_code_makes() -> None:
    """To renew it: python -m tests.tflite.packed_example --write"""
    assert part_of(PAGE.read_text())[1] == markdown()


def test_the_example_is_a_sound_model_before_and_after() -> None:
    expansion = expand.read(packed())
    assert expansion is not None

    flatbuffer.parse(packed())
    plain = flatbuffer.parse(expand.to_bytes(expansion))

    assert [tensor.name for tensor in plain.subgraphs[0].tensors] == [b"x", b"w", b"b", b"y"]


def test_every_codec_has_its_number_in_the_document() -> None:
    rows = dict(re.findall(r"^\| (\d) (\w+) \|", PAGE.read_text(), re.MULTILINE))

    assert {int(number): name.upper() for number, name in rows.items()} == {
        getattr(unpack, name): name
        for name in ("PLAIN", "NIBBLES", "GROUPED", "CODEBOOK", "ENTROPY", "RANKS")
    }
    assert {int(number) for number in rows} == set(unpack.CODECS)


def test_the_versions_in_the_document_are_those_of_the_code() -> None:
    page = PAGE.read_text()

    assert page.startswith(f"# Packed models, version {expand_packed.OPTIONS_VERSION}\n")
    assert f"Byte 0 is {unpack_entropy.CHANNELS} where units are channels" in page
    assert f"or {unpack_entropy.KERNELS} where they are kernels" in page
    assert f"`HASH.expanded-{expand_kept.EXPANDER}.tflite`" in page
