"""Anything at any moment: random events on a stage, and what must hold whatever happens.

Clients speak well-formed HTTP, in pieces, and may stall, end or reset; upstreams answer well, badly, early, or not at
all; shadows as well; time passes. Afterwards: no exception, every gauge at zero, each finished request counted exactly
once, and all that the proxy wrote well-framed, as h11 reads it.
"""

from random import Random
from typing import Any

import h11
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from proxy.core.plan import REASONS
from proxy.plugin import Answer, Plugin, PluginRequest, PluginResponse, Proposed
from proxy.telemetry.counters import M_OUTCOMES, MIRROR_OUTCOMES, V_REASONS, W_REQUESTS
from tests.specs import version_spec
from tests.unit.dataplane.stage import (
    Spec,
    Stage,
    answer,
    breaker_spec,
    get,
    hedge_spec,
    mirror_spec,
    pool_spec,
    retry_spec,
    two_versions,
)
from tests.unit.dataplane.test_caching import cache_spec
from tests.unit.dataplane.test_concurrency import concurrency
from tests.unit.dataplane.test_faults import fault
from tests.unit.dataplane.test_plugged import plug, plugin_spec
from tests.unit.dataplane.test_rates import limit
from tests.unit.dataplane.wires import Dial, Wire

REQUESTS = [
    get(),
    get("/a?b=c", "X-User-Id: u1"),
    get(method="HEAD"),
    get(version="1.0"),
    get("/", "Connection: keep-alive", version="1.0"),
    get("/", "Connection: close"),
    get("/", "Content-Length: 5", method="POST", body=b"abcde"),
    get("/", "Content-Length: 5", method="PUT", body=b"abcde"),
    get("/", "Expect: 100-continue", "Content-Length: 5", method="POST", body=b"abcde"),
    get("/", "Transfer-Encoding: chunked", method="POST", body=b"3\r\nabc\r\n2\r\nde\r\n0\r\nX-Sum: 1\r\n\r\n"),
    get("/", "Content-Length: 90000", method="PUT", body=b"x" * 90_000),
    get("/", "Connection: upgrade", "Upgrade: websocket"),
    get("/too/../odd"),
    get("/a?b=c", "Cache-Control: no-cache"),
    get("/a?b=c", method="HEAD"),
]
ANSWERS = [
    answer(200, body=b"hello"),
    answer(200, body=b"y" * 90_000),
    answer(200, "Transfer-Encoding: chunked", body=b"5\r\nhello\r\n0\r\nX-Sum: 1\r\n\r\n"),
    answer(200, "Connection: close", body=b"hello"),
    answer() + b"until the end",
    answer(200, body=b"hello", version="1.0"),
    answer(204),
    answer(304, "Content-Length: 7"),
    answer(500, body=b"sorry"),
    b"HTTP/1.1 100 Continue\r\n\r\n",
    b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n",
    answer(101, "Connection: upgrade", "Upgrade: websocket"),
    answer(200, "Content-Length: 5", body=b"surplus"),
    answer(200, "Transfer-Encoding: chunked", body=b"zz\r\n"),
    b"nonsense\r\n\r\n",
    answer(200, "Cache-Control: max-age=1, stale-while-revalidate=9, stale-if-error=60", 'ETag: "1"', body=b"kept"),
    answer(200, "Cache-Control: max-age=60", "Transfer-Encoding: chunked", body=b"4\r\nkept\r\n0\r\n\r\n"),
    answer(503, "Retry-After: 1", body=b"z" * 90_000),
]

LONGEST = 300.0
"""Seconds after which nothing is under way any more where nobody moves: all deadlines one after the other."""

