import asyncio
import json
import re

import pytest
from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer
from jsonschema import Draft202012Validator
from openapi_spec_validator import validate

from proxy.surfaces.admin.app import make_app
from proxy.surfaces.admin.guard import METRICS, READ, WRITE, Token, host_is_local
from proxy.surfaces.admin.openapi import document
from proxy.surfaces.admin.redaction import REDACTED, shown
from proxy.telemetry.exposition import OPENMETRICS, TEXT
from tests.specs import upstream_spec
from tests.unit.surfaces.admin_state import stand_in
from tests.unit.telemetry.memory import endpoint_spec, shop_spec

READ_PATHS = {
    "/", "/metrics", "/healthz", "/readyz",
    "/api/v1/config", "/api/v1/routes", "/api/v1/upstreams", "/api/v1/segments", "/api/v1/faults",
    "/api/v1/exposures", "/api/v1/exposures/summary", "/api/v1/rollouts",
    "/api/v1/openapi.json",
}  # fmt: skip
ADMIN_PATHS = READ_PATHS | {"/api/v1/faults/kill", "/api/v1/explain", "/api/v1/events"}
TEMPLATES = {
    "/api/v1/upstreams/{upstream}", "/api/v1/upstreams/{upstream}/endpoints/{endpoint}/drain",
    "/api/v1/routes/{route}/weights", "/api/v1/rollouts/{route}", "/api/v1/rollouts/{route}/history",
    "/api/v1/rollouts/{route}/{action}",
}  # fmt: skip


def ask(application, *requests):
    """Each request as (method, path, fields) or with a JSON body after them; answers as (status, fields, body)."""

    async def run():
        async with TestClient(TestServer(application)) as client:
            answers = []
            for method, path, fields, *body in requests:
                sent = json.dumps(body[0]) if body and body[0] is not None else None
                async with client.request(method, path, headers=fields, data=sent) as response:
                    answers.append((response.status, response.headers.copy(), await response.read()))
            return answers

    return asyncio.run(run())


def get(application, path, **fields):
    return ask(application, ("GET", path, fields))[0]


def test_metrics_come_as_text_and_as_openmetrics():
    with stand_in() as state:
        application = make_app(state)
        plain, wanted = ask(
            application, ("GET", "/metrics", {}), ("GET", "/metrics", {"Accept": "application/openmetrics-text"})
        )
    assert (plain[0], plain[1]["Content-Type"]) == (200, TEXT)
    assert b'code="200"} 3\n' in plain[2]
    assert wanted[1]["Content-Type"] == OPENMETRICS
    assert wanted[2].endswith(b"# EOF\n")


def test_readiness_says_why_not():
    with stand_in() as state:
        assert get(make_app(state), "/readyz")[0] == 200
        state.reasons = ["draining"]
        status, _, body = get(make_app(state), "/readyz")
        alive = get(make_app(state), "/healthz")
    assert (status, json.loads(body)) == (503, {"status": "not ready", "reasons": ["draining"]})
    assert alive[0] == 200


def test_the_configuration_is_shown_without_its_secrets():
    with stand_in() as state:
        state.facts.problems = ["tidegate.yaml:3:1: routes: what is this"]
        body = get(make_app(state), "/api/v1/config")[2]
    value = json.loads(body)
    assert b"hush" not in body
    assert value["spec"]["secrets"] == {"cookie": [REDACTED], "unit_hash": REDACTED}
    assert value["file"] == "config/tidegate.yaml"
    assert (value["generation"], value["in_force"]) == (4, -1)
    assert value["current"] is False
    assert value["problems"] == state.facts.problems
    assert value["warnings"] == state.warnings


