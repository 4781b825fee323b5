"""Who goes on, which granularity a layer gets, how long it will take."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from targets.agent.records import Detected
from toolchain.errors import OutOfRange
from toolchain.quantize.granularity import Channel
from toolchain.study import combined, remaining
from toolchain.study.cell import Cell
from toolchain.study.choose import Candidate, best, ranks
from toolchain.study.combined import Offer
from toolchain.study.conduct import spread
from toolchain.study.work import Done, Job

points = st.lists(
    st.tuples(
        st.integers(0, 6), st.integers(0, 6), st.sampled_from(["float", "int8"]), st.booleans()
    ),
    max_size=14,
).map(
    lambda rows: [
        Candidate(place, bits, cost, family, free)
        for place, (bits, cost, family, free) in enumerate(rows)
    ]
)


def beats(one: Candidate[int], other: Candidate[int]) -> bool:
    better = (one.bits, one.cost) != (other.bits, other.cost)
    return (
        one.family == other.family and one.bits <= other.bits and one.cost <= other.cost and better
    )


@given(points)
def test_nobody_of_the_same_rank_beats_another_and_somebody_of_the_rank_before_does(
    candidates: list[Candidate[int]],
) -> None:
    ranked = list(zip(ranks(candidates), candidates, strict=True))
    for rank, one in ranked:
        assert not any(beats(other, one) for same, other in ranked if same == rank)
        if rank:
            assert any(beats(other, one) for before, other in ranked if before == rank - 1)


@given(points, st.integers(0, 20))
def test_only_free_ones_are_chosen_and_the_lowest_ranks_first(
    candidates: list[Candidate[int]], count: int
) -> None:
    chosen = best(candidates, count)
    free = [candidate for candidate in candidates if candidate.free]
    assert len(chosen) == min(count, len(free))
    of = dict(zip((c.name for c in candidates), ranks(candidates), strict=True))
    left = [of[c.name] for c in free if c.name not in chosen]
    assert not left or max((of[name] for name in chosen), default=0) <= min(left)


offers = st.lists(
    st.lists(st.builds(Offer, st.integers(1, 30), st.integers(0, 50)), min_size=1, max_size=4),
    min_size=1,
    max_size=4,
)


@given(offers, st.integers(1, 120))
def test_what_is_chosen_fits_and_no_choice_of_as_few_bits_has_less_error(
    rows: list[list[Offer]], budget: int
) -> None:
    if sum(min(offer.bits for offer in row) for row in rows) > budget:
        with pytest.raises(OutOfRange):
            combined.choose(rows, budget)
        return
    places = combined.choose(rows, budget)
    chosen = [row[place] for row, place in zip(rows, places, strict=True)]
    bits, error = sum(o.bits for o in chosen), sum(o.error for o in chosen)
    assert bits <= budget
    for other in itertools.product(*rows):
        if sum(o.bits for o in other) <= bits:
            assert sum(o.error for o in other) >= error - 1e-9


def test_the_images_of_the_screening_lie_evenly_over_all() -> None:
    ids = [str(number) for number in range(10)]
    assert spread(ids, 5) == {"0", "2", "4", "6", "8"}
    assert spread(ids, 99) == set(ids)
    assert spread(ids, 0) == frozenset()


def test_the_time_left_follows_what_has_been_seen() -> None:
    nearest, second = (Cell("uniform", 4, Channel(), "mse", r) for r in ("nearest", "second-order"))
    seen = remaining.Remaining()
    job = Job(nearest, frozenset("ab"))
    assert seen.seconds([job]) is None
    records = (Detected(image="a"), Detected(image="b"))
    seen.add(Done(job, records=records, make_seconds=10.0, run_seconds=4.0))
    assert seen.seconds([job]) == pytest.approx(14)
    assert seen.seconds([Job(second)]) == pytest.approx(10 * remaining.SECOND_ORDER)
    seen.add(Done(Job(second), make_seconds=100.0))
    assert seen.seconds([Job(second), job]) == pytest.approx(114)
    assert seen.seconds([job], made=[job]) == pytest.approx(14 + 4)


@pytest.mark.parametrize(
    ("seconds", "said"),
    [(None, ""), (5, "less than a minute left"), (125, "about 2 min left"),
     (4800, "about 1 h 20 min left")],
)  # fmt: skip
def test_the_time_left_reads_as_people_say_it(seconds: float | None, said: str) -> None:
    assert remaining.words(seconds) == said
