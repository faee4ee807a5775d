"""How many units move is told beforehand; here it is counted as well."""

from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from proxy.core.build import build_plan
from proxy.core.decide import decide
from proxy.core.movement import Deal, movement_between
from proxy.core.plan import Route
from tests.specs import plan_spec, request_head, route_spec, version_spec

Spec = dict[str, Any]

UNITS = [b"unit-%d" % number for number in range(4000)]
HEAD = request_head()
NAMES = ("v0", "v1", "v2")

percents = st.sampled_from([0.0, 10.0, 25.0, 60.0, 100.0])
sides = st.fixed_dictionaries(
    {
        "weights": st.lists(st.sampled_from([0.0, 1.0, 3.0]), min_size=3, max_size=3),
        "killed": st.sets(st.sampled_from(NAMES), max_size=2),
        "kill": st.sampled_from([False, False, False, True]),
        "holdout": st.none() | st.tuples(st.sampled_from(["h", "g"]), percents),
        "layer": st.none()
        | st.tuples(st.sampled_from(["l", "m"]), st.lists(percents, min_size=2, max_size=2, unique=True).map(sorted)),
        "default": st.sampled_from(NAMES),
        "epoch": st.sampled_from([0, 0, 1]),
    }
)


def route_of(side: Spec) -> Route:
    versions = [
        version_spec(name, weight, kill={"until": 0.0} if name in side["killed"] else None)
        for name, weight in zip(NAMES, side["weights"], strict=True)
    ]
    holdout, layer = side["holdout"], side["layer"]
    spec = route_spec(
        versions=versions,
        default=side["default"],
        kill=[{"label": "kill", "until": 0.0}] if side["kill"] else [],
        holdout=None if holdout is None else {"name": holdout[0], "salt": "s", "percent": holdout[1], "until": 0.0},
        layer=None if layer is None else {"name": layer[0], "salt": "s", "from": layer[1][0], "to": layer[1][1]},
        epoch=side["epoch"],
    )
    return build_plan(plan_spec(spec)).routes[0]


def deal_of(side: Spec) -> Deal:
    left = [name for name in NAMES if name not in side["killed"]]
    holdout, layer = side["holdout"], side["layer"]
    return Deal(
        {name: weight for name, weight in zip(NAMES, side["weights"], strict=True) if name in left},
        side["default"] if side["default"] in left else left[0],
        None if holdout is None else (holdout[0], holdout[1] / 100),
        None if layer is None else (layer[0], layer[1][0] / 100, layer[1][1] / 100),
        side["kill"],
    )


def given_by(route: Route) -> list[str]:
    return ["" if (version := decide(route, HEAD, unit).version) is None else version.name for unit in UNITS]


@settings(max_examples=60, deadline=None)
@given(sides, sides)
def test_as_many_units_move_as_was_told(old: Spec, new: Spec) -> None:
    told = movement_between(deal_of(old), deal_of(new), anew=old["epoch"] != new["epoch"])
    pairs = list(zip(given_by(route_of(old)), given_by(route_of(new)), strict=True))
    within = 0.04  # five deviations of what 4,000 units show
    assert abs(sum(a != b for a, b in pairs) / len(UNITS) - told.moved) < within
    for name in NAMES:
        assert abs(sum(a != b == name for a, b in pairs) / len(UNITS) - told.entering.get(name, 0.0)) < within
        assert abs(sum(b != a == name for a, b in pairs) / len(UNITS) - told.leaving.get(name, 0.0)) < within
    assert 0.0 <= told.moved <= 1.0 + 1e-9


@given(sides)
def test_nothing_moves_where_nothing_changes(side: Spec) -> None:
    assert movement_between(deal_of(side), deal_of(side)).moved < 1e-9
