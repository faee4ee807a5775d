"""Records: nobody leaves what they have kept but for the reasons there are, and nobody can write, change or move one."""

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from proxy.core.build import build_plan
from proxy.core.cookies import Kept, UnitCookies
from proxy.core.decide import decide, find_kept, to_keep
from proxy.core.plan import DENY, HOLDOUT, KILL, LAYER, SPLIT, STICKY, Route
from proxy.core.request import Request
from tests.specs import plan_spec, request_head, route_spec, version_spec

Spec = dict[str, Any]

COOKIES = UnitCookies([b"a key"])
NAMES = ("v0", "v1", "v2")
START = 1_800_000_000
UNIT = b"ann"

splits = st.lists(st.sampled_from([0.0, 0.0, 1.0, 5.0, 94.0]), min_size=3, max_size=3)
modes = st.sampled_from(["pinned", "new_sessions"])


def route_of(weights: list[float], mode: str = "pinned", *, name: str = "shop", **parts: Any) -> Route:
    gone, killed = parts.pop("gone", ""), parts.pop("killed", "")
    versions = [
        version_spec(one, weight, kill={"until": 0.0} if one == killed else None)
        for one, weight in zip(NAMES, weights, strict=True)
        if one != gone
    ]
    sticky = {"mode": mode, "cookie": "kept", "max_age": 1000.0, "drain": 100.0, "until": "", "step": 0}
    sticky |= {"until": "step", "step": parts.pop("step")} if "step" in parts else {}
    return build_plan(
        plan_spec(route_spec(name, versions=versions, default=versions[0]["name"], stickiness=sticky, **parts))
    ).routes[0]


def asked(route: Route, at: int, cookie: bytes = b"", unit: bytes = UNIT) -> Request:
    request = request_head(fields={b"cookie": b"kept=" + cookie} if cookie else {})
    request.unit, request.at = unit, float(at)
    request.kept = find_kept(route, request, unit, COOKIES)
    return request


def visit(route: Route, at: int, cookie: bytes = b"", unit: bytes = UNIT) -> tuple[str, int, bytes]:
    """The version, the reason, and the cookie that the unit has from then on."""
    request = asked(route, at, cookie, unit)
    decision = decide(route, request, unit)
    kept = to_keep(route, request, decision)
    assert decision.version is not None
    assert route.sticky is not None
    return decision.version.name, decision.reason, COOKIES.keep(route.sticky.scope, unit, kept) if kept else cookie


changes = st.lists(
    st.tuples(
        st.integers(0, 400),
        splits,
        st.sampled_from(["", "", "", *NAMES]),  # gone
        st.sampled_from(["", "", "", *NAMES]),  # killed
        st.sampled_from([0, 0, 0, 1]),  # epoch
    ),
    max_size=12,
)


@given(splits.filter(any), modes, changes)
def test_nobody_leaves_a_version_but_for_the_reasons_there_are(first: list[float], mode: str, later: list[Any]) -> None:
    at = START
    has, reason, cookie = visit(route_of(first, mode), at)
    assert reason == SPLIT
    given_at, epoch = at, 0
    for wait, weights, gone, killed, now_epoch in later:
        at += wait
        route = route_of(weights, mode, gone=gone, killed=killed, epoch=now_epoch)
        if not any(version.name not in killed for version in route.versions):
            continue
        weight = 0.0 if has == gone else weights[NAMES.index(has)]
        age = at - given_at
        free = (
            has in (gone, killed)
            or epoch != now_epoch
            or age >= 1000  # its time is over
            or (weight == 0.0 and age >= 100)  # it has drained
        )
        before = cookie
        version, reason, cookie = visit(route, at, cookie)
        assert (reason == STICKY) == (not free)
        if not free:
            assert version == has
        if cookie != before:
            assert reason in {SPLIT, KILL} or (mode == "new_sessions" and weight > 0)
            has, given_at, epoch = version, at, now_epoch


@given(
    splits.filter(any), st.lists(st.tuples(st.integers(0, 90), splits.filter(any), st.sampled_from([7, 7, 2**32 - 1])))
)
def test_records_of_a_step_end_with_it_and_not_before(first: list[float], later: list[Any]) -> None:
    at, step = START, 7
    has, _, cookie = visit(route_of(first, step=step), at)
    given_at = at
    for wait, weights, now_step in later:
        at += wait
        version, reason, cookie = visit(route_of(weights, step=now_step), at, cookie)
        age = at - given_at
        over = step != now_step or age >= 1000 or (weights[NAMES.index(has)] == 0.0 and age >= 100)
        assert (reason, version) == (STICKY, has) or over
        if over:
            assert (reason, version) == (SPLIT, visit(route_of(weights, step=now_step), at)[0])
            has, given_at, step = version, at, now_step


@given(splits.filter(any), modes, st.data())
def test_forged_cookies_do_nothing(weights: list[float], mode: str, data: st.DataObject) -> None:
    route = route_of(weights, mode)
    fair = visit(route, START)[:2]
    cookie = COOKIES.keep(route.sticky.scope, UNIT, Kept(b"v1", 0, START)) if route.sticky else b""
    place = data.draw(st.integers(0, len(cookie) - 1))
    changed = cookie[:place] + bytes([data.draw(st.integers(33, 126))]) + cookie[place + 1 :]
    if changed != cookie:
        assert visit(route, START, changed)[:2] == fair
    made_up = data.draw(
        st.binary(max_size=80) | st.from_regex(rb"v[0-2]\.[0-9]\.[0-9]{10}\.[A-Za-z0-9_-]{22}", fullmatch=True)
    )
    assert visit(route, START, made_up)[:2] == fair


def test_a_record_is_good_for_its_unit_route_salt_mode_and_key_only() -> None:
    weights = [100.0, 1e-9, 0.0]
    home = route_of(weights)
    assert home.sticky is not None
    cookie = COOKIES.keep(home.sticky.scope, UNIT, Kept(b"v1", 0, START))
    assert visit(home, START, cookie)[:2] == ("v1", STICKY)
    assert visit(home, START, cookie, b"bob")[:2] == ("v0", SPLIT)
    for other in (
        route_of(weights, name="pay"),
        route_of(weights, salt="anew"),
        route_of(weights, "new_sessions"),
        route_of(weights, epoch=1),
    ):
        assert visit(other, START, cookie)[:2] == ("v0", SPLIT)
    assert UnitCookies([b"another"]).record(home.sticky.scope, UNIT, cookie) is None


@given(st.binary(max_size=8), st.binary(max_size=8), st.binary(max_size=8), st.binary(max_size=8))
def test_scope_and_unit_do_not_run_into_each_other(scope: bytes, unit: bytes, other: bytes, stranger: bytes) -> None:
    cookie = COOKIES.keep(scope, unit, Kept(b"v", 0, 1))
    found = COOKIES.record(other, stranger, cookie)
    assert (found is not None) == ((scope, unit) == (other, stranger))


def test_who_is_denied_held_out_or_elsewhere_in_a_layer_writes_no_record() -> None:
    deny = [{"label": "rules[0]", "units": ["ann"], "deny": "v1"}]
    out = {"name": "h", "salt": "h", "percent": 100.0, "until": 0.0}
    layer = {"name": "l", "salt": "l", "from": 99.9999, "to": 100.0}
    for reason, parts in ((DENY, {"rules": deny}), (HOLDOUT, {"holdout": out}), (LAYER, {"layer": layer})):
        assert visit(route_of([1.0, 1.0, 1.0], **parts), START)[1:] == (reason, b"")
