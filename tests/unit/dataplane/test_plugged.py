"""Exchanges on routes with plugins: what each hook can do, what it cannot, and that nothing it does harms a request."""

import sys
from collections.abc import Callable
from typing import Any

import pytest

from proxy.core.plan import NONE, OVERRIDE, SPLIT
from proxy.dataplane.plugins import LivePlugin, Plugins
from proxy.form import compiled
from proxy.plugin import Answer, Plugin, PluginRequest, PluginResponse, Proposed
from proxy.telemetry.counters import (
    HISTOGRAM_SLOTS,
    P_ANSWERED,
    P_DISABLED,
    P_ERRORS,
    P_OVERRIDDEN,
    P_RUNNING,
    P_SECONDS,
    PLUGIN_CAUSES,
    PLUGIN_HOOKS,
    V_IN_FLIGHT,
    V_REASONS,
)
from tests.specs import version_spec
from tests.unit.dataplane.reading import read_answer
from tests.unit.dataplane.stage import GET, OK, Stage, answer, get, mirror_spec, pool_spec, shop
from tests.unit.dataplane.test_caching import cache_spec
from tests.unit.dataplane.wires import Dial, Wire

StageOf = Callable[..., Stage]
Spec = dict[str, Any]

POST = b"POST / HTTP/1.1\r\nHost: shop.example.com\r\nContent-Length: 4\r\n\r\n"


def plugin_spec(name: str = "p", **parts: Any) -> Spec:
    return {
        "name": name, "file": "p.py", "source": "", "entry_point": "", "config": {}, "claims": [], "budget": 0.005,
        "overruns": 3, "timeout": 0.05, "in_flight": 10,
    } | parts  # fmt: skip


def two(*plugins: Spec, **route: Any) -> Spec:
    """Everybody is dealt the canary; the unit is the field x-user-id."""
    versions = [version_spec("stable", 0.0, upstream="old"), version_spec("canary", 100.0, upstream="new")]
    parts = {"versions": versions, "default": "stable", "plugins": [one["name"] for one in plugins]}
    pools = [pool_spec("old", "10.0.0.1"), pool_spec("new", "10.0.0.2"), pool_spec("shadow", "10.0.0.3")]
    return shop(route=parts | route, upstreams=pools, plugins=list(plugins), access_log=True)


def plug(stage: Stage, *made: Plugin) -> Plugins:
    """Have the plan's plugins be these, in its order, as the intake does."""
    plugins = Plugins(stage.runtime)
    specs = stage.plan.plugins
    plugins.use(
        stage.plan, {spec["name"]: LivePlugin(stage.runtime, spec, one) for spec, one in zip(specs, made, strict=True)}
    )
    return plugins


def staged(stage_of: StageOf, plugin: type[Plugin], *, entry: Spec | None = None, **route: Any) -> Stage:
    spec = entry or plugin_spec()
    stage = stage_of(two(spec, **route))
    plug(stage, plugin({}))
    return stage


def of_plugin(stage: Stage, slot: int, name: str = "p") -> int:
    return stage.cells.view[dict(stage.ledger.blocks("plugin"))[name,] + slot]


def errors(stage: Stage, name: str = "p") -> dict[tuple[str, str], int]:
    """By hook and cause."""
    return {
        (hook, cause): count
        for kind, hook in enumerate(PLUGIN_HOOKS)
        for place, cause in enumerate(PLUGIN_CAUSES)
        if (count := of_plugin(stage, P_ERRORS + 8 * kind + place, name))
    }


def asked(stage: Stage, hook: str, name: str = "p") -> int:
    """How often a hook has answered, by its histogram."""
    start = P_SECONDS + PLUGIN_HOOKS.index(hook) * HISTOGRAM_SLOTS
    return sum(of_plugin(stage, start + 1 + place, name) for place in range(HISTOGRAM_SLOTS - 1))


def served(stage: Stage, request: bytes, reply: bytes = OK) -> tuple[bytes, bytes]:
    """What the upstream got, and what the client did."""
    client = stage.client()
    client.send(request)
    upstream = (
        stage.accept() if stage.dialling() else next(one for one in stage.wires if one.sent and one is not client)
    )
    head = upstream.take()
    upstream.send(reply)
    stage.settle()
    return head, client.take()