MOVES = (
    st.tuples(st.just("connect"), st.integers(0, 2), st.just(0)),
    st.tuples(st.just("ask"), st.integers(0, 2), st.integers(0, len(REQUESTS) - 1)),
    st.tuples(st.just("go on"), st.integers(0, 2), st.sampled_from([1, 7, 60, 1000, 200_000])),
    st.tuples(st.just("go on"), st.integers(0, 2), st.just(200_000)),
    st.tuples(st.just("accept"), st.integers(0, 1), st.just(0)),
    st.tuples(st.just("accept"), st.just(0), st.just(0)),
    st.tuples(st.just("refuse"), st.just(0), st.just(0)),
    st.tuples(st.just("answer"), st.integers(0, 3), st.integers(0, len(ANSWERS) - 1)),
    st.tuples(st.just("say on"), st.integers(0, 3), st.sampled_from([1, 7, 60, 1000, 200_000])),
    st.tuples(st.just("say on"), st.integers(0, 3), st.just(200_000)),
    st.tuples(st.sampled_from(["eof", "reset", "stall", "drain"]), st.integers(0, 6), st.just(0)),
    st.tuples(st.just("whole"), st.integers(0, len(REQUESTS) - 1), st.integers(0, len(ANSWERS) - 1)),
    st.tuples(st.just("whole"), st.integers(0, len(REQUESTS) - 1), st.integers(0, len(ANSWERS) - 1)),
    st.tuples(st.just("time"), st.just(0), st.sampled_from([1, 3, 20, 80])),
    st.tuples(st.just("tick"), st.just(0), st.just(0)),
    st.tuples(st.just("plan"), st.just(0), st.just(0)),
)
EVENTS = st.lists(st.one_of(*MOVES), min_size=10, max_size=80)
HEARD = (st.tuples(st.just("hear"), st.integers(0, 3), st.just(0)),) * 3
"""What an async hook of a plugin waits for is there."""


def stormy(generation: int, resilient: bool = False, guarded: bool = False, plugged: bool = False) -> Spec:
    """`resilient`: tried again, hedged, and broken; `guarded`: all gates are there; now and then a plan without one of them."""
    route: Spec = {
        "mirror": [mirror_spec(in_flight=3, body_limit=50_000, buffer=80_000)],
        "max_body": 80_000 if generation % 3 == 0 else None,
    }
    if resilient:
        breaker = breaker_spec(minimum_requests=2, open=0.5, slow={"above": 0.5, "percent": 50.0})
        route |= {
            "retry": retry_spec(attempts=3, per_try_timeout=2.0, methods=["GET", "PUT", "POST"])
            if generation % 4
            else None,
            "hedge": hedge_spec(minimum_delay=0.1) if generation % 5 else None,
            "versions": [
                version_spec("stable", 0.0, upstream="old", breaker=breaker_spec(minimum_requests=3, open=0.5)),
                version_spec(
                    "canary",
                    100.0,
                    upstream="new",
                    fallback="stable",
                    breaker=breaker if generation % 3 else None,
                    warm_up=1.0,
                ),
            ],
        }
    if guarded:
        route |= {
            "timeout": 6.0 if generation % 3 else 0.0,
            "rate_limits": [limit("route", rate=5.0, burst=8), limit("client_ip", rate=5.0, burst=9)],
            "faults": [
                fault("delay", percent=20.0, delay=1.0),
                fault("abort", percent=5.0),
                fault("reset", percent=5.0, salt="b"),
                fault("slow_body", percent=30.0, salt="c", bytes_per_second=20_000),
            ]
            if generation % 4
            else [],
            "cache": cache_spec(size=1 << 17) if generation % 5 else None,
            "concurrency": concurrency(2, queue_timeout=2.0, shed_at_percent=100.0) if generation % 7 else None,
            "admission": {
                "success_percent": 95.0, "aggression": 1.0, "window": 10.0, "maximum_percent": 80.0, "minimum_rate": 0.0
            },
        }  # fmt: skip
    limits = {"connections": 2, "pending": 2, "requests": 6, "idle": 1}
    pools = [
        pool_spec("old", "10.0.0.1", limits=limits),
        pool_spec("new", *(("10.0.0.2", "10.0.0.3") if generation % 2 else ("10.0.0.2",)), limits=limits),
        pool_spec("shadow", "10.0.0.9", limits=limits),
    ]
    bounds = {"enabled": True, "max_percent": 100.0}
    plugins = [plugin_spec("waits", timeout=2.0), plugin_spec("speaks")] if plugged else []
    route["plugins"] = [one["name"] for one in plugins]
    return two_versions(route=route, upstreams=pools, generation=generation, faults=bounds, plugins=plugins)


