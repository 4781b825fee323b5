"""What a link does to frames: arithmetic alone, so these run where no lab is up."""

from __future__ import annotations

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.lab.impairment import DOWN, UP, Quality, Wire
from tests.lab.packets import checksum, reset_to_receiver, reset_to_sender, segment

HOST, BOARD = (bytes([10, 77, 4, 1]), 40000), (bytes([10, 77, 4, 2]), 22)


def frame(direction: int, *, number: int = 1000, payload: int = 10, flags: int = 16) -> bytes:
    source, target = (HOST, BOARD) if direction == UP else (BOARD, HOST)
    macs = (b"\2bbbbb" + b"\2hhhhh") if direction == UP else (b"\2hhhhh" + b"\2bbbbb")
    tcp = struct.pack(">HHIIBBHHH", source[1], target[1], number, 5000, 5 << 4, flags, 0, 0, 0)
    ip = struct.pack(">BBHHHBBH", 0x45, 0, 40 + payload, 0, 0, 64, 6, 0) + source[0] + target[0]
    return macs + b"\x08\x00" + ip + tcp + bytes(payload)


def arrived(wire: Wire, now: float) -> list[tuple[int, bytes]]:
    return list(wire.due(now))


@given(delay_ms=st.floats(0, 500), jitter_ms=st.floats(0, 100), count=st.integers(1, 30))
def test_frames_arrive_in_order_and_none_before_its_delay(
    delay_ms: float, jitter_ms: float, count: int
) -> None:
    wire = Wire()
    wire.quality = Quality(delay_ms=delay_ms, jitter_ms=jitter_ms)
    sent = [frame(UP, number=place) for place in range(count)]
    for place, one in enumerate(sent):
        wire.offer(place * 0.001, UP, one)
    soonest = max(0.0, delay_ms - jitter_ms) / 1000
    assert arrived(wire, soonest - 0.0001) == []
    assert [one for _, one in arrived(wire, count + 1.0)] == sent


def test_a_rate_spaces_frames_and_drops_what_would_wait_too_long() -> None:
    wire = Wire()
    wire.quality = Quality(rate_kbit=80, queue_ms=50)  # 10 bytes a millisecond
    one = frame(UP, payload=46)  # 100 bytes: 10 ms
    for _ in range(20):
        wire.offer(0.0, UP, one)
    assert len(arrived(wire, 0.0099)) == 0
    assert len(arrived(wire, 0.0101)) == 1
    assert len(arrived(wire, 10.0)) == 5
    assert wire.counted[UP].lost == 14


def test_loss_takes_its_share() -> None:
    wire = Wire(seed=3)
    wire.quality = Quality(loss=0.2)
    for _ in range(2000):
        wire.offer(0.0, DOWN, frame(DOWN))
    assert 320 < wire.counted[DOWN].lost < 480
    assert len(arrived(wire, 1.0)) == 2000 - wire.counted[DOWN].lost


def test_a_cut_loses_what_is_under_way_and_ends_when_it_should() -> None:
    wire = Wire()
    wire.quality = Quality(delay_ms=100)
    wire.offer(0.0, UP, frame(UP))
    wire.cut(0.05, seconds=1)
    wire.offer(0.5, UP, frame(UP))
    assert arrived(wire, 0.9) == []
    wire.offer(1.1, UP, frame(UP))
    assert len(arrived(wire, 2.0)) == 1


def test_a_cut_comes_after_so_many_bytes_up() -> None:
    wire = Wire()
    wire.cut_after(1000)
    for _ in range(20):
        wire.offer(0.0, UP, frame(UP, payload=46))
    assert wire.is_cut(0.0)
    assert len(arrived(wire, 1.0)) == 0, "what was under way is lost with it"
    assert wire.counted[UP].lost == 11


def test_a_reset_reaches_both_ends_with_the_numbers_that_they_expect() -> None:
    wire = Wire()
    wire.offer(0.0, UP, frame(UP, number=700, payload=30))
    wire.offer(0.0, DOWN, frame(DOWN, number=5000, payload=4))
    arrived(wire, 1.0)
    wire.reset(1.0)
    found = {direction: segment(data) for direction, data in arrived(wire, 2.0)}
    up, down = found[UP], found[DOWN]
    assert up is not None
    assert down is not None
    assert up.resets
    assert (up.source, up.target, up.number) == (HOST, BOARD, 730)
    assert (down.source, down.target, down.number) == (BOARD, HOST, 5004)


def test_after_a_reset_the_old_connection_is_refused_and_a_new_one_let_through() -> None:
    wire = Wire()
    wire.offer(0.0, UP, frame(UP))
    wire.reset(1.0)
    arrived(wire, 1.0)
    wire.offer(2.0, UP, frame(UP, number=2000))
    ((direction, data),) = arrived(wire, 2.0)
    answer = segment(data)
    assert answer is not None
    assert (direction, answer.resets, answer.number) == (DOWN, True, 5000)
    wire.offer(3.0, UP, frame(UP, number=1, flags=2))
    ((direction, data),) = arrived(wire, 3.0)
    assert (direction, segment(data) == segment(frame(UP, number=1, flags=2))) == (UP, True)


def test_resets_carry_right_checksums() -> None:
    seen = segment(frame(UP))
    assert seen is not None
    for data in (reset_to_sender(seen), reset_to_receiver(seen)):
        ip, tcp = data[14:34], data[34:]
        assert checksum(ip) == 0
        assert checksum(ip[12:20] + struct.pack(">BBH", 0, 6, len(tcp)) + tcp) == 0


@given(st.binary(max_size=80))
def test_anything_may_be_in_a_frame(data: bytes) -> None:
    segment(data)
    segment(b"\2hhhhh\2bbbbb\x08\x00" + data)


def test_no_link_has_a_loss_above_one_or_anything_below_zero() -> None:
    for bad in ({"loss": 1.5}, {"delay_ms": -1.0}):
        with pytest.raises(ValueError, match="no link is like that"):
            Quality(**bad)
