"""One check, over real sockets: what passes, and in which words all else is told."""

import asyncio
import os
import resource
import socket
import ssl

import pytest
import uvloop

from proxy.control.probe import (
    BROKEN,
    HEAD_LIMIT,
    LATE,
    MAX_INTERIM,
    PASSED,
    STATUS,
    TIMEOUT,
    UNREACHABLE,
    Contexts,
    Result,
    Target,
    check,
)
from proxy.trust import client_context
from tests.specs import upstream_spec
from tests.unit.core.test_health import SPEC
from tests.unit.dataplane.certificates import Authority
from tests.unit.telemetry.memory import endpoint_spec

OK = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok"


class Doctor:
    """A server that reads one head and answers with `answer`: bytes, or a function of (reader, writer)."""

    def __init__(self, answer=OK, **serve):
        self.answer = answer
        self.serve = serve
        self.heads = []
        self.unread = []
        self.ended = asyncio.Event()  # a connection was served to its end

    async def __aenter__(self):
        if "path" in self.serve:
            self.server = await asyncio.start_unix_server(self.take, **self.serve)
            self.port = 0
        else:
            self.server = await asyncio.start_server(self.take, "127.0.0.1", 0, **self.serve)
            self.port = self.server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_):
        self.server.close()
        await asyncio.sleep(0)

    async def take(self, reader, writer):
        try:
            self.heads.append(await reader.readuntil(b"\r\n\r\n"))
            if callable(self.answer):
                await self.answer(reader, writer)
            else:
                writer.write(self.answer)
                await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()
            self.ended.set()


def target(port, *, url=None, unix="", tls=False, server_name="", upstream_tls=None, address="127.0.0.1", **health):
    policy = SPEC | {"expected": [[200, 299]], "timeout": 5.0} | health
    endpoint = endpoint_spec(url or f"http://shop.internal:{port}", address, port)
    endpoint |= {"unix": unix, "tls": tls, "server_name": server_name}
    return Target(upstream_spec("shop", endpoints=[endpoint], health=policy, tls=upstream_tls), endpoint)


@pytest.fixture(params=["asyncio", "uvloop"])
def play(request):
    """Runs a script on each kind of loop: errors have other words on each."""

    def run(script):
        factory = uvloop.new_event_loop if request.param == "uvloop" else None
        with asyncio.Runner(loop_factory=factory) as runner:
            return runner.run(asyncio.wait_for(script(), 20))

    return run


def answered(play, answer, **health):
    """What a check of a server that answers so comes to, and the heads it got."""

    async def script():
        async with Doctor(answer) as doctor:
            return await check(target(doctor.port, **health), Contexts()), doctor.heads

    return play(script)


def test_the_request_is_what_the_policy_says(play):
    result, (head,) = answered(play, OK, path="/up?deep=1", headers={"X-Probe": "yes", "User-Agent": "mine"})
    assert result == Result(PASSED)
    lines = head.decode().split("\r\n")
    assert lines[0] == "GET /up?deep=1 HTTP/1.1"
    fields = dict(line.split(": ") for line in lines[1:-2])
    host = fields.pop("host")
    assert host.startswith("shop.internal:")
    assert fields == {"user-agent": "mine", "connection": "close", "x-probe": "yes"}


def test_host_and_method_can_be_others(play):
    result, (head,) = answered(play, b"HTTP/1.1 204 No Content\r\n\r\n", method="HEAD", host="health.test")
    assert result.passed
    assert head.startswith(b"HEAD /healthz HTTP/1.1\r\nhost: health.test\r\n")