def version_of(head: bytes) -> bytes:
    return head.partition(b"x-tidegate-version: ")[2].partition(b"\r\n")[0]


def go_on(stage: Stage, value: object = None) -> None:
    """What the oldest async hook waits for is there."""
    stage.settle()
    lookups = [one for one in stage.loop.dials if one.address == "a lookup" and one.task and not one.task.done]
    assert lookups, "no hook waits"
    stage.loop.dials.remove(lookups[0])
    assert lookups[0].task is not None
    lookups[0].task.go_on(value)
    stage.settle()


async def lookup() -> Any:
    """What an async hook waits for, until the test says."""
    return await Dial(lambda: None, "a lookup")


# The unit.


class ByPath(Plugin):
    def unit(self, request: PluginRequest) -> str | None:
        return request.path.split("/")[1] or None


def test_unit_of_a_plugin_stands_before_the_chain_of_the_route(stage_of: StageOf) -> None:
    stage = staged(stage_of, ByPath)
    seen: list[bytes | None] = []
    for request in (get("/acme/x", "X-User-Id: alice"), get("/", "X-User-Id: alice")):
        head, _ = served(stage, request)
        seen.append(head.partition(b"x-tidegate-unit-hash: ")[2][:16])
    assert seen == [stage.runtime.hasher(b"acme").encode(), stage.runtime.hasher(b"alice").encode()]
    assert errors(stage) == {}


@pytest.mark.parametrize("said", [7, "", b"", "x" * 1025, ["acme"]])
def test_what_is_no_unit_is_as_if_nothing_was_said(stage_of: StageOf, said: Any) -> None:
    class Odd(Plugin):
        def unit(self, request: PluginRequest) -> Any:
            return said

    stage = staged(stage_of, Odd)
    head, _ = served(stage, get("/", "X-User-Id: alice"))
    assert stage.runtime.hasher(b"alice").encode() in head
    assert errors(stage) == ({("unit", "invalid"): 1} if said else {})


def test_the_first_plugin_that_names_a_unit_is_believed(stage_of: StageOf) -> None:
    class Other(Plugin):
        def unit(self, request: PluginRequest) -> bytes:
            return b"other"

    stage = stage_of(two(plugin_spec("a"), plugin_spec("b")))
    plug(stage, ByPath({}), Other({}))
    for path, unit in (("/acme", b"acme"), ("/", b"other")):
        head, _ = served(stage, get(path))
        assert stage.runtime.hasher(unit).encode() in head


# The version.


class Back(Plugin):
    proposals: list[Proposed]

    def __init__(self, config: Any) -> None:
        super().__init__(config)
        self.proposals = []

    def decide(self, request: PluginRequest, proposed: Proposed) -> str | None:
        self.proposals.append(proposed)
        return request.headers.get("x-want")


def test_version_that_a_plugin_names_is_an_override(stage_of: StageOf) -> None:
    stage = staged(stage_of, Back)
    head, _ = served(stage, get("/", "X-User-Id: alice", "X-Want: stable"))
    assert version_of(head) == b"stable"
    assert stage.of_version(V_REASONS + OVERRIDE) == 1
    assert of_plugin(stage, P_OVERRIDDEN) == 1
    head, _ = served(stage, get("/", "X-User-Id: alice", "X-Want: canary"))
    assert version_of(head) == b"canary"
    assert stage.of_version(V_REASONS + SPLIT, "canary") == 1
    assert of_plugin(stage, P_OVERRIDDEN) == 1
    assert b'"reason":"override"' in stage.runtime._lines[0].replace(b" ", b"")


def test_plugin_is_told_what_is_proposed_and_what_may_be_chosen(stage_of: StageOf) -> None:
    stage = stage_of(two(plugin_spec(), rules=[{"label": "rules[0]", "units": ["alice"], "deny": "canary"}]))
    plugin = Back({})
    plug(stage, plugin)
    served(stage, get("/", "X-User-Id: alice"))
    served(stage, get("/", "X-User-Id: bob"))
    first, second = plugin.proposals
    assert (first.version, first.reason, first.choices) == ("stable", "deny", ("stable",))
    assert (second.version, second.reason, second.rule, second.choices) == ("canary", "split", "", ("stable", "canary"))


