"""Turns, load, chance and order; warming, and what a zone keeps."""

from collections import Counter
from random import Random

import pytest

from proxy.core.balance import (
    FIRST,
    LEAST_REQUEST,
    RANDOM,
    ROUND_ROBIN,
    Group,
    Member,
    SlowStart,
    kept_share,
    rendezvous,
)
from proxy.core.plan import Endpoint
from proxy.dataplane.endpoint_state import EndpointState
from tests.unit.dataplane.stage import endpoint_spec


def members(*weights: int) -> list[Member]:
    """The data plane's members, for compiled classes have no others; `open` is how busy they are."""
    return [
        EndpointState(Endpoint(endpoint_spec(chr(ord("a") + index), weight=weight), 0))
        for index, weight in enumerate(weights)
    ]


def shares(group: Group, count: int, *, busy: bool = False) -> list[float]:
    rng = Random(5)
    picked: Counter[int] = Counter()
    for _ in range(count):
        place = group.pick(rng.random())
        picked[place] += 1
        if busy:
            group.members[place].open += 1  # type: ignore[attr-defined]
    return [picked[place] / count for place in range(len(group.members))]


def test_turns_are_dealt_by_weight_and_smoothly() -> None:
    group = Group(ROUND_ROBIN, members(5, 1, 1))
    assert [group.pick(0.0) for _ in range(14)] == [0, 0, 1, 0, 2, 0, 0] * 2


def test_turns_go_on_where_they_were_when_the_group_changes() -> None:
    three = members(1, 1, 1)
    assert Group(ROUND_ROBIN, three).pick(0.0) == 0
    assert Group(ROUND_ROBIN, three).pick(0.0) == 1
    assert Group(ROUND_ROBIN, three).pick(0.0) == 2


def test_chance_goes_by_weight() -> None:
    assert shares(Group(RANDOM, members(7, 2, 1)), 20_000) == pytest.approx([0.7, 0.2, 0.1], abs=0.02)


@pytest.mark.parametrize("draw", [0.0, 1.0 - 2**-53, 1.0])
@pytest.mark.parametrize("kind", [ROUND_ROBIN, LEAST_REQUEST, RANDOM, FIRST])
@pytest.mark.parametrize("count", [1, 2, 3, 7, 100])
def test_every_draw_has_a_member(kind: int, count: int, draw: float) -> None:
    assert 0 <= Group(kind, members(*[1] * count)).pick(draw) < count


def test_first_is_the_first() -> None:
    group = Group(FIRST, members(1, 100))
    assert {group.pick(draw / 10) for draw in range(10)} == {0}


def test_less_busy_of_two_is_chosen() -> None:
    two = members(1, 1)
    two[0].open = 3  # type: ignore[attr-defined]
    group = Group(LEAST_REQUEST, two)
    assert {group.pick(draw / 100) for draw in range(100)} == {1}


def test_busiest_gets_nothing_and_the_idle_most() -> None:
    four = members(1, 1, 1, 1)
    for busy, member in zip((9, 1, 1, 0), four, strict=True):
        member.open = busy  # type: ignore[attr-defined]
    found = shares(Group(LEAST_REQUEST, four), 10_000)
    assert found[0] == 0.0
    assert found[3] == pytest.approx(0.5, abs=0.03)  # in every pair that it is in
    assert found[1] == pytest.approx(found[2], abs=0.03)


def test_idle_equals_share_evenly() -> None:
    assert shares(Group(LEAST_REQUEST, members(*[1] * 5)), 10_000) == pytest.approx([0.2] * 5, abs=0.02)


def test_two_choices_leave_less_between_the_busiest_and_the_idlest_than_chance() -> None:
    by_load, by_chance = members(*[1] * 20), members(*[1] * 20)
    shares(Group(LEAST_REQUEST, by_load), 2000, busy=True)
    shares(Group(RANDOM, by_chance), 2000, busy=True)
    spread = [max(one.load() for one in made) - min(one.load() for one in made) for made in (by_load, by_chance)]
    assert spread[0] <= 4 < spread[1]


def test_least_request_goes_by_weight_where_weights_differ() -> None:
    assert shares(Group(LEAST_REQUEST, members(3, 1)), 4000) == pytest.approx([0.75, 0.25], abs=0.01)
    two = members(3, 1)
    two[0].open = 5  # type: ignore[attr-defined]
    assert shares(Group(LEAST_REQUEST, two), 3000) == pytest.approx([1 / 3, 2 / 3], abs=0.01)  # 3 / (5 + 1) to 1 / 1


def test_warming_member_gets_a_part_of_its_weight() -> None:
    two = members(1, 1)
    two[1].share = 0.25
    for kind in (ROUND_ROBIN, RANDOM, LEAST_REQUEST):
        assert shares(Group(kind, two), 10_000) == pytest.approx([0.8, 0.2], abs=0.02)


def slow(window: float = 30.0, aggression: float = 1.0, minimum: float = 10.0) -> SlowStart:
    return SlowStart({"window": window, "aggression": aggression, "minimum_percent": minimum})


def test_share_grows_with_time_and_ends_at_one() -> None:
    assert [slow().share(age) for age in (-1.0, 0.0, 1.0, 15.0, 29.99, 30.0, 1e9)] == pytest.approx(
        [0.1, 0.1, 0.1, 0.5, 0.99967, 1.0, 1.0], abs=1e-4
    )


def test_aggression_bends_the_way() -> None:
    assert slow(aggression=2.0).share(7.5) == pytest.approx(0.5)
    assert slow(aggression=0.5).share(15.0) == pytest.approx(0.25)


@pytest.mark.parametrize(
    ("usable", "whole", "kept"),
    [(10, 10, 1.0), (8, 10, 1.0), (5, 10, 0.7), (1, 10, 0.14), (0, 10, 0.0), (0, 0, 0.0)],
)
def test_zone_keeps_what_it_can_take(usable: float, whole: float, kept: float) -> None:
    assert kept_share(usable, whole) == pytest.approx(kept)


def test_rendezvous_goes_by_weight_and_knows_an_empty_list() -> None:
    two = members(3, 1)
    found = Counter(rendezvous(two, unit) for unit in range(8000))
    assert found[0] / 8000 == pytest.approx(0.75, abs=0.02)
    assert rendezvous([], 1) == -1