class Lookup(Dial):
    """What an async hook waits for."""

    def __init__(self, pending: list["Lookup"]) -> None:
        super().__init__(lambda: None, "a lookup")
        self.over = True  # nobody dials it
        pending.append(self)


class Moody(Plugin):
    """Says anything, or nothing, or fails."""

    def __init__(self, rng: Random) -> None:
        super().__init__({})
        self.rng = rng

    def say(self, *said: Any) -> Any:
        value = self.rng.choice((None, *said, ValueError("moody")))
        if isinstance(value, Exception):
            raise value
        return value


class Speaks(Moody):
    def unit(self, request: PluginRequest) -> Any:
        return self.say("u1", "u2", 7)

    def decide(self, request: PluginRequest, proposed: Proposed) -> Any:
        return self.say("stable", "canary", "beta")

    def on_request(self, request: PluginRequest) -> Any:
        request.headers["x-spoken"] = request.version
        return self.say(None, None, Answer(403, "no"), Answer(204), "odd")

    def on_response(self, request: PluginRequest, response: PluginResponse) -> None:
        response.headers.add("set-cookie", "a=1")
        self.say(None)


class Waits(Moody):
    def __init__(self, rng: Random) -> None:
        super().__init__(rng)
        self.pending: list[Lookup] = []

    async def say_later(self, *said: Any) -> Any:
        for _ in range(self.rng.choice((0, 1, 1, 2))):
            await Lookup(self.pending)
        return self.say(*said)

    async def unit(self, request: PluginRequest) -> Any:
        return await self.say_later("u3", b"u4", {})

    async def decide(self, request: PluginRequest, proposed: Proposed) -> Any:
        return await self.say_later("stable", "beta")

    async def on_request(self, request: PluginRequest) -> Any:
        request.headers["x-waited"] = "before"
        said = await self.say_later(None, None, Answer(200, b"z" * 90_000))
        request.headers["x-waited"] = "after"
        return said

    async def on_response(self, request: PluginRequest, response: PluginResponse) -> None:
        response.headers["x-waited"] = "before"
        await self.say_later(None)
        response.headers["x-waited"] = "after"

    def hear(self, which: int) -> None:
        """What one of the hooks waits for is there."""
        self.pending = [one for one in self.pending if one.task is not None and not one.task.done]
        if self.pending:
            one = self.pending.pop(which % len(self.pending))
            assert one.task is not None
            one.task.go_on()


class Player:
    """An end of a wire with things to say, a few bytes at a time."""

    def __init__(self, wire: Wire) -> None:
        self.wire = wire
        self.to_say = b""
        self.heard = b""

    def speak(self, count: int) -> None:
        if self.wire.reading and self.to_say and not self.wire.is_closing():
            piece, self.to_say = self.to_say[:count], self.to_say[count:]
            self.wire.send(piece)

    def listen(self) -> None:
        self.heard += self.wire.take()


def heard_by_client(player: Player, requests: list[bytes]) -> None:
    """What a client got is a row of whole answers, of which only the last may be cut short."""
    data = player.heard
    for request in requests:
        if not data:
            return
        reader = h11.Connection(h11.CLIENT)
        line = request.partition(b"\r\n")[0].split(b" ")
        fields = [("Host", "a")]
        if b"Upgrade:" in request:
            fields += [("Connection", "upgrade"), ("Upgrade", "websocket")]
        reader.send(h11.Request(method=line[0], target="/", headers=fields))
        reader.send(h11.EndOfMessage())
        reader.receive_data(data)
        if player.wire.ended == "close" or player.wire.eof_written:
            reader.receive_data(b"")
        while True:
            event = reader.next_event()
            if event is h11.NEED_DATA:
                return
            if isinstance(event, h11.InformationalResponse) and event.status_code == 101:
                return
            if event is h11.PAUSED or isinstance(event, h11.ConnectionClosed):
                return
            if isinstance(event, h11.Response) and event.status_code == 408:
                return  # the method was not read yet, so a HEAD's answer has a body too; it is the last anyway
            if isinstance(event, h11.EndOfMessage):
                break
        data = reader.trailing_data[0]
    assert not data or data.startswith(b"HTTP/1.1 408"), "more answers than requests"


