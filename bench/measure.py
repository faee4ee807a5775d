"""One measurement of one case: the load is made, and what it cost the peer is read from the kernel."""

import time
from contextlib import ExitStack
from pathlib import Path
from typing import Final

from bench.cases import Case, Figures
from bench.large import carry, on_cores
from bench.load import LoadError, drive, idle_connections
from bench.paced import Arrivals, arrive
from bench.peers import Peer
from bench.place import Place
from bench.process import Cost, Program, cost, family, memory

BARE: Final = 1.0
"""Seconds that the upstream alone is asked for, to know what of a latency is not the peer's."""


def measure(
    case: Case, peer: Peer, program: Program, place: Place, seconds: float, own: Path, rate: float | None = None
) -> Figures:
    """Drive a running peer with one case and say what it cost. Paced load asks `rate` times a second.

    `place.directory` is the upstream's as well, `own` the peer's. Raises LoadError when the load could not be made.
    """
    if case.paced or case.same:
        if rate is None:
            raise LoadError("no capacity is known to take a share of")
        return _paced(program, place, seconds, rate)
    if case.large:
        return _large(case.large, program, place, seconds)
    return _closed(case, program, place, seconds, own / peer.log if case.work.logged else None)


def _closed(case: Case, program: Program, place: Place, seconds: float, log: Path | None) -> Figures:
    pids = family(program.pid)
    port = place.ports.listen
    amidst: list[int] = []
    with ExitStack() as stack:
        idle_kb = None
        if case.idle:
            before = memory(pids).pss
            with on_cores(place.load_cores):
                stack.enter_context(idle_connections(port, case.idle))
            idle_kb = (memory(pids).pss - before) / case.idle / 1000
        shadow = place.directory / "shadow.log"
        copied, lines = shadow.stat().st_size if case.copied else 0, _settled(log)
        begun, start = cost(pids), time.monotonic()
        halfway = (lambda: amidst.append(memory(pids).pss)) if case.crowd else None
        outcome = drive(case.load, port, seconds, place.load_cores, place.directory, halfway)
        used, lasted = cost(pids) - begun, time.monotonic() - start
        held = memory(pids)
    _alive(program)
    if not outcome.requests:
        raise LoadError("no request was answered")
    wanted = round(outcome.requests * case.copied)
    return Figures(
        **_costs(used, outcome.requests, lasted),
        rate=outcome.requests / outcome.seconds,
        p50=outcome.p50,
        p99=outcome.p99,
        p999=outcome.p999,
        peak_rss=held.peak_rss,
        pss=amidst[0] if amidst else held.pss,
        failed=outcome.failed,
        requests=outcome.requests,
        idle_kb=idle_kb,
        copies=_copies(shadow, copied, wanted) / outcome.requests if case.copied else None,
        logged=_logged(log, lines, outcome.requests) if log else None,
    )


def _paced(program: Program, place: Place, seconds: float, rate: float) -> Figures:
    pids = family(program.pid)
    begun, start = cost(pids), time.monotonic()
    seen = arrive(place.ports.listen, rate, seconds, place.load_cores, place.directory)
    used, lasted = cost(pids) - begun, time.monotonic() - start
    held = memory(pids)
    _alive(program)
    if not seen.requests:
        raise LoadError("no request was answered")
    bare: Arrivals = arrive(place.ports.stable, rate, BARE, place.load_cores, place.directory)
    return Figures(
        **_costs(used, seen.requests, lasted),
        rate=seen.requests / seen.seconds,
        p50=seen.waited.percentile(50),
        p99=seen.waited.percentile(99),
        p999=seen.waited.percentile(99.9),
        peak_rss=held.peak_rss,
        pss=held.pss,
        failed=seen.failed,
        requests=seen.requests,
        asked=rate,
        late=seen.late.percentile(99),
        bare50=bare.waited.percentile(50),
        bare99=bare.waited.percentile(99),
    )


def _large(way: str, program: Program, place: Place, seconds: float) -> Figures:
    pids = family(program.pid)
    begun, start = cost(pids), time.monotonic()
    carried = carry(way, place.ports.listen, seconds, place.load_cores, place.directory / "100m")
    used, lasted = cost(pids) - begun, time.monotonic() - start
    held = memory(pids)
    _alive(program)
    each = carried.seconds / carried.bodies * 1e6
    return Figures(
        **_costs(used, carried.bodies, lasted),
        rate=carried.bodies / carried.seconds,
        p50=each,
        p99=each,
        peak_rss=held.peak_rss,
        pss=held.pss,
        failed=0,
        requests=carried.bodies,
        mebibytes=carried.mebibytes,
    )


def _costs(used: Cost, requests: int, lasted: float) -> dict[str, float]:
    each = 1e6 / requests
    return {
        "cpu": used.total * each,
        "cpu_user": used.user * each,
        "cpu_system": used.system * each,
        "busy": used.total / lasted,
    }


def _alive(program: Program) -> None:
    if died := program.died():
        raise LoadError(died)


def _lines(log: Path | None) -> int:
    """How many lines the log has now."""
    if log is None or not log.exists():
        return 0
    with log.open("rb") as file:
        return sum(piece.count(b"\n") for piece in iter(lambda: file.read(1 << 20), b""))


def _settled(log: Path | None) -> int:
    """How many lines it has once those of the load before are there: what buffers them is done within a second or so."""
    found, since, patience = _lines(log), time.monotonic(), time.monotonic() + 5.0
    while log is not None and time.monotonic() - since < 1.2 and time.monotonic() < patience:
        time.sleep(0.1)
        if (now := _lines(log)) != found:
            found, since = now, time.monotonic()
    return found


def _logged(log: Path, before: int, requests: int) -> float:
    """Lines of the access log for each request, once they are all there or three seconds are over."""
    patience = time.monotonic() + 3.0
    while (found := _lines(log) - before) < requests and time.monotonic() < patience:
        time.sleep(0.2)
    return found / requests


def _copies(log: Path, before: int, wanted: int) -> int:
    """How many copies the shadow has seen. Its log holds two bytes a request and is flushed every second, so one that
    has not grown for longer than that is whole.
    """
    seen, patience, grown = -1, time.monotonic() + 8.0, time.monotonic()
    while time.monotonic() < patience and time.monotonic() - grown < 1.4:
        now = (log.stat().st_size - before) // 2
        if now != seen:
            seen, grown = now, time.monotonic()
            if seen > wanted:
                break
        time.sleep(0.1)
    return seen
