import json
import math
from pathlib import Path

import pytest

from proxy.core.hashing import Dealer, UnitHasher, bucket, hash32, sampled, unit_hash, unit_hash32

UNITS = [b"user-%d" % number for number in range(2000)]
VECTORS = Path(__file__).resolve().parents[4] / "shared" / "vectors" / "mmh3" / "mmh3-vectors.json"


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (b"", 0),
        (b"foo", 4138058784),
        (bytes.fromhex("21436587"), 4116402539),
        (b"ejOoVL", 0),
        (b"bY9fO-", 1),
        (b"SI7p-", 0x7FFFFFFF),
        (b"6LvT0", 0x80000000),
        (b"ceQdGm", 0xFFFFFFFF),
    ],
)
def test_hash_is_murmur3_32_unsigned(data: bytes, expected: int) -> None:
    assert hash32(data) == expected


def test_hash_agrees_with_the_reference_vectors() -> None:
    if not VECTORS.exists():
        pytest.skip("the reference vectors are not beside this checkout")
    rows = [
        row
        for row in json.loads(VECTORS.read_text())
        if row["fn"] == "hash" and row["seed"] == 0 and set(row["kwargs"]) <= {"signed"}
    ]
    assert len(rows) > 10
    for row in rows:
        assert hash32(bytes.fromhex(row["data_hex"])) == row["expected"] % 2**32


def test_bucket_is_the_hash_of_salt_nul_unit_within_ten_thousand() -> None:
    assert bucket(b"shop", b"alice") == hash32(b"shop\0alice") % 10000
    assert {bucket(b"shop", unit) for unit in UNITS} <= set(range(10000))


def test_deal_follows_the_published_formula() -> None:
    arms = [(0, "a", 3.0), (1, "b", 2.0), (2, "c", 1.0)]
    dealer = Dealer("salt", "split", arms)
    for unit in UNITS[:200]:
        times = {
            index: -math.log((hash32(f"salt\0split\0{name}\0".encode() + unit) + 0.5) / 2**32) / weight
            for index, name, weight in arms
        }
        assert dealer.deal(unit) == min(times, key=times.__getitem__)
        assert dict(dealer.times(unit)) == pytest.approx(times)


def test_facts_that_may_never_change_because_users_would_move() -> None:
    dealer = Dealer("shop", "split", [(0, "stable", 95.0), (1, "canary", 5.0)])
    assert [number for number in range(100) if dealer.deal(b"user-%d" % number) == 1] == [10, 13, 15, 32, 72, 73, 87]
    assert bucket(b"shop", b"alice") == 3511


def test_two_arms_take_the_same_way_as_many() -> None:
    two = Dealer("s", "split", [(0, "a", 7.0), (1, "b", 3.0)])
    with_a_closed_third = Dealer("s", "split", [(0, "a", 7.0), (1, "b", 3.0), (2, "c", 1.0)])
    assert [two.deal(unit) for unit in UNITS] == [with_a_closed_third.deal(unit, 0b100) for unit in UNITS]


def test_arm_without_weight_never_wins() -> None:
    dealer = Dealer("s", "split", [(0, "a", 0.0), (1, "b", 1e-9), (2, "c", 0.0)])
    assert {dealer.deal(unit) for unit in UNITS} == {1}


def test_no_arm_left_is_minus_one() -> None:
    assert Dealer("s", "split", []).deal(b"u") == -1
    assert Dealer("s", "split", [(0, "a", 0.0)]).deal(b"u") == -1
    assert Dealer("s", "split", [(3, "a", 1.0)]).deal(b"u", 0b1000) == -1
    assert Dealer("s", "split", [(0, "a", 1.0), (1, "b", 1.0)]).deal(b"u", 0b11) == -1


def test_denied_arm_gives_its_units_away_and_moves_no_others() -> None:
    dealer = Dealer("s", "split", [(0, "a", 5.0), (1, "b", 3.0), (2, "c", 2.0)])
    for unit in UNITS:
        free = dealer.deal(unit)
        left = dealer.deal(unit, 0b010)
        assert left == free if free != 1 else left in {0, 2}


def test_index_of_the_version_is_returned_and_not_the_place_of_the_arm() -> None:
    assert Dealer("s", "split", [(4, "only", 1.0)]).deal(b"u") == 4
    assert {Dealer("s", "split", [(7, "a", 1.0), (3, "b", 1.0)]).deal(unit) for unit in UNITS} == {3, 7}


def test_order_of_the_arms_changes_nothing() -> None:
    forth = Dealer("s", "split", [(0, "a", 5.0), (1, "b", 3.0), (2, "c", 2.0)])
    back = Dealer("s", "split", [(2, "c", 2.0), (1, "b", 3.0), (0, "a", 5.0)])
    assert [forth.deal(unit) for unit in UNITS] == [back.deal(unit) for unit in UNITS]


def test_sample_grows_with_its_threshold_and_knows_none_and_all() -> None:
    prefix = b"shop\0mirror\0shadow\0"
    tenth = {unit for unit in UNITS if sampled(prefix, unit, 2**32 // 10)}
    fifth = {unit for unit in UNITS if sampled(prefix, unit, 2**32 // 5)}
    assert tenth < fifth
    assert len(tenth) == pytest.approx(200, abs=50)
    assert not any(sampled(prefix, unit, 0) for unit in UNITS)
    assert all(sampled(prefix, unit, 2**32) for unit in UNITS)
    assert unit_hash32(prefix, b"u") == hash32(prefix + b"u")


def test_unit_hash_is_keyed_and_sixteen_hex_digits() -> None:
    assert unit_hash(b"", b"alice") == "4deaec0cce54da89"
    assert UnitHasher(b"key")(b"alice") == unit_hash(b"key", b"alice") != unit_hash(b"other", b"alice")
    assert len(unit_hash(b"key", b"")) == 16


def test_unit_hasher_takes_keys_of_any_length() -> None:
    assert UnitHasher(b"k" * 65)(b"alice") != UnitHasher(b"k" * 64)(b"alice")


def test_unit_hasher_remembers_a_bounded_number_of_units() -> None:
    hasher = UnitHasher(b"key")
    names = [hasher(b"%d" % number) for number in range(40_000)]
    assert len(hasher._known) <= 16_384
    assert hasher(b"0") == names[0]
    assert hasher(b"x" * 50_000) == unit_hash(b"key", b"x" * 50_000)
    assert max(map(len, hasher._known)) <= 256  # clients choose how long they are
