"""What recording exposures costs, and what the record answers: `python -m bench.exposure` (five minutes; `--quick`: one).

Three questions: how long a question takes over 10,000,000 records; how many new units a second one worker can tell and the store
can keep; and what a request costs whose unit is known already, beside one that is not recorded at all.
"""

import argparse
import asyncio
import multiprocessing
import os
import random
import socket
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from multiprocessing.connection import Connection
from pathlib import Path

from bench.cases import free_ports, peer_running, upstream_running
from bench.load import Load, drive
from bench.own import turn_about
from bench.peers import PLAIN, Interpreted, Peer, Ports, Tidegate, Work, find, tidegate_file
from bench.place import Place, Row
from proxy.channel import messages
from proxy.channel.exposures import RANDOMISED, ExposureBatch
from proxy.channel.frames import FrameReader, encode
from proxy.control.link import Link
from proxy.core.build import build_plan
from proxy.core.decide import decide
from proxy.core.http1 import parse_request
from proxy.core.plan import SPLIT
from proxy.dataplane.exposing import Exposing
from proxy.exposure.queries import Reader, Wanted
from proxy.exposure.records import Records
from proxy.exposure.writer import Keeping, Writer
from proxy.settings.loader import load

RECORDS = 10_000_000
WANTED_RATE = 50_000
_WEIGHTS = '{"stable":95.0,"canary":5.0}'
_FILE = """listen: 127.0.0.1:1
upstreams: {a: {endpoints: [http://127.0.0.1:2]}}
state: sqlite:t.db
exposure: {queue: 100000}
routes:
  - name: shop
    unit: [{header: x-user-id}]
    versions: {stable: {upstream: a, weight: 95}, canary: {upstream: a, weight: 5}}
    exposure: true
"""


def _fill(records: Records, count: int, rng: random.Random) -> tuple[float, float]:
    """Put `count` new units into the store; seconds and CPU seconds that writing took."""
    now = time.time() - count / 1000
    made, wall, cpu = 0, 0.0, 0.0
    while made < count:
        payloads = []
        for _ in range(8):
            batch = ExposureBatch()
            for _ in range(2048):
                made += 1
                version = "stable" if made % 20 else "canary"
                batch.add(
                    now + made / 1000, rng.getrandbits(64), 7, 0, made % 10_000, "shop", version, "", _WEIGHTS, "shop", "header",
                    "", SPLIT, RANDOMISED, b"%032x" % rng.getrandbits(128), b"",
                )  # fmt: skip
            payloads.append(batch.payload(made))
        begun, used = time.perf_counter(), time.process_time()
        records.write(payloads, int(now * 1e6))
        wall += time.perf_counter() - begun
        cpu += time.process_time() - used
    return wall, cpu


def _known_units(path: Path, count: int, rng: random.Random) -> list[int]:
    with Reader(path) as reader:
        page = reader.find(Wanted(), 1000).records
        return [int(one["unit"], 16) for one in rng.sample(page, min(count, len(page)))]


def questions(directory: Path, quick: bool) -> list[Row]:
    """Milliseconds of each question over a store of 10,000,000 records, the opening of the file included."""
    path = directory / "exposures.db"
    count = 500_000 if quick else RECORDS
    rng = random.Random(1)
    records = Records(path)
    wall, cpu = _fill(records, count, rng)
    size = records.size()
    units = _known_units(path, 100, rng)
    last = time.time()
    asked: list[tuple[str, Callable[[Reader, int], object]]] = [
        ("one unit, all its records", lambda reader, turn: reader.find(Wanted(unit=units[turn % len(units)]))),
        ("a unit that never came", lambda reader, turn: reader.find(Wanted(unit=turn))),
        (
            "the canary's newest 100 of the last hour",
            lambda reader, _: reader.find(Wanted(version="canary", since=last - 3600)),
        ),
        ("the newest 100 of all", lambda reader, _: reader.find(Wanted())),
        ("by version: how many units, first, last", lambda reader, _: reader.summary()),
    ]
    rows = [
        Row(
            f"{count:,} new units written: CPU of the store for each, and its size",
            f"{cpu / count * 1e6:.1f} us (elapsed {wall / count * 1e6:.1f}), {size / count:.0f} bytes",
            "",
        )
    ]
    for title, ask in asked:
        took, used = [], []
        for turn in range(100):
            begun, before = time.perf_counter(), time.process_time()
            with Reader(path) as reader:
                ask(reader, turn)
            took.append((time.perf_counter() - begun) * 1000)
            used.append((time.process_time() - before) * 1000)
        measured = (
            f"{statistics.median(took):.1f} ms (longest of 100: {max(took):.1f}), CPU {statistics.median(used):.1f} ms"
        )
        rows.append(Row(f"of {count:,} records: {title}", measured, "ms"))
    records.close()
    return rows


