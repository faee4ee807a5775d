"""Figures of Tidegate alone: memory, large bodies, a reload of a thousand routes, the start, and a shadow that
hangs.
"""

import http.client
import os
import resource
import socket
import statistics
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, replace
from pathlib import Path
from typing import Final

from bench.cases import free_ports, peer_running, wait_until_answered
from bench.load import Load, LoadError, drive, idle_connections
from bench.paced import arrive, parse, start_paced
from bench.peers import Tidegate, tidegate_file
from bench.place import Part, Place, Row
from bench.process import Program, cost, family, memory
from bench.wanted import STALL
from proxy.core.build import build_plan
from proxy.settings.loader import Loader

GIB = 1 << 30
STEADY = 2_000
"""Requests a second beside the reloads."""


def workers_and_control(program: Program) -> tuple[list[int], list[int]]:
    """The processes of the data plane and the others."""
    workers: list[int] = []
    others: list[int] = []
    for pid in family(program.pid):
        command = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
        (workers if b"proxy.dataplane.worker" in command else others).append(pid)
    return workers, others


def scrape(port: int, name: str) -> list[float]:
    """The values of all series of one metric on the admin port."""
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=10) as answer:
        text = answer.read().decode()
    return [float(line.rsplit(" ", 1)[1]) for line in text.splitlines() if line.startswith((name + "{", name + " "))]


def wait_until_watched(program: Program, port: int, patience: float = 20.0) -> None:
    """Wait until the admin port answers, which begins after the first requests are. Raises LoadError."""
    end = time.monotonic() + patience
    while True:
        try:
            scrape(port, "tidegate_config_generation")
        except OSError as error:
            if (died := program.died()) or time.monotonic() > end:
                raise LoadError(died or f"the admin port does not answer: {error}") from error
            time.sleep(0.02)
        else:
            return


def turn_about(
    plain: tuple[Program, int], subject: tuple[Program, int], place: Place, rounds: int, seconds: float
) -> list[float]:
    """CPU per small GET of the second program as a ratio to the first's, each with its port, round by round: the two take turns
    in who goes first. Raises LoadError when a request fails.
    """
    ratios = []
    for turn in range(rounds):
        used: dict[int, float] = {}
        pair = [plain, subject]
        for program, port in pair if turn % 2 else reversed(pair):
            begun = cost(family(program.pid))
            outcome = drive(Load("GET", "/small"), port, seconds, place.load_cores, place.directory)
            if outcome.failed:
                raise LoadError(f"{outcome.failed} requests failed")
            used[port] = (cost(family(program.pid)) - begun).total / outcome.requests
        ratios.append(used[subject[1]] / used[plain[1]])
    return ratios


def idle_memory(place: Place, quick: bool) -> list[Row]:
    """Memory of a proxy that has nothing to do, and what an idle keep-alive connection adds."""
    soft = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    count = 10_000 if soft > 10_500 and not quick else 2_000
    with peer_running(Tidegate(), place.under("idle"), place.ports, place.cores) as program:
        workers, control = workers_and_control(program)
        held, held_control = memory(workers), memory(control)
        with idle_connections(place.ports.listen, count):
            more = memory(workers)
        each = (more.pss - held.pss) / count
    return [
        Row("worker, idle: RSS / PSS", f"{held.rss / 1e6:.1f} / {held.pss / 1e6:.1f} MB", "<= 45 MB"),
        Row("control, idle: RSS / PSS", f"{held_control.rss / 1e6:.1f} / {held_control.pss / 1e6:.1f} MB", "<= 90 MB"),
        Row(f"memory of one of {count:,} idle keep-alive connections", f"{each / 1000:.1f} KB", "<= 20 KB"),
    ]


def _download(port: int) -> None:
    with socket.create_connection(("127.0.0.1", port), 30) as connection:
        connection.sendall(b"GET /1g HTTP/1.1\r\nHost: bench\r\nx-user-id: big\r\nConnection: close\r\n\r\n")
        got, room = 0, bytearray(1 << 20)
        while read := connection.recv_into(room):
            got += read
    if got < GIB:
        raise LoadError(f"1 GiB down: {got} bytes came")


