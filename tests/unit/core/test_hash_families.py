import pytest

from proxy.core.hash_families import (
    FamilyDealer,
    common_modulus,
    make_family,
    parts_of,
    ranges_on_line,
    split_dealer,
)
from proxy.core.hashing import Dealer, hash32
from tests.families import (
    FLAGD_V1,
    FLAGD_V2,
    FLAGD_V3,
    GROWTHBOOK,
    LAUNCHDARKLY,
    OPTIMIZELY,
    SPECS,
    SPLIT,
    UNLEASH,
    VARIANTS,
    dealer,
)

UNITS = [b"user-%d" % number for number in range(2000)]

NAMES = ["alice", "bob", "user-1", "søren", "漢字", "😀 user", "3f2504e0-4f89-11d3-9a0c-0305e82c3301", "x" * 300]
V1, V2, V3 = FLAGD_V1, FLAGD_V2, FLAGD_V3
CAT = {"cat": "shared-"}
BY_KEY = [
    0.7064357062697804, 0.6784723540595349, 0.6912285500453672, 0.6214950310117044,
    0.6825037770831011, 0.8646416160401913, 0.9198735003456764, 0.24818992612493182,
]  # fmt: skip
BY_SEED = [
    0.686191575497308, 0.5561164343747153, 0.8018402357891553, 0.7778666623069328,
    0.11341858385525184, 0.4709162122490068, 0.9735602933239065, 0.49044745022764763,
]  # fmt: skip
# What the systems' own SDKs said of NAMES; for flagd of a flag with a hundred variants of one weight.
FACTS = [
    (V1, [97, 27, 55, 66, 79, 11, 40, 39]),  # openfeature-provider-flagd 0.2.7
    (V1 | CAT, [12, 52, 14, 18, 44, 75, 71, 11]),
    (V2, [48, 13, 72, 33, 60, 5, 20, 80]),  # openfeature-flagd-core 1.0.0
    (V2 | CAT, [6, 26, 92, 9, 77, 62, 35, 5]),
    (V3, [25, 45, 72, 6, 42, 72, 85, 51]),  # openfeature-flagd-core 2.0.0
    (V3 | CAT, [56, 73, 53, 73, 65, 26, 76, 17]),
    (UNLEASH, [10, 40, 34, 82, 14, 40, 14, 53]),  # UnleashClient 6.9.1
    (VARIANTS, [479, 172, 663, 671, 930, 773, 537, 42]),
    (SPLIT, [2, 83, 36, 33, 82, 43, 17, 48]),  # splitio_client 10.7.0
    (OPTIMIZELY, [1142, 1263, 4556, 7011, 2594, 7084, 2248, 8047]),  # optimizely-sdk 5.7.0
    (LAUNCHDARKLY, BY_KEY),  # launchdarkly-server-sdk 9.18.2
    (LAUNCHDARKLY | {"seed": 61}, BY_SEED),
    (GROWTHBOOK, [0.1414, 0.4131, 0.7893, 0.6021, 0.321, 0.3682, 0.5894, 0.3804]),  # growthbook 4.0.0
    (GROWTHBOOK | {"hash_version": 1}, [0.779, 0.992, 0.944, 0.187, 0.466, 0.727, 0.516, 0.049]),
]


@pytest.mark.parametrize(
    ("spec", "expected"), FACTS, ids=[f"{spec['family']}-{n}" for n, (spec, _) in enumerate(FACTS)]
)
def test_buckets_are_those_the_systems_say(spec: dict, expected: list[float]) -> None:
    family = make_family(spec, [1.0] * 100)
    found = [family.bucket(name.encode()) for name in NAMES]
    assert [float(int(one)) if spec["family"] == "flagd-v1" else one for one in found] == expected


@pytest.mark.parametrize(
    ("key", "bucket"), [("ejOoVL", 0), ("bY9fO-", 0), ("SI7p-", 49), ("6LvT0", 50), ("ceQdGm", 99)]
)
def test_edges_of_the_hash_are_edges_of_flagd_v2(key: str, bucket: int) -> None:
    family = make_family(FLAGD_V2 | {"cat": ""}, [50.0, 50.0])
    assert family.bucket(key.encode()) == bucket


def test_flagd_v1_serves_the_default_where_the_folded_hash_is_at_its_end() -> None:
    # 0x7fffffff and 0x80000000: the largest number and the least, which has no positive counterpart.
    dealt = dealer(V1 | {"cat": ""}, [50.0, 50.0])
    assert dealt.deal(b"SI7p-") == -1
    assert dealt.deal(b"6LvT0") == -1
    assert dealt.family.bucket(b"6LvT0") > 100


@pytest.mark.parametrize("spec", SPECS, ids=lambda spec: spec["family"])
def test_shares_are_within_three_points_of_the_weights(spec: dict) -> None:
    dealt = dealer(spec, [10.0, 30.0, 60.0])
    counts = [0, 0, 0]
    for unit in UNITS:
        counts[dealt.deal(unit)] += 1
    for count, share in zip(counts, (0.1, 0.3, 0.6), strict=True):
        assert abs(count / len(UNITS) - share) < 0.03


@pytest.mark.parametrize("spec", SPECS, ids=lambda spec: spec["family"])
def test_version_without_weight_gets_nobody_wherever_it_stands(spec: dict) -> None:
    for place in range(3):
        weights = [50.0, 50.0]
        weights.insert(place, 0.0)
        assert {dealer(spec, weights).deal(unit) for unit in UNITS} == {0, 1, 2} - {place}
    assert dealer(spec, [0.0, 0.0]).deal(b"alice") == -1
    assert dealer(spec, [0.0, 0.0]).count == 0


