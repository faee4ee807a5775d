"""Rollouts and weights by hand on the admin port: what is shown, what is done, and what is refused."""

import asyncio
import json
from contextlib import contextmanager
from dataclasses import replace

import pytest
from jsonschema import Draft202012Validator

from proxy.rollout.journal import JournalError
from proxy.rollout.states import HANDS
from proxy.surfaces.admin.app import make_app
from proxy.surfaces.admin.guard import READ, WRITE, Token
from proxy.surfaces.admin.openapi import document
from tests.unit.control.rollouts.rolling import plan, shop, spec
from tests.unit.surfaces.admin_state import stand_in
from tests.unit.surfaces.test_admin_app import ask, get

SENT = {"Content-Type": "application/json"}
SHOP, PLAIN = "/api/v1/rollouts/shop", "/api/v1/routes/plain/weights"
WHY = {"reason": "because I say so", "by": "anna"}


@contextmanager
def proxy():
    """A control process with a rollout on `shop`, at its first step, and a route `plain` without one."""
    with stand_in() as state:

        async def begin():
            file = spec(shop(rollout=plan()), shop({"stable": 95.0, "canary": 5.0}, name="plain"))
            await state.running.follow(file)
            await state.running.look()

        asyncio.run(begin())
        yield state


def answered(state, method, path, body=None, **more):
    status, _, said = ask(make_app(state), (method, path, {**SENT, **more}, body))[0]
    return status, json.loads(said)


def valid(name, value):
    described = document()
    schema = described["components"]["schemas"][name]
    Draft202012Validator(schema | {"components": described["components"]}).validate(value)
    return value


def refusal(state, method, path, body=None):
    status, value = answered(state, method, path, body)
    return status, value["error"]["message"]


def test_a_rollout_is_shown_with_its_weights_its_reasons_and_what_it_waits_for():
    with proxy() as state:
        status, value = answered(state, "GET", "/api/v1/rollouts")
        assert status == 200
        (one,) = valid("Rollouts", value)["rollouts"]
        assert value["lasting"] is False
        status, alone = answered(state, "GET", SHOP)
        assert status == 200
        plan_shown = valid("PlannedRollout", alone).pop("plan")
        assert alone == one
        assert (plan_shown["steps"][0]["weight"], plan_shown["from"]) == (1.0, "stable")
    assert (one["route"], one["revision"], one["state"], one["step"]) == ("shop", "v2", "progressing", 1)
    assert one["weights"] == {
        "file": {"stable": 100.0, "canary": 0.0},
        "rollout": {"stable": 99.0, "canary": 1.0},
        "effective": {"stable": 99.0, "canary": 1.0},
    }
    assert [each["words"] for each in one["steps"]] == ["1 %", "5 %", "25 %", "50 %", "100 %"]
    assert one["waits_for"] == "the end of the hold, in 1m"
    assert one["possible"] == ["pause", "promote", "skip", "abort", "retry", "freeze"]
    assert one["explanation"] == [
        "The rollout of v2 on route shop brings `canary` in from `stable`.",
        "It is progressing, at step 1 of 5; `canary` has 1 % of what they have together.",
        "It is so because of begin, by tidegate: the first step may be taken.",
        "Then come: 5 %; 25 %; 50 %; 100 %.",
        "It waits for the end of the hold, in 1m.",
        "Possible now: pause, promote, skip, abort, retry, freeze.",
    ]


def test_actions_take_effect_are_signed_and_are_in_the_history():
    with proxy() as state:
        status, value = answered(state, "POST", f"{SHOP}/pause", WHY)
        assert (status, valid("Rollout", value)["state"]) == (200, "paused")
        assert (value["actor"], value["reason"], value["waits_for"]) == (
            "anna", "because I say so", "somebody to resume it",
        )  # fmt: skip
        status, value = answered(state, "POST", f"{SHOP}/abort", {"reason": "enough"})
        assert (value["state"], value["actor"]) == ("aborted", "127.0.0.1")
        assert value["weights"]["effective"] == {"stable": 100.0, "canary": 0.0}
        status, value = answered(state, "GET", f"{SHOP}/history?limit=3")
    assert [one["cause"] for one in valid("Transitions", value)["transitions"]] == ["abort", "pause", "begin"]
    assert [one["percent"] for one in value["transitions"]] == [0.0, 1.0, 1.0]