def heard_by_upstream(player: Player) -> None:
    """What an endpoint got is a row of whole requests, of which only the last may be cut short."""
    data = player.heard
    while data:
        reader = h11.Connection(h11.SERVER)
        reader.receive_data(data)
        while True:
            event = reader.next_event()
            if event is h11.NEED_DATA or event is h11.PAUSED:
                return
            if isinstance(event, h11.Request):
                assert event.target.startswith(b"/")
                names = [name for name, _ in event.headers]
                assert names.count(b"host") == 1
                assert b"connection" not in names or b"upgrade" in names
                if b"upgrade" in names:
                    return
            if isinstance(event, h11.EndOfMessage):
                break
        data = reader.trailing_data[0]


@pytest.mark.slow
@settings(deadline=None, max_examples=150, suppress_health_check=[HealthCheck.too_slow])
@given(EVENTS)
def test_whatever_happens_everything_is_given_back_and_counted_once(events: list[tuple[str, int, int]]) -> None:
    stage = Stage(stormy(1))
    try:
        play(stage, events)
    finally:
        stage.close()


@pytest.mark.slow
@settings(deadline=None, max_examples=150, suppress_health_check=[HealthCheck.too_slow])
@given(EVENTS)
def test_whatever_happens_to_retries_hedges_and_breakers_as_well(events: list[tuple[str, int, int]]) -> None:
    stage = Stage(stormy(1, resilient=True))
    try:
        play(stage, events, resilient=True)
    finally:
        stage.close()


@pytest.mark.slow
@settings(deadline=None, max_examples=150, suppress_health_check=[HealthCheck.too_slow])
@given(EVENTS, st.integers(1, 20), st.booleans())
def test_whatever_happens_at_the_gates_too(events: list[tuple[str, int, int]], first: int, quietly: bool) -> None:
    stage = Stage(stormy(first, resilient=True, guarded=True))
    try:
        play(stage, events, first, resilient=True, guarded=True, quietly=quietly)
    finally:
        stage.close()


@pytest.mark.slow
@settings(deadline=None, max_examples=300, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(st.one_of(*MOVES, *HEARD), min_size=10, max_size=80), st.integers(), st.integers(1, 20), st.booleans())
def test_whatever_happens_to_plugins_as_well(
    events: list[tuple[str, int, int]], seed: int, first: int, quietly: bool
) -> None:
    stage = Stage(stormy(first, resilient=True, guarded=True, plugged=True))
    rng = Random(seed)
    plugins = (Waits(rng), Speaks(rng))
    plug(stage, *plugins)
    try:
        play(stage, events, first, resilient=True, guarded=True, quietly=quietly, plugins=plugins)
    finally:
        stage.close()


