"""Packed models: what expanding gives back, and what a stock runtime says of them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from ai_edge_litert.interpreter import Interpreter
from flatbuffers import flexbuffers
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray

from targets.agent import expand, unpack, unpack_entropy
from tests.tflite import graphs
from tests.tflite.packing_cases import (
    CODECS,
    coded_filter,
    coded_filters,
    expanded,
    float_model,
    int4_model,
    int8_model,
    mixed,
    packed_mixed,
    reread,
    same_tree,
)
from toolchain.errors import OutOfRange
from toolchain.quantize import coded
from toolchain.tflite import flatbuffer, packed_entropy
from toolchain.tflite.packed import options, pack
from toolchain.tflite.packed_codecs import ranked, store


def outputs(model: bytes, seed: int = 0) -> list[NDArray[Any]]:
    interpreter = Interpreter(model_content=model, num_threads=1)
    interpreter.allocate_tensors()
    entry = interpreter.get_input_details()[0]
    random = np.random.default_rng(seed)
    values = random.integers(-128, 128, entry["shape"]).astype(entry["dtype"])
    interpreter.set_tensor(entry["index"], values)
    interpreter.invoke()
    return [interpreter.get_tensor(end["index"]) for end in interpreter.get_output_details()]


PACKED = packed_mixed()


@given(coded_filters())
def test_every_coded_filter_comes_back(filter_: Any) -> None:
    stored = store(filter_)
    values = coded.expand(filter_)
    tensors = tuple(memoryview(array.tobytes()) for _, array in stored.tensors)

    found = np.zeros((len(values), values[0].size), np.int8)
    unpack.decode(stored.codec, tensors, found, stored.size)

    np.testing.assert_array_equal(found, values.reshape(found.shape))


@given(coded_filters())
def test_a_model_of_one_filter_comes_back(filter_: Any) -> None:
    model, places = int8_model({"conv": coded.expand(filter_)})

    packed = pack(model, {places["conv"]: filter_})

    if isinstance(filter_, coded.Plain):
        assert expand.read(packed) is None
    else:
        same_tree(flatbuffer.parse(expanded(packed)), reread(model))


def test_expanding_gives_the_plain_model_back_in_every_field() -> None:
    model, _ = mixed()

    same_tree(flatbuffer.parse(expanded(PACKED)), reread(model))


def test_an_expanded_model_computes_what_the_plain_one_does() -> None:
    model, _ = mixed()

    found, due = outputs(expanded(PACKED)), outputs(flatbuffer.serialize(model))

    assert len(found) == len(CODECS)
    for one, other in zip(found, due, strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("kind", CODECS)
def test_float_filters_are_scale_times_code(kind: str) -> None:
    filter_ = coded_filter(kind, (5, 3, 3, 4), seed=3)
    scales = np.random.default_rng(4).uniform(0.001, 0.1, 5).astype(np.float32)
    weights = coded.expand(filter_).astype(np.float32) * scales[:, None, None, None]
    model, place = float_model(weights)

    packed = pack(model, {place: filter_}, {place: scales})

    same_tree(flatbuffer.parse(expanded(packed)), reread(model))
    np.testing.assert_array_equal(
        outputs(expanded(packed))[0], outputs(flatbuffer.serialize(model))[0]
    )


def test_packing_leaves_the_tree_as_it_was() -> None:
    model, filters = mixed()
    before = reread(model)

    pack(model, filters)

    same_tree(reread(model), before)


def test_the_same_model_packs_to_the_same_bytes() -> None:
    assert packed_mixed() == PACKED


def test_a_file_and_memory_hold_the_same(tmp_path: Path) -> None:
    expansion = expand.read(PACKED)
    assert expansion is not None
    path = tmp_path / "expanded.tflite"
    with path.open("wb") as stream:
        expand.write(expansion, stream.fileno())

    assert path.read_bytes() == expand.to_bytes(expansion)


def test_a_stock_runtime_refuses_a_packed_model_by_the_operators_name() -> None:
    interpreter = Interpreter(model_content=PACKED)
    with pytest.raises(RuntimeError, match="HalfbyteExpand"):
        interpreter.allocate_tensors()


def test_a_packed_model_is_a_sound_model_with_true_shapes() -> None:
    model, filters = mixed()

    packed = flatbuffer.parse(PACKED).subgraphs[0]

    for place in filters:
        assert list(packed.tensors[place].shape) == list(model.subgraphs[0].tensors[place].shape)
    made = {int(operator.outputs[0]) for operator in packed.operators[: len(CODECS) - 1]}
    assert made == {place for place, f in filters.items() if not isinstance(f, coded.Plain)}


def test_other_tools_can_read_the_options() -> None:
    assert flexbuffers.Loads(options(3, 0, 64)) == [1, 3, 0, 64, 0]
    assert flexbuffers.Loads(options(3, 1, 0x1234)) == [1, 3, 1, 0x34, 0x12]


def test_codes_that_are_not_the_models_filter_are_refused() -> None:
    model, filters = mixed()
    place = min(filters)
    wrong = coded_filter("nibbles", (3, 3, 3, 4), seed=99)

    with pytest.raises(OutOfRange, match="plain/weight"):
        pack(model, {place: coded.Entropy(wrong.codes)})


def test_float_filters_need_their_scales() -> None:
    filter_ = coded_filter("entropy", (5, 3, 3, 4), seed=3)
    model, place = float_model(coded.expand(filter_).astype(np.float32))

    with pytest.raises(OutOfRange, match="no scale"):
        pack(model, {place: filter_})


def test_a_plain_model_has_nothing_to_expand() -> None:
    assert expand.read(flatbuffer.serialize(graphs.int8_conv())) is None
    assert expand.read(flatbuffer.serialize(graphs.float_conv())) is None


def test_int4_filters_become_int8_and_compute_the_same() -> None:
    data = int4_model()
    plain, _ = int8_model({"conv": coded_filter("nibbles", (5, 3, 3, 3), seed=1).codes})

    assert expand.read(data, int4=False) is None
    found = flatbuffer.parse(expanded(data))

    same_tree(found, reread(plain))
    for one, other in zip(
        outputs(expanded(data)), outputs(flatbuffer.serialize(plain)), strict=True
    ):
        np.testing.assert_array_equal(one, other)


def test_filters_lie_on_pages_of_their_own_and_on_cache_lines() -> None:
    expansion = expand.read(PACKED)
    assert expansion is not None
    assert min(item.at for item in expansion.filters) % 65536 == 0
    assert all(item.at % 64 == 0 for item in expansion.filters)


@given(
    st.tuples(*[st.integers(2, n) for n in (9, 3, 3, 40)]).flatmap(
        lambda shape: arrays(np.int8, shape, elements=st.sampled_from([0, 0, 0, 1, -1, -8, 90]))
    )
)
def test_kernels_come_back_as_channels_do(codes: NDArray[np.int8]) -> None:
    with pytest.MonkeyPatch.context() as patch:  # so that kernels are taken, worth it or not
        patch.setattr(packed_entropy, "LEAST_KERNELS", 1)
        patch.setattr(packed_entropy, "WORTHWHILE", 1000)
        stored = packed_entropy.encode(codes)
    assert stored[0] == unpack_entropy.KERNELS

    found = np.full((len(codes), codes[0].size), 55, np.int8)
    unpack.decode(unpack.ENTROPY, (memoryview(stored),), found)

    np.testing.assert_array_equal(found, codes.reshape(found.shape))


@given(
    st.tuples(*[st.integers(1, n) for n in (5, 3, 3, 9)]).flatmap(
        lambda shape: arrays(np.uint8, shape, elements=st.integers(0, 15))
    ),
    st.booleans(),
    st.integers(0, 99),
)
def test_ranked_indices_mean_what_indices_do(
    indices: NDArray[np.uint8], shared: bool, seed: int
) -> None:
    rows = 1 if shared else len(indices)
    levels = np.random.default_rng(seed).integers(-127, 128, (rows, 16)).astype(np.int8)
    tensors = tuple(memoryview(array.tobytes()) for _, array in ranked(indices, levels))

    found = np.zeros((len(indices), indices[0].size), np.int8)
    unpack.decode(unpack.RANKS, tensors, found)

    values = coded.expand(coded.Codebook(indices, levels))
    np.testing.assert_array_equal(found, values.reshape(found.shape))


def test_indices_that_are_not_alike_are_stored_by_rank_and_take_their_entropy() -> None:
    filter_ = coded_filter("ranks", (64, 3, 3, 64), seed=3)
    stored = store(filter_)

    assert stored.codec == unpack.RANKS
    assert 8 * stored.tensors[0][1].size < 1.5 * filter_.indices.size  # of 4; their entropy is 1.26


def test_an_index_of_no_level_is_refused() -> None:
    levels = memoryview(bytes(16))
    for code in (-8, 9):
        stored = packed_entropy.encode(np.full((2, 1, 1, 4), code, np.int8))
        with pytest.raises(expand.Malformed, match="no level"):
            unpack.decode(unpack.RANKS, (memoryview(stored), levels), np.zeros((2, 4), np.int8))


def test_kernels_of_unlike_energy_lie_together() -> None:
    random = np.random.default_rng(0)
    spread = random.choice([0.0, 0.4, 1, 5], (64, 1, 1, 64))
    codes = (random.normal(0, 1, (64, 3, 3, 64)) * spread).round().astype(np.int8)

    stored = packed_entropy.encode(codes)

    assert stored[0] == unpack_entropy.KERNELS
    assert 8 * len(stored) < 0.9 * coded.payload_bits(coded.Entropy(codes))


def test_a_filter_of_zeros_takes_next_to_nothing() -> None:
    stored = packed_entropy.encode(np.zeros((512, 3, 3, 256), np.int8))
    found = np.ones((512, 2304), np.int8)
    unpack.decode(unpack.ENTROPY, (memoryview(stored),), found)

    assert not found.any()
    assert len(stored) < 100


def test_kernels_that_do_not_fit_the_channels_are_refused() -> None:
    for head in ([unpack_entropy.KERNELS, 7], [unpack_entropy.KERNELS, 0], [3, 9]):
        with pytest.raises(expand.Malformed):
            unpack.check(unpack.ENTROPY, (bytes([*head, 0, 0]),), 40, 90, 0)


def test_a_code_of_the_layers_entropy_is_beaten_where_channels_differ() -> None:
    random = np.random.default_rng(0)
    spread = np.repeat([0.6, 1.5, 4, 12], 32)[:, None, None, None]
    codes = random.laplace(0, 1, (128, 3, 3, 64)) * spread
    filter_ = coded.Entropy(codes.round().clip(-127, 127).astype(np.int8))

    stored_bits = 8 * store(filter_).tensors[0][1].size

    assert stored_bits < 0.93 * coded.payload_bits(filter_)
