"""The process in which services live: upstreams that answer, and misbehave as soon as they are told to.

Run as `python -m tests.e2e.harness.service_process`: a JSON command on each line of standard input, an answer on each line
of standard output. `services.py` is the other end and says what the commands mean. No parser of the proxy's is used here.
"""

import asyncio
import json
import os
import socket
import sys
from collections import deque
from typing import Any

Behaviour = dict[str, Any]

WELL: Behaviour = {
    "manner": "answer",
    "share": 1.0,
    "status": 200,
    "misfields": [],
    "latency": 0.0,
    "slow": 0.0,
    "slow_share": 0.0,
    "health": 200,
    "fields": [],
    "body": "",
}
KEPT_HEADS = 200


class Dealer:
    """Deals `share` of the cards as hits, spread evenly: 0.25 is every fourth. No chance, so that counts can be checked."""

    def __init__(self) -> None:
        self._saved = 0.0

    def hit(self, share: float) -> bool:
        self._saved += share
        if self._saved < 1.0 - 1e-9:
            return False
        self._saved -= 1.0
        return True


class Service:
    """One listening port and how it behaves."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.behaviour: Behaviour = {**WELL, "body": name}
        # Bound as long as the service exists, so that its port is nobody else's while it is down.
        self.holder = socket.socket()
        self.holder.bind(("127.0.0.1", 0))
        self.holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self.port: int = self.holder.getsockname()[1]
        self.server: asyncio.Server | None = None
        self.alive = False
        self.connections: set[Connection] = set()
        self.misbehaving = Dealer()
        self.slow = Dealer()
        self.forget()

    def forget(self) -> None:
        """Count from zero."""
        self.requests = 0
        self.misbehaved = 0
        self.health_checks = 0
        self.accepted = 0
        self.at_once = 0
        self.most_at_once = 0
        self.methods: dict[str, int] = {}
        self.heads: deque[str] = deque(maxlen=KEPT_HEADS)

    async def up(self) -> None:
        """Listen, on the same port as before."""
        loop = asyncio.get_running_loop()
        self.alive = True
        self.server = await loop.create_server(
            lambda: Connection(self), "127.0.0.1", self.port, backlog=1024, reuse_address=True
        )

    async def down(self) -> None:
        """Refuse connections and break those there are, as a killed process does."""
        self.alive = False
        if self.server is not None:
            self.server.close()
            self.server = None
        self.break_connections()

    def break_connections(self) -> None:
        """Reset every connection."""
        for connection in list(self.connections):
            connection.abort()

    def counts(self) -> dict[str, Any]:
        """What it has received since it last forgot."""
        return {
            "requests": self.requests,
            "misbehaved": self.misbehaved,
            "health_checks": self.health_checks,
            "accepted": self.accepted,
            "open": len(self.connections),
            "at_once": self.at_once,
            "most_at_once": self.most_at_once,
            "methods": self.methods,
        }


class Connection(asyncio.Protocol):
    """One connection of the proxy's. Requests come one after another; their bodies are read and dropped."""

    def __init__(self, service: Service) -> None:
        self.service = service
        self.transport: asyncio.Transport | None = None
        self.buffer = b""
        self.timer: asyncio.TimerHandle | None = None
        self.busy = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport
        self.service.connections.add(self)
        self.service.accepted += 1
        if not self.service.alive:  # it had been accepted and not come this far when the service went down
            self.abort()

    def connection_lost(self, exc: Exception | None) -> None:
        self.service.connections.discard(self)
        self.done()
        if self.timer is not None:
            self.timer.cancel()

    def abort(self) -> None:
        """End with a reset."""
        if self.transport is not None:
            reset(self.transport)

    def done(self) -> None:
        """The request at hand is over."""
        if self.busy:
            self.busy = False
            self.service.at_once -= 1

    def data_received(self, data: bytes) -> None:
        self.buffer += data
        if not self.busy:
            self.next_request()

    def next_request(self) -> None:
        head, end, rest = self.buffer.partition(b"\r\n\r\n")
        if not end:
            return
        lines = head.decode("latin-1").split("\r\n")
        fields = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines[1:])}
        if "transfer-encoding" in fields:
            at = rest.find(b"0\r\n\r\n")  # good enough for bodies of tests: they have no zeros in them
            if at < 0:
                return
            size = at + 5
        else:
            size = int(fields.get("content-length", "0"))
        if len(rest) < size:
            return
        self.buffer = rest[size:]
        method, target, _ = lines[0].split(" ")
        service = self.service
        if target == "/healthz":
            service.health_checks += 1
            if service.behaviour["health"]:
                self.say(service.behaviour["health"], [], "", method)
            return  # 0: checks get no answer at all
        service.requests += 1
        service.methods[method] = service.methods.get(method, 0) + 1
        service.heads.append(head.decode("latin-1"))
        service.at_once += 1
        service.most_at_once = max(service.most_at_once, service.at_once)
        self.busy = True
        behaviour = service.behaviour
        wrong = (behaviour["manner"] != "answer" or behaviour["status"] != 200) and service.misbehaving.hit(
            behaviour["share"]
        )
        service.misbehaved += wrong
        latency = behaviour["latency"]
        if behaviour["slow_share"] and service.slow.hit(behaviour["slow_share"]):
            latency = behaviour["slow"]
        if latency:
            self.timer = asyncio.get_running_loop().call_later(latency, self.act, wrong, behaviour, method)
        else:
            self.act(wrong, behaviour, method)

    def act(self, wrong: bool, behaviour: Behaviour, method: str) -> None:
        transport = self.transport
        if transport is None or transport.is_closing():
            return
        manner = behaviour["manner"] if wrong else "answer"
        if manner == "answer":
            if wrong:
                self.say(behaviour["status"], behaviour["misfields"], "wrong", method)
            else:
                self.say(200, behaviour["fields"], behaviour["body"], method)
            self.done()
            if self.buffer:
                self.next_request()
        elif manner == "reset":
            reset(transport)
        elif manner == "close":
            transport.close()
        elif manner == "half_head":
            transport.write(b"HTTP/1.1 200 OK\r\nContent-Le")
            transport.close()
        elif manner == "cut_body":
            transport.write(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf")
            transport.close()
        elif manner == "garbage":
            transport.write(b"\x00\x01garbage\r\n\r\n")
        else:
            assert manner == "hang", manner

    def say(self, status: int, fields: list[str], body: str, method: str) -> None:
        assert self.transport is not None
        lines = [f"HTTP/1.1 {status} Said", *fields, f"Content-Length: {len(body)}", "", ""]
        self.transport.write("\r\n".join(lines).encode() + (b"" if method == "HEAD" else body.encode()))


def reset(transport: asyncio.Transport) -> None:
    """End a connection with RST."""
    sock = transport.get_extra_info("socket")
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
    transport.abort()


async def obey(services: dict[str, Service], command: dict[str, Any]) -> Any:
    """Do one command; what it is answered with."""
    what, name = command["do"], command["name"]
    if what == "open":
        service = services[name] = Service(name)
        await service.up()
        return service.port
    service = services[name]
    if what == "tell":
        behaviour = {**service.behaviour, **command["behaviour"]}
        assert behaviour.keys() == WELL.keys(), command
        service.behaviour = behaviour
    elif what == "well":
        service.behaviour = {**WELL, "body": name}
    elif what == "up":
        await service.up()
    elif what == "down":
        await service.down()
    elif what == "break":
        service.break_connections()
    elif what == "forget":
        service.forget()
    elif what == "heads":
        return list(service.heads)
    elif what == "close":
        await service.down()
        service.holder.close()
        del services[name]
        return None
    else:
        assert what == "counts", what
    return service.counts()


async def main() -> None:
    """Obey until standard input ends."""
    loop = asyncio.get_running_loop()
    lines = asyncio.StreamReader()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(lines), sys.stdin)
    services: dict[str, Service] = {}
    while line := await lines.readline():
        answer = await obey(services, json.loads(line))
        os.write(1, json.dumps(answer).encode() + b"\n")


if __name__ == "__main__":
    asyncio.run(main())
