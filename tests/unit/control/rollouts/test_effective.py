"""What is laid over the file changes the split, the rings and the mirrors it names, and only where it is bound to the file."""

from proxy.control.rollouts.effective import Effect, file_weights, lay_over
from proxy.settings.compile_route import mirror_spec as compiled
from proxy.settings.models.route import Mirror
from tests.specs import plan_spec, route_spec, upstream_spec, version_spec
from tests.unit.telemetry.memory import mirror_spec

FILE = {"stable": 95.0, "canary": 5.0}
MOVED = {"stable": 60.0, "canary": 40.0}


def without_rollout(route):
    return {key: value for key, value in route.items() if key != "rollout"}


OTHER = without_rollout(route_spec("other"))


def rings(version, opened):
    return {"label": "rings[0]", "version": version, "order": ["staff", "beta", "all"], "open": opened, "until": 0.0}


def shop(**parts):
    versions = [version_spec("stable", 95.0), version_spec("canary", 5.0, upstream="new")]
    return route_spec("shop", versions=versions, rollout={"revision": "v2"}, **parts)


def laid(effect, **parts):
    spec = plan_spec(shop(**parts), route_spec("other"), upstreams=[upstream_spec("u"), upstream_spec("new")])
    return lay_over(spec, {} if effect is None else {"shop": effect}, copies)["routes"]


def copies(upstream, percent):
    return compiled(Mirror(upstream=upstream, percent=percent))


def test_without_an_effect_only_what_is_control_s_own_is_left_out():
    assert laid(None) == [without_rollout(shop()), OTHER]


def test_weights_are_replaced_and_everything_else_stays():
    first, second = laid(Effect(FILE, MOVED))
    assert file_weights(first) == MOVED
    assert second == OTHER
    assert {**first, "versions": []} == {**without_rollout(shop()), "versions": []}
    assert [one["upstream"] for one in first["versions"]] == ["u", "new"]


def test_an_effect_bound_to_other_weights_or_other_versions_of_the_file_does_nothing():
    for bound in ({"stable": 90.0, "canary": 10.0}, {**FILE, "third": 0.0}, {"stable": 95.0}):
        assert file_weights(laid(Effect(bound, MOVED, "canary", "beta", 10.0))[0]) == FILE
        assert laid(Effect(bound, MOVED, "canary", None, 10.0))[0]["mirror"] == []


def test_records_are_given_for_the_step():
    sticky = {"mode": "pinned", "cookie": "kept", "max_age": 10.0, "drain": 0.0, "until": "step", "step": 0}
    assert laid(Effect(FILE, MOVED, step=7), stickiness=sticky)[0]["stickiness"] == {**sticky, "step": 7}
    assert laid(None, stickiness=sticky)[0]["stickiness"] == sticky
    assert laid(Effect(FILE, MOVED, step=7))[0]["stickiness"] is None


def test_rings_open_wider_and_never_close():
    def opened(ring, before, version="canary"):
        return laid(Effect(FILE, FILE, "canary", ring), rings=[rings(version, before)])[0]["rings"][0]["open"]

    assert opened("beta", "") == opened("beta", "staff") == "beta"
    assert opened("staff", "beta") == "beta"
    assert opened("beta", "", "stable") == ""
    assert opened("nobody's", "staff") == "staff"


def test_a_version_that_is_taken_out_has_no_ring_open():
    (one,) = laid(Effect(FILE, FILE, "canary", ""), rings=[rings("canary", "beta")])[0]["rings"]
    assert one["open"] == ""


def test_copies_go_to_the_version_that_comes_and_are_never_fewer_than_the_file_s():
    (mirror,) = laid(Effect(FILE, FILE, "canary", None, 10.0))[0]["mirror"]
    assert (mirror["upstream"], mirror["percent"], mirror["timeout"]) == ("new", 10.0, 5.0)
    before = [mirror_spec("shadow"), mirror_spec("new")]
    for percent, expected in ((30.0, 30.0), (2.0, 10.0)):
        after = laid(Effect(FILE, FILE, "canary", None, percent), mirror=before)[0]["mirror"]
        assert [(one["upstream"], one["percent"]) for one in after] == [("shadow", 10.0), ("new", expected)]
