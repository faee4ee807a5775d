"""What is worth another try, how long to wait, and how many at a time."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.core.retry import CONDITIONS, IDEMPOTENT, Allowance, HedgePolicy, RetryPolicy, retry_after
from proxy.errors import DC, FLAGS, SI, UC, UF, UH, UO, UPE, UR, UT


def policy(*on: str, **parts: Any) -> RetryPolicy:
    return RetryPolicy(
        {
            "on": list(on), "methods": [], "attempts": 2, "per_try_timeout": 0.0, "back_off": {"base": 0.025, "max": 0.25},
            "budget": {"percent": 20.0, "minimum": 3}, "body_limit": 65536, "fallback": True, "max_retry_after": 1.0,
        } | parts
    )  # fmt: skip


def hedge(**parts: Any) -> HedgePolicy:
    return HedgePolicy(
        {
            "percentile": 95.0, "minimum_delay": 0.005, "maximum_delay": 1.0, "minimum_samples": 100,
            "budget_percent": 10.0, "methods": ["GET"],
        } | parts
    )  # fmt: skip


FLAGS_BY_CONDITION = {
    "connect_failure": {UF, UH},
    "refused": set(),
    "reset": {UC, UR},
    "gateway_error": {UPE},
    "5xx": {UPE},
    "retriable_4xx": set(),
    "rate_limited": set(),
    "timeout": {UT},
}
STATUSES_BY_CONDITION = {
    "gateway_error": {502, 503, 504},
    "5xx": set(range(500, 600)),
    "retriable_4xx": {409},
    "rate_limited": {429},
}


@pytest.mark.parametrize("name", CONDITIONS)
def test_each_condition_takes_its_own_failures_and_no_others(name: str) -> None:
    one = policy(name)
    assert {flag for flag in FLAGS if one.takes(flag, False)} == FLAGS_BY_CONDITION[name]
    assert one.statuses == STATUSES_BY_CONDITION.get(name, set())


def test_a_refused_connection_is_a_part_of_those_that_failed() -> None:
    assert policy("refused").takes(UF, True)
    assert not policy("refused").takes(UF, False)
    assert policy("connect_failure").takes(UF, True)
    assert not policy("reset").takes(UF, True)


def test_what_the_client_did_or_a_limit_said_is_never_tried_again() -> None:
    everything = policy(*CONDITIONS)
    assert not any(everything.takes(flag, refused) for flag in (UO, DC, SI) for refused in (True, False))


def test_methods_are_the_idempotent_ones_unless_named() -> None:
    assert policy("5xx").methods == IDEMPOTENT
    assert b"POST" not in IDEMPOTENT
    assert policy("5xx", methods=["POST"]).methods == {b"POST"}


@given(st.integers(1, 1000), st.floats(0, 1, exclude_max=True))
def test_back_off_lies_within_its_growing_bound(retry: int, draw: float) -> None:
    waited = policy("5xx").back_off(retry, draw)
    assert 0 <= waited <= 0.25
    assert waited <= 0.025 * (2 ** min(retry, 30) - 1)


def test_back_off_fills_its_bound() -> None:
    one = policy("5xx")
    assert one.back_off(1, 0.0) == 0.0
    assert one.back_off(1, 0.5) == pytest.approx(0.0125)
    assert one.back_off(2, 0.5) == pytest.approx(0.0375)
    assert one.back_off(9, 0.5) == pytest.approx(0.125)


def test_a_fifth_of_the_first_tries_is_the_default_limit() -> None:
    one = policy("5xx")
    assert one.limit(120, 20) == 20
    assert one.limit(3, 2) == 3


@given(
    st.lists(st.tuples(st.integers(0, 30), st.floats(0, 2), st.integers(0, 30)), max_size=60),
    st.integers(0, 10),
    st.integers(1, 4),
)
def test_retries_stay_a_share_of_the_requests_over_any_time(
    steps: list[tuple[int, float, int]], minimum: int, workers: int
) -> None:
    one = policy("5xx", budget={"percent": 20.0, "minimum": minimum})
    allowance = Allowance()
    now, requests = 1000.0, 0
    made: list[tuple[float, int, int]] = []  # when, requests so far, retries then
    for more, pause, wanted in steps:
        now += pause
        requests += more
        taken = sum(allowance.take(one, float(minimum), requests, now, workers) for _ in range(wanted))
        made.append((now, requests, taken))
    for start in range(len(made)):
        retries = sum(taken for _, _, taken in made[start:])
        begun = requests - made[start][1]
        seconds = now - made[start][0]
        kept = max(minimum / workers, 1.0)
        assert retries <= 0.2 * begun + minimum / workers * seconds / 10 + kept + 1e-6


def test_what_was_not_used_is_kept_up_to_the_limit() -> None:
    one = policy("5xx")
    allowance = Allowance()
    assert sum(allowance.take(one, 20.0, 100, 1000.0, 1) for _ in range(50)) == 20
    assert not allowance.take(one, 20.0, 104, 1000.0, 1)
    assert allowance.take(one, 20.0, 105, 1000.0, 1)
    assert sum(allowance.take(one, 20.0, 10_000, 1000.0, 1) for _ in range(50)) == 20
    assert sum(allowance.take(one, 3.0, 10_000, 1010.1, 1) for _ in range(50)) == 3


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        (b"0", 0.0), (b"120", 120.0), (b" 3 ", 3.0), (b"Sun, 06 Nov 1994 08:49:37 GMT", 37.0),
        (b"Sun, 06 Nov 1994 08:48:00 GMT", 0.0), (b"99999999999999999999", 1e12),
        (b"", -1.0), (b"soon", -1.0), (b"-5", -1.0), (b"1.5", -1.0),
    ],
)  # fmt: skip
def test_retry_after_is_read_as_seconds_or_as_a_date(value: bytes, seconds: float) -> None:
    assert retry_after(value, 784111740.0) == seconds  # 1994-11-06 08:49:00


def test_hedge_waits_for_the_percentile_within_its_bounds() -> None:
    one = hedge()
    assert one.delay(-1.0) < 0
    assert one.delay(0.0) == 0.005
    assert one.delay(0.2) == 0.2
    assert one.delay(9.0) == 1.0


def test_hedges_are_a_share_of_what_is_under_way_and_one_is_always_allowed() -> None:
    one = hedge()
    assert one.within_budget(1, 0)
    assert not one.within_budget(1, 1)
    assert one.within_budget(100, 9)
    assert not one.within_budget(100, 10)
