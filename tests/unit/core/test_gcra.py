import pytest

from proxy.core.gcra import ENTRY_SLOTS, SECOND, SET_SLOTS, WAYS, RateLimit, RateTable
from tests.specs import request_head

NOW = 5_000 * SECOND


def limit(*by: tuple[str, str], rate: float = 10.0, burst: int = 5, twin: int = 0, **parts: object) -> RateLimit:
    spec = {
        "label": "rate_limits[0]", "by": [{"kind": kind, "name": name} for kind, name in by or [("route", "")]],
        "rate": rate, "burst": burst, "versions": [],
    } | parts  # fmt: skip
    return RateLimit(spec, "shop", {"stable": 0, "canary": 1}, twin)


def memory(sets: int = 4) -> memoryview:
    return memoryview(bytearray(sets * SET_SLOTS * 8 + 80)).cast("q")


def table(sets: int = 4, secret: bytes = b"secret", view: memoryview | None = None, worker: int = 0) -> RateTable:
    return RateTable(memory(sets) if view is None else view, 10, sets * SET_SLOTS, secret, worker)


class Bucket:
    """One key of one limit."""

    def __init__(self, of: RateLimit, where: RateTable, key: bytes = b"k") -> None:
        self.limit, self.table, self.bucket = of, where, where.bucket(key)

    def debt(self, now: int) -> int:
        return self.table.debt(self.table.find(self.bucket, now), self.bucket, now, self.limit.span)

    def ask(self, now: int) -> bool:
        place = self.table.find(self.bucket, now)
        if self.table.debt(place, self.bucket, now, self.limit.span) + self.limit.interval > self.limit.span:
            return False
        self.table.charge(place, self.bucket, now, self.limit.interval, self.limit.span)
        return True