@pytest.mark.parametrize("want", ["beta", "canary"])
def test_a_version_that_is_denied_or_unknown_cannot_be_given(stage_of: StageOf, want: str) -> None:
    stage = staged(stage_of, Back, rules=[{"label": "rules[0]", "units": ["alice"], "deny": "canary"}])
    head, _ = served(stage, get("/", "X-User-Id: alice", f"X-Want: {want}"))
    assert version_of(head) == b"stable"
    assert errors(stage) == {("decide", "invalid"): 1}


def test_a_killed_version_cannot_be_given_and_a_killed_route_asks_nobody(stage_of: StageOf) -> None:
    versions = [
        version_spec("stable", 50.0, upstream="old"),
        version_spec("canary", 50.0, upstream="new", kill={"until": 0.0}),
    ]
    stage = staged(stage_of, Back, versions=versions)
    head, _ = served(stage, get("/", "X-User-Id: alice", "X-Want: canary"))
    assert version_of(head) == b"stable"
    assert errors(stage) == {("decide", "invalid"): 1}
    stage = staged(stage_of, Back, kill=[{"label": "kill", "until": 0.0}])
    head, _ = served(stage, get("/", "X-User-Id: alice", "X-Want: canary"))
    assert version_of(head) == b"stable"
    assert asked(stage, "decide") == 0


def test_a_plugin_still_speaks_where_the_draw_fell_on_a_killed_version(stage_of: StageOf) -> None:
    versions = [
        version_spec("stable", 0.0, upstream="old"),
        version_spec("canary", 100.0, upstream="new", kill={"until": 0.0}),
        version_spec("next", 1e-9, upstream="new"),
    ]
    stage = staged(stage_of, Back, versions=versions)
    head, _ = served(stage, get("/", "X-User-Id: alice", "X-Want: stable"))
    assert version_of(head) == b"stable"
    assert stage.of_version(V_REASONS + OVERRIDE) == 1


def test_a_preview_is_not_overridden(stage_of: StageOf) -> None:
    preview = {"header": "x-tidegate-version", "from": ["192.0.2.0/24"], "until": 0.0}
    stage = staged(stage_of, Back, preview=preview)
    head, _ = served(stage, get("/", "X-User-Id: a", "X-Tidegate-Version: canary", "X-Want: stable"))
    assert version_of(head) == b"canary"
    assert asked(stage, "decide") == 0


# The request.


class Fields(Plugin):
    def on_request(self, request: PluginRequest) -> None:
        request.headers["X-Tenant"] = f"{request.unit} on {request.version}"
        request.headers.remove("x-debug")
        request.headers["accept"] = "text/plain"
        request.headers.add("X-Hop", "two")


def test_plugin_changes_fields_for_the_upstream(stage_of: StageOf) -> None:
    stage = staged(stage_of, Fields)
    head, _ = served(stage, get("/", "X-User-Id: alice", "X-Debug: 1", "x-debug: 2", "Accept: */*", "X-Hop: one"))
    lines = head.split(b"\r\n")
    assert b"x-tenant: alice on canary" in lines
    assert b"accept: text/plain" in lines
    assert [line for line in lines if line.startswith(b"x-hop")] == [b"x-hop: one", b"x-hop: two"]
    assert b"debug" not in head.lower()
    assert head.lower().count(b"accept:") == 1
    assert b"X-User-Id: alice" in lines


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("Content-Length", "5"), ("Transfer-Encoding", "chunked"), ("Connection", "close"), ("Host", "evil.example"),
        ("X-Forwarded-For", "1.2.3.4"), ("Via", "me"), ("X-Tidegate-Version", "canary"), ("X_Tidegate_Version", "canary"),
        ("X-Request-Id", "mine"), ("te", "trailers"), ("upgrade", "h2c"), ("Expect", "100-continue"),
        ("x-a", "one\r\nx-b: two"), ("x-a", "\x00"), ("x a", "b"), ("", "b"), ("x-a:", "b"), ("x-a", "y" * 20000), ("x-a", 5),
    ],
)  # fmt: skip
def test_fields_that_cannot_be_set_change_nothing_at_all(stage_of: StageOf, name: str, value: Any) -> None:
    class Bad(Plugin):
        def on_request(self, request: PluginRequest) -> None:
            request.headers["x-before"] = "1"
            request.headers[name] = value

    stage = staged(stage_of, Bad)
    plain, _ = served(stage_of(two()), get("/", "X-User-Id: alice"))
    head, _ = served(stage, get("/", "X-User-Id: alice"))
    assert b"x-before" not in head
    assert [line.partition(b":")[0] for line in head.split(b"\r\n")] == [
        line.partition(b":")[0] for line in plain.split(b"\r\n")
    ]
    assert errors(stage) == {("on_request", "invalid"): 1}


