"""The proxies that are compared, and the upstream behind them: how each is found, configured and started.

All have the same work: one worker on one core, plain HTTP/1.1 on both sides, kept connections to the upstreams,
X-Forwarded-For and a request id added, requests counted, 90 of 100 users to `stable` and 10 to `canary` as stickily as the peer
can; below /copied every request is also sent to `shadow`, and below /some every tenth, where the peer can. `Work` says what comes
on top. What a peer cannot do it says itself, and the report with it.
"""

from bench.peers.base import (
    GUARDED,
    LOGGED,
    PLAIN,
    ROOT,
    ROUTED,
    ROUTES,
    RULED,
    TWO,
    WORKS,
    Peer,
    Ports,
    Work,
    ask,
    descriptors,
    find,
    host,
    prefix,
)
from bench.peers.caddy import Caddy
from bench.peers.envoy import Envoy
from bench.peers.haproxy import Haproxy
from bench.peers.nginx import Nginx
from bench.peers.python import Aiohttp, Relay
from bench.peers.tidegate import Interpreted, Tidegate, tidegate_file
from bench.peers.traefik import Traefik
from bench.peers.upstream import Upstream

PEERS: tuple[Peer, ...] = (
    Tidegate(),
    Interpreted(),
    Nginx(),
    Haproxy(),
    Envoy(),
    Traefik(),
    Caddy(),
    Aiohttp(),
    Relay(),
)

__all__ = [
    "GUARDED",
    "LOGGED",
    "PEERS",
    "PLAIN",
    "ROOT",
    "ROUTED",
    "ROUTES",
    "RULED",
    "TWO",
    "WORKS",
    "Aiohttp",
    "Caddy",
    "Envoy",
    "Haproxy",
    "Interpreted",
    "Nginx",
    "Peer",
    "Ports",
    "Relay",
    "Tidegate",
    "Traefik",
    "Upstream",
    "Work",
    "ask",
    "descriptors",
    "find",
    "host",
    "prefix",
    "tidegate_file",
]
