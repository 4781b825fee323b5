from __future__ import annotations

import dataclasses
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from targets.agent.heads import Head, Level
from tests.tflite.graphs import float_conv
from toolchain.errors import MalformedModel, UnsupportedModel
from toolchain.tflite.flatbuffer import parse, serialize
from toolchain.tflite.metadata import Metadata, embed, extract, from_json, to_json

METADATA = Metadata(
    head=Head(
        layout="levels",
        names=("cat", "søppel—bag"),
        levels=(Level(8, ((12.0, 16.0), (19.5, 36.0)), "boxes_8", "objectness_8", "classes_8"),),
    ),
    imgsz=(96, 128),
    family="yolov7",
    recipe="float32",
    parameters=57,
    source_sha256="ab" * 32,
    licence="GPL-3.0",
)


def test_it_travels_inside_the_file() -> None:
    data = serialize(embed(float_conv(), METADATA))

    assert extract(parse(data)) == METADATA


def test_it_is_replaced_not_doubled() -> None:
    quantized = dataclasses.replace(METADATA, recipe="w4c-a8")
    model = embed(parse(serialize(embed(float_conv(), METADATA))), quantized)

    assert extract(model) == quantized
    assert len(model.metadata) == 1


def test_embedding_leaves_the_given_model_alone() -> None:
    model = float_conv()
    embed(model, METADATA)

    assert extract(model) is None


def test_an_unknown_licence_stays_unknown() -> None:
    unknown = dataclasses.replace(METADATA, licence=None)

    assert from_json(to_json(unknown)).licence is None


def test_strides_and_anchors_are_those_of_the_head() -> None:
    assert METADATA.strides == (8,)
    assert METADATA.anchors == (((12.0, 16.0), (19.5, 36.0)),)


def test_a_model_of_another_tool_has_none() -> None:
    assert extract(parse(serialize(float_conv()))) is None


def changed(**fields: Any) -> bytes:
    return json.dumps({**json.loads(to_json(METADATA)), **fields}).encode()


def test_a_newer_version_says_update() -> None:
    with pytest.raises(UnsupportedModel, match="version 2, known is 1") as caught:
        from_json(changed(version=2))
    assert "Update halfbyte" in caught.value.hint


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"{",
        b"[" * 100_000,
        b"null",
        b"\xff\xfe",
        changed(schema="other"),
        changed(imgsz=[640]),
        changed(imgsz=[0, 640]),
        changed(imgsz=640),
        changed(parameters="many"),
        changed(parameters=True),
        changed(licence=3),
        changed(head=[]),
        changed(head={"layout": "levels", "names": [], "levels": []}),
        b" " * (5 << 20),
    ],
)
def test_damage_is_named(data: bytes) -> None:
    with pytest.raises(MalformedModel, match="damaged halfbyte metadata"):
        from_json(data)


@given(st.binary(max_size=200))
def test_any_bytes_end_in_an_error_of_ours(data: bytes) -> None:
    with pytest.raises((MalformedModel, UnsupportedModel)):
        from_json(data)
