"""What rollouts cost: `python -m bench.rollouts` (four minutes; `--quick`: one).

A request, first: what is counted of its answer (testifying.py). Then the control process.

A hundred routes, first without and then each with a rollout that is under way at its first step, judged by errors and latency as
the default is. New users come all the time to all of them. What the kernel booked for the control process, user and system, is
shown as a share of one core; its worker, the load and the upstream are left out.
"""

import asyncio
import json
import os
import sys
import tempfile
import threading
import time
import urllib.request
from pathlib import Path
from typing import Any

import yaml

from bench.apart import found_by, measure_apart
from bench.cases import free_ports
from bench.load import LoadError
from bench.peers import ROOT, Tidegate
from bench.place import Place, Row
from bench.process import Program, cost

ROUTES = 100
SETTLING = 15.0
"""Seconds before the measurement, in which all take their first step."""
RATE = 400
"""Requests a second, over all routes."""
WANTED = 5.0
"""Percent of a core."""
_ANSWER = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


def configuration(listen: int, admin: int, upstream: int, directory: Path, rollouts: int) -> str:
    """A hundred routes, of which the first so many have a rollout."""
    routes: list[dict[str, Any]] = [
        {
            "name": f"r{index}",
            "match": {"path_prefix": f"/r{index}/"},
            "unit": [{"header": "x-user-id"}],
            "versions": {"stable": {"upstream": "u", "weight": 100}, "canary": {"upstream": "u", "weight": 0}},
        }
        for index in range(ROUTES)
    ]
    for route in routes[:rollouts]:
        route["rollout"] = {"revision": "v2", "steps": [50, 100], "hold": "1h"}
    return yaml.safe_dump(
        {
            "listen": f"127.0.0.1:{listen}",
            "admin": f"127.0.0.1:{admin}",
            "state": "sqlite:state.db",
            "run_dir": str(directory),
            "access_log": "off",
            "upstreams": {"u": {"endpoints": [f"http://127.0.0.1:{upstream}"]}},
            "routes": routes,
        }
    )


class Traffic:
    """An upstream that says ok, and users who come to every route in turn, each once; on a thread of its own."""

    def __init__(self, listen: int, upstream: int) -> None:
        self._listen = listen
        self._upstream = upstream
        self._stop = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._run()))
        self.answered = 0

    def __enter__(self) -> "Traffic":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    async def _run(self) -> None:
        async with await asyncio.start_server(self._answer, "127.0.0.1", self._upstream):
            writer = None
            number = 0
            while not self._stop.is_set():
                begun = time.monotonic()
                try:
                    if writer is None:
                        reader, writer = await asyncio.open_connection("127.0.0.1", self._listen)
                    for _ in range(RATE // 10):
                        number += 1
                        line = f"GET /r{number % ROUTES}/ HTTP/1.1\r\nHost: a\r\nX-User-Id: {number}\r\n\r\n"
                        writer.write(line.encode())
                    for _ in range(RATE // 10):
                        await reader.readuntil(b"\r\n\r\n")
                        await reader.readexactly(2)
                        self.answered += 1
                except (OSError, asyncio.IncompleteReadError):
                    writer = None  # it is not there yet
                await asyncio.sleep(max(0.0, 0.1 - (time.monotonic() - begun)))
            if writer is not None:
                writer.close()

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                await reader.readuntil(b"\r\n\r\n")
                writer.write(_ANSWER)
        except (OSError, asyncio.IncompleteReadError, asyncio.CancelledError):
            writer.close()


def share(rollouts: int, seconds: float, *, interpreted: bool) -> tuple[float, int]:
    """Percent of a core that the control process takes with so many rollouts under way, and its requests. Raises LoadError
    when they do not get under way."""
    listen, admin, upstream = free_ports(3)
    with tempfile.TemporaryDirectory(prefix="tidegate-rollouts-") as temporary:
        directory = Path(temporary)
        directory.chmod(0o700)
        file = directory / "tidegate.yaml"
        file.write_text(configuration(listen, admin, upstream, directory, rollouts))
        sources = [f"PYTHONPATH={ROOT}", sys.executable, "-m", "proxy"]
        start = sources if interpreted else [str(Tidegate().program())]
        command = ["/usr/bin/env", f"--chdir={temporary}", *start, "run"]
        cores = os.sched_getaffinity(0)
        with (
            Program([*command, "--no-guardian", "-c", str(file)], cores, directory / "log") as program,
            Traffic(listen, upstream) as traffic,
        ):
            _settle(admin, rollouts, program)
            before, answered = cost([program.pid]), traffic.answered
            begun = time.monotonic()
            time.sleep(seconds)
            used = (cost([program.pid]) - before).total / (time.monotonic() - begun)
            return used * 100.0, traffic.answered - answered


def _settle(admin: int, rollouts: int, program: Program) -> None:
    """Wait until all rollouts are at their first step, and for the start to be over."""
    end = time.monotonic() + 60.0
    while True:
        found: list[str] = []
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{admin}/api/v1/rollouts", timeout=10) as answer:
                found = [one["state"] for one in json.load(answer)["rollouts"]]
            if found == ["progressing"] * rollouts:
                time.sleep(SETTLING)
                return
        except OSError:  # it does not listen yet
            pass
        if time.monotonic() > end:
            raise LoadError(f"not all rollouts are under way: {sorted(set(found))}\n{program.died()}")
        time.sleep(0.2)


def under_way(place: Place, quick: bool, interpreted: bool = False) -> list[Row]:
    """What an answer costs more where a rollout is under way, and what all of them cost control."""
    found = found_by("testifying.py", place.under("testifying"), 20 if quick else 200, interpreted=interpreted)
    form = "compiled" if found["compiled"] else "interpreted"
    rows = [
        Row(
            f"An answer counted for its unit, where a rollout is under way (and the look whether one is), {form}",
            f"{found['known'] / 1000:.2f} us ({found['without'] / 1000:.2f} us)",
            "<= 1 us",
        ),
        Row(f"the same, of a unit that is new in the last 5 s, {form}", f"{found['new'] / 1000:.2f} us", ""),
    ]
    seconds = 10.0 if quick else 60.0
    for rollouts in (0, ROUTES):
        percent, requests = share(rollouts, seconds, interpreted=interpreted)
        rows.append(
            Row(
                f"control with {ROUTES} routes and {rollouts} rollouts under way, {requests / seconds:.0f} new users/s, {form}",
                f"{percent:.1f} % of a core",
                f"under {WANTED:g} %" if rollouts else "",
            )
        )
    return rows


def main() -> int:
    """Measure, and print."""
    return measure_apart("rollouts", __doc__, "ten seconds of each, for a first look", under_way)


if __name__ == "__main__":
    sys.exit(main())
