"""Laws of the balancers: shares, and who moves when endpoints come and go."""

from collections import Counter
from random import Random

from hypothesis import given, settings
from hypothesis import strategies as st

from proxy.core.balance import ROUND_ROBIN, Group, Member, rendezvous
from proxy.core.hash_tables import HashTable, Maglev, Ring

_draws = Random(1)
UNITS = [_draws.getrandbits(60) for _ in range(2000)]
"""As hashes are: numbers at equal distances are in step with the places of one endpoint or another in Maglev's table."""

counts = st.integers(2, 24)
kinds = st.sampled_from([Ring, Maglev])
seeds = st.integers(0, 10**6)


def names(count: int, seed: int) -> list[bytes]:
    return [b"%d.%d.0.1:80:False:" % (seed, number) for number in range(count)]


def owners(kind: type[Ring | Maglev], identities: list[bytes], weights: list[int]) -> list[bytes]:
    """Whom the units belong to."""
    ordered = sorted(range(len(identities)), key=lambda place: identities[place])
    table: HashTable = kind([identities[place] for place in ordered], [weights[place] for place in ordered])
    while not table.build(100_000):
        pass
    return [identities[ordered[table.find(unit)]] for unit in UNITS]


@settings(max_examples=40, deadline=None)
@given(kinds, counts, seeds)
def test_endpoint_that_joins_takes_its_share_and_little_else_moves(
    kind: type[Ring | Maglev], count: int, seed: int
) -> None:
    few, more = names(count, seed), names(count + 1, seed)
    before = owners(kind, few, [1] * count)
    after = owners(kind, more, [1] * (count + 1))
    share = len(UNITS) / (count + 1)
    moved = [(old, new) for old, new in zip(before, after, strict=True) if old != new]
    among_old = sum(1 for _, new in moved if new != more[-1])
    if kind is Ring:
        assert among_old == 0
        assert len(moved) <= 2.0 * share
    else:
        assert among_old <= 0.1 * len(UNITS)
        assert len(moved) - among_old <= 1.5 * share + 30


@settings(max_examples=40, deadline=None)
@given(kinds, counts, seeds)
def test_endpoint_that_leaves_takes_nobody_elses_units_along(kind: type[Ring | Maglev], count: int, seed: int) -> None:
    all_of_them = names(count, seed)
    before = owners(kind, all_of_them, [1] * count)
    after = owners(kind, all_of_them[1:], [1] * (count - 1))
    moved = sum(1 for old, new in zip(before, after, strict=True) if old != new and old != all_of_them[0])
    assert moved <= (0 if kind is Ring else 0.1 * len(UNITS))
    assert all_of_them[0] not in after


@settings(max_examples=40, deadline=None)
@given(kinds, st.lists(st.integers(1, 10), min_size=2, max_size=12), seeds)
def test_units_are_dealt_by_weight(kind: type[Ring | Maglev], weights: list[int], seed: int) -> None:
    identities = names(len(weights), seed)
    found = Counter(owners(kind, identities, weights))
    for identity, weight in zip(identities, weights, strict=True):
        wanted = len(UNITS) * weight / sum(weights)
        slack = 0.45 if kind is Ring else 0.0  # 160 points of the lightest: a standard deviation of 8 %
        assert abs(found[identity] - wanted) <= slack * wanted + 5 * wanted**0.5 + 5


@settings(max_examples=40, deadline=None)
@given(kinds, counts, seeds, st.randoms())
def test_order_of_the_file_does_not_matter(kind: type[Ring | Maglev], count: int, seed: int, random: object) -> None:
    identities = names(count, seed)
    shuffled = identities.copy()
    random.shuffle(shuffled)  # type: ignore[attr-defined]
    assert owners(kind, identities, [1] * count) == owners(kind, shuffled, [1] * count)


@given(st.lists(st.integers(1, 9), min_size=1, max_size=8), st.integers(1, 5))
def test_rounds_of_turns_are_exact(weights: list[int], rounds: int) -> None:
    group = Group(ROUND_ROBIN, [Member(str(place), weight, "") for place, weight in enumerate(weights)])
    found = Counter(group.pick(0.0) for _ in range(sum(weights) * rounds))
    assert [found[place] for place in range(len(weights))] == [weight * rounds for weight in weights]


@given(counts, seeds)
def test_only_the_units_of_a_member_that_is_out_go_elsewhere(count: int, seed: int) -> None:
    members = [Member(name.decode(), 1, "") for name in names(count, seed)]
    for unit in UNITS[:200]:
        before = rendezvous(members, unit)
        after = rendezvous(members[1:], unit) + 1
        assert before in (0, after)
