"""What is measured of every peer: the cases, and how a peer is started and checked for them."""

import os
import socket
import statistics
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

from bench.load import Check, Load, LoadError, verify
from bench.peers import GUARDED, LOGGED, PLAIN, ROUTED, ROUTES, RULED, TWO, Peer, Ports, Upstream, Work
from bench.process import Program

IDLE: Final = 10_000
ACTIVE: Final = 1_000
_SMALL: Final = Load("GET", "/small")
_ASKED: Final = (  # what the ten rules look at; none of them holds
    ("User-Agent", "Mozilla/5.0 (X11; Linux x86_64)"),
    ("x-beta", "0"),
    ("x-team", "none"),
    ("x-email", "someone@example.org"),
    ("x-geo-city", "Paris"),
    ("x-plan", "free"),
    ("x-device", "desk-1"),
    ("x-app-version", "1.9.0"),
    ("x-account", "a-17"),
)


@dataclass(frozen=True, slots=True)
class Case:
    """One kind of load on a peer that is configured for `work`.

    Closed-loop by wrk, unless it is one of two others: `paced` asks at that share of the peer's capacity, which its small GET
    of the same round has shown, and `same` at one rate for all; `large` moves bodies of 100 MiB, down or up. `idle`
    connections stand open beside the load; of its requests the share `copied` reaches the shadow. `crowd`: memory is read in the
    midst of the load.
    """

    key: str
    title: str
    load: Load = _SMALL
    work: Work = PLAIN
    paced: float = 0.0
    same: bool = False
    large: str = ""
    idle: int = 0
    copied: float = 0.0
    crowd: bool = False

    @property
    def needs(self) -> tuple[str, ...]:
        """What a peer must be able to do."""
        found = [] if self.work is PLAIN else [self.work.key]
        if self.copied:
            found.append("mirror")
        if self.idle:
            found.append("many")
        return tuple(found)

    def refused(self, peer: Peer) -> str:
        """Why the peer cannot do it; nothing when it can."""
        return next((why for need in self.needs if (why := peer.cannot.get(need))), "")


CASES: tuple[Case, ...] = (
    Case("small", "small GET"),
    Case("paced30", "30 % of capacity", paced=0.3),
    Case("paced60", "60 % of capacity", paced=0.6),
    Case("paced90", "90 % of capacity", paced=0.9),
    Case("same", "all at 60 % of Tidegate's capacity", same=True),
    Case("answer1k", "1 KiB answer", Load("GET", "/1k")),
    Case("answer64k", "64 KiB answer", Load("GET", "/64k")),
    Case("answer1m", "1 MiB answer", Load("GET", "/1m", connections=16)),
    Case("answer100m", "100 MiB answer", large="down"),
    Case("upload1k", "1 KiB upload", Load("POST", "/upload", body=1 << 10, users=1000)),
    Case("upload64k", "64 KiB upload", Load("POST", "/upload", body=1 << 16, users=200)),
    Case("upload1m", "1 MiB upload", Load("POST", "/upload", body=1 << 20, users=16, connections=16)),
    Case("upload100m", "100 MiB upload", large="up"),
    Case("mirror10", "small GET, 10 % mirrored", Load("GET", "/some/small"), copied=0.1),
    Case("mirror", "small GET, 100 % mirrored", Load("GET", "/copied/small"), copied=1.0),
    Case("close", "small GET, a connection each", Load("GET", "/small", fields=(("Connection", "close"),))),
    Case("active", f"small GET, {ACTIVE:,} active connections", Load("GET", "/small", connections=ACTIVE), crowd=True),
    Case("idle", f"small GET, {IDLE:,} idle connections beside it", idle=IDLE),
    Case("routes", f"small GET over {ROUTES:,} routes", Load("GET", "/small", routes=ROUTES), ROUTED),
    Case("rules", "small GET, ten rules", Load("GET", "/small", fields=_ASKED), RULED),
    Case("guarded", "small GET, all resilience on", work=GUARDED),
    Case("logged", "small GET, access log on", work=LOGGED),
    Case("two", "small GET, two workers", work=TWO),
)
BY_KEY: Final = {case.key: case for case in CASES}