def test_burst_is_admitted_at_once_and_then_the_rate():
    bucket = Bucket(limit(rate=10, burst=5), table())
    assert [bucket.ask(NOW) for _ in range(7)] == [True] * 5 + [False] * 2
    assert [bucket.ask(NOW + tenth * SECOND // 10) for tenth in range(1, 11)] == [True] * 10
    assert not bucket.ask(NOW + SECOND)
    assert [bucket.ask(NOW + 100 * SECOND) for _ in range(6)] == [True] * 5 + [False]


def test_key_is_forgotten_when_it_has_its_whole_burst_again():
    where = table(sets=1)
    one = Bucket(limit(rate=10, burst=5), where, b"one")
    one.ask(NOW)
    place = where.find(one.bucket, NOW)
    others = [where.bucket(b"%d" % number) for number in range(WAYS)]
    later = NOW + SECOND // 10
    for bucket in others:  # eight others find a place, and none has to be forgotten for them
        assert where.charge(where.find(bucket, later), bucket, later, SECOND, SECOND) is False
    assert where.find(one.bucket, later) in range(10, 10 + SET_SLOTS, ENTRY_SLOTS)
    assert where.debt(place, one.bucket, later, SECOND) == 0


def test_in_a_full_set_the_one_nearest_to_idle_makes_room():
    view = memory(sets=1)
    where, other = table(1, view=view), table(1, view=view, worker=1)
    buckets = [where.bucket(b"%d" % number) for number in range(WAYS)]
    for number, bucket in enumerate(buckets):
        assert where.charge(where.find(bucket, NOW), bucket, NOW, (number + 1) * SECOND, 9 * SECOND) is False
    new = where.bucket(b"new")
    assert where.charge(where.find(new, NOW), new, NOW, SECOND, SECOND) is True
    theirs = [other.bucket(b"%d" % number) for number in range(WAYS)]
    assert other.debt(other.find(theirs[0], NOW), theirs[0], NOW, 9 * SECOND) == 0
    assert where.debt(where.find(buckets[0], NOW), buckets[0], NOW, 9 * SECOND) == SECOND  # who made it still knows
    owed = [other.debt(other.find(bucket, NOW), bucket, NOW, 9 * SECOND) for bucket in theirs[1:]]
    assert owed == [number * SECOND for number in range(2, 9)]


def test_only_its_own_slots_are_touched():
    memory = bytearray(b"\1" * 8 * (SET_SLOTS + 4))
    view = memoryview(memory).cast("q")
    view[2 : 2 + SET_SLOTS] = memoryview(bytes(8 * SET_SLOTS)).cast("q")
    where = RateTable(view, 2, SET_SLOTS, b"")
    for number in range(100):
        bucket = where.bucket(b"%d" % number)
        where.charge(where.find(bucket, NOW), bucket, NOW, SECOND, SECOND)
    assert bytes(memory[:16]) + bytes(memory[-16:]) == b"\1" * 32


@pytest.mark.parametrize("slots", [0, 8, SET_SLOTS * 3, SET_SLOTS + 1])
def test_table_of_no_power_of_two_is_refused(slots: int):
    with pytest.raises(ValueError, match="sets"):
        RateTable(memoryview(bytearray(1024)).cast("q"), 0, slots, b"")


def test_debt_that_cannot_be_its_own_counts_for_a_burst_at_most():
    one = limit(rate=10, burst=5)
    where = table()
    bucket = Bucket(one, where)
    place = where.find(bucket.bucket, NOW)
    where.charge(
        place, bucket.bucket, NOW, 3600 * SECOND, 3600 * SECOND
    )  # what a race, or another rate, may leave behind
    assert bucket.debt(NOW) == one.span
    assert not bucket.ask(NOW)
    where.charge(place, bucket.bucket, NOW, one.interval, one.span)
    assert where.debt(place, bucket.bucket, NOW + one.interval, 1 << 60) == one.span


def test_charges_that_a_suspended_worker_took_back_are_restored():
    one = limit(rate=10, burst=5)
    view = memory()
    first, second = table(view=view), table(view=view, worker=1)
    bucket = Bucket(one, first)
    assert bucket.ask(NOW)
    place = first.find(bucket.bucket, NOW)
    stale = view[place + 1]
    assert [bucket.ask(NOW) for _ in range(3)] == [True] * 3
    view[place + 1] = stale  # who had read it before, and writes it only now
    assert Bucket(one, second).debt(NOW) == one.interval
    assert bucket.debt(NOW) == 4 * one.interval
    assert bucket.ask(NOW)
    assert Bucket(one, second).debt(NOW) == one.span


def test_marks_depend_on_the_secret_and_fit_62_bits():
    keys = [b"%d" % number for number in range(200)]
    one, other = table(secret=b"a" * 100), table(secret=b"b")
    marks = [one.bucket(key).mark for key in keys]
    assert marks == [table(secret=b"a" * 100).bucket(key).mark for key in keys]
    assert not set(marks) & {other.bucket(key).mark for key in keys}
    assert all(0 <= mark < 1 << 62 for mark in marks)


def test_what_is_remembered_of_keys_is_bounded():
    where = table()
    for number in range(40_000):
        where.bucket(b"%d" % number)
    where.bucket(b"x" * 1000)
    assert len(where._known) <= 16_384
    assert max(len(key) for key in where._known) < 200


# Keys.


def key(of: RateLimit, unit: bytes | None = None, version: str = "stable", **parts: object) -> bytes | None:
    return of.key(request_head(**parts), unit, version)  # type: ignore[arg-type]


def test_keys_of_every_kind():
    fields = {b"x-api-key": b"k1", b"cookie": b"sid=s1"}
    with_all = {"fields": fields, "query": b"token=t1", "client": "192.0.2.7"}
    for part, value in [
        (("route", ""), b""), (("version", ""), b"stable"), (("unit", ""), b"u1"), (("client_ip", ""), b"192.0.2.7"),
        (("header", "X-Api-Key"), b"k1"), (("query", "token"), b"t1"), (("cookie", "sid"), b"s1"),
    ]:  # fmt: skip
        one = limit(part)
        assert key(one, b"u1", **with_all) == one.identity + value


@pytest.mark.parametrize("part", [("unit", ""), ("client_ip", ""), ("header", "x"), ("query", "x"), ("cookie", "x")])
def test_request_without_the_key_has_none(part: tuple[str, str]):
    assert key(limit(part), client="") is None
    assert key(limit(("route", ""), part), client="") is None


def test_ipv6_clients_are_one_by_their_network():
    one = limit(("client_ip", ""))
    first, same, other = (key(one, client=text) for text in ("2001:db8::1", "2001:db8::ffff:1", "2001:db8:0:1::1"))
    assert first == same != other
    assert key(one, client="::ffff:192.0.2.7") == key(one, client="192.0.2.7")


def test_values_of_two_parts_are_not_read_as_two_others():
    one = limit(("header", "a"), ("header", "b"))
    assert key(one, fields={b"a": b"1", b"b": b"23"}) != key(one, fields={b"a": b"12", b"b": b"3"})
    assert key(one, fields={b"a": b"1:x1", b"b": b""}) != key(one, fields={b"a": b"", b"b": b"1:x1"})


def test_identity_is_what_the_limit_is_and_not_where_it_stands():
    one = limit(("unit", ""))
    assert limit(("unit", ""), label="rate_limits[7]").identity == one.identity
    for other in (
        limit(("route", "")), limit(("unit", ""), rate=11.0), limit(("unit", ""), burst=6), limit(("unit", ""), twin=1),
        limit(("unit", ""), versions=["canary"]),
    ):  # fmt: skip
        assert other.identity != one.identity


def test_limit_of_some_versions_concerns_those():
    assert [limit(versions=["canary"]).concerns(index) for index in range(2)] == [False, True]
    assert [limit().concerns(index) for index in range(2)] == [True, True]


@pytest.mark.parametrize(("rate", "burst"), [(0, 1), (-1, 1), (1, 0), (float("nan"), 1)])
def test_limit_that_admits_nothing_is_refused(rate: float, burst: int):
    with pytest.raises(ValueError, match="positive"):
        limit(rate=rate, burst=burst)


# What clients are told.


@pytest.mark.parametrize(
    ("rate", "burst", "policy"),
    [
        (100.0, 200, b";q=200;w=2"),
        (100.0, 10, b";q=100;w=1"),  # whole seconds: what can be had in one, evenly spread
        (0.1, 1, b";q=1;w=10"),
        (1 / 3600, 100, b";q=100;w=360000"),
    ],
)
def test_policy_says_how_much_in_how_long(rate: float, burst: int, policy: bytes):
    assert limit(rate=rate, burst=burst).policy == b'"rate_limits[0]"' + policy


def test_state_says_how_many_are_left_and_when_there_is_one_more():
    one = limit(rate=0.5, burst=3)
    for debt, said in [
        (0, b";r=3;t=0"),
        (1, b";r=2;t=1"),
        (2 * SECOND, b";r=2;t=2"),
        (5 * SECOND, b";r=0;t=1"),
        (6 * SECOND, b";r=0;t=2"),
    ]:
        assert one.state(debt) == one.item + said


def test_quotes_in_a_label_are_escaped():
    assert limit(label='a"b\\').item == b'"a\\"b\\\\"'