class _Control:
    """Control's end of a channel, over a store."""

    def __init__(self, path: Path) -> None:
        self.writer = Writer(
            path, Keeping(1e9, 1 << 40), time.time, lambda level, text: print(level, text, file=sys.stderr)
        )
        self.loop = asyncio.get_running_loop()
        self.gone = asyncio.Event()

    def exposed(self, payload: bytes, done: Callable[[], None]) -> None:
        self.writer.take(payload, lambda: self._stored(done))

    def _stored(self, done: Callable[[], None]) -> None:
        self.loop.call_soon_threadsafe(done)

    def hello(self, _said: object) -> None:
        """The worker is there."""

    def lost(self) -> None:
        self.gone.set()


def _worker(channel: socket.socket, rate: int, seconds: float, told: Connection) -> None:
    """A worker that meets `rate` new units a second and does nothing else: its own queue, clock and window."""
    cells = memoryview(bytearray(8 << 20)).cast("q")
    exposing = Exposing(time.time, cells)
    with tempfile.TemporaryDirectory() as directory:
        file = Path(directory, "t.yaml")
        file.write_text(_FILE)
        plan = build_plan(load(file, {}).spec | {"generation": 1})
    exposing.bring(plan, alone=True)
    (route,) = plan.routes
    request = parse_request(b"GET / HTTP/1.1\r\nHost: bench.example", 100, 8192)
    reader = FrameReader()
    channel.setblocking(False)
    outgoing = bytearray(encode(messages.HELLO, b'{"generation": 1}'))

    def send(kind: int, payload: bytes) -> bool:
        outgoing.extend(encode(kind, payload))
        return True

    rng = random.Random(os.getpid())
    begun, used = time.perf_counter(), time.process_time()
    made = highest = 0
    first = rng.getrandbits(40)
    while True:
        passed = time.perf_counter() - begun
        due = int(min(passed, seconds) * rate)
        while made < due:
            unit = b"user-%d" % (first + made)
            decision = decide(route, request, unit)
            if route.seen is not None and decision.version is not None:
                exposing.record(
                    route.seen, route, decision.version, decision, unit, f"{rng.getrandbits(64):016x}", "header", request,
                    b"%032x" % (first + made), 1,
                )  # fmt: skip
            made += 1
        exposing.flush(send)
        highest = max(highest, exposing.held)
        _exchange(channel, outgoing, reader, exposing, send)
        if passed > seconds and not exposing.held:
            break
        time.sleep(0.005)
    told.send((made, sum(cells), highest, time.perf_counter() - begun - seconds, time.process_time() - used))
    channel.close()


def _exchange(
    channel: socket.socket,
    outgoing: bytearray,
    reader: FrameReader,
    exposing: Exposing,
    send: Callable[[int, bytes], bool],
) -> None:
    try:
        while outgoing:
            del outgoing[: channel.send(outgoing)]
    except BlockingIOError:
        pass
    try:
        data = channel.recv(1 << 20)
    except BlockingIOError:
        return
    for kind, payload in reader.feed(data):
        if kind == messages.STORED:
            exposing.acknowledged(int(payload.partition(b":")[2].rstrip(b"}")), send)


Told = tuple[int, int, int, float, float]
"""How many units came, how many were dropped, how many waited at most, how long the last of them did, the worker's CPU seconds."""


async def _run(path: Path, rate: int, seconds: float) -> Told:
    ours, theirs = socket.socketpair()
    ours.setblocking(False)
    here, there = multiprocessing.Pipe()
    worker = multiprocessing.get_context("fork").Process(target=_worker, args=(theirs, rate, seconds, there))
    worker.start()
    theirs.close()
    control = _Control(path)
    link = Link(control)  # type: ignore[arg-type]  # it is told of no plan
    await asyncio.get_running_loop().create_unix_connection(lambda: link, sock=ours)
    try:
        await asyncio.wait_for(control.gone.wait(), seconds * 10 + 60)
    finally:
        worker.join(10)
        await asyncio.to_thread(control.writer.close)
    found: Told = here.recv()
    return found


