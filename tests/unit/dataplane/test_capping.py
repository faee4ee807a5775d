"""Caps in workers: counted before a request goes on, seen by the other worker at once, and closed where nothing can be counted."""

import fcntl
from collections.abc import Callable
from pathlib import Path

import pytest

from proxy.cap_files import ADMITTED, make_cap_file
from proxy.core.decide import decide
from proxy.core.plan import REASONS
from proxy.telemetry.counters import CAP_ADMITTED, CAP_CONTENDED, V_CAP, V_REASONS
from tests.specs import request_head, version_spec
from tests.unit.dataplane.stage import Spec, Stage, shop
from tests.unit.dataplane.test_exposing import Control, Users

StageOf = Callable[..., Stage]


def capped(file: Path, limit: int = 2, **route: object) -> Spec:
    cap = {"limit": limit, "file": str(file)}
    versions = [version_spec("stable", 0.0), version_spec("canary", 100.0, cap=cap)]
    return shop(
        route={"versions": versions, "exposure": True, "default": "stable"} | route,
        exposure={"queue": 1000, "raw_units": True},
    )


def got(users: Users, *units: str) -> list[str]:
    """Which version each of them gets, and why."""
    stage = users.stage
    found = []
    for unit in units:
        before = counts(stage)
        users.ask(unit)
        (pair,) = [pair for pair, count in counts(stage).items() if count != before[pair]]
        found.append(f"{pair[0]} {pair[1]}")
    return found


def counts(stage: Stage) -> dict[tuple[str, str], int]:
    return {
        (version.name, name): stage.cells.view[version.slot + V_REASONS + reason]
        for version in stage.plan.routes[0].versions
        for reason, name in enumerate(REASONS)
    }


def outcome(stage: Stage, which: int) -> int:
    found: int = stage.cells.view[stage.plan.routes[0].by_name["canary"].slot + V_CAP + which]
    return found


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "shop~canary~0"
    make_cap_file(path, 2)
    return path


def test_nobody_new_beyond_the_cap_and_who_has_had_it_goes_on(stage_of: StageOf, file: Path) -> None:
    users = Users(stage := stage_of(capped(file)))
    assert got(users, "a", "a", "b", "c", "a", "c", "b") == [
        "canary split", "canary split", "canary split", "stable default", "canary sticky", "stable default", "canary sticky",
    ]  # fmt: skip
    assert (outcome(stage, CAP_ADMITTED), outcome(stage, CAP_CONTENDED)) == (2, 0)
    records = Control(stage).flush()
    assert [(one["raw"], one["version"], one["randomised"]) for one in records] == [
        (b"a", "canary", True),
        (b"b", "canary", True),
        (b"c", "stable", False),
    ]


def test_another_worker_knows_at_once(stage_of: StageOf, file: Path) -> None:
    one, other = Users(stage_of(capped(file))), Users(stage_of(capped(file)))
    assert got(one, "a") == ["canary split"]
    assert got(other, "b") == ["canary split"]
    assert got(one, "c", "b", "a") == ["stable default", "canary sticky", "canary sticky"]
    assert got(other, "a", "d") == ["canary sticky", "stable default"]


def test_raised_cap_opens_again_and_a_lowered_one_only_stops_new_ones(stage_of: StageOf, file: Path) -> None:
    users = Users(stage := stage_of(capped(file)))
    assert got(users, "a", "b", "c")[2] == "stable default"
    stage.bring(capped(file, 3) | {"generation": 2})
    assert got(users, "c", "d", "a") == ["canary split", "stable default", "canary sticky"]
    stage.bring(capped(file, 1) | {"generation": 3})
    assert got(users, "a", "b", "c", "d") == ["canary sticky"] * 3 + ["stable default"]


def test_last_place_that_another_took_between_decision_and_counting(stage_of: StageOf, file: Path) -> None:
    stage = stage_of(capped(file, 1))
    route = stage.plan.routes[0]
    request = request_head()
    request.unit = b"a"
    decision = decide(route, request, b"a")
    assert decision.version is route.by_name["canary"]
    assert make_cap_file(file, 1).admit(12345, 1) == ADMITTED
    settled = stage.runtime.capping.settle(route, request, b"a", decision)
    assert settled.version is route.default
    assert settled.denied == 2
    assert make_cap_file(file, 1).table.count == 1


def test_busy_record_sends_elsewhere_and_is_counted(stage_of: StageOf, file: Path) -> None:
    users = Users(stage := stage_of(capped(file)))
    assert got(users, "a") == ["canary split"]
    with file.open("rb") as busy:
        fcntl.flock(busy, fcntl.LOCK_EX)
        assert got(users, "b", "a") == ["stable default", "canary split"]
    assert outcome(stage, CAP_CONTENDED) == 1
    assert got(users, "b") == ["canary split"]


def test_where_there_is_no_file_nobody_gets_it(
    stage_of: StageOf, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    users = Users(stage_of(capped(tmp_path / "none")))
    assert got(users, "a", "b") == ["stable default"] * 2
    assert "the units that have had a capped version are not known" in caplog.text


def test_file_that_comes_later_is_taken_once_those_whom_the_store_knows_are_in_it(
    stage_of: StageOf, tmp_path: Path
) -> None:
    users = Users(stage := stage_of(capped(tmp_path / "late")))
    made = make_cap_file(tmp_path / "late", 2)
    stage.runtime.capping.look_again()
    assert got(users, "a") == ["stable default"]
    made.take_up([int(stage.runtime.hasher(b"known"), 16)], 1)
    stage.runtime.capping.look_again()
    assert got(users, "a", "b", "known") == ["canary split", "stable default", "canary sticky"]


def test_rule_gives_no_more_than_the_cap(stage_of: StageOf, file: Path) -> None:
    rules = [{"label": "rules[0]", "units": ["x", "y", "z"], "version": "canary"}]
    users = Users(stage_of(capped(file, rules=rules)))
    assert got(users, "x", "y", "z", "x") == ["canary override", "canary override", "stable default", "canary override"]
