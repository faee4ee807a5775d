"""Faults on the admin port: what is shown of them, and the switch."""

import json

import pytest
from jsonschema import Draft202012Validator

from proxy.control.state import StoreError
from proxy.surfaces.admin.app import make_app
from proxy.surfaces.admin.guard import READ, WRITE, Token
from proxy.surfaces.admin.openapi import document
from proxy.telemetry.counters import FAULT_CAPPED, V_FAULTS
from tests.unit.surfaces.admin_state import stand_in
from tests.unit.surfaces.test_admin_app import ask, get

SENT = {"Content-Type": "application/json"}
FAULT = {
    "label": "faults[0]", "kind": "abort", "delay": 0.0, "status": 503, "bytes_per_second": 0, "percent": 1.0,
    "versions": ["canary"], "header": {"name": "x-tidegate-fault", "from": ["10.0.0.0/8"]}, "until": 1.7e9, "salt": "s",
    "where": {"segment": "staff"},
}  # fmt: skip


def answered(application, *requests, body=None):
    """(status, value) of each request: (method, path) with a JSON body on a POST."""
    found = []
    for method, path in requests:
        status, _, said = ask(application, (method, path, SENT, body))[0]
        found.append((status, json.loads(said)))
    return found


def test_faults_are_shown_with_their_ends_and_counts():
    with stand_in() as state:
        route = state.spec["routes"][0]
        route["faults"] = [
            FAULT,
            {**FAULT, "kind": "delay", "delay": 2.0, "until": 0.0, "header": None, "versions": []},
        ]
        del route["faults"][1]["where"]
        slot = route["versions"][1]["slot"] + V_FAULTS
        state.exposition._cells.view[slot + 1] = 7
        state.exposition._cells.view[slot + FAULT_CAPPED] = 2
        value = json.loads(get(make_app(state), "/api/v1/faults")[2])
    described = document()
    schema = described["components"]["schemas"]["Faults"]
    Draft202012Validator(schema | {"components": described["components"]}).validate(value)
    assert (value["enabled"], value["max_percent"], value["killed"]) == (True, 10.0, None)
    (shown,) = value["routes"]
    assert shown["versions"] == [
        {"name": "stable", "counts": {}},
        {"name": "canary", "counts": {"abort": 7, "capped": 2}},
    ]
    assert shown["faults"] == [
        {
            "label": "faults[0]", "kind": "abort", "value": 503, "percent": 1.0, "versions": ["canary"],
            "where": {"segment": "staff"}, "header": "x-tidegate-fault", "until": 1.7e9, "over": True,
        },
        {
            "label": "faults[0]", "kind": "delay", "value": 2.0, "percent": 1.0, "versions": [],
            "where": None, "header": None, "until": None, "over": False,
        },
    ]  # fmt: skip


def test_routes_without_faults_are_not_shown():
    with stand_in() as state:
        assert json.loads(get(make_app(state), "/api/v1/faults")[2])["routes"] == []


def test_the_switch_says_who_and_why_and_is_taken_back():
    with stand_in() as state:
        application = make_app(state)
        said = {"reason": "too much", "by": "alice"}
        (thrown,) = answered(application, ("POST", "/api/v1/faults/kill"), body=said)
        assert thrown[0] == 200
        assert thrown[1]["killed"] == {"reason": "too much", "by": "alice", "since": 12.5}
        assert state.told == [True]
        (lifted,) = answered(make_app(state), ("DELETE", "/api/v1/faults/kill"))
        assert (lifted[0], lifted[1]["killed"]) == (200, None)
        assert state.told == [True, False]


def test_the_switch_needs_no_words():
    with stand_in() as state:
        (thrown,) = answered(make_app(state), ("POST", "/api/v1/faults/kill"))
        assert thrown[1]["killed"] == {"reason": "", "by": "127.0.0.1", "since": 12.5}


@pytest.mark.parametrize("body", [[], {"why": "x"}, {"reason": 3}, {"reason": "x" * 501}])
def test_a_body_that_cannot_be_read_is_refused(body):
    with stand_in() as state:
        (refused,) = answered(make_app(state), ("POST", "/api/v1/faults/kill"), body=body)
        assert refused[0] == 400
        assert state.told == []


def test_what_cannot_be_written_down_is_done_all_the_same(monkeypatch):
    async def broken(*_):
        raise StoreError("state: nowhere to write")

    with stand_in() as state:
        monkeypatch.setattr(state.faults._store, "put", broken)
        (thrown,) = answered(make_app(state), ("POST", "/api/v1/faults/kill"))
        assert thrown[0] == 503
        assert "have ended" in thrown[1]["error"]["message"]
        assert state.told == [True]
        monkeypatch.setattr(state.faults._store, "delete", broken)
        (lifted,) = answered(make_app(state), ("DELETE", "/api/v1/faults/kill"))
        assert lifted[0] == 503
        assert state.faults.kill is not None


def test_the_switch_needs_a_token_that_may_write():
    tokens = [Token("reader", frozenset({READ})), Token("writer", frozenset({WRITE}))]
    with stand_in() as state:
        statuses = [
            ask(
                make_app(state, tokens=tokens),
                ("POST", "/api/v1/faults/kill", {**SENT, "Authorization": f"Bearer {one}"}),
            )[0][0]
            for one in ("reader", "writer")
        ]
    assert statuses == [403, 200]