@dataclass(frozen=True, slots=True)
class Figures:
    """One measurement.

    CPU in microseconds a request, latencies in microseconds, memory in bytes. `busy` is the share of its core that the
    peer used, `copies` the share of the requests that reached the shadow and `logged` the lines of the access log for each (None:
    nothing mirrored or logged). Of paced load: the `asked` rate, how `late` the generator was (99th percentile), and what the
    upstream alone took at the same rate (`bare50`, `bare99`). `mebibytes`: MiB a second of large bodies. `round`: in which of the
    plan's rounds, from 0; ratios are made of figures of the same one.
    """

    cpu: float
    cpu_user: float
    cpu_system: float
    rate: float
    p50: float
    p99: float
    peak_rss: int
    pss: int
    busy: float
    failed: int
    requests: int
    idle_kb: float | None = None
    copies: float | None = None
    logged: float | None = None
    p999: float | None = None
    asked: float | None = None
    late: float | None = None
    bare50: float | None = None
    bare99: float | None = None
    mebibytes: float | None = None
    round: int = 0


def free_ports(count: int) -> list[int]:
    """Ports of 127.0.0.1 that nobody uses now, below the range that outgoing connections take theirs from.

    Another bench beside this one looks elsewhere first, for neither listens on all of its ports all the time.
    """
    found: list[int] = []
    candidate = 18000 + os.getpid() % 100 * 100
    while len(found) < count:
        candidate += 1
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", candidate))
            except OSError:
                continue
        found.append(candidate)
    return found


def wait_until_answered(program: Program, port: int, path: str = "/small", patience: float = 20.0) -> float:
    """Seconds from now until a GET is answered with 200.

    Raises LoadError when the program ends or `patience` seconds are over.
    """
    begun = time.monotonic()
    request = f"GET {path} HTTP/1.1\r\nHost: bench\r\nx-user-id: first\r\nConnection: close\r\n\r\n".encode()
    while time.monotonic() - begun < patience:
        try:
            with socket.create_connection(("127.0.0.1", port), 1) as connection:
                connection.sendall(request)
                if connection.recv(4096).split(b" ")[1:2] == [b"200"]:
                    return time.monotonic() - begun
        except OSError:
            pass
        if died := program.died():
            raise LoadError(died)
        time.sleep(0.005)
    raise LoadError(f"no answer within {patience:.0f} s: {program.log.read_text(errors='replace')[-400:]}")


@contextmanager
def upstream_running(directory: Path, ports: Ports, cores: set[int]) -> Iterator[Program]:
    """The upstream, for as long as the block lasts."""
    with Program(Upstream().command(directory, ports), cores, directory / "upstream.log") as upstream:
        wait_until_answered(upstream, ports.stable)
        yield upstream


@contextmanager
def peer_running(peer: Peer, directory: Path, ports: Ports, cores: set[int], work: Work = PLAIN) -> Iterator[Program]:
    """The peer, answering, for as long as the block lasts."""
    directory.mkdir(parents=True, exist_ok=True)
    environment = {"HOME": str(directory), "XDG_DATA_HOME": str(directory), "XDG_CONFIG_HOME": str(directory)}
    with Program(peer.command(directory, ports, work), cores, directory / "peer.log", environment) as program:
        wait_until_answered(program, ports.listen)
        yield program


def check(peer: Peer, port: int, users: int = 1000) -> Check:
    """Make sure that the peer answers rightly, splits about 90/10 and says to the upstream who asked.

    Raises LoadError when it does not.
    """
    seen = verify(port, users)
    if "split" in peer.cannot:
        return seen
    if not 0.05 <= seen.share <= 0.15:
        raise LoadError(f"{seen.share:.1%} of the users got the canary instead of 10 %")
    if not seen.forwarded:
        raise LoadError("the upstream was not told the client's address")
    if seen.identified == peer.adds.startswith("no request id"):
        raise LoadError(f"a request id: {seen.identified}, but it is said to add {peer.adds}")
    return seen


def median(rounds: list[Figures]) -> dict[str, float | None]:
    """By name, the median over the rounds; failures are added up."""
    found: dict[str, float | None] = {}
    for name in asdict(rounds[0]):
        values = [value for one in rounds if (value := getattr(one, name)) is not None]
        if not values:
            found[name] = None
        else:
            found[name] = sum(values) if name == "failed" else statistics.median(values)
    return found
