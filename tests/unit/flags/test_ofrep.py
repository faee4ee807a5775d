"""The port of flags: single and bulk, tags, who may, what is refused, and the stream of changes."""

import asyncio
import gzip
import json
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from aiohttp import ClientResponse, ClientSession
from aiohttp.test_utils import TestServer

from proxy.flags.ofrep import EVENTS, FLAGS, OfrepServer, ticket_of
from proxy.flags.serve import open_ofrep
from proxy.flags.service import FlagService
from proxy.settings.models.flags import Ofrep
from proxy.telemetry.facts import Facts
from tests.specs import plan_spec, route_spec
from tests.unit.core.test_flags import NORWAY, flag, rule

Spec = dict[str, Any]
TOKEN = "a token of this test"
ALICE = {"context": {"targetingKey": "alice"}}


class House:
    """A port over a spec that may change, with a clock that stands until it is set."""

    def __init__(self, *flags: Spec, **settings: Any) -> None:
        self.spec = plan_spec(route_spec(), flags=list(flags), trusted_proxies=settings.pop("trusted", []))
        self.facts = Facts()
        self.now = 1_700_000_000.0
        self.service = FlagService(lambda: self.spec, dict, lambda: self.now, self.facts)
        settings = {"listen": "127.0.0.1:0", **settings}
        self.server = TestServer(self.build(Ofrep.model_validate(settings)).application())

    def build(self, settings: Ofrep) -> OfrepServer:
        return OfrepServer(self.service, settings)

    def play(self, scene: Callable[["House"], Awaitable[None]]) -> None:
        async def run() -> None:
            async with self.server, ClientSession() as session:
                self.session = session
                await scene(self)

        asyncio.run(run())

    async def post(self, path: str = FLAGS, body: Any = ALICE, **fields: str) -> ClientResponse:
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        headers = {name.replace("_", "-"): value for name, value in fields.items()}
        return await self.session.post(self.server.make_url(path), data=data, headers=headers)


