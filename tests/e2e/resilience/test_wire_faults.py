"""What an upstream can do wrong on the wire, with retries on and one good endpoint beside the bad one.

A request that may be repeated is answered by the good one, as long as nothing of an answer has gone to the client; one that
may not gets the failure and never reaches a second endpoint. Bytes that went wrong after the head cut the client off.
"""

import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field

import pytest

from tests.e2e.corpus import ANSWERS
from tests.e2e.corpus.rows import CLOSE, KEEP, RESET
from tests.e2e.harness.client import Wire
from tests.e2e.harness.message import Ended, Message
from tests.e2e.harness.origin import Connection, Origin, answer
from tests.e2e.harness.proxy import Config, Proxy, configuration, free_port
from tests.e2e.harness.wait import wait_for

SILENT = "silent"
"""It says nothing more, and keeps the connection."""
ENDLESS = "endless"
"""It says the same over and over."""

FROM_CORPUS = {row.name: row for row in ANSWERS}


@dataclass(frozen=True, slots=True)
class Fault:
    """One way to go wrong: `sent` in answer to a request, and `then`.

    `flag` and `status` are what a request that may not be repeated gets. `late`: the head was good and is with the client
    already when it goes wrong, so that nobody can be saved; `sent` then goes out in two pieces.
    """

    name: str
    sent: bytes = b""
    then: str = CLOSE
    flag: str = "UPE"
    status: int = 502
    late: bytes | None = None
    pooled: bool = False


def known(name: str, **more: str) -> Fault:
    """A row of the corpus of answers."""
    row = FROM_CORPUS[name]
    assert row.status == 502
    return Fault(name, row.sent, more.get("then", row.then), row.flag)


_OK = b"HTTP/1.1 200 OK\r\n"
_TEN = _OK + b"Content-Length: 10\r\n\r\nhello"
_CHUNKED = _OK + b"Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n"

FAULTS = (
    # Nothing comes, or half a head.
    Fault("reset-before-anything", then=RESET, flag="UR"),
    Fault("close-before-anything", then=CLOSE, flag="UC"),
    Fault("reset-after-half-a-head", _OK + b"Content-Le", RESET, "UR"),
    Fault("close-after-half-a-head", _OK + b"Content-Le", CLOSE, "UC"),
    Fault("silence-before-anything", then=SILENT, flag="UT", status=504),
    Fault("silence-in-the-head", _OK + b"Content-Le", SILENT, "UT", 504),
    Fault("closes-a-pooled-connection", then=CLOSE, flag="UC", pooled=True),
    # What comes is not HTTP.
    known("answer-garbage"),
    known("answer-http-0.9"),
    known("answer-version-2.0"),
    known("answer-bare-lf"),
    known("answer-head-endless", then=KEEP),
    known("answer-too-many"),
    known("answer-cl-negative"),
    known("answer-cl-twice-different"),
    known("answer-cl-te"),
    known("answer-te-xchunked"),
    known("answer-204-with-length"),
    known("interim-101-unasked"),
    known("interim-then-garbage"),
    known("interim-then-close"),
    Fault("interim-for-ever", b"HTTP/1.1 102 Processing\r\n\r\n", ENDLESS),
    # It goes wrong when the client has the head already.
    Fault("close-in-the-body", _TEN, CLOSE, "UC", late=b""),
    Fault("reset-in-the-body", _TEN, RESET, "UR", late=b""),
    Fault("silence-in-the-body", _TEN, SILENT, "UT", late=b""),
    Fault("close-in-a-chunk", _CHUNKED, CLOSE, "UC", late=b"a\r\n"),
    Fault("bad-chunk-size", _CHUNKED, KEEP, late=b"zz\r\nx\r\n0\r\n\r\n"),
    Fault("bad-trailer", _CHUNKED, KEEP, late=b"0\r\nX A: b\r\n\r\n"),
)

RETRY = {
    "on": ["connect_failure", "reset", "gateway_error", "timeout"],
    "attempts": 2,
    "back_off": {"base": "1ms"},
    "budget": {"percent": 100, "minimum": 10},
}


@dataclass
class Bad:
    """The bad endpoint of a fault: what it was sent, and when it may go on with an answer that goes wrong late."""

    fault: Fault
    origin: Origin = field(init=False)
    go_on: threading.Event = field(default_factory=threading.Event)
    well: bool = False

    def __post_init__(self) -> None:
        self.origin = Origin(self.respond)

    def respond(self, connection: Connection, request: Message) -> None:
        fault = self.fault
        if self.well:
            answer(b"bad, but well")(connection, request)
            return
        if fault.then == ENDLESS:
            while True:
                connection.send(fault.sent)
        connection.send(fault.sent)
        if fault.late is not None:
            assert self.go_on.wait(10)
            connection.send(fault.late)
        if fault.then == CLOSE:
            connection.close()
        elif fault.then == RESET:
            connection.reset()
        elif fault.then == SILENT:
            connection.hold()


@dataclass
class Stage:
    """One proxy with a route and an upstream for each fault; a route goes by the fault's name as host."""

    proxy: Proxy
    good: Origin
    bad: dict[str, Bad]


def route(name: str, upstream: str) -> Config:
    return {
        "name": name,
        "match": {"host": f"{name}.test"},
        "debug": {"from": ["127.0.0.0/8"]},
        "versions": {"only": {"upstream": upstream}},
        "retry": RETRY,
    }


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    with ExitStack() as stack:
        good = stack.enter_context(Origin(answer(b"good")))
        full = stack.enter_context(full_listener())
        bad = {fault.name: Bad(fault) for fault in FAULTS}
        for one in bad.values():
            stack.enter_context(one.origin)
        urls = {name.replace(".", "-"): one.origin.url for name, one in bad.items()}
        urls["refused"] = f"http://127.0.0.1:{free_port()}"
        urls["never-connects"] = f"http://127.0.0.1:{full.getsockname()[1]}"
        upstreams = {
            name: {
                "endpoints": [url, good.url],
                "balance": "first",
                "timeouts": {"connect": "400ms", "response": "400ms", "idle": "400ms"},
            }
            for name, url in urls.items()
        }
        config = configuration(upstreams, [route(name, name) for name in upstreams])
        with Proxy(config, tmp_path_factory.mktemp("wire-faults")) as proxy:
            yield Stage(proxy, good, bad)


