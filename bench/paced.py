"""Open-loop load: requests at times laid down beforehand, and how long each waited since it was due.

`paced.lua` sends and measures; here it is started, and its histogram becomes percentiles. Who had to wait for a connection,
or would have come while the peer stalled, is in it with all of that wait: nothing is omitted that a closed loop would omit.
"""

import json
import subprocess
from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate
from math import ceil
from pathlib import Path
from typing import Final

from bench.load import SEED, LoadError
from bench.peers import find
from bench.process import Program

CONNECTIONS: Final = 128
"""Kept connections that carry the load. A request that finds none free waits for one, and the wait counts."""
_USERS: Final = 10_000
_EXACT: Final = 256
_STEPS: Final = 128


@dataclass(frozen=True, slots=True)
class Histogram:
    """Microseconds, as pairs of bucket and count in rising order: exact below 256, and 128 buckets for each doubling from there."""

    counts: tuple[tuple[int, int], ...]

    @property
    def total(self) -> int:
        return sum(count for _, count in self.counts)

    def percentile(self, percent: float) -> float:
        """The microseconds that `percent` of 100 did not exceed, at most 0.8 % too high. Raises ValueError when it is empty."""
        if not self.counts:
            raise ValueError("a percentile of nothing")
        below = list(accumulate(count for _, count in self.counts))
        rank = max(1, ceil(round(percent / 100.0 * below[-1], 6)))
        return float(highest_of(self.counts[bisect_left(below, rank)][0]))

    def beyond(self, microseconds: float) -> int:
        """How many took longer."""
        return sum(count for bucket, count in self.counts if highest_of(bucket) > microseconds)


def highest_of(bucket: int) -> int:
    """The longest time, in whole microseconds, that falls into `bucket`."""
    if bucket < _EXACT:
        return bucket
    doubled = (bucket - _STEPS) // _STEPS
    return int((bucket - _STEPS * doubled + 1) * 2**doubled) - 1


@dataclass(frozen=True, slots=True)
class Arrivals:
    """What came of one run. `waited`: from the time each request was due until its answer was whole; `late`: how late the
    generator itself was in sending it, which is part of that."""

    asked: float
    requests: int
    failed: int
    seconds: float
    waited: Histogram
    late: Histogram


def parse(output: str, rate: float) -> Arrivals:
    """Read what the generator printed. Raises LoadError when the line is not there."""
    for line in output.splitlines():
        if line.startswith("RESULT "):
            found = json.loads(line.removeprefix("RESULT "))
            return Arrivals(
                rate, found["requests"], found["failed"], found["microseconds"] / 1e6,
                _histogram(found["waited"]), _histogram(found["late"]),
            )  # fmt: skip
    raise LoadError(f"the open-loop generator gave no result: {output.strip()[-400:]}")


def _histogram(pairs: Sequence[Sequence[int]]) -> Histogram:
    return Histogram(tuple((bucket, count) for bucket, count in pairs))


def start_paced(
    port: int,
    rate: float,
    seconds: float,
    cores: set[int],
    directory: Path,
    path: str = "/small",
    connections: int = CONNECTIONS,
) -> Program:
    """Begin to ask `rate` times a second for `seconds`; the output goes to `directory`/paced.log. Raises LoadError."""
    luajit = find("luajit")
    if luajit is None:
        raise LoadError("luajit is not installed (see bench/README.md)")
    script = Path(__file__).with_name("paced.lua")
    numbers = (port, f"{rate:.1f}", seconds, connections, SEED, _USERS)
    return Program([luajit, str(script), *map(str, numbers), path], cores, directory / "paced.log")


def arrive(
    port: int,
    rate: float,
    seconds: float,
    cores: set[int],
    directory: Path,
    path: str = "/small",
    connections: int = CONNECTIONS,
) -> Arrivals:
    """Ask `rate` times a second for `seconds`, and tell what came of it. Raises LoadError."""
    with start_paced(port, rate, seconds, cores, directory, path, connections) as generator:
        try:
            generator.wait(seconds + 30)
        except subprocess.TimeoutExpired as error:
            raise LoadError("the open-loop generator did not end") from error
        return parse(generator.log.read_text(errors="replace"), rate)
