"""What lists of units cost: `python -m bench.segments` (two minutes; it needs no other program).

Reading one and deciding over three, alone; then a running proxy whose list grows to a million units and is replaced, with
what all of its processes together hold meanwhile.
"""

import re
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path

from bench.apart import found_by, measure_apart
from bench.listed import SMALL, write_units
from bench.load import LoadError
from bench.own import scrape
from bench.peers import Interpreted, Tidegate
from bench.place import Place, Row
from bench.process import Program, family

UNITS = 1_000_000
_LIMIT = 300
_FILE = """listen: 127.0.0.1:{listen}
admin: 127.0.0.1:{admin}
workers: {workers}
secrets: {{unit_hash: bench-of-tidegate}}
upstreams:
  nobody: {{endpoints: [http://127.0.0.1:{nobody}]}}
segments:
  listed: {{units_file: list.txt}}
routes:
  - name: main
    unit: [{{header: x-user}}]
    debug: {{from: [127.0.0.0/8]}}
    versions: {{others: {{upstream: nobody, weight: 1}}, listed: {{upstream: nobody}}}}
    rules: [{{segment: listed, version: listed}}]
"""


class Held(threading.Thread):
    """Looks again and again at what a program's processes hold: private memory, and that which lists share."""

    def __init__(self, program: Program) -> None:
        super().__init__(daemon=True)
        self._pid = program.pid
        self._over = threading.Event()
        self.most = 0

    def run(self) -> None:
        while not self._over.wait(0.02):
            self.most = max(self.most, held(self._pid))

    def stop(self) -> int:
        """The most that was seen."""
        self._over.set()
        self.join()
        return self.most


def held(leader: int) -> int:
    """Bytes: the anonymous memory of all processes, and each list's once, mapped or only open."""
    total = 0
    shared: dict[int, int] = {}
    for pid in family(leader):
        try:
            rollup = Path(f"/proc/{pid}/smaps_rollup").read_text()
            total += int((re.search(r"^Pss_Anon:\s+(\d+)", rollup, re.MULTILINE) or [0, 0])[1]) * 1024
            for entry in Path(f"/proc/{pid}/fd").iterdir():
                if "memfd:tidegate-units" in str(entry.readlink()):
                    state = entry.stat()
                    shared[state.st_ino] = state.st_blocks * 512
            for line in Path(f"/proc/{pid}/maps").read_text().splitlines():
                if "memfd:tidegate-units" in line:
                    span, _, _, _, inode = line.split()[:5]
                    low, high = (int(one, 16) for one in span.split("-"))
                    shared.setdefault(int(inode), high - low)
        except OSError:  # it ended, or let go, while we looked
            continue
    return total + sum(shared.values())


def _version_of(port: int, unit: str) -> str:
    request = urllib.request.Request(f"http://127.0.0.1:{port}/", headers={"x-user": unit})
    try:
        answer = urllib.request.urlopen(request, timeout=10)
    except urllib.error.HTTPError as error:
        return str(error.headers.get("x-tidegate-version", ""))
    return str(answer.headers.get("x-tidegate-version", ""))


def _await(program: Program, done: Callable[[], bool]) -> float:
    begun = time.monotonic()
    while time.monotonic() - begun < 60:
        try:
            if done():
                return time.monotonic() - begun
        except OSError:
            pass
        if died := program.died():
            raise LoadError(died)
        time.sleep(0.01)
    raise LoadError("what was waited for did not come")


def growing(place: Place, count: int, workers: int, kind: str, peer: Tidegate | Interpreted) -> list[Row]:
    """Seconds until a list that was renamed into place is read, and the memory that it takes; then again."""
    directory = place.under(f"segments-{workers}-{kind}")
    command = peer.command(directory, place.ports)
    ports = place.ports
    (directory / "tidegate.yaml").write_text(
        _FILE.format(listen=ports.listen, admin=ports.admin, nobody=ports.shadow + 1000, workers=workers)
    )
    listed = directory / "list.txt"
    listed.write_text("nobody\n")
    with Program(command, place.cores, directory / "peer.log") as program:
        _await(program, lambda: sum(scrape(ports.admin, "tidegate_worker_up")) == workers)
        time.sleep(1.0)
        before = held(program.pid)
        seconds = []
        peaks = []
        for turn in range(4):
            fresh = directory / "fresh.txt"
            write_units(fresh, count + turn, kind)
            with fresh.open("a") as file:
                file.write(f"last-{turn}\n")
            watching = Held(program)
            if turn > 1:  # to look is to be in the way: the first two are for the clock
                watching.start()
            fresh.rename(listed)
            taken = _await(program, lambda turn=turn: _version_of(ports.listen, f"last-{turn}") == "listed")
            if turn > 1:
                peaks.append(watching.stop() - before)
            else:
                seconds.append(taken)
        time.sleep(7.0)
        stays = held(program.pid) - before
    what = f"{count:,} units ({'UUIDs' if kind == 'uuid' else 'short'}), {workers} worker{'s' if workers > 1 else ''}"
    return [
        Row(f"{what}: from the rename until it counts", f"{max(seconds):.2f} s", "<= 2 s"),
        Row(
            f"{what}: memory of all processes while it is replaced; when it stands",
            f"{max(peaks) / 1e6:+.1f} MB; {stays / 1e6:+.1f} MB",
            "<= 120 MB",
        ),
    ]


def alone(place: Place, count: int, peer: Tidegate | Interpreted) -> list[Row]:
    """What bench/listed.py measures, in a process of its own."""
    found = found_by("listed.py", place.under("listed"), count, interpreted=isinstance(peer, Interpreted))
    form = "compiled" if found["compiled"] else "interpreted"
    return [
        Row(f"Reading {count:,} short units, {form}", f"{found['short']:.2f} s of CPU", "<= 2 s"),
        Row(f"Reading {count:,} UUIDs, {form}", f"{found['uuid']:.2f} s of CPU", "<= 2 s"),
        Row(f"A decision without rules, {form}", f"{found['plain']:,.0f} ns", ""),
        *(
            Row(
                f"Ten rules and three list files of {SMALL:,} units, {form}, for a unit {where}",
                f"{(found[where] - found['plain']) / 1000:+.2f} us",
                "<= 3 us compiled",
            )
            for where in ("in none", "in the last")
        ),
    ]


def lists(place: Place, quick: bool, peer: Tidegate | Interpreted | None = None) -> list[Row]:
    """All of it."""
    peer = peer or Tidegate()
    count = UNITS // 10 if quick else UNITS
    rows = alone(place, count, peer)
    for workers, kind in ((1, "user-"),) if quick else ((1, "user-"), (1, "uuid"), (2, "uuid")):
        rows += growing(place, count, workers, kind, peer)
    return rows


def main() -> int:
    """Measure, and print."""
    return measure_apart(
        "segments", __doc__, "a tenth of the units",
        lambda place, quick, interpreted: lists(place, quick, Interpreted() if interpreted else Tidegate()),
    )  # fmt: skip


if __name__ == "__main__":
    sys.exit(main())
