"""What makes an outlier, for how long, how many at once, and how it is forgiven."""

from math import inf
from typing import Any

import pytest

from proxy.core.outlier import (
    CONSECUTIVE_5XX,
    CONSECUTIVE_GATEWAY,
    LATENCY,
    NONE,
    SUCCESS_RATE,
    Detector,
    OutlierPolicy,
    Standing,
)

Spec = dict[str, Any]


def policy(**parts: Any) -> OutlierPolicy:
    spec: Spec = {
        "consecutive_5xx": 5,
        "consecutive_gateway": 5,
        "interval": 10.0,
        "base_ejection": 30.0,
        "max_ejection": 300.0,
        "max_ejected_percent": 10.0,
        "success_rate": None,
        "latency": None,
    }
    return OutlierPolicy(spec | parts)


RATE = {"minimum_endpoints": 5, "minimum_requests": 100, "stdev_factor": 1.9}
SLOW = {"minimum_endpoints": 3, "minimum_requests": 100, "factor": 3.0}


def reports(detector: Detector, standing: Standing, *statuses: int) -> list[int]:
    return [detector.report(standing, status, 0.01, 0.0) for status in statuses]


def answered(detector: Detector, standing: Standing, requests: int, errors: int = 0, seconds: float = 0.01) -> None:
    for number in range(requests):
        detector.report(standing, 500 if number < errors else 200, seconds, 0.0)


# In a row.


def test_fifth_error_in_a_row_is_one_too_many() -> None:
    assert reports(Detector(policy()), Standing(), *[500] * 5) == [NONE] * 4 + [CONSECUTIVE_5XX]


def test_success_ends_the_row() -> None:
    assert reports(Detector(policy()), Standing(), 500, 500, 500, 500, 404, 500) == [NONE] * 6


@pytest.mark.parametrize("status", [502, 503, 504])
def test_gateway_failures_have_a_row_of_their_own(status: int) -> None:
    detector = Detector(policy(consecutive_gateway=3))
    assert reports(detector, Standing(), status, status, status) == [NONE, NONE, CONSECUTIVE_GATEWAY]


def test_error_of_the_application_ends_the_row_of_gateway_failures_only() -> None:
    detector = Detector(policy(consecutive_5xx=4, consecutive_gateway=2))
    assert reports(detector, Standing(), 503, 500, 503, 500) == [NONE, NONE, NONE, CONSECUTIVE_5XX]


def test_threshold_of_zero_is_off() -> None:
    assert set(reports(Detector(policy(consecutive_5xx=0, consecutive_gateway=0)), Standing(), *[503] * 50)) == {NONE}


# Ejection.


def test_ejection_grows_with_each_in_a_row_up_to_the_cap() -> None:
    detector, standing = Detector(policy()), Standing()
    seconds = []
    for _ in range(12):
        assert detector.eject(standing, [standing], 0.0)
        seconds.append(standing.ends)
        detector.release(standing, 0.0)
    assert seconds == [30.0 * min(times, 10) for times in range(1, 13)]


def test_cap_below_the_base_is_the_base() -> None:
    assert policy(max_ejection=5.0).ejection(3) == 30.0


@pytest.mark.parametrize(
    ("endpoints", "percent", "allowed"),
    [(1, 10.0, 1), (10, 10.0, 1), (19, 10.0, 1), (20, 10.0, 2), (4, 50.0, 2), (4, 0.0, 1), (3, 100.0, 3)],
)
def test_cap_is_a_share_but_one_at_least(endpoints: int, percent: float, allowed: int) -> None:
    detector = Detector(policy(max_ejected_percent=percent))
    standings = [Standing() for _ in range(endpoints)]
    assert sum(detector.eject(one, standings, 0.0) for one in standings) == allowed


def test_who_is_ejected_is_not_ejected_again() -> None:
    detector, standing = Detector(policy()), Standing()
    assert detector.eject(standing, [standing], 0.0)
    assert not detector.eject(standing, [standing], 5.0)
    assert standing.ends == 30.0


def test_ejection_ends_when_its_time_is_over() -> None:
    detector = Detector(policy(max_ejected_percent=100.0))
    standings = [Standing() for _ in range(3)]
    detector.eject(standings[1], standings, 0.0)
    assert detector.due(standings) == 30.0
    assert detector.ended(standings, 29.9) == []
    assert detector.ended(standings, 30.0) == [1]


def test_those_that_are_too_many_for_a_smaller_upstream_return_the_next_first() -> None:
    detector = Detector(policy())
    standings = [Standing() for _ in range(30)]
    for now, one in enumerate(standings[:3]):
        assert detector.eject(one, standings, float(now))
    assert detector.ended(standings[:12], 3.0) == [0, 1]


