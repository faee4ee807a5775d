"""What is measured of every peer: the cases, and one measurement of one case."""

import socket
import statistics
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

from bench.load import Check, Load, LoadError, drive, idle_connections, verify
from bench.peers import Peer, Ports, Upstream
from bench.process import Program, cost, family, memory


@dataclass(frozen=True, slots=True)
class Case:
    """One kind of load. `idle` connections stand open beside it; `copied`: every request is mirrored as well."""

    key: str
    title: str
    load: Load
    idle: int = 0
    copied: bool = False


CASES: tuple[Case, ...] = (
    Case("small", "small GET", Load("GET", "/small")),
    Case("answer64k", "64 KiB answer", Load("GET", "/64k")),
    Case("upload64k", "64 KiB upload", Load("POST", "/upload", body=65536, users=200)),
    Case("mirror", "small GET, 100 % mirrored", Load("GET", "/copied/small"), copied=True),
    Case("idle", "small GET, 1,000 idle connections beside it", Load("GET", "/small"), idle=1000),
)


@dataclass(frozen=True, slots=True)
class Figures:
    """One measurement.

    CPU in microseconds a request, latencies in microseconds, memory in bytes. `busy` is the share of its core that the
    peer used, `copies` the share of the requests that reached the shadow (None: nothing mirrored).
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


def free_ports(count: int) -> list[int]:
    """Ports of 127.0.0.1 that nobody uses now, below the range that outgoing connections take theirs from."""
    found: list[int] = []
    candidate = 18000
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
def peer_running(peer: Peer, directory: Path, ports: Ports, cores: set[int]) -> Iterator[Program]:
    """The peer, answering, for as long as the block lasts."""
    directory.mkdir(parents=True, exist_ok=True)
    environment = {"HOME": str(directory), "XDG_DATA_HOME": str(directory), "XDG_CONFIG_HOME": str(directory)}
    with Program(peer.command(directory, ports), cores, directory / "peer.log", environment) as program:
        wait_until_answered(program, ports.listen)
        yield program


def check(peer: Peer, port: int) -> Check:
    """Make sure that the peer answers rightly and splits about 90/10.

    Raises LoadError when it does not.
    """
    if not peer.splits:
        return verify(port)
    seen = verify(port)
    if not 0.06 <= seen.share <= 0.14:
        raise LoadError(f"{seen.share:.1%} of the users got the canary instead of 10 %")
    return seen


def _copies(log: Path, before: int, requests: int) -> float:
    """The share of `requests` that the shadow has seen. Its log holds two bytes a request and is flushed every
    second.
    """
    seen, patience = -1, time.monotonic() + 8
    while time.monotonic() < patience:
        time.sleep(1.5)
        now = (log.stat().st_size - before) // 2
        if now == seen:
            break
        seen = now
    return seen / max(1, requests)


def measure(
    case: Case, program: Program, ports: Ports, seconds: float, cores: set[int], directory: Path, upstream: Path
) -> Figures:
    """Drive a running peer with one case and say what it cost.

    `cores` are the load's. Raises LoadError when the load could not be made.
    """
    with ExitStack() as stack:
        pids = family(program.pid)
        idle_kb = None
        if case.idle:
            before = memory(pids).pss
            stack.enter_context(idle_connections(ports.listen, case.idle))
            idle_kb = (memory(pids).pss - before) / case.idle / 1000
        log = upstream / "shadow.log"
        logged = log.stat().st_size if case.copied else 0
        begun, start = cost(pids), time.monotonic()
        outcome = drive(case.load, ports.listen, seconds, cores, directory)
        used, lasted = cost(pids) - begun, time.monotonic() - start
        held = memory(pids)
        if died := program.died():
            raise LoadError(died)
        if not outcome.requests:
            raise LoadError("no request was answered")
        each = 1e6 / outcome.requests
        return Figures(
            cpu=used.total * each,
            cpu_user=used.user * each,
            cpu_system=used.system * each,
            rate=outcome.requests / outcome.seconds,
            p50=outcome.p50,
            p99=outcome.p99,
            peak_rss=held.peak_rss,
            pss=held.pss,
            busy=used.total / lasted,
            failed=outcome.failed,
            requests=outcome.requests,
            idle_kb=idle_kb,
            copies=_copies(log, logged, outcome.requests) if case.copied else None,
        )


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
