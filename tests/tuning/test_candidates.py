"""What is tried on boards of all kinds: never more threads than CPUs, the fast cores alone."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from targets.agent.records import Cluster, Facts
from toolchain.tuning.candidates import Placement, candidates, counts, ranges


def cluster(*cpus: int, kind: str = "Cortex-A76", khz: int | None = 2_400_000) -> Cluster:
    return Cluster(cpus=cpus, kind=kind, part=len(kind), max_khz=khz, hardware_max_khz=khz)


def board(*clusters: Cluster, allowed: tuple[int, ...] | None = None) -> Facts:
    every = tuple(sorted(cpu for one in clusters for cpu in one.cpus))
    kept = every if allowed is None else allowed
    return Facts(clusters=clusters, allowed_cpus=kept, cpus_allowed=len(kept))


def test_cores_of_one_kind_get_every_number_of_threads() -> None:
    assert candidates(board(cluster(0, 1, 2, 3))) == [Placement(n) for n in (1, 2, 3, 4)]


def test_big_cores_are_tried_alone() -> None:
    small, big = cluster(0, 1, 2, 3, kind="A55", khz=1_800_000), cluster(4, 5)
    found = candidates(board(small, big))
    assert found[:6] == [Placement(n) for n in range(1, 7)]
    assert found[6:] == [Placement(1, (4, 5)), Placement(2, (4, 5))]


def test_of_three_kinds_the_fastest_and_the_two_fastest_are_tried() -> None:
    kinds = (
        cluster(0, 1, kind="A55", khz=1_000_000),
        cluster(2, 3, kind="A78", khz=2_000_000),
        cluster(4, kind="X1", khz=2_800_000),
    )
    bound = {way.cpus for way in candidates(board(*kinds))}
    assert bound == {(), (4,), (2, 3, 4)}


def test_where_no_clock_is_known_each_kind_is_tried_alone() -> None:
    kinds = (cluster(0, 1, kind="A57", khz=None), cluster(2, 3, kind="Denver 2", khz=None))
    assert {way.cpus for way in candidates(board(*kinds))} == {(), (0, 1), (2, 3)}


def test_of_clusters_that_are_alike_the_largest_is_tried_whole() -> None:
    found = candidates(board(cluster(0, 1, 2, 3), cluster(4, 5)))
    assert [way for way in found if way.cpus] == [Placement(4, (0, 1, 2, 3))]


def test_cpus_that_are_not_allowed_are_not_used() -> None:
    small, big = cluster(0, 1, kind="A55", khz=1_000_000), cluster(2, 3)
    found = candidates(board(small, big, allowed=(0, 3)))
    assert found == [Placement(1), Placement(2), Placement(1, (3,))]


def test_a_board_that_says_nothing_gets_one_thread() -> None:
    assert candidates(Facts()) == [Placement(1)]


@given(st.lists(st.tuples(st.integers(1, 5), st.sampled_from("abc"), st.integers(1, 3))))
def test_there_are_never_more_threads_than_cpus(shape: list[tuple[int, str, int]]) -> None:
    clusters, first = [], 0
    for size, kind, khz in shape:
        clusters.append(cluster(*range(first, first + size), kind=kind, khz=khz))
        first += size
    found = candidates(board(*clusters))
    assert len(set(found)) == len(found)
    for way in found:
        assert 1 <= way.threads <= (len(way.cpus) or max(first, 1))
        assert set(way.cpus) < set(range(first)) or not way.cpus


def test_many_cpus_are_not_all_counted() -> None:
    assert counts(24) == [1, 2, 3, 4, 5, 6, 7, 8, 12, 16, 20, 24]
    assert counts(9) == [1, 2, 3, 4, 5, 6, 7, 8, 9]


def test_cpus_are_told_as_ranges() -> None:
    assert ranges((0, 1, 2, 3, 6)) == "0-3, 6"
    assert str(Placement(2, (4, 5))) == "2 threads on CPUs 4-5"
    assert str(Placement(1)) == "1 thread"
