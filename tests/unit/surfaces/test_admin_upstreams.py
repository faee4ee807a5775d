"""Endpoints over the API: what is shown of them, and draining one; who may, and who may not."""

import asyncio
from urllib.parse import quote

import pytest
from aiohttp.test_utils import TestClient, TestServer
from jsonschema import Draft202012Validator

from proxy.control.state import StoreError
from proxy.surfaces.admin.app import make_app
from proxy.surfaces.admin.guard import READ, WRITE, Token
from proxy.surfaces.admin.openapi import document
from proxy.telemetry.counters import E_DRAINED
from tests.unit.surfaces.admin_state import stand_in

NAME = "http://shop.internal:80"
LABEL = f"{NAME} (10.0.0.1)"
SOCKET = "unix:/run/shop.sock"
KEY, SOCKET_KEY = "10.0.0.1:80:False:", "/run/shop.sock:0:False:"


def path(endpoint, upstream="pair"):
    return f"/api/v1/upstreams/{upstream}/endpoints/{quote(endpoint, safe='')}/drain"


class Caller:
    def __init__(self, state, client):
        self.state = state
        self.client = client

    async def __call__(self, method, where, *, body=None, data=None, **fields):
        """Status and JSON of one request. `_` in a field's name is a hyphen."""
        headers = {name.replace("_", "-"): value for name, value in fields.items()}
        async with self.client.request(method, where, json=body, data=data, headers=headers) as response:
            return response.status, await response.json()

    async def drain(self, endpoint, **wish):
        return await self("POST", path(endpoint), body=wish)

    async def endpoints(self, upstream="pair"):
        return (await self("GET", f"/api/v1/upstreams/{upstream}"))[1]["endpoints"]


def play(script, **how):
    async def run(state):
        async with TestClient(TestServer(make_app(state, **how))) as client:
            await script(Caller(state, client))

    with stand_in() as state:
        asyncio.run(run(state))


def conforms(value, name):
    described = document()
    schema = {"$ref": f"#/components/schemas/{name}", "components": described["components"]}
    Draft202012Validator(schema).validate(value)


def test_endpoints_are_shown_with_their_health():
    async def script(call):
        first, second = await call.endpoints()
        assert (first["endpoint"], first["url"], first["in_flight"]) == (LABEL, NAME, 4)
        assert first["health"] == {"verdict": "unknown", "reason": "", "since": 0.0, "checked": 0.0}
        assert first["usable"]
        assert second["endpoint"] == SOCKET
        call.state.failing = True
        await call.state.settle()
        status, value = await call("GET", "/api/v1/upstreams")
        conforms(value, "Upstreams")
        assert status == 200
        assert [one["name"] for one in value["upstreams"]] == ["u", "shadow", "pair"]
        assert value["upstreams"][0]["endpoints"][0]["health"] is None
        ill = value["upstreams"][2]["endpoints"][0]
        assert ill["health"] == {
            "verdict": "unhealthy", "reason": "status 503, expected 200-299", "since": 12.5, "checked": 12.5,
        }  # fmt: skip
        assert not ill["usable"]
        assert call.state.told == []  # they are gathered first
        await call.state.settle()
        assert call.state.told == [("pair", [KEY, SOCKET_KEY], [])]

    play(script)


def test_a_drain_is_answered_when_all_workers_hold_it_so_and_waits_for_none_that_hangs(monkeypatch):
    async def script(call):
        state = call.state
        state.facts.worker(0).up = True
        answer = asyncio.create_task(call.drain(LABEL))
        await asyncio.sleep(0.05)  # it would have been answered by now
        assert state.told
        assert not answer.done()
        state.totals._cells.view[state.spec["upstreams"][2]["endpoints"][0]["slot"] + E_DRAINED] = 1
        assert (await answer)[0] == 200
        monkeypatch.setattr("proxy.surfaces.admin.upstreams._PATIENCE", 0.01)
        assert (await call.drain(SOCKET, force=True))[0] == 200

    play(script)


def test_an_endpoint_is_drained_and_what_is_in_flight_there_is_told():
    async def script(call):
        status, value = await call.drain(LABEL, reason="a new disk", by="ann", until="2126-12-01T00:00:00Z")
        assert status == 200
        conforms(value, "Drained")
        assert (value["upstream"], value["endpoint"], value["in_flight"]) == ("pair", LABEL, 4)
        drained = value["endpoints"][0]["drained"]
        assert (drained["reason"], drained["by"], drained["until"]) == ("a new disk", "ann", 4951756800.0)
        assert call.state.told == [("pair", [], [KEY])]
        first, second = await call.endpoints()
        assert (first["drained"], first["usable"]) == (drained, False)
        assert second["drained"] is None
        status, value = await call("DELETE", path(LABEL))
        assert (status, value["endpoints"][0]["drained"]) == (200, None)
        conforms(value, "Drained")
        assert call.state.told[-1] == ("pair", [], [])

    play(script)


