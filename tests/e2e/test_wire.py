"""Every row of the corpus, judged by what the client gets and by what the upstream received."""

import pytest

from .conftest import Edge
from .corpus import ANSWERS, REQUESTS, Answer, Request, Upstream
from .corpus.rows import CLOSE, RESET
from .harness.client import Wire
from .harness.message import Ended, Message, split_fields
from .harness.origin import Connection, answer

pytestmark = pytest.mark.xdist_group("edge")

ADDED = {
    b"via", b"forwarded", b"x-forwarded-for", b"x-forwarded-proto", b"x-forwarded-host", b"x-request-id", b"traceparent",
    b"x-tidegate-route", b"x-tidegate-version", b"x-tidegate-unit-hash",
}  # fmt: skip
"""What the proxy adds to a request; rows about them name them."""

ANSWER_ADDED = {
    b"date", b"via", b"x-request-id", b"connection", b"keep-alive", b"content-length", b"transfer-encoding", b"trailer",
    b"x-tidegate-route", b"x-tidegate-version", b"x-tidegate-served", b"x-tidegate-reason", b"x-tidegate-flags",
}  # fmt: skip

Fields = dict[bytes, list[tuple[bytes, bytes]]]


def grouped(fields: list[tuple[bytes, bytes]], without: set[bytes]) -> Fields:
    """Fields by lower-case name: the order of different fields says nothing, that of equal ones does (RFC 9110 5.3)."""
    groups: Fields = {}
    for name, value in fields:
        if name.lower() not in without:
            groups.setdefault(name.lower(), []).append((name, value))
    return groups


def check_received(received: Message, expected: Upstream) -> None:
    assert received.start == expected.line
    assert received.get(b"host") == expected.host
    framing = {b"host", b"content-length", b"transfer-encoding", b"connection"}
    assert grouped(received.fields, ADDED | framing) == grouped(split_fields(list(expected.fields)), set())
    # A connection of the proxy's own has nothing to say but that TE is meant for this hop (RFC 9110 section 10.1.4).
    assert (received.get(b"connection") or b"te").lower() == b"te"
    assert (received.framing, received.body) == (expected.framing, expected.body)
    assert grouped(received.trailers, set()) == grouped(split_fields(list(expected.trailers)), set())
    for name, value in expected.added:
        assert received.get(name) == value, name


@pytest.mark.parametrize("row", REQUESTS, ids=lambda row: row.name)
def test_request_is_judged_alike_at_both_ends(edge: Edge, row: Request) -> None:
    edge.plain.settle()
    mark = len(edge.plain.requests)
    with edge.proxy.connect(row.source) as wire:
        wire.send(row.sent)
        answers = [wire.response(row.methods[at] if row.methods else b"GET") for at in range(len(row.statuses))]
        assert tuple(one.status for one in answers) == row.statuses
        if row.closed:
            assert answers[-1].get(b"connection") == b"close" or row.sent.find(b"HTTP/1.0") > 0
            assert wire.ends() == b"", "more than one answer before the end"
        else:
            assert wire.get("/sentinel").status == 200
    assert edge.proxy.get("/sentinel").body == b"ok"
    edge.plain.settle()
    received = [one for one in edge.plain.requests[mark:] if one.target != b"/sentinel"]
    assert len(edge.plain.requests) - mark - len(received) == (1 if row.closed else 2), "a sentinel was eaten"
    if row.aborted:
        received = [one for one in received if one.complete]
    assert len(received) == len(row.upstream), received
    for one, expected in zip(received, row.upstream, strict=True):
        assert one.complete
        check_received(one, expected)


@pytest.mark.parametrize("row", ANSWERS, ids=lambda row: row.name)
def test_answer_is_passed_on_whole_or_not_at_all(edge: Edge, row: Answer) -> None:
    used: list[tuple[bytes, Connection]] = []

    def respond(connection: Connection, request: Message) -> None:
        used.append((request.target, connection))
        if request.target != b"/row":
            answer(b"sentinel")(connection, request)
            return
        connection.send(row.sent)
        if row.then == CLOSE:
            connection.close()
        elif row.then == RESET:
            connection.reset()

    edge.answers.respond = respond
    errors = edge.proxy.metrics().value("tidegate_errors_total", route="answers", flag=row.flag) if row.flag else 0
    with edge.proxy.connect() as wire:
        wire.send(row.method + b" /row " + row.client + b"\r\nHost: answers.test\r\n\r\n")
        if row.truncated:
            check_truncated(row, *read_part(wire, row.method))
        else:
            check_answer(row, wire.response(row.method))
    with edge.proxy.connect() as wire:
        assert wire.get("/sentinel", "answers.test").body == b"sentinel"
        assert wire.get("/sentinel", "answers.test").body == b"sentinel"
    if row.flag:
        edge.proxy.wait_metric(errors + 1, "tidegate_errors_total", route="answers", flag=row.flag)
    last = [connection for target, connection in used if target == b"/row"][-1]
    first = next(connection for target, connection in used if target == b"/sentinel")
    assert (last is first) == row.reused, "reused" if last is first else "not reused"


def read_part(wire: Wire, method: bytes) -> tuple[Message, bool]:
    """The answer as far as it came, and whether it was whole."""
    try:
        return wire.response(method), True
    except Ended as end:
        if end.message is None:
            raise
        return end.message, False


def check_truncated(row: Answer, got: Message, whole: bool) -> None:
    if whole:  # the fault came with the head: then the proxy may still say so
        assert got.status == 502
        assert got.get(b"x-tidegate-flags") == row.flag.encode()
    else:
        assert got.status == row.status
        assert row.body.startswith(got.body)


def check_answer(row: Answer, got: Message) -> None:
    assert got.status == row.status
    if row.flag:
        assert got.get(b"x-tidegate-flags") == row.flag.encode()
        assert b"smuggled" not in got.body
        return
    assert got.body == row.body
    assert tuple(one.status for one in got.interim) == row.interim
    if row.framing is not None:
        assert got.framing == row.framing
    if row.fields is not None:
        assert grouped(got.fields, ANSWER_ADDED) == grouped(split_fields(list(row.fields)), set())
    assert grouped(got.trailers, set()) == grouped(split_fields(list(row.trailers)), set())
    assert got.get(b"x-tidegate-flags") == b"-"
