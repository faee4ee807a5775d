"""Events of units on the admin port: what is taken, and what is told to whoever sent something else."""

import json

import pytest
from jsonschema import Draft202012Validator

from proxy.rollout.units import PENDING
from proxy.surfaces.admin.app import make_app
from proxy.surfaces.admin.events import AT_ONCE
from proxy.surfaces.admin.guard import READ, WRITE, Token
from proxy.surfaces.admin.openapi import document
from tests.unit.control.rollouts.test_evidence import rollout
from tests.unit.surfaces.admin_state import stand_in
from tests.unit.surfaces.test_admin_app import ask

SENT = {"Content-Type": "application/json"}
HASH = "00000000000000ff"


def post(state, body, tokens=None, **fields):
    status, _, said = ask(make_app(state, tokens=tokens), ("POST", "/api/v1/events", SENT | fields, body))[0]
    return status, json.loads(said)


def test_an_event_counts_in_the_rollout_that_asks_for_it():
    with stand_in() as state:
        state.evidence.wish(rollout())
        assert post(state, {"name": "purchase", "unit": "alice", "value": 19.99}) == (
            200,
            {"counted": 1, "dropped": 0, "problems": []},
        )
        several = [{"name": "purchase", "unit_hash": HASH}, {"name": "purchase", "unit": "bob", "route": "shop"}]
        assert post(state, {"events": several}) == (200, {"counted": 2, "dropped": 0, "problems": []})
        status, said = post(state, {"events": [*several, {"name": "purchas", "unit": "bob"}]})
        assert (status, said["counted"], said["dropped"]) == (200, 2, 1)
        assert "nobody asks for the event `purchas`; events asked for now: purchase" in said["problems"][0]
        assert state.facts.evidence.events == {"purchase": 5}


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ("purchase", "a list of 1 to"),
        ([], "a list of 1 to"),
        (None, "must be JSON"),
        ({"events": []}, "a list of 1 to"),
        ({"events": [{"name": "purchase", "unit": "u"}] * (AT_ONCE + 1)}, f"1 to {AT_ONCE}"),
        ([1], "events[0] must be an object"),
        ({"unit": "u"}, "needs `name`"),
        ({"name": "purchase"}, "one of `unit` and `unit_hash`"),
        ({"name": "purchase", "unit": "u", "unit_hash": HASH}, "one of `unit` and `unit_hash`"),
        ({"name": "purchase", "unit_hash": "FF"}, "16 hex digits"),
        ({"name": "purchase", "unit": ""}, "`unit` must be a text"),
        ({"name": "purchase", "unit": "u", "value": "much"}, "`value` must be a number"),
        ({"name": "purchase", "unit": "u", "value": float("nan")}, "`value` must be a number"),
        ({"name": "purchase", "unit": "u", "value": True}, "`value` must be a number"),
        ({"name": "purchase", "unit": "u", "route": 7}, "`route` must be"),
        ({"name": "purchase", "unit": "u", "id": ""}, "`id` must be a text of 1 to 256"),
        ({"name": "purchase", "unit": "u", "id": 7}, "`id` must be a text of 1 to 256"),
        ({"name": "purchase", "unit": "u", "when": 7}, "unknown: when"),
        ({"name": "purchas", "unit": "u"}, "nobody asks for the event `purchas`"),
    ],
)
def test_what_is_no_event_is_refused_with_the_reason(body, words):
    with stand_in() as state:
        state.evidence.wish(rollout())
        status, said = post(state, body)
        assert status == 400
        assert words in said["error"]["message"]
        assert state.facts.evidence.events == {}


def test_an_event_with_an_id_counts_once_however_often_it_is_sent():
    with stand_in() as state:
        state.evidence.wish(rollout())
        event = {"name": "purchase", "unit": "alice", "id": "order-7"}
        assert post(state, event) == (200, {"counted": 1, "dropped": 0, "problems": []})
        again = {"counted": 0, "dropped": 1, "problems": ["1 with an `id` that was counted before"]}
        assert post(state, event) == (200, again)  # a delivery that is repeated is no failure of its sender's
        several = [event, event | {"id": "order-8"}, event | {"id": "order-8"}, event | {"route": "shop"}]
        status, said = post(state, {"events": several})
        assert (status, said["counted"], said["dropped"]) == (200, 2, 2)
        assert state.facts.evidence.events == {"purchase": 3}
        assert state.facts.evidence.dropped == {("", "events_again"): 3}


def test_a_flood_of_events_of_nobody_is_told_to_who_sends_it():
    with stand_in() as state:
        state.evidence.wish(rollout())
        for start in range(0, PENDING, AT_ONCE):
            units = [f"{unit:016x}" for unit in range(start, start + AT_ONCE)]
            assert post(state, {"events": [{"name": "purchase", "unit_hash": one} for one in units]})[1]["dropped"] == 0
        status, said = post(state, {"name": "purchase", "unit": "alice"})
        assert (status, said["counted"]) == (200, 1)
        assert said["problems"] == ["1 earlier ones of units that no request has come from gave way: there was no room"]
        assert state.facts.evidence.dropped == {("shop", "events"): 1}


def test_events_want_the_scope_of_changes():
    with stand_in() as state:
        state.evidence.wish(rollout())
        tokens = [Token("r", frozenset({READ})), Token("w", frozenset({WRITE}))]
        event = {"name": "purchase", "unit": "u"}
        assert post(state, event, tokens, Authorization="Bearer r")[0] == 403
        assert post(state, event, tokens, Authorization="Bearer w")[0] == 200


def test_the_document_describes_them():
    schema = document()
    event = schema["components"]["schemas"]["UnitEvent"]
    Draft202012Validator(event).validate({"name": "purchase", "unit": "u", "value": 1})
    assert not Draft202012Validator(event).is_valid({"name": "purchase", "when": 1})
    assert "/api/v1/events" in schema["paths"]
