"""/api/v1/explain: the plan in force, asked why."""

import json

import pytest
from jsonschema import Draft202012Validator

from proxy.core.build import build_plan
from proxy.core.explanation import explain
from proxy.surfaces.admin.app import make_app
from proxy.surfaces.admin.explain import ExplainPath
from proxy.surfaces.admin.openapi import document
from tests.issuer import token_spec
from tests.specs import request_head
from tests.unit.core.test_flags import flag
from tests.unit.surfaces.admin_state import stand_in
from tests.unit.surfaces.test_admin_app import get

RULES = [
    {"label": "rules[0]", "units": ["alice"], "version": "canary"},
    {
        "label": "rules[1]",
        "where": {"source": "header", "name": "x-city", "test": "is", "value": "Oslo"},
        "version": "canary",
    },
]


def asked(state, query):
    status, _, body = get(make_app(state), f"/api/v1/explain?{query}")
    return status, json.loads(body)


def test_the_explanation_is_that_of_the_plan_in_force():
    with stand_in() as state:
        state.spec["routes"][0]["rules"] = RULES
        status, value = asked(state, "route=shop&unit=alice")
        assert status == 200
        described = document()
        schema = described["components"]["schemas"]["Explanation"]
        Draft202012Validator(schema | {"components": described["components"]}).validate(value)
        expected = explain(build_plan(state.spec).routes[0], request_head(), b"alice", "asked", {})
        assert {name: value[name] for name in expected} == expected
        assert (value["version"], value["reason"], value["rule"], value["generation"]) == (
            "canary",
            "override",
            "rules[0]",
            1,
        )
        assert value["notes"] == []


def test_request_is_made_of_its_parts():
    with stand_in() as state:
        state.spec["routes"][0]["rules"] = RULES
        query = (
            "url=http%3A%2F%2Fx%2Fcart&header=x-city%3A%20Oslo&header=x-user-id%3A%20bob&client=10.0.0.1&method=POST"
        )
        value = asked(state, query)[1]
        assert (value["route"], value["unit"], value["unit_kind"]) == ("shop", "bob", "header")
        assert (value["version"], value["reason"]) == ("canary", "segment")


def test_claims_are_as_if_a_token_had_been_verified():
    with stand_in() as state:
        where = {"source": "claim", "name": "roles", "test": "in", "value": ["dev"]}
        state.spec["routes"][0] |= {
            "rules": [{"label": "rules[0]", "where": where, "version": "canary"}],
            "unit": [{"kind": "claim", "name": "sub"}],
            "claimed": True,
        }
        value = asked(state, "route=shop&claim=sub%3Dalice&claim=roles%3Dops&claim=roles%3Ddev")[1]
        assert (value["unit"], value["unit_kind"], value["version"]) == ("alice", "claim", "canary")
        assert value["rules"][0]["where"]["saw"] == "ops, dev"
        assert asked(state, "route=shop&claim=sub")[0] == 400
        state.spec = state.spec | {"jwt": token_spec(), "generation": 2}
        value = asked(state, "route=shop&header=authorization%3A%20Bearer%20x.y.z")[1]
        assert value["notes"] == ["the token is not looked at here: give its claims"]


def test_flag_is_explained_as_applications_ask_and_as_upstreams_are_told():
    where = {"source": "attribute", "name": "country", "test": "in", "value": ["NO"]}
    rules = [{"label": "rules[0]", "where": where, "variant": "off"}]
    with stand_in() as state:
        state.spec["flags"] = [flag("f", rules=rules), flag("g")]
        state.spec["routes"][0]["inject_flags"] = ["f"]
        status, value = asked(state, "flag=f&unit=alice&attribute=country%3DNO")
        assert status == 200
        described = document()
        schema = described["components"]["schemas"]["FlagExplanation"]
        Draft202012Validator(schema | {"components": described["components"]}).validate(value)
        assert (value["flag"], value["unit"], value["variant"], value["rule"]) == ("f", "alice", "off", "rules[0]")
        assert value["rules"][0]["where"]["saw"] == "NO"
        value = asked(state, "flag=f&route=shop&unit=alice")[1]
        assert (value["variant"], value["notes"]) == ("on", [])
        assert "not in `inject_flags`" in asked(state, "flag=g&route=shop&unit=alice")[1]["notes"][0]
        value = asked(state, "route=shop&unit=alice")[1]
        assert value["flags"] == [{"flag": "f", "variant": "on", "reason": "DEFAULT", "detail": "default", "rule": ""}]
        schema = described["components"]["schemas"]["Explanation"]
        Draft202012Validator(schema | {"components": described["components"]}).validate(value)
        assert asked(state, "flag=nobody")[0] == 404
        assert asked(state, "flag=f&attribute=country")[0] == 400
        assert asked(state, "route=shop&attribute=country%3DNO")[0] == 400


def test_the_plan_is_built_once_until_there_is_another():
    with stand_in() as state:
        path = ExplainPath(state)
        first = path._plan(state.spec)
        assert path._plan(state.spec) is first
        other = path._plan({**state.spec, "routes": [{**state.spec["routes"][0], "rules": RULES}]})
        assert [len(plan.routes[0].overrides) for plan in (first, other)] == [0, 1]


def test_the_time_may_be_another():
    with stand_in() as state:
        state.spec["routes"][0]["rules"] = [{**RULES[0], "until": 1.9e9}]
        for at, reason in (("2030-03-17T17:46:39Z", "override"), ("2030-03-17T17:46:40Z", "split")):
            assert asked(state, f"route=shop&unit=alice&at={at}")[1]["reason"] == reason


@pytest.mark.parametrize(
    ("query", "status", "message"),
    [
        ("", 400, "say what: a request by a route, a url, a host or a path, or a flag"),
        ("unit=alice", 400, "say what: a request by a route, a url, a host or a path, or a flag"),
        ("rote=shop", 400, "unknown: rote; known: route, url, host, path, method, unit, header, client, at"),
        ("route=shop&unit=a&unit=b", 400, "unit is given twice"),
        ("route=shop&header=x", 400, "header: 'x' is not NAME: VALUE"),
        ("route=shop&at=tomorrow", 400, "at: must be a point in time with its zone"),
        ("route=shop&client=x", 400, "client: 'x' is not an address"),
        ("url=x&host=y", 400, "url: the URL says host and path already: leave them out"),
        ("route=shop&path=%2Fa%20b", 400, "the proxy would refuse this request with 400: "),
        ("route=shoop", 404, "there is no route shoop; routes: shop"),
    ],
)
def test_what_cannot_be_answered_says_why(query, status, message):
    with stand_in() as state:
        found, value = asked(state, query)
        assert (found, value["error"]["status"]) == (status, status)
        assert value["error"]["message"].startswith(message)


def test_before_the_first_plan_there_is_nothing_to_explain():
    with stand_in() as state:
        state.spec = {}
        assert asked(state, "route=shop")[0] == 503
