"""The brake over a window: what it forgets, what it wants to see, and what it says."""

import pytest

from proxy.core.brake_window import BrakeWindow, Part


def window(minimum: int = 20) -> BrakeWindow:
    return BrakeWindow(3.0, 10.0, minimum)


def test_many_errors_pull_it_and_it_says_why() -> None:
    brake = window()
    assert not brake.look(Part(0.0, 10, 8, 190, 1))  # too few requests
    assert brake.look(Part(1.0, 10, 8, 190, 1))
    assert brake.reason == "16 of 20 requests failed within 10 s, 2 of 380 elsewhere"
    assert brake.numbers["error_percent"] == 80.0


@pytest.mark.parametrize(
    ("errors", "erred", "others", "confirmed"),
    [
        (90, 2, 0, False),  # two users, however often they fail
        (90, 3, 500, True),  # most requests fail
        (30, 5, 95, False),  # as many units as its share is: somebody fails often
        (30, 20, 30, True),
    ],
)
def test_units_confirm_what_requests_say(errors: int, erred: int, others: int, *, confirmed: bool) -> None:
    brake = window()
    assert brake.look(Part(0.0, 100, errors, 1900, 4))
    assert brake.confirmed(erred, others, 0.05) is confirmed
    assert (brake.numbers["units"], brake.numbers["other_units"]) == (erred, others)


def test_what_is_tolerated_never_pulls_it() -> None:
    brake = window()
    assert not any(brake.look(Part(float(second), 50, 3, 950, 19)) for second in range(600))


def test_what_is_older_than_the_window_is_forgotten() -> None:
    brake = window()
    assert not brake.look(Part(0.0, 15, 15, 100, 0))
    assert not brake.look(Part(10.0, 10, 0, 100, 0))
    assert brake.look(Part(11.0, 20, 20, 100, 0))


def test_alone_it_goes_by_half_of_the_requests() -> None:
    assert not window().look(Part(0.0, 100, 49, 0, 0))
    brake = window()
    assert brake.look(Part(0.0, 100, 50, 0, 0))
    assert "no other version" in brake.reason


def test_counters_that_went_back_say_nothing() -> None:
    brake = window()
    assert not brake.look(Part(0.0, 19, 19, 100, 0))
    assert not brake.look(Part(1.0, -5, 0, 100, 0))
    assert not brake.look(Part(2.0, 10, 10, 100, 0))
    brake.release()
    assert not brake.look(Part(3.0, 10, 10, 100, 0))


def part(at: float, errors: int, baseline_errors: int, *, baseline: int = 30) -> Part:
    return Part(at, 30, errors, 1000 + baseline, 2 + baseline_errors, baseline, baseline_errors)


def test_a_fresh_instance_of_the_old_version_that_fails_as_often_stands_for_it() -> None:
    """Cold caches are no fault of the new version."""
    assert window().look(part(0.0, 20, 0))
    brake = window()
    assert not brake.look(part(0.0, 20, 18))
    assert brake.numbers["baseline_errors"] == 18
    assert "18 of 30 at the baseline" in brake.reason
    assert window().look(part(0.0, 20, 6))  # more than three times as often


def test_a_baseline_that_has_had_next_to_nothing_says_nothing() -> None:
    assert window().look(part(0.0, 20, 2, baseline=2))


def test_where_the_old_version_has_nothing_its_fresh_instance_still_counts() -> None:
    assert not window().look(Part(0.0, 30, 30, 30, 29, 30, 29))
