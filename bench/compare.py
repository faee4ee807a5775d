"""`python -m bench.compare`: Tidegate and its peers on one pinned core, one after another, under the same load."""

import argparse
import datetime as dt
import os
import shlex
import sys
import tempfile
from pathlib import Path
from typing import Any, Final

from bench import own, report
from bench.audience import decisions
from bench.cases import CASES, Case, Figures, check, free_ports, measure, peer_running, upstream_running
from bench.exposure import recording
from bench.guarded import quiet_resilience
from bench.limits import live_keys
from bench.load import LoadError, drive
from bench.peers import PEERS, Nginx, Peer, Ports, ask, find
from bench.rollouts import under_way
from bench.segments import lists
from bench.verdicts import gates

PARTS: Final = (quiet_resilience, live_keys, decisions, lists, recording, under_way, gates)
"""What is measured of Tidegate alone, beside its memory, reload and start; but for the first, each is a command as well."""


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench.compare", description=__doc__)
    names, keys = [peer.name for peer in PEERS], [case.key for case in CASES]
    parser.add_argument(
        "--quick", action="store_true", help="one round of 1 s a case: for a first look, not for figures"
    )
    parser.add_argument("--peers", default=",".join(names), help="of " + ", ".join(names))
    parser.add_argument("--cases", default=",".join(keys), help="of " + ", ".join(keys))
    parser.add_argument("--seconds", type=float, help="whole seconds a measurement lasts (default 4)")
    parser.add_argument("--rounds", type=int, help="how often everything is measured; the medians count (default 3)")
    parser.add_argument(
        "--no-own", action="store_true", help="leave out the figures of Tidegate alone (memory, reload, start)"
    )
    parser.add_argument("--out", type=Path, help="write the tables to this file, as bench/RESULTS.md was")
    parser.add_argument("--json", type=Path, help="write every round's figures to this file")
    parser.add_argument("--readme", type=Path, help="put the small table between the marks of this file")
    chosen = parser.parse_args()
    chosen.peers, chosen.cases = chosen.peers.split(","), chosen.cases.split(",")
    for given, known in ((chosen.peers, names), (chosen.cases, keys)):
        if unknown := set(given) - set(known):
            parser.error(f"{', '.join(sorted(unknown))}: not one of {', '.join(known)}")
    chosen.seconds = chosen.seconds or (1 if chosen.quick else 4)
    chosen.rounds = chosen.rounds or (1 if chosen.quick else 3)
    return chosen


def split_cores() -> tuple[set[int], set[int]]:
    """One core for the peer, the rest for the load and the upstream."""
    cores = sorted(os.sched_getaffinity(0))
    if len(cores) == 1:
        print("one core only: peer, load and upstream share it, and the figures suffer", file=sys.stderr)
        return set(cores), set(cores)
    return {cores[-1]}, set(cores[:-1])


def run_peer(
    peer: Peer,
    cases: list[Case],
    ports: Ports,
    seconds: float,
    cores: tuple[set[int], set[int]],
    directory: Path,
    upstream: Path,
) -> tuple[dict[str, Any], dict[str, Figures]]:
    """Start the peer, verify it, measure the cases it can do.

    Raises LoadError when it does not start, answers wrongly or dies.
    """
    found: dict[str, Figures] = {}
    with peer_running(peer, directory, ports, cores[0]) as program:
        seen = check(peer, ports.listen)
        drive(CASES[0].load, ports.listen, 1, cores[1], directory)  # warm: connections made, caches filled
        for case in cases:
            if case.copied and not peer.mirrors:
                continue
            figures = measure(case, program, ports, seconds, cores[1], directory, upstream)
            found[case.key] = figures
            print(
                f"  {peer.name:9} {case.key:10} {figures.cpu:7.1f} us/request {figures.rate:9,.0f}/s"
                f"  p99 {figures.p99 / 1000:7.2f} ms  {figures.pss / 1e6:6.1f} MB"
                + (f"  {figures.failed} FAILED" if figures.failed else ""),
                file=sys.stderr,
            )
    return {"share": seen.share, "same": seen.sticky}, found


def main() -> int:
    chosen = arguments()
    cores = split_cores()
    wrk = find("wrk")
    if wrk is None or Nginx().program() is None:
        print("the bench needs wrk and nginx (see bench/README.md)", file=sys.stderr)
        return 2
    skipped = {p.name: "not installed" for p in PEERS if p.name in chosen.peers and p.program() is None}
    peers = [p for p in PEERS if p.name in chosen.peers and p.name not in skipped]
    for name, why in skipped.items():
        print(f"{name}: {why}, skipped", file=sys.stderr)
    cases = [case for case in CASES if case.key in chosen.cases]
    results: report.Results = {case.key: {} for case in cases}
    facts: dict[str, Any] = {
        "command": shlex.join(["python", "-m", "bench.compare", *sys.argv[1:]]),
        "date": dt.datetime.now(dt.UTC).date().isoformat(),
        "machine": report.machine(),
        "wrk": ask(r"(wrk .*?) Copyright", wrk, "-v"),
        "upstream": Nginx().version(),
        "rounds": chosen.rounds,
        "seconds": chosen.seconds,
        "peers": {p.name: {"version": p.version(), "sticky": p.sticky, "splits": p.splits} for p in peers},
        "skipped": skipped,
    }
    with tempfile.TemporaryDirectory(prefix="tidegate-bench-") as temporary:
        directory = Path(temporary)
        ports = Ports(*free_ports(5))
        with upstream_running(directory, ports, cores[1]):
            for turn in range(chosen.rounds):
                print(f"round {turn + 1} of {chosen.rounds}", file=sys.stderr)
                order = (
                    peers[turn % len(peers) :] + peers[: turn % len(peers)]
                )  # nobody always runs on the warm machine
                for peer in order:
                    if peer.name in skipped:
                        continue
                    place = directory / f"{peer.name}-{turn}"
                    try:
                        seen, figures = run_peer(peer, cases, ports, chosen.seconds, cores, place, directory)
                    except LoadError as error:
                        print(f"{peer.name}: {error}", file=sys.stderr)
                        skipped[peer.name] = f"failed in round {turn + 1}: {error}"
                        continue
                    facts["peers"][peer.name].update(seen)
                    for key, one in figures.items():
                        results[key].setdefault(peer.name, []).append(one)
            for name in skipped:  # a peer that failed once is not shown with the rounds that went well
                facts["peers"].pop(name, None)
                for measured in results.values():
                    measured.pop(name, None)
            if not chosen.no_own and "tidegate" in facts["peers"]:
                facts["own"] = own.measure_all(directory, ports, cores, chosen.quick, PARTS)
    text = report.markdown(results, facts)
    print(text)
    if chosen.out:
        chosen.out.write_text(text)
    if chosen.json:
        chosen.json.write_text(report.dump(results, facts))
    if chosen.readme:
        chosen.readme.write_text(
            report.put_between_marks(chosen.readme.read_text(), report.small_table(results, facts))
        )
    return 1 if any(why != "not installed" for why in skipped.values()) else 0


if __name__ == "__main__":
    sys.exit(main())