def test_hooks_before_the_decision_change_no_fields(stage_of: StageOf) -> None:
    class Early(Plugin):
        def unit(self, request: PluginRequest) -> None:
            request.headers["x-early"] = "1"

    stage = staged(stage_of, Early)
    head, _ = served(stage, get("/", "X-User-Id: alice"))
    assert b"x-early" not in head
    assert errors(stage) == {("unit", "invalid"): 1}


class Refuses(Plugin):
    def on_request(self, request: PluginRequest) -> Answer | None:
        if request.path == "/free":
            return None
        return Answer(
            int(request.headers.get("x-status", "403")), "not you\n", {"X-Why": "because", "set-cookie": "a=1"}
        )


def test_plugin_answers_and_the_upstream_hears_nothing(stage_of: StageOf) -> None:
    stage = staged(stage_of, Refuses, mirror=[mirror_spec()])
    client = stage.client()
    client.send(GET)
    status, fields, body, whole = read_answer(client.take())
    assert (status, body, whole) == (403, b"not you\n", True)
    assert (fields[b"x-why"], fields[b"set-cookie"]) == (b"because", b"a=1")
    assert fields[b"content-type"] == b"text/plain; charset=utf-8"
    assert b"date" in fields
    assert stage.dialling() == 0
    assert not client.ended
    assert of_plugin(stage, P_ANSWERED) == 1
    assert stage.codes() == {("stable", NONE, 403): 1}
    assert b'"flag":"PL"' in stage.runtime._lines[-1].replace(b" ", b"")
    client.send(get("/free"))
    assert stage.dialling() == 2  # the version, and the shadow


def test_a_5xx_of_a_plugin_is_no_error_of_the_version(stage_of: StageOf) -> None:
    stage = staged(stage_of, Refuses)
    client = stage.client()
    client.send(get("/", "X-Status: 503"))
    assert read_answer(client.take())[0] == 503
    assert stage.flags() == {}


def test_head_gets_the_length_alone_and_204_none(stage_of: StageOf) -> None:
    class Empty(Plugin):
        def on_request(self, request: PluginRequest) -> Answer:
            return Answer(204) if request.method == "GET" else Answer(200, b"12345")

    stage = staged(stage_of, Empty)
    client = stage.client()
    client.send(get(method="HEAD"))
    head = client.take()
    assert b"content-length: 5\r\n" in head
    assert head.endswith(b"\r\n\r\n")
    client.send(GET)
    head = client.take()
    assert head.startswith(b"HTTP/1.1 204 No Content\r\n")
    assert b"content-length" not in head


def test_a_body_that_is_still_coming_ends_the_connection_after_the_answer(stage_of: StageOf) -> None:
    stage = staged(stage_of, Refuses)
    client = stage.client()
    client.send(POST)
    status, fields, _, _ = read_answer(client.take())
    assert (status, fields[b"connection"]) == (403, b"close")


# The answer.


class Stamps(Plugin):
    def on_response(self, request: PluginRequest, response: PluginResponse) -> None:
        response.headers["X-Status"] = str(response.status)
        response.headers["x-unit"] = request.unit or "-"
        response.headers.remove("server")
        response.headers.add("Set-Cookie", "b=2")


