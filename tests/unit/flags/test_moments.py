"""When the clock alone changes what flags come to: every end and hour that they depend on, and no other."""

from math import inf
from typing import Any

import pytest

from proxy.flags.moments import Moments
from tests.specs import plan_spec, route_spec, version_spec
from tests.unit.core.test_flags import flag, rule

Spec = dict[str, Any]
AT = 1000.0


def period(start: float = 0.0, end: float = 0.0) -> Spec:
    return {"source": "time", "test": "period", "value": {"from": start, "to": end}}


def segment(name: str, where: Spec) -> Spec:
    return {"name": name, "where": where}


SHOP = flag("shop", route="shop")
WINDOW = {
    "source": "time",
    "test": "window",
    "value": {"zone": "UTC", "from": 3600, "to": 7200, "days": ["thu"], "offsets": [[0, 0]]},
}
INNER = [segment("inner", period(1700.0)), segment("outer", {"all": [{"segment": "inner"}]})]


@pytest.mark.parametrize(
    ("spec", "following"),
    [
        (plan_spec(route_spec(), flags=[flag()]), inf),
        (plan_spec(route_spec(), flags=[flag(until=1500.0)]), 1500.0),
        (plan_spec(route_spec(), flags=[flag(until=900.0)]), inf),
        (
            plan_spec(route_spec(), flags=[flag(until=1500.0), flag("g", rules=[rule(units=["a"], until=1200.0)])]),
            1200.0,
        ),
        (plan_spec(route_spec(), flags=[flag(rules=[rule(where={"not": period(1600.0, 1700.0)})])]), 1600.0),
        (plan_spec(route_spec(), flags=[flag(rules=[rule(where=WINDOW)])]), 3600.0),
        (plan_spec(route_spec(), flags=[flag(rules=[rule(where={"segment": "outer"})])], segments=INNER), 1700.0),
        (plan_spec(route_spec(), flags=[flag()], segments=INNER), inf),  # nobody asks for it
        (plan_spec(route_spec(kill=[{"label": "kill", "until": 1500.0}]), flags=[flag()]), inf),  # nor for the route
        (plan_spec(route_spec(kill=[{"label": "kill", "until": 1500.0}]), flags=[SHOP]), 1500.0),
        (plan_spec(route_spec(versions=[version_spec("v", 1.0, kill={"until": 1400.0})]), flags=[SHOP]), 1400.0),
        (plan_spec(route_spec(rules=[{"units": ["a"], "deny": "canary", "until": 1300.0}]), flags=[SHOP]), 1300.0),
        (
            plan_spec(
                route_spec(rings=[{"label": "r", "version": "v", "order": ["outer"], "open": "outer", "until": 0.0}]),
                flags=[SHOP],
                segments=INNER,
            ),
            1700.0,
        ),
        (
            plan_spec(route_spec(holdout={"name": "q", "percent": 1.0, "salt": "q", "until": 1350.0}), flags=[SHOP]),
            1350.0,
        ),
    ],
)
def test_next_change_is_the_first_of_what_flags_depend_on(spec: Spec, following: float) -> None:
    moments = Moments(spec)
    assert moments.next_change(AT) == following
    if following < inf:
        assert moments.phase(following - 1) == moments.phase(AT) != moments.phase(following)


def test_hundred_moments_are_passed_one_by_one() -> None:
    spec = plan_spec(route_spec(), flags=[flag(f"f{number}", until=AT + 1 + number % 10) for number in range(100)])
    moments = Moments(spec)
    at, seen = AT, []
    while at < inf:
        seen.append(at)
        at = moments.next_change(at)
    assert seen == [AT + number for number in range(11)]
