"""Laws of rate limits: never more than a bucket of tokens admits, never less, and Retry-After is exact."""

from fractions import Fraction

from hypothesis import given
from hypothesis import strategies as st

from proxy.core.gcra import SECOND, SET_SLOTS, RateLimit, RateTable

RATES = st.one_of(st.floats(0.001, 1e6), st.integers(1, 100_000).map(float))
GAPS = st.lists(st.one_of(st.just(0), st.integers(0, 1000), st.integers(0, 10 * SECOND)), min_size=1, max_size=60)
START = 1000 * SECOND


def limit(rate: float, burst: int) -> RateLimit:
    return RateLimit({"label": "l", "by": [{"kind": "route"}], "rate": rate, "burst": burst, "versions": []}, "r", {})


class Side:
    """A bucket in a table of its own, whose every step is looked at."""

    def __init__(self, of: RateLimit) -> None:
        self.limit = of
        self.table = RateTable(memoryview(bytearray(8 * SET_SLOTS)).cast("q"), 0, SET_SLOTS, b"s")
        self.bucket = self.table.bucket(b"key")

    def wait(self, now: int) -> int:
        """Nanoseconds until a request is admitted; 0 or less: at once."""
        place = self.table.find(self.bucket, now)
        return self.table.debt(place, self.bucket, now, self.limit.span) + self.limit.interval - self.limit.span

    def ask(self, now: int) -> bool:
        if self.wait(now) > 0:
            return False
        place = self.table.find(self.bucket, now)
        assert not self.table.charge(place, self.bucket, now, self.limit.interval, self.limit.span)
        return True


class Reference:
    """A bucket of tokens as it is in the books, in exact numbers."""

    def __init__(self, interval: int, burst: int) -> None:
        self.interval, self.burst = interval, burst
        self.tokens, self.last = Fraction(burst), START

    def ask(self, now: int) -> bool:
        self.tokens = min(Fraction(self.burst), self.tokens + Fraction(now - self.last, self.interval))
        self.last = now
        if self.tokens < 1:
            return False
        self.tokens -= 1
        return True


@given(RATES, st.integers(1, 50), GAPS)
def test_admits_exactly_what_a_bucket_of_tokens_admits(rate: float, burst: int, gaps: list[int]) -> None:
    side = Side(limit(rate, burst))
    reference = Reference(side.limit.interval, burst)
    now = START
    for gap in gaps:
        now += gap
        assert side.ask(now) == reference.ask(now)


@given(RATES, st.integers(1, 50), GAPS)
def test_never_admits_more_than_burst_and_rate(rate: float, burst: int, gaps: list[int]) -> None:
    side = Side(limit(rate, burst))
    now = START
    admitted: list[int] = []
    for gap in gaps:
        now += gap
        while side.ask(now):
            admitted.append(now)
    for first, begun in enumerate(admitted):  # over every span of time
        for last in range(first, len(admitted)):
            assert last - first + 1 <= burst + Fraction(rate) * Fraction(admitted[last] - begun, SECOND)


@given(RATES, st.integers(1, 50), GAPS)
def test_retry_after_is_exact(rate: float, burst: int, gaps: list[int]) -> None:
    side = Side(limit(rate, burst))
    now = START
    for gap in gaps:
        now += gap
        while side.ask(now):
            pass
        wait = side.wait(now)
        assert wait > 0
        assert side.wait(now + wait - 1) == 1
        assert side.wait(now + wait) == 0
    assert side.ask(now + wait)


@given(st.lists(st.tuples(st.integers(0, 200), st.integers(0, SECOND)), max_size=300))
def test_keys_in_one_table_do_not_disturb_each_other_while_there_is_room(asked: list[tuple[int, int]]) -> None:
    one = limit(10.0, 3)
    table = RateTable(memoryview(bytearray(8 * SET_SLOTS * 256)).cast("q"), 0, SET_SLOTS * 256, b"s")
    alone: dict[int, Side] = {}
    now = START
    for key, gap in asked:
        now += gap
        side = alone.setdefault(key, Side(one))
        bucket = table.bucket(b"%d" % key)
        place = table.find(bucket, now)
        admitted = table.debt(place, bucket, now, one.span) + one.interval <= one.span
        assert admitted == side.ask(now)
        if admitted:
            assert not table.charge(place, bucket, now, one.interval, one.span)