def test_return_forgets_what_led_to_the_ejection() -> None:
    detector, standing = Detector(policy()), Standing()
    reports(detector, standing, *[500] * 5)
    detector.eject(standing, [standing], 0.0)
    detector.release(standing, 30.0)
    assert reports(detector, standing, *[500] * 4) == [NONE] * 4


def test_each_healthy_interval_takes_one_off_the_next_ejection() -> None:
    detector, standing = Detector(policy()), Standing()
    for _ in range(3):
        detector.eject(standing, [standing], 0.0)
        detector.release(standing, 0.0)
    found = []
    now = 0.0
    while detector.ends != inf:
        now = detector.ends
        detector.judge([standing], now)
        found.append(standing.times)
    assert found == [2, 1, 0]
    assert now == 30.0


def test_interval_with_an_ejection_in_it_is_none_of_the_healthy_ones() -> None:
    detector, standing = Detector(policy()), Standing()
    detector.report(standing, 200, 0.1, 0.0)
    detector.eject(standing, [standing], 0.0)
    detector.judge([standing], 10.0)
    assert standing.times == 1
    detector.release(standing, 30.0)
    detector.judge([standing], 35.0)
    assert standing.times == 1


def test_nothing_is_due_where_nothing_was_reported() -> None:
    detector, standing = Detector(policy()), Standing()
    assert detector.due([standing]) == inf
    detector.report(standing, 200, 0.1, 7.0)
    assert detector.due([standing]) == 17.0
    detector.judge([standing], 17.0)
    assert detector.due([standing]) == inf


# Beside the others.


def test_share_of_successes_far_below_the_others_stands_out() -> None:
    detector = Detector(policy(success_rate=RATE))
    standings = [Standing() for _ in range(6)]
    for one in standings:
        answered(detector, one, 100, errors=1)
    answered(detector, standings[2], 100, errors=50)
    (found,) = detector.judge(standings, 10.0)
    place, cause, rate, threshold = found
    assert (place, cause) == (2, SUCCESS_RATE)
    assert rate == pytest.approx(0.745)
    assert 0.745 < threshold < 0.99


@pytest.mark.parametrize(("endpoints", "requests"), [(4, 100), (6, 99)])
def test_too_little_was_seen_to_tell(endpoints: int, requests: int) -> None:
    detector = Detector(policy(success_rate=RATE, latency=SLOW | {"minimum_endpoints": 5}))
    standings = [Standing() for _ in range(endpoints)]
    for one in standings:
        answered(detector, one, requests)
    answered(detector, standings[0], 0)
    standings[0].errors, standings[0].seconds = requests, 1e6
    assert detector.judge(standings, 10.0) == []


def test_equals_do_not_stand_out() -> None:
    detector = Detector(policy(success_rate=RATE, latency=SLOW))
    standings = [Standing() for _ in range(7)]
    for one in standings:
        answered(detector, one, 130, errors=13)
    assert detector.judge(standings, 10.0) == []


def test_interval_is_judged_by_itself() -> None:
    detector = Detector(policy(success_rate=RATE))
    standings = [Standing() for _ in range(6)]
    for one in standings:
        answered(detector, one, 100)
    answered(detector, standings[0], 100, errors=90)
    assert detector.judge(standings, 10.0)
    for one in standings:
        answered(detector, one, 100)
    assert detector.judge(standings, 20.0) == []


def test_answers_far_slower_than_the_others_stand_out() -> None:
    detector = Detector(policy(latency=SLOW))
    standings = [Standing() for _ in range(3)]
    for one, seconds in zip(standings, (0.1, 0.11, 0.4), strict=True):
        answered(detector, one, 100, seconds=seconds)
    (found,) = detector.judge(standings, 10.0)
    assert found == (2, LATENCY, pytest.approx(0.4), pytest.approx(0.315))


def test_slowness_within_the_factor_is_no_outlier() -> None:
    detector = Detector(policy(latency=SLOW))
    standings = [Standing() for _ in range(3)]
    for one, seconds in zip(standings, (0.1, 0.1, 0.29), strict=True):
        answered(detector, one, 100, seconds=seconds)
    assert detector.judge(standings, 10.0) == []


def test_worst_come_first_and_no_more_than_may_be_ejected() -> None:
    detector = Detector(policy(latency=SLOW, max_ejected_percent=30.0))
    standings = [Standing() for _ in range(10)]
    for place, one in enumerate(standings):
        answered(detector, one, 100, seconds={3: 5.0, 7: 9.0, 8: 4.0, 9: 3.0}.get(place, 0.1))
    assert [place for place, *_ in detector.judge(standings, 10.0)] == [7, 3, 8]


def test_answer_nobody_measured_counts_without_a_time() -> None:
    detector, standing = Detector(policy()), Standing()
    detector.report(standing, 503, -1.0, 0.0)
    assert (standing.requests, standing.timed, standing.seconds) == (1, 0, 0.0)