def play(
    stage: Stage,
    events: list[tuple[str, int, int]],
    generation: int = 1,
    resilient: bool = False,
    guarded: bool = False,
    quietly: bool = False,
    plugins: tuple[Waits, Speaks] | None = None,
) -> None:
    """`generation` is that of the plan in force. `quietly`: in the end nobody leaves or says another word, and every exchange
    must come to its end all the same."""
    clients: list[Player] = []
    upstreams: list[Player] = []
    asked: dict[Wire, list[bytes]] = {}
    answered: set[Wire] = set()
    shadows = dict(stage.upstreams.shadows)
    pools = stage.all_pools()

    def connect() -> Player:
        player = Player(stage.client())
        clients.append(player)
        asked[player.wire] = []
        return player

    for what, which, number in events:
        if what == "connect" or (what in ("ask", "go on") and not clients):
            connect()
        if what == "ask":
            player = clients[-1 - which % len(clients)]
            player.to_say += REQUESTS[number]
            asked[player.wire].append(REQUESTS[number])
            player.speak(200_000 if which < 2 else 90)
        elif what == "go on":
            clients[-1 - which % len(clients)].speak(number)
        elif what in ("accept", "refuse"):
            if stage.dialling():
                if what == "refuse":
                    stage.refuse()
                else:
                    upstreams.append(Player(stage.accept(stalled=bool(which))))
        elif what in ("answer", "say on"):
            if upstreams:
                player = upstreams[-1 - which % len(upstreams)]
                if what == "answer":
                    player.to_say += ANSWERS[number]
                player.speak(number if what == "say on" else 200_000)
        elif what in ("eof", "reset", "stall", "drain"):
            everybody = [*clients, *upstreams]
            if everybody:
                player = everybody[-1 - which % len(everybody)]
                if what != "eof" or player.wire.reading:
                    getattr(player.wire, what)()
        elif what == "whole":  # asked, and whoever is asked answers at once
            player = connect()
            player.to_say += REQUESTS[which]
            asked[player.wire].append(REQUESTS[which])
            player.speak(200_000)
            while stage.dialling():
                upstreams.append(Player(stage.accept()))
            for player in upstreams:
                player.listen()
                if player.wire not in answered and player.heard:
                    answered.add(player.wire)
                    player.to_say += ANSWERS[number]
                player.speak(200_000)
        elif what == "time":
            stage.pass_time(number)
        elif what == "hear" and plugins is not None:
            plugins[0].hear(which)
        elif what == "tick":
            stage.tick()
        elif what == "plan":
            generation += 1
            stage.bring(stormy(generation, resilient, guarded, plugins is not None))
            if plugins is not None:
                plug(stage, *plugins)
            pools += [pool for pool in stage.all_pools() if pool not in pools]
        stage.settle()
        for player in (*clients, *upstreams):
            player.listen()
    assert shadows
    if quietly:
        stage.pass_time(LONGEST)
        unfinished = [client for client in stage.listening.clients if client.generation() < 1 << 62]
        assert all(client.carrier is not None for client in unfinished), "an exchange goes on for ever"
        stage.settle()
        for player in (*clients, *upstreams):
            player.listen()
    stage.end_everything()
    for player in (*clients, *upstreams):
        player.listen()
    stage.bring(stormy(1))  # without breakers, whose windows are of the present, too
    stage.assert_nothing_left()
    for hedges in (stage.hedges("stable"), stage.hedges("canary")):
        assert hedges.get("fired", 0) == sum(hedges.get(one, 0) for one in ("won", "lost", "failed"))
    for pool in pools:
        assert pool.empty
    for player in clients:
        heard_by_client(player, asked[player.wire])
    for player in upstreams:
        heard_by_upstream(player)
    assert_counted_once(stage, undecided=plugins is not None)


def assert_counted_once(stage: Stage, *, undecided: bool) -> None:
    view = stage.cells.view
    codes = stage.codes()
    with_route = sum(count for (assigned, _, _), count in codes.items() if assigned != "none")
    # The storm's heads are all well-formed, so what has no route is the odd path, or a head that never came whole (408).
    without = sum(count for (assigned, _, status), count in codes.items() if assigned == "none" and status != 408)
    assert with_route + without == stage.of_worker(W_REQUESTS)
    reasons = sum(
        view[offset + V_REASONS + reason]
        for _, offset in stage.ledger.blocks("version")
        for reason in range(len(REASONS))
    )
    if undecided:  # plugins make an exchange wait for its decision, and it may end before
        assert reasons <= with_route
    else:
        assert reasons == with_route
    copies = sum(stage.of_mirror(M_OUTCOMES + index) for index in range(len(MIRROR_OUTCOMES)))
    assert copies <= with_route