def test_every_action_that_the_table_knows_is_there():
    with proxy() as state:
        for action in HANDS:
            status, _ = answered(state, "POST", f"{SHOP}/{action}", WHY)
            assert status in {200, 409}, action


def test_what_cannot_be_is_refused_with_why_and_what_could():
    with proxy() as state:
        assert refusal(state, "POST", f"{SHOP}/resume", WHY) == (
            409,
            "the rollout of shop is progressing, and resume is nothing then; "  # noqa: ISC004
            "possible: pause, promote, skip, abort, retry, freeze",
        )
        assert refusal(state, "POST", f"{SHOP}/explode", WHY)[0] == 404
        assert "approve, pause, resume" in refusal(state, "POST", f"{SHOP}/explode", WHY)[1]
        for body in (None, {}, {"reason": "  "}):
            assert refusal(state, "POST", f"{SHOP}/pause", body) == (
                400, "a reason is needed: it is kept with the transition",
            )  # fmt: skip
        assert refusal(state, "POST", f"{SHOP}/pause", {"why": "x"})[0] == 400
        for path in ("/api/v1/rollouts/plain", "/api/v1/rollouts/plain/history"):
            assert refusal(state, "GET", path) == (404, "route plain has no rollout; routes that have one: shop")
        assert refusal(state, "POST", "/api/v1/rollouts/plain/pause", WHY)[0] == 404
        for query in ("limit=0", "limit=501", "limit=x", "page=2"):
            assert refusal(state, "GET", f"{SHOP}/history?{query}")[0] == 400
        assert answered(state, "GET", SHOP)[1]["state"] == "progressing"


def test_a_journal_that_refuses_is_said_and_nothing_has_changed(monkeypatch):
    async def refuse(*_):
        raise JournalError("state: the disk is full")

    with proxy() as state:
        for name in ("append", "history", "put_override", "remove_override"):
            monkeypatch.setattr(state.journal, name, refuse)
        assert refusal(state, "POST", f"{SHOP}/pause", WHY) == (503, "state: the disk is full")
        assert refusal(state, "GET", f"{SHOP}/history")[0] == 503
        assert refusal(state, "PUT", PLAIN, {"weights": {"canary": 20}})[0] == 503
        monkeypatch.undo()
        asyncio.run(state.rollouts.set_weights("plain", {"canary": 20.0}, "anna", "", None))
        monkeypatch.setattr(state.journal, "remove_override", refuse)
        assert refusal(state, "DELETE", PLAIN)[0] == 503
        value = answered(state, "GET", PLAIN)[1]
        assert answered(state, "GET", SHOP)[1]["state"] == "progressing"
    assert value["effective"]["canary"] == 20.0


def test_an_abort_that_the_journal_refuses_is_in_force_and_shown(monkeypatch):
    async def refuse(*_):
        raise JournalError("state: the disk is full")

    with proxy() as state:
        monkeypatch.setattr(state.journal, "append", refuse)
        status, why = refusal(state, "POST", f"{SHOP}/abort", WHY)
        assert (status, "gone back all the same" in why) == (503, True)
        value = answered(state, "GET", SHOP)[1]
    assert (value["state"], value["weights"]["effective"]["canary"]) == ("progressing", 0.0)
    assert value["waits_for"] == "its journal: abort by anna is in force already, and cannot be written down yet"
    assert (
        "It waits for its journal: abort by anna is in force already, and cannot be written down yet."
        in value["explanation"]
    )


def test_weights_by_hand_are_set_shown_beside_the_file_s_and_taken_back():
    with proxy() as state:
        status, value = answered(state, "PUT", PLAIN, {"weights": {"canary": 20}, **WHY, "until": 2e9})
        assert (status, valid("Weights", value)["effective"]) == (200, {"stable": 80.0, "canary": 20.0})
        assert value["file"] == {"stable": 95.0, "canary": 5.0}
        assert value["by_hand"] == {
            "weights": {"stable": 80.0, "canary": 20.0}, "by": "anna", "reason": "because I say so", "since": 12.5,
            "until": 2e9,
        }  # fmt: skip
        assert answered(state, "GET", PLAIN) == (200, value)
        assert b'tidegate_weights_by_hand{route="plain"} 1' in get(make_app(state), "/metrics")[2]
        status, value = answered(state, "DELETE", PLAIN)
    assert (status, value["by_hand"], value["effective"]) == (200, None, {"stable": 95.0, "canary": 5.0})


