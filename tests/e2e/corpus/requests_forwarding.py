"""Who the client is, and what the proxy says about itself. The proxy trusts 127.0.0.9 and nobody else."""

from .rows import GET, Request, Upstream, passed

_TRUSTED = "127.0.0.9"


def _row(name: str, lines: tuple[bytes, ...], added: dict[bytes, bytes | None], source: str = "127.0.0.1") -> Request:
    sent = b"\r\n".join((b"GET / HTTP/1.1", b"Host: plain.test", *lines, b"", b""))
    return passed(f"forwarding-{name}", sent, Upstream(GET.line, added=tuple(added.items())), source=source)


REQUESTS: tuple[Request, ...] = (
    _row(
        "added",
        (),
        {
            b"x-forwarded-for": b"127.0.0.1",
            b"x-forwarded-proto": b"http",
            b"x-forwarded-host": b"plain.test",
            b"via": b"1.1 tidegate",
        },
    ),
    _row("for-overwritten", (b"X-Forwarded-For: 1.2.3.4",), {b"x-forwarded-for": b"127.0.0.1"}),
    _row(
        "for-overwritten-twice",
        (b"X-Forwarded-For: 1.2.3.4", b"x-forwarded-for: 5.6.7.8"),
        {b"x-forwarded-for": b"127.0.0.1"},
    ),
    _row("proto-overwritten", (b"X-Forwarded-Proto: https",), {b"x-forwarded-proto": b"http"}),
    _row("host-overwritten", (b"X-Forwarded-Host: evil.test",), {b"x-forwarded-host": b"plain.test"}),
    _row(
        "not-named-away",
        (b"Connection: x-forwarded-for, via, x-request-id",),
        {b"x-forwarded-for": b"127.0.0.1", b"via": b"1.1 tidegate"},
    ),
    _row(
        "for-appended-when-trusted",
        (b"X-Forwarded-For: 1.2.3.4",),
        {b"x-forwarded-for": b"1.2.3.4, 127.0.0.9"},
        _TRUSTED,
    ),
    _row("proto-kept-when-trusted", (b"X-Forwarded-Proto: https",), {b"x-forwarded-proto": b"https"}, _TRUSTED),
    _row(
        "host-kept-when-trusted", (b"X-Forwarded-Host: shop.example",), {b"x-forwarded-host": b"shop.example"}, _TRUSTED
    ),
    _row(
        "made-when-trusted-says-nothing",
        (),
        {b"x-forwarded-for": b"127.0.0.9", b"x-forwarded-proto": b"http"},
        _TRUSTED,
    ),
    _row("via-appended", (b"Via: 1.1 edge",), {b"via": b"1.1 edge, 1.1 tidegate"}),
    _row(
        "own-fields-removed",
        (
            b"X-Tidegate-Route: evil",
            b"x-tidegate-version: canary",
            b"X-TIDEGATE-UNIT-HASH: 1",
            b"X-Tidegate-Shadow: 1",
            b"X-Tidegate-Invented: 1",
        ),
        {
            b"x-tidegate-route": b"plain",
            b"x-tidegate-version": b"only",
            b"x-tidegate-invented": None,
            b"x-tidegate-shadow": None,
        },
    ),
    _row(
        "own-fields-removed-from-trusted", (b"X-Tidegate-Version: canary",), {b"x-tidegate-version": b"only"}, _TRUSTED
    ),
    _row("request-id-kept", (b"X-Request-Id: abc-123",), {b"x-request-id": b"abc-123"}),
    _row(
        "traceparent-kept",
        (b"traceparent: 00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",),
        {b"traceparent": b"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"},
    ),
)
