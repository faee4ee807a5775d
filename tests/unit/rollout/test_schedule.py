"""When a step may be taken: by the clock of a zone, and by how busy the route is."""

from datetime import datetime
from pathlib import Path

import pytest

from proxy.rollout.schedule import Schedule
from tests.unit.rollout.compiled import plan

OFFICE = 'allow: [{days: [mon, tue, wed, thu, fri], from: "09:00", to: "16:00"}]'


def schedule(tmp_path: Path, rest: str) -> Schedule:
    return Schedule(plan(tmp_path, f"schedule: {{zone: Europe/Oslo, {rest}}}")["schedule"])


def at(text: str) -> float:
    return datetime.fromisoformat(text).timestamp()


@pytest.mark.parametrize(
    ("moment", "is_open"),
    [
        ("2026-11-23T08:59:59+01:00", False),
        ("2026-11-23T09:00:00+01:00", True),
        ("2026-11-23T15:59:59+01:00", True),
        ("2026-11-23T16:00:00+01:00", False),
        ("2026-11-22T12:00:00+01:00", False),
        ("2026-07-20T09:00:00+02:00", True),
        ("2026-07-20T08:30:00+02:00", False),
    ],
)
def test_office_hours_are_those_of_the_zone_in_summer_and_winter(tmp_path: Path, moment: str, is_open: bool) -> None:
    office = schedule(tmp_path, OFFICE)
    assert office.is_open(at(moment)) is is_open
    assert bool(office.why_closed(at(moment))) is not is_open


def test_a_window_may_have_a_zone_of_its_own_and_go_over_midnight(tmp_path: Path) -> None:
    night = schedule(tmp_path, 'allow: [{zone: UTC, days: fri, from: "22:00", to: "02:00"}]')
    assert night.is_open(at("2026-11-28T01:59:00Z"))  # Saturday, and the window is Friday's
    assert not night.is_open(at("2026-11-28T22:30:00Z"))


def test_a_freeze_closes_what_is_allowed_and_says_so(tmp_path: Path) -> None:
    frozen = schedule(tmp_path, f"{OFFICE}, freeze: [{{from: 2028-12-20T00:00:00Z, to: 2029-01-03T00:00:00Z}}]")
    assert frozen.is_open(at("2028-12-19T12:00:00+01:00"))
    assert not frozen.is_open(at("2028-12-20T12:00:00+01:00"))
    assert "frozen from 2028-12-20" in frozen.why_closed(at("2028-12-20T12:00:00+01:00"))
    assert frozen.is_open(at("2029-01-03T12:00:00+01:00"))


def test_a_busy_route_is_left_alone_and_so_is_one_of_which_nothing_is_known(tmp_path: Path) -> None:
    quiet = schedule(tmp_path, "below_rate: 500")
    assert quiet.is_open(0.0, 500.0)
    assert not quiet.is_open(0.0, 501.0)
    assert "501 requests/s are more than 500" in quiet.why_closed(0.0, 501.0)
    assert not quiet.is_open(0.0)


def test_without_a_schedule_any_time_will_do() -> None:
    assert Schedule(None).is_open(0.0)
    assert Schedule(None).opens_at(7.0) == 7.0


@pytest.mark.parametrize(
    ("now", "opens"),
    [
        ("2026-11-23T10:00:00+01:00", "2026-11-23T10:00:00+01:00"),
        ("2026-11-23T16:00:00+01:00", "2026-11-24T09:00:00+01:00"),
        ("2026-11-27T20:00:00+01:00", "2026-11-30T09:00:00+01:00"),
        ("2027-03-27T12:00:00+01:00", "2027-03-29T09:00:00+02:00"),
        ("2028-12-19T20:00:00+01:00", "2029-01-03T09:00:00+01:00"),
    ],
)
def test_it_says_when_it_opens(tmp_path: Path, now: str, opens: str) -> None:
    office = schedule(tmp_path, f"{OFFICE}, freeze: [{{from: 2028-12-20T00:00:00Z, to: 2029-01-03T00:00:00Z}}]")
    assert office.opens_at(at(now)) == at(opens)


def test_what_never_opens_again_says_none(tmp_path: Path) -> None:
    over = schedule(tmp_path, "freeze: [{from: 2028-12-20T00:00:00Z}]")
    assert over.opens_at(at("2028-12-21T00:00:00Z")) is None


def test_a_window_in_an_hour_that_clocks_leave_out_opens_another_day(tmp_path: Path) -> None:
    gap = schedule(tmp_path, 'allow: [{days: [sun], from: "02:00", to: "03:00"}]')
    assert gap.opens_at(at("2027-03-27T12:00:00+01:00")) == at("2027-04-04T02:00:00+02:00")