def test_routes_show_whose_weights_hold():
    with proxy() as state:
        state.running.routes = {route["name"]: route for route in state.spec["routes"]}
        answered(state, "PUT", "/api/v1/routes/shop/weights", {"weights": {"canary": 20}, **WHY})
        (route,) = answered(state, "GET", "/api/v1/routes")[1]["routes"]
    assert (route["by_hand"]["by"], route["by_hand"]["weights"]["canary"]) == ("anna", 20.0)


def test_weights_over_a_rollout_pause_it_and_are_shown_with_it():
    with proxy() as state:
        status, value = answered(state, "PUT", "/api/v1/routes/shop/weights", {"weights": {"canary": 30}, **WHY})
        assert (status, value["rollout"]) == (200, "paused")
        value = valid("Rollout", answered(state, "GET", SHOP)[1])
    assert (value["cause"], value["actor"], value["by_hand"]["by"]) == ("overridden", "anna", "anna")
    assert value["weights"]["rollout"]["canary"] == 1.0
    assert value["weights"]["effective"]["canary"] == 30.0
    assert "Its weights do not hold now: weights set by hand by anna do." in value["explanation"]
    assert value["possible"] == ["abort", "freeze"]


@pytest.mark.parametrize(("body", "why"), [
    ({}, "weights must be an object of versions and numbers"),
    ({"weights": {}}, "weights must be an object"),
    ({"weights": [1]}, "weights must be an object"),
    ({"weights": {"canary": "20"}}, "the weight of canary must be a number from 0 to 1000000"),
    ({"weights": {"canary": -1}}, "the weight of canary must be a number"),
    ({"weights": {"canary": True}}, "the weight of canary must be a number"),
    ({"weights": {"canary": 120}}, "add up to 100, and these to 120"),
    ({"weights": {"cannary": 1}}, "no version cannary; it has stable, canary"),
    ({"weights": {"canary": 1}, "until": 3}, "until has passed already"),
    ({"weights": {"canary": 1}, "until": "soon"}, "until must be a time with its zone"),
    ({"weights": {"canary": 1}, "till": 3}, "unknown: till"),
])  # fmt: skip
def test_weights_that_cannot_be_set_say_why(body, why):
    with proxy() as state:
        status, message = refusal(state, "PUT", PLAIN, body)
        assert status == 400
        assert why in message
        assert answered(state, "GET", PLAIN)[1]["by_hand"] is None


def test_a_route_that_is_not_there_is_404():
    with proxy() as state:
        for method, body in (("GET", None), ("PUT", {"weights": {"canary": 1}}), ("DELETE", None)):
            assert refusal(state, method, "/api/v1/routes/nope/weights", body) == (
                404, "there is no route nope; there are: shop, plain",
            )  # fmt: skip


def test_reading_and_changing_take_their_scopes():
    def status(method, path, scope, body=None):
        tokens = [Token("r" * 16, frozenset({READ})), Token("w" * 16, frozenset({WRITE}))]
        fields = {**SENT, "Authorization": f"Bearer {scope * 16}"}
        return ask(make_app(state, tokens=tokens), (method, path, fields, body))[0][0]

    with proxy() as state:
        for path in ("/api/v1/rollouts", SHOP, f"{SHOP}/history", PLAIN):
            assert (status("GET", path, "r"), status("GET", path, "w")) == (200, 403)
        for method, path, body in (
            ("POST", f"{SHOP}/pause", WHY), ("PUT", PLAIN, {"weights": {"canary": 1}}), ("DELETE", PLAIN, None),
        ):  # fmt: skip
            assert (status(method, path, "r", body), status(method, path, "w", body)) == (403, 200)


def test_numbers_that_json_cannot_say_are_null():
    with proxy() as state:
        rollout = state.running.book.rollouts["shop"]
        state.running.book.rollouts["shop"] = replace(rollout, numbers={"upper": float("inf")})
        assert answered(state, "GET", SHOP)[1]["numbers"] == {"upper": None}


def test_metrics_say_where_rollouts_are():
    with proxy() as state:
        text = get(make_app(state), "/metrics")[2].decode()
    assert 'tidegate_rollout_state{route="shop",state="progressing"} 1' in text
    assert 'tidegate_rollout_state{route="shop",state="paused"} 0' in text
    assert 'tidegate_rollout_step{route="shop"} 1' in text
    assert 'tidegate_rollout_transitions_total{route="shop",cause="begin"} 1' in text