class full_listener:  # noqa: N801 - used as a function
    """A listener whose backlog is full: the kernel drops SYNs, and connecting neither succeeds nor fails."""

    def __enter__(self) -> socket.socket:
        self._listener = socket.socket()
        self._listener.bind(("127.0.0.1", 0))
        self._listener.listen(0)
        self._fillers = [socket.socket() for _ in range(4)]
        for filler in self._fillers:
            filler.setblocking(False)
            filler.connect_ex(self._listener.getsockname())
        return self._listener

    def __exit__(self, *details: object) -> None:
        for one in (*self._fillers, self._listener):
            one.close()


def host(fault: Fault) -> str:
    return fault.name.replace(".", "-") + ".test"


def read(wire: Wire, bad: Bad, method: str) -> tuple[Message, bool]:
    """The answer as far as it came, and whether it was whole; what goes wrong late does so when the head is here."""
    if bad.fault.late is not None:
        while b"\r\n\r\n" not in wire.reader.buffer:
            wire.reader.fill()
        bad.go_on.set()
    try:
        return wire.response(method.encode()), True
    except Ended as end:
        if end.message is None:
            raise
        return end.message, False


def request(method: str, fault: Fault, body: bytes) -> bytes:
    framing = f"Content-Length: {len(body)}\r\n" if body else ""
    return f"{method} /{method} HTTP/1.1\r\nHost: {host(fault)}\r\n{framing}\r\n".encode() + body


def play(stage: Stage, fault: Fault, method: str, body: bytes, check: Callable[[Message, bool], None]) -> None:
    """Send one request to the bad endpoint first, and let `check` judge what the client got."""
    bad = stage.bad[fault.name]
    bad.go_on.clear()
    asked, saved = len(bad.origin.requests), len(stage.good.requests)
    with stage.proxy.connect() as wire:
        if fault.pooled:
            bad.well = True
            assert wire.get("/warm", host(fault)).body == b"bad, but well"
            bad.well = False
            asked += 1
        wire.send(request(method, fault, body))
        got, whole = read(wire, bad, method)
        check(got, whole)
        if whole and got.get(b"connection") is None:
            assert wire.get("/after", "nobody.test").status == 404, "the client's connection goes on"
    repeats = 2 if fault.pooled and method != "POST" else 1  # the pooled connection is replaced first
    assert 1 <= len(bad.origin.requests) - asked <= repeats
    received = stage.good.requests[saved:]
    if method == "POST" or fault.late is not None:
        assert received == [], "sent to a second endpoint"
        return
    assert [(one.target, one.body) for one in received] == [(b"/" + method.encode(), body)]


@pytest.mark.xdist_group("wire-faults")
@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.name)
@pytest.mark.parametrize("method", ["GET", "PUT", "POST"])
def test_fault_of_the_wire_is_repeated_where_that_is_safe(stage: Stage, fault: Fault, method: str) -> None:
    def check(got: Message, whole: bool) -> None:
        flags = (got.get(b"x-tidegate-flags") or b"").decode()
        if fault.late is not None:
            assert (got.status, whole) == (200, False), "the client must notice"
            assert b"hello".startswith(got.body)
        elif method == "POST":
            assert (got.status, whole, flags) == (fault.status, True, fault.flag)
        else:
            assert (got.status, whole, got.body, flags) == (200, True, b"good", "-")

    name = host(fault).removesuffix(".test")
    before = stage.proxy.metrics()
    play(stage, fault, method, b"" if method == "GET" else b"sent once" * 100, check)
    wait_for(lambda: stage.proxy.metrics().value("tidegate_in_flight", route=name) == 0, "the end of the exchange")
    after = stage.proxy.metrics()

    def more(metric: str, **labels: str) -> float:
        return after.value(metric, route=name, **labels) - before.value(metric, route=name, **labels)

    saved = fault.late is None and method != "POST"
    assert more("tidegate_errors_total") == (0 if saved else 1)
    assert more("tidegate_errors_total", flag=fault.flag) == (0 if saved else 1)
    assert more("tidegate_retries_total", outcome="success") == (1 if saved else 0)


@pytest.mark.xdist_group("wire-faults")
@pytest.mark.parametrize("name", ["refused", "never-connects"])
@pytest.mark.parametrize("method", ["GET", "POST"])
def test_endpoint_that_cannot_be_reached_costs_nobody_anything(stage: Stage, name: str, method: str) -> None:
    """Nothing was sent: that may be done again whatever the method."""
    saved = len(stage.good.requests)
    got = stage.proxy.get("/", f"{name}.test", method=method, body=b"x" if method == "POST" else b"")
    assert (got.status, got.body) == (200, b"good")
    assert [one.method for one in stage.good.requests[saved:]] == [method.encode()]
    assert stage.proxy.metrics().value("tidegate_errors_total", route=name) == 0


def test_table_has_every_kind_of_fault() -> None:
    assert len(FAULTS) + 2 >= 20
    assert {fault.flag for fault in FAULTS} == {"UR", "UC", "UT", "UPE"}
    assert {fault.then for fault in FAULTS} == {CLOSE, RESET, KEEP, SILENT, ENDLESS}