def newcomers(directory: Path, quick: bool) -> list[Row]:
    """New units a second, from a worker's queue over the channel into the file: what is dropped, how many wait."""
    rows = []
    seconds = 3.0 if quick else 20.0
    for rate in (20_000, 35_000, WANTED_RATE):
        before = time.process_time()
        made, dropped, highest, late, worker = asyncio.run(_run(directory / f"new-{rate}.db", rate, seconds))
        control = (time.process_time() - before) / (made - dropped)
        rows.append(
            Row(
                f"{rate:,} new units a second for {seconds:.0f} s, worker and store on {os.cpu_count()} cores",
                f"{dropped / made:.1%} dropped; at most {highest:,} waited, the last for {max(0.0, late):.1f} s;"
                f" CPU for each: worker {worker / made * 1e6:.1f} us, control {control * 1e6:.1f} us",
                "none dropped" if rate == WANTED_RATE else "",
            )
        )
    return rows


class Shop(Tidegate):
    """Tidegate over one route, whose units come in a field or are minted for every request; recorded where there is a store."""

    def __init__(self, store: Path | None, *, minted: bool) -> None:
        self._store = store
        self._minted = minted

    def text(self, ports: Ports, work: Work = PLAIN) -> str:
        """The file."""
        text = tidegate_file(ports, mirrored=False).rstrip() + "\n"
        if self._minted:
            text = text.replace("{header: x-user-id}", "{mint_cookie: unit}")
        if self._store is not None:
            text = f"state: sqlite:{self._store}\n{text}    exposure: true\n"
        return text


class ShopInterpreted(Interpreted):
    """The same from the sources of this checkout."""

    def __init__(self, shop: Shop) -> None:
        self._shop = shop

    def command(self, directory: Path, ports: Ports, work: Work = PLAIN) -> list[str]:
        return [*self._start(), *self._shop.command(directory, ports)[1:]]


def recording(place: Place, quick: bool, *, interpreted: bool = False) -> list[Row]:
    """CPU per small GET with exposures recorded, as a ratio to the same without, control included: for units that have come
    before, and where every request is a unit of its own."""
    rows = []
    for minted, title, wanted in (
        (False, "10,000 known units", "<= 1.10 x"),
        (True, "every request a new unit", ""),
    ):
        ratios = _ratios(place, quick, minted=minted, interpreted=interpreted)
        form = ", interpreted" if interpreted else ""
        rows.append(
            Row(
                f"exposures recorded, {title}{form}: CPU per request, beside none",
                f"{statistics.median(ratios):.2f} x ({min(ratios):.2f} to {max(ratios):.2f} over the rounds)",
                wanted,
            )
        )
    return rows


def _ratios(place: Place, quick: bool, *, minted: bool, interpreted: bool) -> list[float]:
    def peer(store: Path | None) -> Peer:
        shop = Shop(store, minted=minted)
        return ShopInterpreted(shop) if interpreted else shop

    name = "minted" if minted else "known"
    other = free_ports(7)[-2:]
    beside = replace(place.ports, listen=other[0], admin=other[1])
    recorded = place.under(f"recorded-{name}")
    with (
        peer_running(peer(None), place.under(f"unrecorded-{name}"), place.ports, place.cores) as plain,
        peer_running(peer(recorded / "state.db"), recorded, beside, place.cores) as subject,
    ):
        for port in (place.ports.listen, beside.listen):
            drive(Load("GET", "/small"), port, 2, place.load_cores, place.directory)  # every user has come once
        return turn_about(
            (plain, place.ports.listen), (subject, beside.listen), place, 3 if quick else 10, 1 if quick else 3
        )


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m bench.exposure", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="500,000 records and short rounds, for a first look")
    parser.add_argument("--requests", action="store_true", help="only what a request costs")
    parser.add_argument("--interpreted", action="store_true", help="requests through the sources of this checkout")
    chosen = parser.parse_args()
    rows: list[Row] = []
    with tempfile.TemporaryDirectory(prefix="tidegate-bench-") as temporary:
        directory = Path(temporary)
        if not chosen.requests:
            rows += questions(directory, chosen.quick)
            rows += newcomers(directory, chosen.quick)
        if find("wrk") is None:
            print("wrk is not installed: what a request costs is not measured", file=sys.stderr)
        else:
            cores = sorted(os.sched_getaffinity(0))
            own, others = {cores[-1]}, set(cores[:-1]) or {cores[-1]}
            ports = Ports(*free_ports(5))
            with upstream_running(directory, ports, others):
                rows += recording(Place(directory, ports, own, others), chosen.quick, interpreted=chosen.interpreted)
    print("| what | measured | wanted |\n|---|---|---|")
    for row in rows:
        print(f"| {row.title} | {row.measured} | {row.wanted} |")
    return 0


if __name__ == "__main__":
    sys.exit(main())