@pytest.mark.parametrize(("name", "key"), [(NAME, KEY), (SOCKET, SOCKET_KEY)])
def test_urls_of_every_kind_can_be_named(name, key):
    async def script(call):
        status, value = await call("POST", path(name), body={})
        assert (status, value["endpoint"]) == (200, name)
        assert call.state.told == [("pair", [], [key])]
        assert value["endpoints"][0]["drained"]["by"] == "127.0.0.1"
        assert value["endpoints"][0]["drained"]["until"] is None

    play(script)


def test_the_last_usable_endpoint_wants_force():
    async def script(call):
        assert (await call.drain(LABEL))[0] == 200
        status, value = await call.drain(SOCKET)
        assert status == 409
        assert "force" in value["error"]["message"]
        assert (await call.drain(SOCKET, force=True))[0] == 200

    play(script)


def test_unknown_ones_are_404_with_the_known_names():
    async def script(call):
        for method in ("POST", "DELETE"):
            body = {} if method == "POST" else None
            status, value = await call(method, path("http://nope:1"), body=body)
            assert (status, value["error"]["message"]) == (
                404, f"pair has no endpoint http://nope:1; it has: {LABEL}, {SOCKET}, {NAME}",
            )  # fmt: skip
            status, value = await call(method, path(LABEL, "nope"), body=body)
            assert status == 404
            assert "there are: u, shadow, pair" in value["error"]["message"]
        status, value = await call("GET", "/api/v1/upstreams/nope")
        assert status == 404
        assert "there are: u, shadow, pair" in value["error"]["message"]

    play(script)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "must be JSON"), ("[]", "an object"), ('{"untill": 1}', "unknown: untill"), ('{"reason": 1}', "reason"),
        ('{"by": "%s"}' % ("x" * 501), "500"), ('{"force": 1}', "true or false"), ('{"until": "soon"}', "its zone"),
        ('{"until": "2126-12-01T00:00:00"}', "its zone"), ('{"until": true}', "its zone"), ('{"until": NaN}', "its zone"),
        ('{"until": 5}', "passed already"),
    ],
)  # fmt: skip
def test_what_cannot_be_read_is_refused_in_words(text, message):
    async def script(call):
        status, value = await call("POST", path(LABEL), data=text, Content_Type="application/json")
        assert status == 400
        assert message in value["error"]["message"]
        assert call.state.told == []

    play(script)


def test_a_drain_that_cannot_be_kept_is_none():
    async def script(call):
        async def put(key, value):
            raise StoreError("state: state.db: disk full")

        call.state.store.put = put
        status, value = await call.drain(LABEL)
        assert (status, value["error"]["message"]) == (503, "state: state.db: disk full")
        assert (await call.endpoints())[0]["drained"] is None

    play(script)


@pytest.mark.parametrize(
    ("fields", "status"),
    [
        ({}, 200),
        ({"Content_Type": "application/json; charset=utf-8"}, 200),
        ({"Content_Type": "text/plain"}, 415),
        ({"Content_Type": "application/x-www-form-urlencoded"}, 415),
        ({"Origin": "http://127.0.0.1:9901", "Host": "127.0.0.1:9901"}, 200),
        ({"Origin": "http://evil.example"}, 403),
        ({"Origin": "http://127.0.0.1:9999", "Host": "127.0.0.1:9901"}, 403),
        ({"Origin": "null"}, 403),
        ({"Sec_Fetch_Site": "same-origin"}, 200),
        ({"Sec_Fetch_Site": "cross-site"}, 403),
        ({"Sec_Fetch_Site": "same-site"}, 403),
        ({"Host": "evil.example"}, 403),
    ],
)
def test_a_page_of_another_origin_cannot_drain(fields, status):
    async def script(call):
        given = {"Content_Type": "application/json"} | fields
        found, _ = await call("POST", path(LABEL), data="{}", **given)
        assert found == status
        assert bool(call.state.told) is (status == 200)

    play(script)


def test_a_page_of_another_origin_cannot_end_a_drain():
    async def script(call):
        await call.drain(LABEL)
        assert (await call("DELETE", path(LABEL), Origin="http://evil.example"))[0] == 403
        assert (await call("GET", "/api/v1/upstreams", Origin="http://evil.example"))[0] == 200  # a browser hides it
        assert (await call.endpoints())[0]["drained"] is not None

    play(script)


def test_draining_wants_a_token_that_may_write():
    async def script(call):
        for token, method, status in (
            ("reader", "GET", 200), ("reader", "POST", 403), ("reader", "DELETE", 403),
            ("writer", "GET", 403), ("writer", "POST", 200), ("writer", "DELETE", 200), ("nobody", "POST", 401),
        ):  # fmt: skip
            where = "/api/v1/upstreams" if method == "GET" else path(LABEL)
            body = {} if method == "POST" else None
            found, _ = await call(method, where, body=body, Authorization=f"Bearer {token}")
            assert (token, method, found) == (token, method, status)

    tokens = [Token("reader", frozenset({READ})), Token("writer", frozenset({WRITE}))]
    play(script, tokens=tokens)


def test_the_read_only_port_drains_nothing():
    async def script(call):
        async with call.client.post(path(LABEL), json={}) as response:
            assert response.status == 404

    play(script, read_only=True)
