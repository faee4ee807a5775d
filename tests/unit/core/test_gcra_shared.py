"""One table, several processes: what all of them admit together stays within 5 % of what one bucket admits.

What one bucket would have admitted is reckoned from when the processes did ask, so a machine that stalls changes nothing.
"""

import os
import subprocess
import sys
import time
from array import array
from collections.abc import Callable

import pytest

from proxy.core.gcra import ENTRY_SLOTS, SECOND, SET_SLOTS, RateLimit, RateTable

PROGRAM = """
import mmap, sys, time
from tests.unit.core.test_gcra_shared import SLOTS, hammer
descriptor, worker, pause, rate, burst, span = map(int, sys.argv[1:])
with mmap.mmap(descriptor, SLOTS * 8) as memory:
    view = memoryview(memory).cast("q")
    print("ready", flush=True)
    begin = int(sys.stdin.readline())
    end = begin + span
    sys.stdout.buffer.write(hammer(view, worker, pause, rate, burst, begin, end, time.monotonic_ns).tobytes())
    view.release()
"""
SLOTS = SET_SLOTS * 16
SPAN = SECOND * 7 // 10
REQUEST = 50_000
"""Nanoseconds: no worker is done with a request sooner."""


def limit(rate: int, burst: int) -> RateLimit:
    return RateLimit({"label": "l", "by": [], "rate": float(rate), "burst": burst, "versions": []}, "r", {})


def hammer(
    view: memoryview, worker: int, pause: int, rate: int, burst: int, begin: int, end: int, clock: Callable[[], int]
) -> array:
    """Ask every `pause` nanoseconds from `begin` to `end`: the times of asking, negative where it was refused."""
    one, table = limit(rate, burst), RateTable(view, 0, SLOTS, b"s", worker)
    bucket = table.bucket(b"one key")
    asked = array("q")
    due = begin
    while (now := clock()) < end:
        if now < due:
            continue
        due = now + pause
        place = table.find(bucket, now)
        if table.debt(place, bucket, now, one.span) + one.interval <= one.span:
            table.charge(place, bucket, now, one.interval, one.span)
            asked.append(now)
        else:
            asked.append(-now)
    return asked


def one_bucket(times: list[int], rate: int, burst: int) -> int:
    """How many of these requests one bucket admits."""
    one = limit(rate, burst)
    tat = admitted = 0
    for now in times:
        if max(tat - now, 0) + one.interval <= one.span:
            tat = max(tat, now) + one.interval
            admitted += 1
    return admitted


@pytest.mark.slow
@pytest.mark.parametrize(
    ("requests", "rate", "burst"),
    [
        ([1, 1, 1], 10_000, 1_000),
        ([1, 1, 1], 1_000, 2_000),  # most of it is one burst, which all charge as fast as they can
        ([1, 10, 100], 10_000, 1_000),
        ([1, 1000], 500, 300),
        ([1, 1, 10_000], 500, 10),
    ],
)
def test_several_processes_admit_what_one_bucket_does(requests: list[int], rate: int, burst: int):
    descriptor = os.memfd_create("rates")
    try:
        os.ftruncate(descriptor, SLOTS * 8)
        programs = [
            subprocess.Popen(
                [
                    *(sys.executable, "-c", PROGRAM),
                    *map(str, (descriptor, worker, each * REQUEST, rate, burst, SPAN)),
                ],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                pass_fds=[descriptor],
            )
            for worker, each in enumerate(requests)
        ]
        for program in programs:
            assert program.stdout is not None
            assert program.stdout.readline() == b"ready\n"
        begin = b"%d\n" % (time.monotonic_ns() + SECOND // 20)
        for program in programs:
            assert program.stdin is not None
            program.stdin.write(begin)
            program.stdin.flush()
        outcomes = [array("q", program.communicate(timeout=60)[0]) for program in programs]
    finally:
        os.close(descriptor)
    allowed = one_bucket(sorted(abs(asked) for outcome in outcomes for asked in outcome), rate, burst)
    admitted = sum(asked > 0 for outcome in outcomes for asked in outcome)
    assert allowed > 0
    assert 0.95 * allowed <= admitted <= 1.05 * allowed


def test_charge_that_was_written_over_is_made_again():
    """The other worker read before this one wrote, and wrote before it looked."""
    one = limit(10, 5)
    now = 1000 * SECOND

    class Racing:
        """The memory, with another worker in it."""

        def __init__(self, memory: memoryview) -> None:
            self.memory = memory
            self.stale: int | None = None

        def __getitem__(self, place: int) -> int:
            return self.memory[place]

        def __setitem__(self, place: int, value: int) -> None:
            self.memory[place] = value
            if self.stale is not None and place % ENTRY_SLOTS == 1:
                self.memory[place] = self.stale
                self.stale = None

    memory = memoryview(bytearray(SLOTS * 8)).cast("q")
    racing = Racing(memory)
    table, other = RateTable(racing, 0, SLOTS, b"s", 0), RateTable(memory, 0, SLOTS, b"s", 1)  # type: ignore[arg-type]
    bucket = table.bucket(b"one key")
    place = table.find(bucket, now)
    theirs = other.bucket(b"one key")
    other.charge(place, theirs, now, one.interval, one.span)
    before = memory[place + 1]
    other.charge(place, theirs, now, one.interval, one.span)
    racing.stale, memory[place + 1] = memory[place + 1], before
    table.charge(place, bucket, now, one.interval, one.span)
    assert table.debt(place, bucket, now, one.span) == 3 * one.interval