@pytest.mark.parametrize("body", [b"not gzip", gzip.compress(b'{"context": {}}', mtime=0)])
def test_compressed_body_is_refused_and_nobody_fails_of_it(body: bytes, caplog: pytest.LogCaptureFixture) -> None:
    async def ask(host: str, port: str, token: str) -> bytes:
        reader, writer = await asyncio.open_connection(host, int(port))
        fields = f"Host: a\r\nX-API-Key: {token}\r\nContent-Encoding: gzip\r\nContent-Length: {len(body)}"
        writer.write(f"POST {FLAGS}/f HTTP/1.1\r\n{fields}\r\n\r\n".encode() + body)
        writer.write(b"POST /last HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
        got = await asyncio.wait_for(reader.read(), 5)
        writer.close()
        return got

    async def scene() -> None:
        house = House(flag())
        port = await open_ofrep(house.service, Ofrep.model_validate({"listen": "127.0.0.1:0", "tokens": [TOKEN]}))
        host, _, number = port.addresses["ofrep"].rpartition(":")
        try:
            got = await ask(host, number, TOKEN)
            assert got.startswith(b"HTTP/1.1 400 ")
            assert b"PARSE_ERROR" in got
            assert (await ask(host, number, "wrong")).startswith(b"HTTP/1.1 401 ")
        finally:
            await port.close()

    asyncio.run(scene())
    assert not caplog.records


def test_body_that_does_not_come_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("proxy.flags.ofrep.BODY_LIMIT", 0.01)

    async def scene(house: House) -> None:
        reader, writer = await asyncio.open_connection(house.server.host, house.server.port)
        writer.write(f"POST {FLAGS} HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\n".encode())
        assert (await asyncio.wait_for(reader.readline(), 5)).startswith(b"HTTP/1.1 408 ")
        writer.close()

    House(flag()).play(scene)


def test_single_flag_with_and_without_a_slash() -> None:
    async def scene(house: House) -> None:
        for path in (f"{FLAGS}/f", f"{FLAGS}/f/"):
            answer = await house.post(path)
            assert answer.status == 200
            assert await answer.json() == {
                "key": "f", "value": True, "variant": "on", "reason": "STATIC", "metadata": {"reason": "static"},
            }  # fmt: skip
        assert house.facts.flags.evaluations == {("f", "on", "STATIC"): 2}
        assert house.facts.flags.requests == {("single", 200): 2}

    House(flag()).play(scene)


def test_floats_stay_floats_and_finer_reasons_stand_in_metadata() -> None:
    async def scene(house: House) -> None:
        answer = await house.post(f"{FLAGS}/f")
        assert '"value": 1.0' in await answer.text()
        metadata = (await answer.json())["metadata"]
        assert metadata["reason"] == "split"
        assert 0 <= metadata["bucket"] < 10_000

    House(flag(type="float", variants={"on": 1.0, "off": 2.5}, split={"on": 1.0})).play(scene)


@pytest.mark.parametrize(
    ("body", "code"),
    [
        (b"{", "PARSE_ERROR"),
        (b"[]", "PARSE_ERROR"),
        (b'{"context": NaN}', "PARSE_ERROR"),
        (b"[" * 30_000, "PARSE_ERROR"),
        (b'{"context": []}', "INVALID_CONTEXT"),
        (b'{"context": {"targetingKey": 7}}', "INVALID_CONTEXT"),
        (b'{"context": {"a": "\\ud800"}}', "INVALID_CONTEXT"),
        (json.dumps({"context": {"targetingKey": "a" * 1025}}).encode(), "INVALID_CONTEXT"),
        (json.dumps({"context": {f"a{n}": 1 for n in range(1001)}}).encode(), "INVALID_CONTEXT"),
        (b'{"context": ' + b'{"a":' * 12 + b"1" + b"}" * 13, "INVALID_CONTEXT"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_bodies_that_cannot_be_used(body: bytes, code: str) -> None:
    async def scene(house: House) -> None:
        for path in (FLAGS, f"{FLAGS}/f"):
            answer = await house.post(path, body)
            values = await answer.json()
            assert (answer.status, values["errorCode"], values.get("key", "f")) == (400, code, "f")
            assert values["errorDetails"]

    House(flag()).play(scene)


def test_what_is_not_there_and_what_is_too_much() -> None:
    async def scene(house: House) -> None:
        answer = await house.post(f"{FLAGS}/nobody")
        assert answer.status == 404
        assert (await answer.json())["errorCode"] == "FLAG_NOT_FOUND"
        assert (await house.post("/else")).status == 404
        assert (await house.session.get(house.server.make_url(FLAGS))).status == 405
        assert (await house.post(FLAGS, b"x" * 2000)).status == 413

    House(flag(), max_body="1KiB").play(scene)


def test_empty_body_is_an_empty_context() -> None:
    async def scene(house: House) -> None:
        assert (await (await house.post(f"{FLAGS}/fixed", b"")).json())["value"] is True
        answer = await house.post(f"{FLAGS}/dealt", b"")
        assert answer.status == 400
        assert (await answer.json())["errorCode"] == "TARGETING_KEY_MISSING"
        found = (await (await house.post(FLAGS, b"{}")).json())["flags"]
        assert [one.get("errorCode") for one in found] == [None, "TARGETING_KEY_MISSING"]

    House(flag("fixed"), flag("dealt", split={"on": 1.0})).play(scene)


def test_tag_covers_context_and_configuration() -> None:
    async def scene(house: House) -> None:
        first = await house.post()
        tag = first.headers["ETag"]
        assert tag.startswith('"')
        for sent in (tag, f"W/{tag}", tag.strip('"'), f'"else", {tag}'):
            again = await house.post(If_None_Match=sent)
            assert (again.status, again.headers["ETag"], await again.read()) == (304, tag, b"")
        other = await house.post(body={"context": {"targetingKey": "bob"}}, If_None_Match=tag)
        assert (other.status, other.headers["ETag"] != tag) == (200, True)
        wider = await house.post(body={"context": {"targetingKey": "alice", "plan": "pro"}}, If_None_Match=tag)
        assert wider.status == 200
        version = (await first.json())["metadata"]["version"]
        house.spec = {**house.spec, "flags": [flag(), flag("g")]}
        changed = await house.post(If_None_Match=tag)
        assert changed.status == 200
        assert (await changed.json())["metadata"]["version"] != version

    House(flag()).play(scene)


def test_tokens_open_the_port() -> None:
    async def scene(house: House) -> None:
        answer = await house.post()
        assert (answer.status, answer.headers["WWW-Authenticate"]) == (401, "Bearer")
        assert (await house.post(Authorization="Bearer another token entirely")).status == 401
        assert (await house.post(Authorization=f"Bearer {TOKEN}")).status == 200
        assert (await house.post(X_API_Key=TOKEN)).status == 200
        assert (await house.post(f"{FLAGS}?ticket={ticket_of(TOKEN)}")).status == 401
        (stream,) = (await (await house.post(X_API_Key=TOKEN)).json())["eventStreams"]
        url = house.server.make_url(stream["endpoint"]["requestUri"])
        assert (await house.session.get(house.server.make_url(EVENTS))).status == 401
        async with house.session.get(url) as events:
            assert events.status == 200

    House(flag(), tokens=[TOKEN]).play(scene)


def test_pages_of_origins_allowed_may_read() -> None:
    async def scene(house: House) -> None:
        mine = await house.post(Origin="https://shop.example.com")
        assert mine.headers["Access-Control-Allow-Origin"] == "https://shop.example.com"
        assert "ETag" in mine.headers["Access-Control-Expose-Headers"]
        assert mine.headers["Vary"] == "Origin"
        other = await house.post(Origin="https://evil.example.com")
        assert "Access-Control-Allow-Origin" not in other.headers
        headers = {"Origin": "https://shop.example.com", "Access-Control-Request-Method": "POST"}
        asked = await house.session.options(house.server.make_url(FLAGS), headers=headers)
        assert asked.status == 204
        assert "If-None-Match" in asked.headers["Access-Control-Allow-Headers"]
        assert (await house.post()).headers.get("Access-Control-Allow-Origin") is None

    House(flag(), tokens=[], origins=["https://shop.example.com"]).play(scene)


@pytest.mark.parametrize(("trusted", "expected"), [(["127.0.0.0/8"], "off"), ([], "on")])
def test_what_the_proxy_knows_beats_the_body(trusted: list[str], expected: str) -> None:
    async def scene(house: House) -> None:
        body = {"context": {"targetingKey": "alice", "country": "NO"}}
        assert (await (await house.post(f"{FLAGS}/f", body)).json())["variant"] == "on"  # the body alone never counts
        answer = await house.post(f"{FLAGS}/f", body | {"country": "SE"}, X_Country="NO")
        assert (await answer.json())["variant"] == expected

    House(flag(rules=[rule(where=NORWAY, variant="off")]), known={"country": "x-country"}, trusted=trusted).play(scene)


def test_values_within_values_are_attributes_with_dots() -> None:
    async def scene(house: House) -> None:
        body = {"context": {"address": {"city": "Oslo"}, "age": 7, "pro": True, "gone": None}}
        assert (await (await house.post(f"{FLAGS}/f", body)).json())["variant"] == "off"

    tests = [("address.city", "Oslo"), ("age", "7"), ("pro", "true")]
    where: Spec = {
        "all": [{"source": "attribute", "name": name, "test": "is", "value": value} for name, value in tests]
    }
    where["all"].append({"source": "attribute", "name": "gone", "test": "exists", "value": False})
    House(flag(rules=[rule(where=where, variant="off")])).play(scene)


def test_stream_tells_of_changes() -> None:
    async def scene(house: House) -> None:
        async with house.session.get(house.server.make_url(EVENTS)) as stream:
            assert stream.content_type == "text/event-stream"
            assert await stream.content.readline() == b": flags\n"
            assert house.facts.flags.streams == 1
            assert (await house.session.get(house.server.make_url(EVENTS))).status == 429
            before = house.service.revision
            house.spec = {**house.spec, "flags": [flag(on=False)]}
            house.service.look()
            event = b""
            while not event.endswith(b"}\n"):
                event = await asyncio.wait_for(stream.content.readline(), 5)
            data = json.loads(event.removeprefix(b"data: "))
            assert data == {"type": "refetchEvaluation", "etag": house.service.revision, "lastModified": 1_700_000_000}
        fields = {"Last-Event-ID": before}
        while house.facts.flags.streams:
            await asyncio.sleep(0.01)
            house.spec = {**house.spec, "flags": [flag(on=not house.spec["flags"][0]["on"])]}
            house.service.look()
        async with house.session.get(house.server.make_url(EVENTS), headers=fields | {"Last-Event-ID": "x"}) as stream:
            lines = [await asyncio.wait_for(stream.content.readline(), 5) for _ in range(5)]
            assert lines[4].startswith(b"data: ")

    House(flag(), streams=1).play(scene)


def test_stream_whose_client_is_gone_is_no_open_one() -> None:
    async def scene() -> None:
        house = House(flag(), streams=1)
        port = await open_ofrep(house.service, Ofrep.model_validate({"listen": "127.0.0.1:0", "streams": 1}))
        host, _, number = port.addresses["ofrep"].rpartition(":")
        try:
            for _ in range(3):
                reader, writer = await asyncio.open_connection(host, int(number))
                writer.write(f"GET {EVENTS} HTTP/1.1\r\nHost: a\r\n\r\n".encode())
                assert (await reader.readline()).startswith(b"HTTP/1.1 200")
                writer.close()
                async with asyncio.timeout(5):  # much less than a sign of life takes
                    while house.facts.flags.streams:  # noqa: ASYNC110 - nobody tells of it
                        await asyncio.sleep(0.001)
        finally:
            await port.close()
        assert house.facts.flags.requests == {("events", 200): 3}

    asyncio.run(scene())


def test_stream_tells_when_the_clock_changes_an_answer_and_the_tag_is_another() -> None:
    async def scene(house: House) -> None:
        async def variant_and_tag() -> tuple[str, str]:
            answer = await house.post()
            return (await answer.json())["flags"][0]["variant"], answer.headers["ETag"]

        async with house.session.get(house.server.make_url(EVENTS)) as stream:
            assert await stream.content.readline() == b": flags\n"
            first = await variant_and_tag()
            assert first[0] == "on"
            house.now += 99.0
            house.service.look()
            assert await variant_and_tag() == first
            house.now += 1.0
            house.service.look()  # as the tick of every second does
            event = b""
            while not event.endswith(b"}\n"):
                event = await asyncio.wait_for(stream.content.readline(), 5)
            data = json.loads(event.removeprefix(b"data: "))
            assert data == {"type": "refetchEvaluation", "etag": house.service.revision, "lastModified": 1_700_000_100}
            second = await variant_and_tag()
            assert second[0] == "off"
            assert second[1] != first[1]
            house.now -= 50.0  # a clock that was set back
            assert await variant_and_tag() == first

    House(flag(until=1_700_000_100.0)).play(scene)


def test_flag_that_nobody_may_have_has_no_value() -> None:
    async def scene(house: House) -> None:
        house.spec["routes"][0]["versions"][0]["kill"] = {"until": 0.0}
        house.spec["routes"][0]["versions"][1]["kill"] = {"until": 0.0}
        answer = await (await house.post(f"{FLAGS}/shop")).json()
        assert (answer["reason"], "value" in answer, "variant" in answer) == ("DISABLED", False, False)

    House(flag("shop", route="shop", variants={"stable": 1, "canary": 2}, default="stable")).play(scene)