def test_plugin_changes_fields_of_the_answer(stage_of: StageOf) -> None:
    stage = staged(stage_of, Stamps)
    _, got = served(stage, get("/", "X-User-Id: alice"), answer(201, "Server: x", "Set-Cookie: a=1", body=b"hello"))
    head, _, body = got.partition(b"\r\n\r\n")
    lines = head.split(b"\r\n")
    assert lines[0] == b"HTTP/1.1 201 Said"
    assert {b"x-status: 201", b"x-unit: alice", b"set-cookie: a=1", b"set-cookie: b=2"} <= set(lines)
    assert b"erver: x" not in head
    assert body == b"hello"
    assert read_answer(got)[3]


@pytest.mark.parametrize("name", ["Content-Length", "transfer-encoding", "Connection", "x-tidegate-version"])
def test_framing_of_the_answer_is_not_the_plugins(stage_of: StageOf, name: str) -> None:
    class Bad(Plugin):
        def on_response(self, request: PluginRequest, response: PluginResponse) -> None:
            response.headers["x-before"] = "1"
            response.headers[name] = "1"

    stage = staged(stage_of, Bad)
    _, got = served(stage, GET)
    assert read_answer(got)[2] == b"hello"
    assert b"x-before" not in got
    assert errors(stage) == {("on_response", "invalid"): 1}


# With a cache.


class PerTenant(Plugin):
    def on_request(self, request: PluginRequest) -> None:
        request.headers["x-tenant"] = request.cookies.get("tenant", "none")

    def on_response(self, request: PluginRequest, response: PluginResponse) -> None:
        response.headers["x-for"] = request.cookies.get("who", "nobody")


def test_answers_are_stored_by_what_plugins_changed_and_as_the_upstream_gave_them(stage_of: StageOf) -> None:
    spec = two(plugin_spec(), cache=cache_spec())
    stage = stage_of(spec)
    plug(stage, PerTenant({}))
    stored = answer(200, "Cache-Control: max-age=60", body=b"acme's")
    _, got = served(stage, get("/", "X-User-Id: a", "Cookie: tenant=acme; who=alice"), stored)
    assert b"x-for: alice\r\n" in got
    client = stage.client()
    client.send(get("/", "X-User-Id: b", "Cookie: tenant=acme; who=bob"))
    got = client.take()
    assert got.endswith(b"acme's"), "it is out of the store"
    assert b"x-for: bob\r\n" in got
    assert b"alice" not in got
    _, got = served(stage, get("/", "X-User-Id: b", "Cookie: tenant=zoo; who=bob"), answer(200, body=b"zoo's"))
    assert got.endswith(b"zoo's"), "another tenant has another answer"


def test_a_stored_answer_waits_for_its_hook_too(stage_of: StageOf) -> None:
    stage = staged(stage_of, Holds, cache=cache_spec())
    for _ in range(2):
        client = stage.client()
        client.send(GET)
        stage.settle()
        if stage.loop.dials and stage.loop.dials[0].address != "a lookup":
            stage.accept().send(answer(200, "Cache-Control: max-age=60", body=b"hello"))
        assert client.take() == b""
        go_on(stage)
        got = client.take()
        assert b"x-held: 1\r\n" in got
        assert got.endswith(b"hello")
    stage.end_everything()
    stage.assert_nothing_left()


# What goes wrong.


@pytest.mark.parametrize("hook", ["unit", "decide", "on_request", "on_response"])
@pytest.mark.parametrize("error", [RuntimeError("no"), SystemExit(3), KeyError("x")])
def test_a_hook_that_fails_has_said_nothing(stage_of: StageOf, hook: str, error: BaseException, caplog: Any) -> None:
    def fails(self: Plugin, *_: Any) -> None:
        raise error

    stage = staged(stage_of, type("Broken", (Plugin,), {hook: fails}))
    head, got = served(stage, get("/", "X-User-Id: alice"))
    assert version_of(head) == b"canary"
    assert got.endswith(b"hello")
    served(stage, GET)
    assert errors(stage) == {(hook, "error"): 2}
    told = [record for record in caplog.records if "plugin p failed" in record.getMessage()]
    assert len(told) == 1, "it is told once a minute"


