"""Ring and maglev as tables: known answers, building in steps, bounds. Their laws are in tests/property/test_balancing.py."""

from collections import Counter

import pytest

from proxy.core.hash_tables import MOST_POINTS, PLACES, HashTable, Maglev, Ring

NAMES = [b"10.0.0.%d:80" % number for number in range(1, 8)]


def built(table: HashTable, steps: int = 1 << 30) -> HashTable:
    while not table.build(steps):
        pass
    return table


@pytest.mark.parametrize("kind", [Ring, Maglev])
@pytest.mark.parametrize("steps", [1, 7, 500])
def test_built_in_steps_it_is_the_same(kind: type[Ring | Maglev], steps: int) -> None:
    weights = [1, 5, 2, 1, 3, 1, 1]
    whole, stepped = built(kind(NAMES, weights)), built(kind(NAMES, weights), steps)
    assert [whole.find(unit * 7919) for unit in range(2000)] == [stepped.find(unit * 7919) for unit in range(2000)]


@pytest.mark.parametrize("kind", [Ring, Maglev])
def test_step_is_bounded(kind: type[Ring | Maglev]) -> None:
    table = kind(NAMES, [1] * 7)
    calls = 1
    while not table.build(100):
        calls += 1
    assert calls >= 10


@pytest.mark.parametrize("kind", [Ring, Maglev])
def test_once_built_it_stays_built(kind: type[Ring | Maglev]) -> None:
    table = built(kind(NAMES, [1] * 7))
    before = table.find(12345)
    assert table.build(1)
    assert table.find(12345) == before


@pytest.mark.parametrize("kind", [Ring, Maglev])
@pytest.mark.parametrize("unit", [0, 1, 2**32 - 1, 2**32, 2**60 - 1])
def test_every_hash_has_a_member(kind: type[Ring | Maglev], unit: int) -> None:
    assert built(kind(NAMES[:1], [4])).find(unit) == 0
    assert 0 <= built(kind(NAMES, [1] * 7)).find(unit) < 7


def test_ring_of_many_endpoints_is_bounded() -> None:
    names = [b"10.0.%d.%d:80" % divmod(number, 250) for number in range(1000)]
    ring = Ring(names, [1 + number % 3 for number in range(1000)])
    built(ring)
    assert 1000 < len(ring._points) <= MOST_POINTS


def test_heaviest_and_lightest_weights_stay_within_the_bound() -> None:
    ring = Ring(NAMES, [1000, 1, 1, 1, 1, 1, 1])
    built(ring)
    assert len(ring._points) <= MOST_POINTS
    assert len({point & 0x3FFF for point in ring._points}) == 7  # everybody has a point


def test_maglev_is_even_to_one_place() -> None:
    table = Maglev(NAMES, [1] * 7)
    built(table)
    counts = Counter(table._table)
    assert sum(counts.values()) == PLACES
    assert max(counts.values()) - min(counts.values()) <= 1


def test_same_names_make_the_same_table_everywhere() -> None:
    """Known answers: replicas of other releases must agree with this one."""
    ring, maglev = built(Ring(NAMES, [1] * 7)), built(Maglev(NAMES, [1] * 7))
    units = [number * 0x9E3779B97F4A7 for number in range(12)]
    assert [ring.find(unit) for unit in units] == RING_ANSWERS
    assert [maglev.find(unit) for unit in units] == MAGLEV_ANSWERS


RING_ANSWERS = [1, 3, 0, 4, 2, 2, 6, 3, 1, 5, 4, 6]
MAGLEV_ANSWERS = [4, 6, 0, 6, 6, 0, 0, 3, 5, 2, 1, 5]