@pytest.mark.parametrize("spec", SPECS, ids=lambda spec: spec["family"])
def test_index_of_the_version_is_returned_and_versions_keep_the_order_of_the_file(spec: dict) -> None:
    given = FamilyDealer(spec, "s", "split", [(7, "b", 90.0), (3, "a", 10.0)])
    plain = dealer(spec, [10.0, 90.0])
    assert [given.deal(unit) for unit in UNITS[:200]] == [(3, 7)[plain.deal(unit)] for unit in UNITS[:200]]


@pytest.mark.parametrize("spec", SPECS, ids=lambda spec: spec["family"])
def test_denied_version_gives_its_units_away_in_proportion_and_moves_no_others(spec: dict) -> None:
    dealt = dealer(spec, [60.0, 30.0, 10.0])
    moved = [0, 0, 0]
    for unit in UNITS:
        free, left = dealt.deal(unit), dealt.deal(unit, 0b001)
        if free != 0:
            assert left == free
        else:
            moved[left] += 1
    assert moved[0] == 0
    assert moved[1] / moved[2] == pytest.approx(3.0, rel=0.3)
    assert dealt.deal(b"alice", 0b111) == -1
    # The units of a deny are dealt by Tidegate's own race.
    own = Dealer("shop", "split", [(0, "v0", 60.0), (1, "v1", 30.0), (2, "v2", 10.0)])
    denied = [unit for unit in UNITS if dealt.deal(unit) == 0]
    assert [dealt.deal(unit, 1) for unit in denied] == [own.deal(unit, 1) for unit in denied]


@pytest.mark.parametrize("spec", SPECS, ids=lambda spec: spec["family"])
def test_ranges_say_who_has_which_bucket(spec: dict) -> None:
    dealt = dealer(spec, [10.0, 0.0, 30.0, 60.0])
    ranges = dealt.ranges()
    assert [index for index, _, _ in ranges] == [0, 1, 2, 3]
    for unit in UNITS[:300]:
        bucket = dealt.family.bucket(unit)
        assert dealt.family.first <= bucket <= dealt.family.last
        assert [index for index, low, below in ranges if low <= bucket < below] == [dealt.deal(unit)]


def test_parts_are_what_weights_must_be_whole_numbers_of() -> None:
    assert [parts_of(spec) for spec in (UNLEASH, VARIANTS, SPLIT, OPTIMIZELY, LAUNCHDARKLY, GROWTHBOOK, FLAGD_V2)] == [
        100, 1000, 100, 10_000, 100_000, 0, 0,
    ]  # fmt: skip


def test_what_floating_point_leaves_over_goes_to_the_last_with_a_weight_at_launchdarkly() -> None:
    family = make_family(LAUNCHDARKLY, [33.333, 66.667, 0.0])
    assert family.overflow == 1
    assert make_family(LAUNCHDARKLY, [0.0, 0.0]).overflow == -1


def test_unit_that_is_no_utf8_is_dealt_too() -> None:
    for spec in SPECS:
        assert dealer(spec, [50.0, 50.0]).deal(b"\xff\xfe\x00") in {0, 1}


def test_length_of_a_text_is_encoded_in_its_shortest_form() -> None:
    # RFC 8949, 3.1 and appendix A: lengths to 23 stand in the first byte, longer ones take one, two or four more.
    family = make_family(V3 | {"cat": ""}, [1.0] * 1000)
    heads = {
        0: "60", 1: "61", 23: "77", 24: "7818", 255: "78ff", 256: "790100", 65535: "79ffff", 65536: "7a00010000",
    }  # fmt: skip
    for length, head in heads.items():
        encoded = bytes.fromhex(head) + b"u" * length
        assert family.bucket(b"u" * length) == hash32(encoded) * 1000 >> 32


def test_no_family_is_tidegates_own_dealer() -> None:
    arms = [(0, "stable", 95.0), (1, "canary", 5.0)]
    assert type(split_dealer(None, "shop", arms)) is Dealer
    assert type(split_dealer(UNLEASH, "shop", arms)) is FamilyDealer
    with pytest.raises(ValueError, match="no hash family petunia"):
        make_family({"family": "petunia", "key": "", "cat": None}, [1.0])


def test_families_lie_over_each_other_only_where_they_hash_the_same() -> None:
    weights = [50.0, 50.0]
    unleash = make_family(UNLEASH, weights)
    assert common_modulus(unleash, make_family(UNLEASH, [1.0, 99.0])) == 100
    assert common_modulus(unleash, make_family(UNLEASH | {"group": "other"}, weights)) is None
    assert common_modulus(unleash, make_family(VARIANTS, weights)) is None
    assert common_modulus(make_family(V1, weights), make_family(V2, weights)) == 0
    assert common_modulus(make_family(V2, weights), make_family(V3, weights)) is None
    assert common_modulus(make_family(VARIANTS, weights), make_family(VARIANTS | {"total": 99}, weights)) == 99_000
    assert common_modulus(make_family(VARIANTS, weights), make_family(VARIANTS | {"total": 99_999}, weights)) is None


def test_ranges_on_the_line_are_in_its_order() -> None:
    family = make_family(V1, [50.0, 50.0])
    assert ranges_on_line(family, ["a", "b"], 0) == [
        ("a", 0.0, 0.25),
        ("b", 0.25, 0.5),
        ("b", 0.5, 0.75),
        ("a", 0.75, 1.0),
    ]
    assert ranges_on_line(make_family(V1, [0.0]), ["a"], 0) == []


def test_first_remainders_are_met_more_often_than_the_last() -> None:
    family = make_family(UNLEASH, [96.0, 4.0])
    assert family.share_below(97.0) * 2**32 == 96 * 42_949_673
    assert family.share_below(101.0) == 1.0