def test_a_sync_hook_that_takes_too_long_is_not_asked_any_more(stage_of: StageOf, caplog: Any) -> None:
    stage: Stage

    class Slow(Plugin):
        def on_request(self, request: PluginRequest) -> None:
            stage.time += 0.02
            request.headers["x-slow"] = "1"

    spec = two(plugin_spec())
    stage = stage_of(spec)
    plugins = plug(stage, Slow({}))
    for _ in range(3):
        head, _ = served(stage, GET)
        assert b"x-slow" in head, "what it said counts: everybody has waited for it already"
    assert errors(stage) == {("on_request", "overrun"): 3}
    assert of_plugin(stage, P_DISABLED) == 1
    assert "is not asked in on_request any more until the next plan: 3 overruns within a minute" in caplog.text
    head, _ = served(stage, GET)
    assert b"x-slow" not in head
    assert errors(stage) == {("on_request", "overrun"): 3, ("on_request", "disabled"): 1}
    plan = stage.bring(spec | {"generation": 2})
    plugins.use(plan, {"p": LivePlugin(stage.runtime, plan.plugins[0], Slow({}))})
    assert of_plugin(stage, P_DISABLED) == 0
    head, _ = served(stage, GET)
    assert b"x-slow" in head


def test_overruns_that_are_far_apart_do_not_add_up(stage_of: StageOf) -> None:
    stage: Stage

    class Slow(Plugin):
        def unit(self, request: PluginRequest) -> None:
            stage.time += 0.02

    stage = stage_of(two(plugin_spec()))
    plug(stage, Slow({}))
    for _ in range(6):
        served(stage, GET)
        stage.pass_time(40.0)
    assert errors(stage) == {("unit", "overrun"): 6}
    assert of_plugin(stage, P_DISABLED) == 0


# Hooks that wait.


class LooksUp(Plugin):
    """Every hook waits for what the test gives it."""

    async def unit(self, request: PluginRequest) -> Any:
        return await lookup()

    async def decide(self, request: PluginRequest, proposed: Proposed) -> Any:
        return await lookup()

    async def on_request(self, request: PluginRequest) -> Any:
        request.headers["x-looked-up"] = str(await lookup())

    async def on_response(self, request: PluginRequest, response: PluginResponse) -> None:
        response.headers["x-looked-up"] = str(await lookup())


def test_every_hook_may_wait(stage_of: StageOf) -> None:
    stage = staged(stage_of, LooksUp)
    client = stage.client()
    client.send(GET)
    assert of_plugin(stage, P_RUNNING) == 1
    assert stage.of_version(V_IN_FLIGHT) == 1, "until there is a decision, it counts at the default version"
    go_on(stage, "acme")
    go_on(stage, "stable")
    go_on(stage, "one")
    upstream = stage.accept()
    head = upstream.take()
    assert version_of(head) == b"stable"
    assert b"x-looked-up: one\r\n" in head
    assert stage.runtime.hasher(b"acme").encode() in head
    upstream.send(OK)
    stage.settle()
    assert client.take() == b""
    go_on(stage, "two")
    got = client.take()
    assert b"x-looked-up: two\r\n" in got
    assert got.endswith(b"hello")
    assert errors(stage) == {}
    stage.end_everything()
    stage.assert_nothing_left()


def test_an_async_hook_that_another_wraps_is_waited_for_too(stage_of: StageOf) -> None:
    class Wrapped(Plugin):
        def unit(self, request: PluginRequest) -> Any:
            return lookup()

    stage = staged(stage_of, Wrapped, entry=plugin_spec(in_flight=1))
    stage.client().send(GET)
    stage.client().send(GET)
    assert errors(stage) == {("unit", "busy"): 1}
    go_on(stage, "acme")
    assert any(stage.runtime.hasher(b"acme").encode() in stage.accept().take() for _ in range(2))


