"""Files as pieces: whole, bounded, and the same ones again in another version of the file."""

from __future__ import annotations

import os
import random
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from targets import pieces
from targets.items import Item
from targets.receiver_pieces import ENTRY, MOST_PIECES, Pieces
from targets.stretches import Stretches
from tests.targets import layered


def entries(data: bytes) -> list[tuple[bytes, int]]:
    return list(pieces.ENTRY.iter_unpack(pieces.table(Item.of_bytes(data))))


@settings(max_examples=30, deadline=None)
@given(size=st.integers(0, 400_000), seed=st.integers(0, 9), repeat=st.sampled_from([1, 100, 9999]))
def test_pieces_cover_a_file_and_none_is_too_large(size: int, seed: int, repeat: int) -> None:
    data = (random.Random(seed).randbytes(size // repeat + 1) * repeat)[:size]
    ends = pieces.cuts(data)
    assert all(
        0 < after - before < 1 << 16 for before, after in zip([0, *ends], ends, strict=False)
    )
    assert (ends[-1] if ends else 0) == size


def test_bytes_put_in_change_the_pieces_beside_them_alone() -> None:
    data = os.urandom(2_000_000)
    before = entries(data)
    middle = len(data) // 2
    changed = entries(data[:middle] + b"a few bytes" + data[middle:])
    assert len(set(changed) - set(before)) <= 4


def test_a_layer_is_pieces_of_its_own() -> None:
    before, after = entries(layered.model()), entries(layered.model({4: 1}))
    new = [size for name, size in after if (name, size) not in before]
    assert layered.layer_bytes(4) <= sum(new) <= layered.layer_bytes(4) + 100


def test_files_that_are_small_or_large_and_no_models_are_not_taken_apart(tmp_path: Path) -> None:
    assert entries(os.urandom(pieces.LEAST_FILE_BYTES - 1)) == []
    large = tmp_path / "large"
    with large.open("wb") as stream:
        stream.truncate(33 << 20)
    assert pieces.table(Item.of_file(large)) == b""


@settings(max_examples=60, deadline=None)
@given(at=st.integers(0, 4000), data=st.binary(min_size=1, max_size=8))
def test_a_model_that_lies_about_its_buffers_is_cut_all_the_same(at: int, data: bytes) -> None:
    good = layered.model()[: 1 << 17]
    lying = good[:at] + data + good[at + len(data) :]
    ends = pieces.cuts(lying)
    assert ends == sorted(set(ends))
    assert ends[-1] == len(lying)


@given(st.lists(st.tuples(st.integers(1, 1000), st.booleans()), max_size=50), st.integers(0, 9999))
def test_what_is_lacking_is_what_is_not_present(parts: list[tuple[int, bool]], offset: int) -> None:
    table = b"".join(pieces.ENTRY.pack(b"name", size) for size, _ in parts)
    found = pieces.lacking(table, [present for _, present in parts])
    wanted = [not present for size, present in parts for _ in range(size)]
    covered = [False] * len(wanted)
    for start, end in found.beyond(offset):
        covered[start:end] = [True] * (end - start)
    assert covered == [lacks and at >= offset for at, lacks in enumerate(wanted)]
    assert found.size_bytes(offset) == sum(covered)
    assert Stretches.whole(len(wanted)).size_bytes() == len(wanted)


def test_both_sides_write_pieces_alike() -> None:
    assert (pieces.ENTRY.format, pieces.MOST_PIECES) == (ENTRY.format, MOST_PIECES)


@given(st.lists(st.tuples(st.integers(1, 1000), st.booleans()), max_size=50))
def test_the_board_copies_what_it_has_and_waits_for_the_rest(parts: list[tuple[int, bool]]) -> None:
    names = [index.to_bytes(6, "big") for index in range(len(parts))]
    kept = Pieces(
        b"".join(ENTRY.pack(name, part[0]) for name, part in zip(names, parts, strict=True))
    )
    kept.sources = {
        name: (0, 5) for name, (_, present) in zip(names, parts, strict=True) if present
    }
    at = sent = 0
    for end, source in kept.runs():
        assert end > at
        sent += end - at if source is None else 0
        at = end
    assert at == sum(size for size, _ in parts)
    assert sent == sum(size for size, present in parts if not present)