def _upload(port: int) -> None:
    piece = b"x" * (1 << 20)
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    try:
        connection.putrequest("POST", "/upload")
        connection.putheader("x-user-id", "big")
        connection.putheader("content-length", str(GIB))
        connection.endheaders()
        for _ in range(GIB // len(piece)):
            connection.send(piece)
        answer = connection.getresponse()
        if answer.status != 200 or answer.headers.get("x-received") != str(GIB):
            raise LoadError(f"1 GiB up: {answer.status}, the upstream received {answer.headers.get('x-received')}")
    finally:
        connection.close()


def large_bodies(place: Place, _quick: bool) -> list[Row]:
    """How much a worker's memory grows, at its peak, while 1 GiB passes."""
    rows = []
    with (place.directory / "1g").open("wb") as file:
        file.truncate(GIB)
    ways: tuple[tuple[str, Callable[[int], None]], ...] = (("down", _download), ("up", _upload))
    for way, carry in ways:
        with peer_running(Tidegate(), place.under(f"large-{way}"), place.ports, place.cores) as program:
            workers, _ = workers_and_control(program)
            drive(Load("GET", "/64k", connections=4), place.ports.listen, 1, place.load_cores, place.directory)
            before = memory(workers).peak_rss
            begun = time.monotonic()
            carry(place.ports.listen)
            lasted = time.monotonic() - begun
            grown = memory(workers).peak_rss - before
        rows.append(
            Row(
                f"peak growth of a worker while 1 GiB goes {way}",
                f"{grown / 1e6:.1f} MB, {GIB / lasted / 1e6:,.0f} MB/s",
                "<= 10 MB",
            )
        )
    return rows


def start(place: Place, quick: bool) -> list[Row]:
    """From the start of the command to the first request answered."""
    took = []
    for turn in range(2 if quick else 5):
        directory = place.under(f"start-{turn}")
        with Program(Tidegate().command(directory, place.ports), place.cores, directory / "peer.log") as program:
            took.append(wait_until_answered(program, place.ports.listen))
    return [Row("start to first request answered", f"{statistics.median(took):.2f} s", "< 1 s")]


def _routes(numbers: range, weight: float) -> str:
    return "".join(
        f"""  - name: route-{number}
    match: {{host: host-{number}.example.com, path_prefix: /service/{number}}}
    unit: [{{header: x-user-id}}]
    versions:
      stable: {{upstream: stable, weight: {100 - weight}}}
      canary: {{upstream: canary, weight: {weight}}}
"""
        for number in numbers
    )


def compiling(place: Place, _quick: bool) -> list[Row]:
    """A file that includes a thousand routes, read again after a change of its own; the included files did not change."""
    directory = place.under("compiling")
    for part in range(10):
        (directory / f"routes-{part}.yaml").write_text("routes:\n" + _routes(range(part * 100, part * 100 + 100), 5))
    file = directory / "tidegate.yaml"
    text = 'include: ["routes-*.yaml"]\n' + tidegate_file(place.ports)
    file.write_text(text)
    loader = Loader(file, {})
    loader.load()
    parsed, took = loader.parsed, []
    for turn in range(5):
        file.write_text(f"{text}# {turn}\n")
        begun = time.perf_counter()
        spec = loader.load().spec
        took.append(time.perf_counter() - begun)
    parsed = loader.parsed - parsed
    begun = time.perf_counter()
    build_plan(spec)
    built = time.perf_counter() - begun
    return [
        Row(
            "1,000 routes: checked and compiled, in 10 included files that did not change",
            f"{statistics.median(took) * 1000:.0f} ms; {parsed} files parsed in 5 reloads of 11 files",
            "<= 300 ms; 5 files",
        ),
        Row("1,000 routes: built in a worker, all new, in many short bites", f"{built * 1000:.0f} ms", ""),
    ]


def reload_thousand(place: Place, quick: bool) -> list[Row]:
    """Weights of 1,000 routes changed under open-loop load, several times: how long until it serves, and how long a client waits.

    The control process is moved to the load's core and stands back there, so that a stall is the worker's own doing.
    """
    directory = place.under("reload")
    turns = 3 if quick else 8
    settled: list[float] = []
    lags: list[float] = []
    with peer_running(Tidegate(), directory, place.ports, place.cores) as program:
        wait_until_watched(program, place.ports.admin)
        for pid in workers_and_control(program)[1]:
            os.sched_setaffinity(pid, place.load_cores)
            os.setpriority(os.PRIO_PROCESS, pid, 19)

        def change(weight: float) -> float:
            generation = max(scrape(place.ports.admin, "tidegate_config_generation"), default=0)
            fresh = directory / "fresh.yaml"
            fresh.write_text(tidegate_file(place.ports, more_routes=_routes(range(1000), weight)))
            begun = time.monotonic()
            fresh.replace(directory / "tidegate.yaml")
            while max(scrape(place.ports.admin, "tidegate_config_generation"), default=0) <= generation:
                if time.monotonic() - begun > 30:
                    raise LoadError(f"a reload did not come: {program.log.read_text(errors='replace')[-400:]}")
                lags.extend(scrape(place.ports.admin, "tidegate_worker_loop_lag_seconds"))
                time.sleep(0.05)
            return time.monotonic() - begun

        change(1)  # the file with a thousand routes is there; only weights change from now on
        lags.clear()
        quiet = arrive(place.ports.listen, STEADY, 2 if quick else 4, place.load_cores, directory)
        # Far longer than it takes: it is ended when the last reload is over, and tells what it has seen until then.
        with start_paced(place.ports.listen, STEADY, 60 + 4 * turns, place.load_cores, directory) as load:
            for turn in range(turns):
                settled.append(change(2 + turn))
                for _ in range(5):
                    lags.extend(scrape(place.ports.admin, "tidegate_worker_loop_lag_seconds"))
                    time.sleep(0.05)
            load.interrupt()
            load.wait(10)
            seen = parse(load.log.read_text(), STEADY)
    if seen.failed or not seen.requests:
        raise LoadError(f"{seen.failed} of {seen.requests + seen.failed} requests failed beside the reloads")
    longest = max(lags, default=0) * 1000
    return [
        Row(
            "1,000 routes: all their weights edited, until the new plan is in the metrics",
            f"{statistics.median(settled):.2f} s",
            "",
        ),
        Row("the same, loop lag of the worker, highest seen", f"{longest:.2f} ms", "<= 5 ms", STALL, longest),
        Row(
            f"the same, p99.9 of {STEADY:,} requests a second (their longest wait), without reloads and with",
            f"{quiet.waited.percentile(99.9) / 1000:.2f} ({quiet.waited.percentile(100) / 1000:.2f}) and "
            f"{seen.waited.percentile(99.9) / 1000:.2f} ({seen.waited.percentile(100) / 1000:.2f}) ms; "
            "load, upstream and control share the other core",
            "",
        ),
    ]


@contextmanager
def _hanging(port: int) -> Iterator[None]:
    """A server that accepts and never reads."""
    held: list[socket.socket] = []
    with socket.create_server(("127.0.0.1", port), backlog=1024) as server:

        def accept() -> None:
            while True:
                try:
                    held.append(server.accept()[0])
                except OSError:  # closed: the bench is done with it
                    return

        thread = threading.Thread(target=accept, daemon=True)
        thread.start()
        try:
            yield
        finally:
            server.shutdown(socket.SHUT_RDWR)
            thread.join(5)
            for connection in held:
                connection.close()


def hanging_shadow(place: Place, quick: bool) -> list[Row]:
    """The client's p99 with everything copied to a shadow that hangs, and with no shadow, turn about."""
    ports = replace(place.ports, shadow=free_ports(7)[-1])
    plain: list[float] = []
    copied: list[float] = []
    with _hanging(ports.shadow), peer_running(Tidegate(), place.under("hanging"), ports, place.cores) as program:
        for _ in range(2 if quick else 6):
            for path, found in (("/small", plain), ("/copied/small", copied)):
                load = Load("GET", path, connections=16)
                outcome = drive(load, ports.listen, 1 if quick else 3, place.load_cores, place.directory)
                if outcome.failed:
                    raise LoadError(f"{outcome.failed} requests failed beside a hanging shadow")
                found.append(outcome.p99)
        if died := program.died():
            raise LoadError(died)
    spread = f"without: {min(plain) / 1000:.2f} to {max(plain) / 1000:.2f} over the rounds"
    return [
        Row(
            "client's p99 with a hanging shadow, and with none",
            f"{statistics.median(copied) / 1000:.2f} and {statistics.median(plain) / 1000:.2f} ms ({spread})",
            "within noise",
        )
    ]


PARTS: Final[tuple[tuple[Part, bool, float], ...]] = (
    (idle_memory, False, 6.0),
    (large_bodies, False, 12.0),
    (start, False, 5.0),
    (compiling, False, 6.0),
    (hanging_shadow, True, 8.0),
)
"""What is measured here beside the reload, whether quickly, and the seconds it takes."""


def rows_of(part: Part, place: Place, quick: bool) -> list[dict[str, object]]:
    """What a part says, as rows for the report. One that cannot be had says why."""
    print(f"  tidegate alone: {part.__name__}", file=sys.stderr)
    try:
        rows = part(place, quick)
    except (LoadError, OSError, subprocess.SubprocessError) as error:
        print(f"  tidegate alone: {part.__name__}: {error}", file=sys.stderr)
        rows = [Row(part.__name__.replace("_", " "), f"not measured: {error}", "")]
    return [asdict(row) for row in rows]
