"""The shape of a row: what goes in at one end, and what must come out at both."""

from dataclasses import dataclass

KEEP = "keep"
CLOSE = "close"
RESET = "reset"


@dataclass(frozen=True, slots=True)
class Upstream:
    """One whole request as the upstream must have received it.

    `fields` are all field lines but Host, the framing and those the proxy adds on every request; `added` those of the
    latter that a row is about: the exact value, or None where the field must be absent.
    """

    line: bytes
    fields: tuple[bytes, ...] = ()
    body: bytes = b""
    framing: str = "none"
    host: bytes | None = b"plain.test"
    trailers: tuple[bytes, ...] = ()
    added: tuple[tuple[bytes, bytes | None], ...] = ()


@dataclass(frozen=True, slots=True)
class Request:
    """Bytes from a client.

    `statuses` are the answers in order. `closed` says whether the proxy ends the connection after the last one; when
    not, a further request on it must be answered. `upstream` is everything the upstream received: no entry, nothing;
    with `aborted`, a further request may have begun there but never ended. `source` is the client's address.
    """

    name: str
    sent: bytes
    statuses: tuple[int, ...]
    closed: bool
    upstream: tuple[Upstream, ...] = ()
    aborted: bool = False
    source: str = "127.0.0.1"
    methods: tuple[bytes, ...] = ()


GET = Upstream(b"GET / HTTP/1.1")
"""What a plain request for / becomes."""


def refused(name: str, sent: bytes, status: int = 400) -> Request:
    """A request that must not get anywhere: answered with `status`, the connection closed, nothing sent upstream."""
    return Request(name, sent, (status,), closed=True)


def broken_off(name: str, sent: bytes, status: int = 400) -> Request:
    """A request that goes wrong in its body: by then the upstream may have its head, but must never see it end."""
    return Request(name, sent, (status,), closed=True, aborted=True)


def passed(name: str, sent: bytes, *upstream: Upstream, closed: bool = False, source: str = "127.0.0.1") -> Request:
    """Requests that go through, in this form, each answered with 200."""
    return Request(name, sent, (200,) * len(upstream), closed, upstream, source=source)


@dataclass(frozen=True, slots=True)
class Answer:
    """Bytes from an upstream, and what becomes of them.

    `then` is what the upstream does with the connection afterwards. `flag` is the failure the proxy must see (status 502
    unless told otherwise). `fields` are the field lines the client gets but framing, Date and those the proxy adds;
    None leaves them unchecked. `truncated` says that the client must notice that the body is not whole. `reused` says
    whether the connection may serve the next request: never after anything doubtful.
    """

    name: str
    sent: bytes
    status: int = 200
    body: bytes = b""
    then: str = KEEP
    method: bytes = b"GET"
    client: bytes = b"HTTP/1.1"
    fields: tuple[bytes, ...] | None = None
    interim: tuple[int, ...] = ()
    framing: str | None = None
    flag: str = ""
    truncated: bool = False
    reused: bool = False
    trailers: tuple[bytes, ...] = ()


def invalid(
    name: str, sent: bytes, then: str = KEEP, *, method: bytes = b"GET", flag: str = "UPE", status: int = 502
) -> Answer:
    """An answer of which the client must see nothing but the proxy's own 502."""
    return Answer(name, sent, status, then=then, method=method, flag=flag)


def cut(
    name: str, sent: bytes, body: bytes, then: str = CLOSE, *, flag: str = "UC", framing: str | None = None
) -> Answer:
    """An answer that breaks off after its head went to the client, who must be able to tell."""
    return Answer(name, sent, 200, body, then, flag=flag, truncated=True, framing=framing)