def test_credentials_in_fields_and_urls_and_slots_stay_out():
    health = {"headers": {"x-token": "hush", "x-probe": "1"}}
    spec = shop_spec(upstreams=[upstream_spec("u", endpoints=[endpoint_spec("http://me:pw@h:1")], health=health)])
    spec["routes"][0]["rewrite"] = {
        "strip_prefix": "", "set_headers": {"Authorization": "Basic x", "x-api-key": "k", "x-env": "prod"},
        "remove_headers": [],
    }  # fmt: skip
    spec["routes"][0]["rollout"] = {
        "revision": "v1", "webhooks": [{"url": "https://h/key?k=1", "secret": "hush"}, {"url": "https://h/", "secret": None}],
        "notify": [{"url": "https://hooks.example.com/services/key"}],
    }  # fmt: skip
    health = {"kind": "http", "headers": {"authorization": "Basic x", "x-probe": "yes"}}
    spec["upstreams"].append(upstream_spec("v", health=health))
    value = shown(spec | {"none_slot": 3})
    assert value["upstreams"][1]["health"]["headers"] == {"authorization": REDACTED, "x-probe": "yes"}
    assert value["upstreams"][0]["endpoints"][0]["url"] == f"http://{REDACTED}@h:1"
    assert value["upstreams"][0]["health"]["headers"] == {"x-token": REDACTED, "x-probe": "1"}
    assert value["routes"][0]["rewrite"]["set_headers"] == {
        "Authorization": REDACTED, "x-api-key": REDACTED, "x-env": "prod",
    }  # fmt: skip
    assert value["routes"][0]["rollout"] == {
        "revision": "v1",
        "webhooks": [{"url": f"https://h/{REDACTED}", "secret": REDACTED}, {"url": "https://h", "secret": None}],
        "notify": [{"url": f"https://hooks.example.com/{REDACTED}"}],
    }
    assert "none_slot" not in value
    assert value["routes"][0]["errors"]["codes"]  # not a slot, though it is called the same
    assert value["secrets"] == {"cookie": [], "unit_hash": ""}
    assert shown({}) == {}


def test_routes_show_both_weights_counts_and_endpoints():
    with stand_in() as state:
        value = json.loads(get(make_app(state), "/api/v1/routes")[2])
    (route,) = value["routes"]
    stable, canary = route["versions"]
    assert stable["weight"] == {"file": 90.0, "effective": 95.0}
    assert (canary["requests"], canary["served"], canary["fallback"]) == (5, 3, "stable")
    assert (stable["requests"], stable["served"], stable["errors"], stable["in_flight"]) == (1, 3, 1, 6)
    (endpoint,) = value["upstreams"][0]["endpoints"]
    assert (endpoint["endpoint"], endpoint["up"], endpoint["connect_failures"]) == ("http://127.0.0.1:9001", False, 0)


def test_the_read_only_port_has_three_paths_and_answers_to_any_name():
    with stand_in() as state:
        application = make_app(state, read_only=True, tokens=[Token("secret")])
        fields = {"Host": "pod.example"}
        answers = ask(application, *(("GET", path, fields) for path in sorted(ADMIN_PATHS)))
    found = dict(zip(sorted(ADMIN_PATHS), (answer[0] for answer in answers), strict=True))
    assert {path for path, status in found.items() if status == 200} == {"/metrics", "/healthz", "/readyz"}
    assert set(found.values()) == {200, 404}


def test_errors_are_json_and_every_answer_is_guarded():
    with stand_in() as state:
        missing, wrong, head = ask(
            make_app(state), ("GET", "/nope", {}), ("DELETE", "/api/v1/routes", {}), ("HEAD", "/", {})
        )
    assert (missing[0], json.loads(missing[2])["error"]["status"]) == (404, 404)
    assert (wrong[0], wrong[1]["Allow"]) == (405, "GET,HEAD")
    assert "DELETE is not allowed" in json.loads(wrong[2])["error"]["message"]
    for answer in (missing, wrong, head):
        assert answer[1]["X-Content-Type-Options"] == "nosniff"
        assert "default-src 'none'" in answer[1]["Content-Security-Policy"]
        assert answer[1]["Cache-Control"] == "no-store"


def test_a_failure_inside_is_logged_and_tells_nothing(caplog):
    with stand_in() as state:
        state.exposition = None
        status, _, body = get(make_app(state), "/metrics")
    assert status == 500
    assert json.loads(body) == {"error": {"status": 500, "message": "internal error"}}
    assert "failed on /metrics" in caplog.text