def test_a_hook_that_takes_too_long_is_cut_off_and_its_later_words_go_nowhere(stage_of: StageOf) -> None:
    kept: list[PluginRequest] = []

    class Never(Plugin):
        async def on_request(self, request: PluginRequest) -> Any:
            kept.append(request)
            request.headers["x-half"] = "done"
            await lookup()

    stage = staged(stage_of, Never)
    client = stage.client()
    client.send(GET)
    assert stage.dialling() == 1  # what the hook waits for
    stage.pass_time(0.1)
    head = stage.accept().take()
    assert b"x-half" not in head
    assert errors(stage) == {("on_request", "timeout"): 1}
    assert of_plugin(stage, P_RUNNING) == 0
    with pytest.raises(ValueError, match="cut off"):
        kept[0].headers["x-late"] = "1"


def test_a_client_that_leaves_ends_the_call(stage_of: StageOf) -> None:
    ended: list[str] = []

    class Never(Plugin):
        async def unit(self, request: PluginRequest) -> None:
            try:
                await lookup()
            finally:
                ended.append("yes")

    stage = staged(stage_of, Never)
    client = stage.client()
    client.send(GET)
    stage.settle()
    client.reset()
    stage.settle()
    assert ended == ["yes"]
    assert of_plugin(stage, P_RUNNING) == 0
    assert stage.codes() == {("stable", NONE, 499): 1}
    assert errors(stage) == {}
    stage.assert_nothing_left()


def test_too_many_calls_at_once_are_not_made(stage_of: StageOf) -> None:
    class Never(Plugin):
        async def unit(self, request: PluginRequest) -> None:
            await lookup()

    stage = staged(stage_of, Never, entry=plugin_spec(in_flight=2))
    for _ in range(2):
        stage.client().send(GET)
    assert of_plugin(stage, P_RUNNING) == 2
    stage.client().send(GET)
    assert errors(stage) == {("unit", "busy"): 1}
    assert of_plugin(stage, P_RUNNING) == 2


class Waits(Plugin):
    async def on_request(self, request: PluginRequest) -> None:
        await lookup()


@pytest.mark.parametrize("chunked", [False, True])
def test_a_body_that_comes_meanwhile_is_kept_for_the_upstream_and_the_shadow(stage_of: StageOf, chunked: bool) -> None:
    stage = staged(stage_of, Waits, mirror=[mirror_spec()])
    client = stage.client()
    if chunked:
        client.send(get("/", "Transfer-Encoding: chunked", method="POST", body=b"3\r\nabc\r\n0\r\nX-T: 1\r\n\r\n"))
    else:
        client.send(get("/", "Content-Length: 3", method="POST", body=b"abc"))
    go_on(stage)
    for _ in range(2):
        upstream = stage.accept()
        head, _, body = upstream.take().partition(b"\r\n\r\n")
        assert body == (b"3\r\nabc\r\n0\r\nX-T: 1\r\n\r\n" if chunked else b"abc")
        if b"x-tidegate-shadow" not in head:
            upstream.send(OK)
    stage.settle()
    assert client.take().endswith(b"hello")
    client.send(GET)
    go_on(stage)


def test_the_rest_of_a_body_is_read_when_the_hook_has_spoken(stage_of: StageOf) -> None:
    stage = staged(stage_of, Waits)
    client = stage.client()
    client.send(POST + b"ab")
    assert not client.reading
    go_on(stage)
    upstream = stage.accept()
    assert client.reading
    client.send(b"cd")
    assert upstream.take().endswith(b"\r\n\r\nabcd")
    upstream.send(OK)
    assert client.take().endswith(b"hello")


def test_a_body_that_is_too_long_is_refused_all_the_same(stage_of: StageOf) -> None:
    stage = staged(stage_of, Waits, max_body=2)
    client = stage.client()
    client.send(get("/", "Transfer-Encoding: chunked", method="POST", body=b"3\r\nabc\r\n0\r\n\r\n"))
    go_on(stage)
    assert read_answer(client.take())[0] == 413


class Holds(Plugin):
    async def on_response(self, request: PluginRequest, response: PluginResponse) -> None:
        response.headers["x-held"] = "1"
        await lookup()


