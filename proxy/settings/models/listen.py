"""Where the proxy listens, and what it asks of clients."""

from typing import Annotated, Any, Literal

from proxy.settings.models.part import Part, duration_key, option, size_key
from proxy.settings.scalars import Delay, Duration, Host, Listen, Secret, Short, Size, Text, one_or_many


class Certificate(Part):
    """A certificate chain and its key, as PEM files. Paths are relative to the configuration file."""

    hosts: list[Host] = option(
        "Server names (SNI) it answers for, also `*.example.com`. Empty: every name that no other certificate has.",
        makes=list,
    )
    certificate: Text = option("PEM file with the certificate and its chain. Read again when it changes.")
    key: Text = option("PEM file with the private key, not encrypted. Read again when it changes.")


class ListenerTls(Part):
    """TLS on a listener."""

    certificates: list[Certificate] = option(
        "The certificates; the first serves clients that send no name.", min_length=1
    )
    minimum: Literal["1.2", "1.3"] = option("The lowest TLS version accepted (in quotes).", "1.2")


class Listener(Part):
    """One listening address."""

    address: Listen = option(
        "`0.0.0.0:8080`, `[::]:8080`, `unix:/path`, or `fd:3` for a socket passed in. Port 0 lets the system choose.",
        restart=True,
    )
    tls: ListenerTls | None = option("TLS with certificates by server name. Absent: plain HTTP.", None)
    proxy_protocol: bool = option(
        "Expect the PROXY protocol (versions 1 and 2) before each connection and take the client's address from it.",
        False,
    )


def expand_listener(value: Any) -> Any:
    """The listener that an address stands for."""
    return {"address": value}


Listeners = Annotated[
    list[Annotated[Listener, Short(dict, expand_listener, "string")]], Short(list, one_or_many, "string")
]


class ClientTimeouts(Part):
    """How long clients may take."""

    head: Duration = duration_key(
        "Until the head of a request is whole, from its first byte or the connection's start.", "10s"
    )
    body: Duration = duration_key(
        "Silence within a request's body, or of a client that does not take its answer.", "60s"
    )
    keepalive: Duration = duration_key("An idle connection between requests.", "75s")


class ClientLimits(Part):
    """How much clients may send."""

    head: Size = size_key("A request's head; beyond: 431.", "64KiB")
    fields: int = option("Fields in a request's head; beyond: 431.", 100, unit="count", ge=1, le=10_000)
    target: Size = size_key("A request's target; beyond: 414.", "8KiB")
    connections: int = option(
        "Connections open at once, over all workers; beyond, new ones are closed.", 16384, unit="count", ge=1
    )


class Client(Part):
    """What is asked of clients."""

    timeouts: ClientTimeouts = option("How long clients may take.", makes=ClientTimeouts)
    limits: ClientLimits = option("How much clients may send.", makes=ClientLimits)


class AdminTls(Part):
    """TLS on the admin port."""

    certificate: Text = option("PEM file with the certificate and its chain.", restart=True)
    key: Text = option("PEM file with the private key, not encrypted.", restart=True)


class Admin(Part):
    """The admin port: API, metrics, dashboard."""

    address: Listen = option("Where it listens. Not on loopback it wants tokens.", "127.0.0.1:9901", restart=True)
    tokens: list[Secret] = option(
        "Any of them opens the port, as `Authorization: Bearer TOKEN`; at least 16 characters each. "
        "Empty: no token is asked for.",
        makes=list,
    )
    tls: AdminTls | None = option("TLS on the admin port. Absent: plain HTTP.", None)


class Drain(Part):
    """How the proxy leaves: readiness fails at once, accepting goes on for `delay`; what is in flight has `limit`."""

    delay: Delay = duration_key(
        "Accepting goes on this long after readiness fails, so that who balances notices.", "2s"
    )
    limit: Delay = duration_key("What is in flight then has this long to finish.", "7s")