@pytest.mark.parametrize(
    ("answer", "result"),
    [
        (b"HTTP/1.1 503 Service Unavailable\r\ncontent-length: 0\r\n\r\n", (STATUS, "status 503, expected 200-299")),
        (b"HTTP/1.1 103 Early Hints\r\n\r\nHTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n", (PASSED, "")),
        (b"HTTP/1.0 200 OK\r\n\r\nuntil the end", (PASSED, "")),
        (b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n", (PASSED, "")),
        (b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nnonsense\r\n", (PASSED, "")),
        (b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nshort", (PASSED, "")),
        (b"", (BROKEN, "closed without an answer")),
        (b"HTTP/1.1 200 OK\r\ncontent-le", (BROKEN, "closed without an answer")),
        (b"220 mail.test ESMTP\r\n\r\n", (BROKEN, "no HTTP answer: malformed status line")),
        (b"x" * (HEAD_LIMIT + 1), (BROKEN, "an endless head")),
        (b"HTTP/1.1 100 Continue\r\n\r\n" * (MAX_INTERIM + 1), (BROKEN, "too many interim answers")),
    ],
)  # fmt: skip
def test_an_answer_is_judged_by_its_status_if_it_is_one(play, answer, result):
    assert answered(play, answer)[0] == Result(*result)


def test_ranges_may_expect_anything(play):
    result, _ = answered(
        play, b"HTTP/1.1 401 Unauthorized\r\ncontent-length: 0\r\n\r\n", expected=[[200, 200], [401, 401]]
    )
    assert result.passed


def test_a_silent_endpoint_times_out(play):
    async def silent(reader, writer):
        await reader.read()

    result, _ = answered(play, silent, timeout=0.05)
    assert result == Result(TIMEOUT, "timeout after 0.05 s")


def test_a_body_that_never_ends_changes_no_verdict(play):
    async def drip(reader, writer):
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nx")
        await reader.read()

    result, _ = answered(play, drip, timeout=0.05)
    assert result.passed


def test_a_long_body_is_read_out_within_reason(play):
    async def long(reader, writer):
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 60000\r\n\r\n" + b"x" * 60000)
        await writer.drain()
        rests.append(await reader.read())  # the end, and not a reset

    rests = []

    async def script():
        async with Doctor(long) as doctor:
            result = await check(target(doctor.port), Contexts())
            while not rests:  # noqa: ASYNC110
                await asyncio.sleep(0.001)
            return result

    assert play(script).passed
    assert rests == [b""]


@pytest.mark.parametrize("kind", ["http", "tcp"])
def test_nobody_listens(play, kind):
    async def script():
        with socket.socket() as mine:
            mine.bind(("127.0.0.1", 0))  # bound and not listening
            return await check(target(mine.getsockname()[1], kind=kind), Contexts())

    assert play(script) == Result(UNREACHABLE, "connection refused")


def test_a_connection_is_enough_for_tcp(play):
    async def script():
        async with Doctor() as doctor:
            result = await check(target(doctor.port, kind="tcp"), Contexts())
            await asyncio.wait_for(doctor.ended.wait(), 5)
            return result, doctor.heads

    assert play(script) == (Result(PASSED), [])


def test_a_unix_socket_is_asked_as_localhost(play, tmp_path):
    path = str(tmp_path / "up.sock")

    async def script():
        async with Doctor(path=path) as doctor:
            there = await check(target(0, url=f"unix:{path}", unix=path, address=""), Contexts())
            gone = await check(target(0, url="unix:/nowhere", unix="/nowhere", address=""), Contexts())
            return there, gone, doctor.heads

    there, gone, (head,) = play(script)
    assert there.passed
    assert b"\r\nhost: localhost\r\n" in head
    assert gone == Result(UNREACHABLE, "no such file or directory")


def test_health_may_be_told_on_another_port(play):
    async def script():
        async with Doctor() as doctor:
            spec = upstream_spec("shop", health=SPEC | {"port": doctor.port})
            return await check(Target(spec, endpoint_spec("http://127.0.0.1:1", port=1)), Contexts())

    assert play(script).passed


def test_what_goes_through_tls_is_verified_with_the_name_that_requests_use(play, tmp_path):
    authority = Authority(tmp_path)
    certificate, key = authority.certify("up.example")

    async def script():
        server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        server.load_cert_chain(certificate, key)
        trusted = {"ca": str(authority.path), "certificate": None, "key": None, "stamp": "1"}
        contexts = Contexts()
        async with Doctor(ssl=server) as doctor:

            def checked(**how):
                return check(target(doctor.port, tls=True, **how), contexts)

            return [
                await checked(server_name="up.example", upstream_tls=trusted),
                await checked(server_name="other.example", upstream_tls=trusted),
                await checked(server_name="up.example"),
                await checked(server_name="up.example", upstream_tls={**trusted, "ca": str(tmp_path / "none.pem")}),
            ]

    good, other, stranger, missing = play(script)
    assert good.passed
    assert other.outcome == stranger.outcome == missing.outcome == BROKEN
    assert other.reason.startswith("certificate: Hostname mismatch")
    assert stranger.reason.startswith("certificate: ")
    assert missing.reason == "the upstream's TLS files: no such file or directory"


def test_plain_text_where_tls_is_expected_is_broken(play):
    async def script():
        async with Doctor(b"HTTP/1.1 400 Bad Request\r\n\r\n") as doctor:
            return await check(target(doctor.port, tls=True, server_name="up.example", timeout=0.1), Contexts())

    assert play(script).outcome in {BROKEN, TIMEOUT, UNREACHABLE}


def test_a_context_is_made_once_and_forgotten_when_nothing_needs_it(monkeypatch):
    made = []

    def make(tls):
        made.append(tls)
        return client_context(tls)

    monkeypatch.setattr("proxy.control.probe.client_context", make)

    async def script():
        contexts = Contexts()
        one, two = await asyncio.gather(contexts.of(None), contexts.of(None))
        assert one is two
        contexts.keep([None])
        assert await contexts.of(None) is one
        contexts.keep([])
        assert await contexts.of(None) is not one

    asyncio.run(script())
    assert made == [None, None]


def test_a_lack_of_descriptors_here_says_nothing_of_the_endpoint(play):
    async def script():
        async with Doctor() as doctor:
            before = resource.getrlimit(resource.RLIMIT_NOFILE)
            next_one = os.dup(0)
            os.close(next_one)
            resource.setrlimit(resource.RLIMIT_NOFILE, (next_one, before[1]))
            try:
                return await check(target(doctor.port), Contexts())
            finally:
                resource.setrlimit(resource.RLIMIT_NOFILE, before)

    assert play(script) == Result(LATE, "too many open files")