@pytest.mark.parametrize(
    ("host", "allowed"),
    [
        ("localhost", True), ("LOCALHOST:9901", True), ("127.0.0.1:9901", True), ("[::1]:9901", True),
        ("10.1.2.3", True), ("me@localhost", False),
        ("a.localhost", True), ("tidegate.internal", True), ("", False), ("evil.example", False),
        ("127.0.0.1.evil.example", False), ("localhost.evil.example", False), ("[::1", False), ("a b", False),
    ],
)  # fmt: skip
def test_without_tokens_only_this_machines_names_are_answered(host, allowed):
    assert host_is_local(host, {"tidegate.internal"}) is allowed


def test_a_rebound_name_is_refused():
    with stand_in() as state:
        status, _, body = get(make_app(state), "/api/v1/config", Host="evil.example")
    assert status == 403
    assert "Host" in json.loads(body)["error"]["message"]


def test_tokens_open_what_their_scopes_say():
    tokens = [
        Token("reader", frozenset({READ})),
        Token("writer", frozenset({WRITE})),
        Token("scraper", frozenset({METRICS})),
    ]
    cases = [
        (None, "/metrics", 401), ("Bearer nobody", "/metrics", 401), ("Basic reader", "/metrics", 401),
        ("Bearer reader", "/metrics", 200), ("bearer reader", "/api/v1/config", 200),
        ("Bearer scraper", "/metrics", 200), ("Bearer scraper", "/api/v1/config", 403),
        ("Bearer writer", "/api/v1/config", 403), (None, "/healthz", 200), (None, "/readyz", 200),
        ("Bearer \xff", "/metrics", 401),
    ]  # fmt: skip
    with stand_in() as state:
        answers = ask(
            make_app(state, tokens=tokens),
            *(("GET", path, {"Authorization": given} if given else {}) for given, path, _ in cases),
        )
    assert [answer[0] for answer in answers] == [status for _, _, status in cases]
    assert answers[0][1]["WWW-Authenticate"].startswith("Bearer")
    assert "scopes" in json.loads(answers[6][2])["error"]["message"]


def test_a_token_is_neither_empty_nor_shown_nor_of_unknown_scope():
    assert "secret" not in repr(Token("secret"))
    with pytest.raises(ValueError, match="empty"):
        Token("")
    with pytest.raises(ValueError, match="scopes"):
        Token("x", frozenset({"root"}))
    with pytest.raises(ValueError, match="scopes"):
        Token("x", frozenset())


def test_the_openapi_document_is_valid_and_lists_every_path():
    validate(document())
    assert set(document()["paths"]) == ADMIN_PATHS | TEMPLATES
    with stand_in() as state:
        routed = {
            resource.canonical
            for resource in make_app(state).router.resources()
            if isinstance(resource, (web.PlainResource, web.DynamicResource))
        }
    assert routed == ADMIN_PATHS | TEMPLATES


def test_answers_are_what_the_openapi_document_says():
    described = document()
    with stand_in() as state:
        for path in sorted(READ_PATHS - {"/", "/metrics"}):
            body = json.loads(get(make_app(state), path)[2])
            schema = described["paths"][path]["get"]["responses"]["200"]["content"]["application/json"]["schema"]
            Draft202012Validator(schema | {"components": described["components"]}).validate(body)


def test_the_page_links_to_every_path():
    with stand_in() as state:
        page = get(make_app(state), "/")[2].decode()
    assert set(re.findall(r'href="([^"]+)"', page)) == READ_PATHS - {"/"}


def test_text_and_secrets_of_plugins_are_not_shown():
    config = {
        "api_key": "k",
        "hosts": ["http://me:secret@far.example/"],
        "nested": {"token": "t", "keys": [1]},
        "size": 3,
    }
    plugin = {"name": "p", "file": "p.py", "source": "print(1)", "entry_point": "", "config": config, "slot": 5}
    (seen,) = shown(shop_spec(plugins=[plugin]))["plugins"]
    assert seen == {
        "name": "p",
        "file": "p.py",
        "source": "(8 bytes)",
        "entry_point": "",
        "config": {
            "api_key": REDACTED,
            "hosts": [f"http://{REDACTED}@far.example/"],
            "nested": {"token": REDACTED, "keys": [1]},
            "size": 3,
        },
    }