def held(stage_of: StageOf, first: bytes) -> tuple[Stage, Wire, Wire]:
    stage = staged(stage_of, Holds)
    client = stage.client()
    client.send(GET)
    upstream = stage.accept()
    upstream.take()
    upstream.send(first)
    assert client.take() == b""
    return stage, client, upstream


def test_upstream_is_read_no_further_while_a_hook_looks_at_its_answer(stage_of: StageOf) -> None:
    stage, client, upstream = held(stage_of, b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhello")
    assert not upstream.reading
    go_on(stage)
    assert upstream.reading
    upstream.send(b"world")
    got = client.take()
    assert b"x-held: 1\r\n" in got
    assert got.endswith(b"helloworld")
    stage.end_everything()
    stage.assert_nothing_left()


def test_a_body_goes_on_after_an_answer_that_came_before_its_end(stage_of: StageOf) -> None:
    stage = staged(stage_of, Holds)
    client = stage.client()
    client.send(POST + b"ab")
    upstream = stage.accept()
    upstream.send(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhello")
    stage.settle()
    assert not client.reading
    go_on(stage)
    assert client.reading
    client.send(b"cd")
    assert upstream.take().endswith(b"abcd")
    upstream.send(b"world")
    assert client.take().endswith(b"helloworld")


def test_an_upstream_that_breaks_off_meanwhile_cuts_the_answer_off_afterwards(stage_of: StageOf) -> None:
    stage, client, upstream = held(stage_of, b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhello")
    upstream.reset()
    go_on(stage)
    assert client.take().endswith(b"hello")
    assert client.ended == "abort"
    assert b'"flag":"UR"' in stage.runtime._lines[-1].replace(b" ", b"")
    stage.end_everything()
    stage.assert_nothing_left()


def test_an_answer_goes_on_unchanged_when_its_hook_is_cut_off(stage_of: StageOf) -> None:
    stage, client, _ = held(stage_of, OK)
    stage.pass_time(0.1)
    got = client.take()
    assert b"x-held" not in got
    assert got.endswith(b"hello")
    assert errors(stage) == {("on_response", "timeout"): 1}


def test_a_client_that_leaves_while_its_answer_is_looked_at_leaves_nothing_behind(stage_of: StageOf) -> None:
    stage, client, _ = held(stage_of, b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhello")
    client.reset()
    stage.settle()
    stage.end_everything()
    stage.assert_nothing_left()


def test_hooks_of_several_plugins_follow_each_other(stage_of: StageOf) -> None:
    class First(Plugin):
        async def on_request(self, request: PluginRequest) -> None:
            request.state["seen"] = await lookup()
            request.headers["x-first"] = "1"

    class Second(Plugin):
        def on_request(self, request: PluginRequest) -> None:
            request.headers["x-second"] = f"{request.state['seen']} {request.headers['x-first']}"

    stage = stage_of(two(plugin_spec("a"), plugin_spec("b")))
    plug(stage, First({}), Second({}))
    client = stage.client()
    client.send(GET)
    go_on(stage, "it")
    head = stage.accept().take()
    assert b"x-first: 1\r\nx-second: it 1\r\n" in head


# What it costs.


@pytest.mark.skipif(compiled(), reason="compiled code tells a profiler nothing")
def test_a_route_without_plugins_calls_nothing_of_theirs(stage_of: StageOf) -> None:
    def calls(stage: Stage) -> list[str]:
        found: list[str] = []

        def note(frame: Any, event: str, _: Any) -> None:
            if event == "call" and "/proxy/" in frame.f_code.co_filename:
                found.append(f"{frame.f_code.co_filename.rpartition('/')[2]}:{frame.f_code.co_name}")

        served(stage, GET)
        sys.setprofile(note)
        try:
            client.send(GET)
        finally:
            sys.setprofile(None)
        return found

    stage = stage_of(two())
    client = stage.client()
    plain = calls(stage)
    assert any(one == "departure.py:set_off" for one in plain), "the profiler sees the way of a request"
    assert [one for one in plain if one.startswith(("plug", "plugin"))] == []
    stage = staged(stage_of, Stamps)
    client = stage.client()
    assert [one for one in calls(stage) if one.startswith("plug")] != []
