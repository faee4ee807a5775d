"""Segments on the admin port, and decisions over their lists."""

import json

from jsonschema import Draft202012Validator

from proxy.surfaces.admin.app import make_app
from proxy.surfaces.admin.openapi import document
from tests.unit.surfaces.admin_state import stand_in
from tests.unit.surfaces.test_admin_app import ask, get

LISTED = {"source": "unit", "test": "listed", "value": "beta.txt"}
STAFF = {"source": "header", "name": "x-staff", "test": "exists", "value": True}


def bring(state, path):
    """As a configuration that names this file does."""
    state.files.look(str(path))
    state.files.known["beta.txt"] = state.files.known.pop(str(path))
    state.lists.bring(dict(state.files.known))


def test_segments_are_shown_with_their_lists(tmp_path):
    path = tmp_path / "beta.txt"
    path.write_bytes(b"alice\nalice\nbob\nb\xff\n")
    with stand_in() as state:
        state.spec["segments"] = [
            {"name": "beta", "where": {"any": [{"not": LISTED}, STAFF]}},
            {"name": "staff", "where": STAFF},
        ]
        bring(state, path)
        state.facts.lists["beta.txt"].problem = "there is no file"
        status, _, body = get(make_app(state), "/api/v1/segments")
    value = json.loads(body)
    described = document()
    schema = described["components"]["schemas"]["Segments"]
    Draft202012Validator(schema | {"components": described["components"]}).validate(value)
    assert status == 200
    assert [(one["name"], one["lists"]) for one in value["segments"]] == [("beta", ["beta.txt"]), ("staff", [])]
    (shown,) = value["lists"]
    assert (shown["name"], shown["file"], shown["units"]) == ("beta.txt", str(path), 2)
    assert shown["skipped"] == {"not_text": 1, "too_long": 0, "duplicate": 1}
    assert (shown["current"], shown["problem"]) == (False, "there is no file")
    assert shown["taken"] >= shown["modified"] > 0


def test_explanation_looks_into_the_list_as_it_is_now(tmp_path):
    path = tmp_path / "beta.txt"
    path.write_bytes(b"alice\n")
    with stand_in() as state:
        state.spec["segments"] = [{"name": "beta", "where": LISTED}]
        state.spec["routes"][0]["rules"] = [{"label": "rules[0]", "where": {"segment": "beta"}, "version": "canary"}]
        bring(state, path)
        application = make_app(state)

        def replace():
            path.write_bytes(b"bob\n")
            bring(state, path)

        # One application over both requests, so that the plan is built once.
        asked = [("GET", f"/api/v1/explain?route=shop&unit={unit}", {}) for unit in ("alice", "bob")]
        before = [json.loads(body)["rule"] for _, _, body in ask(application, *asked)]
        replace()
        after = [json.loads(body)["rule"] for _, _, body in ask(make_app(state), *asked)]
        held = state.lists.tables()["beta.txt"]
        assert held.table.contains(b"bob")
    assert (before, after) == (["rules[0]", ""], ["", "rules[0]"])
