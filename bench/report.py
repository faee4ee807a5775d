"""The results as people read them (RESULTS.md) and as programs do (JSON)."""

import json
import platform
from pathlib import Path
from typing import Any, Final

from bench import wanted
from bench.cases import Figures
from bench.tables import (
    DOWN,
    PACED,
    UP,
    added_by_mirror,
    bodies_table,
    case_table,
    memory_table,
    paced_table,
    with_tables_of_their_own,
)
from bench.wanted import Results

MARKS: Final = ("<!-- bench:begin -->", "<!-- bench:end -->")
_HOW = """In brackets: the ratio to nginx of the same round. Figures are medians over the rounds; what the wanted figures need was
measured in {rounds} of {decisive} s a case, and everything once more, for {survey} s. Each peer has one worker on a core of its
own, the load and the upstream share the rest. `core used` is what of its core the peer took: where that is well below 100 %,
requests/s and closed-loop latency are bounded by the load generator too, and CPU per request is the one to compare."""
_PACED = """Requests come at random at a fixed rate, whatever the peer does, and each one's wait counts from the time it was due; of
a peer that stalls, everybody who came meanwhile is in the percentiles. Capacity is what wrk got out of the peer with 64 connections
in the same round. *The upstream alone* is the same load without a peer: what generator and upstream, which share a core, take."""


def machine() -> dict[str, str]:
    """What the figures were measured on."""
    model = "unknown"
    total = "unknown"
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            model = line.partition(":")[2].strip()
            break
    for line in Path("/proc/meminfo").read_text().splitlines():
        if line.startswith("MemTotal"):
            total = f"{int(line.split()[1]) / 1048576:.1f} GiB"
    cores = Path("/proc/cpuinfo").read_text().count("processor\t")
    return {
        "CPU": f"{model}, {cores} cores",
        "memory": total,
        "kernel": platform.release(),
        "Python": f"{platform.python_implementation()} {platform.python_version()}",
    }


def markdown(results: Results, facts: dict[str, Any]) -> str:
    """The whole of RESULTS.md."""
    peers = facts["peers"]
    pace = facts["pace"]
    rounds = "1 round" if pace["rounds"] == 1 else f"{pace['rounds']} rounds"
    lines = [
        "# Results",
        "",
        f"Made by `{facts['command']}` on {facts['date']}, in {facts['lasted'] / 60:.0f} minutes; do not edit. How it is measured",
        "stands in [README.md](README.md).",
        "",
        _HOW.format(rounds=rounds, decisive=pace["decisive"], survey=pace["survey"]),
        "",
        "| machine | |",
        "|---|---|",
        *(f"| {name} | {value} |" for name, value in facts["machine"].items()),
        f"| load generators | {facts['wrk']}; {facts['luajit']} |",
        f"| upstream | nginx {facts['upstream']} |",
        "",
        "## Figures wanted",
        "",
        "Ratios within one run; the medians over the rounds, and the least and the most of them.",
        "",
        wanted.table(results, facts["own"]),
        "",
        "## Peers",
        "",
        "| peer | version | sticky by | canary's share of 1,000 users (10 % wanted) | same version again | adds to each request |",
        "|---|---|---|---:|---:|---|",
    ]
    for name, peer in peers.items():
        share = "n/a | n/a" if "split" in peer["cannot"] else f"{peer['share']:.1%} | {peer['same']:.1%}"
        lines.append(f"| {name} | {peer['version']} | {peer['sticky']} | {share} | {peer['adds']} |")
    left_out = [f"- {name}: {why}" for name, why in facts["skipped"].items()]
    left_out += [f"- {name}: {why}" for name, why in facts["failures"].items()]
    left_out += [f"- {what}: there was no time left" for what in facts["dropped"]]
    if left_out:
        lines += ["", "Not measured:", "", *left_out]
    lines.append("")
    if any(results.get(key) for key in (*PACED, "same")):
        lines += ["## Latency by load", "", _picture("latency", "Latency by load"), "", _PACED, ""]
        lines += [paced_table(results, peers, facts.get("same")), ""]
    if any(results.get(key) for key in (*DOWN, *UP)):
        lines += ["## Bodies", "", _picture("bodies", "CPU by size of the answer"), ""]
        lines += [bodies_table(results, peers, DOWN), "", bodies_table(results, peers, UP), ""]
    if results.get("idle"):
        lines += ["## Memory", "", _picture("memory", "Memory with connections"), ""]
        lines += ["PSS of all processes of a peer; of Tidegate that is the control process, too.", ""]
        lines += [memory_table(results, peers), ""]
    lines += ["## Cases", "", _picture("cpu", "CPU of a small GET"), ""]
    for case in with_tables_of_their_own(results):
        lines += [f"### {case.title}", "", case_table(results, case, peers), ""]
    added = [(peer, more) for peer in peers if (more := added_by_mirror(results, peer)) is not None]
    if added:
        lines += ["What a 100 % mirror adds to the CPU of a request, as a multiple of the cost without:", ""]
        lines += [f"- {peer}: {more:.2f}" for peer, more in added]
        lines.append("")
    if facts["own"]:
        lines += ["## Tidegate alone", "", "| figure | measured | wanted |", "|---|---:|---:|"]
        lines += [f"| {row['title']} | {row['measured']} | {row['wanted']} |" for row in facts["own"]]
        lines.append("")
    return "\n".join(lines)


def _picture(name: str, words: str) -> str:
    return f"![{words}](../docs/performance-{name}.svg)"


def put_between_marks(text: str, block: str, marks: tuple[str, str] = MARKS) -> str:
    """`text` with what stands between the marks replaced by `block`.

    Raises ValueError when the marks are not there.
    """
    head, begin, rest = text.partition(marks[0])
    _, end, tail = rest.partition(marks[1])
    if not begin or not end:
        raise ValueError(f"no {marks[0]} ... {marks[1]}")
    return f"{head}{begin}\n{block}\n{end}{tail}"


def dump(results: Results, facts: dict[str, Any]) -> str:
    """Everything that was measured, every round of it, as JSON."""
    rounds = {
        case: {
            peer: [{name: getattr(one, name) for name in one.__dataclass_fields__} for one in figures]
            for peer, figures in peers.items()
        }
        for case, peers in results.items()
    }
    return json.dumps({**facts, "cases": rounds}, indent=1) + "\n"


def load(text: str) -> tuple[Results, dict[str, Any]]:
    """What `dump` wrote."""
    facts = json.loads(text)
    results = {
        case: {peer: [Figures(**one) for one in figures] for peer, figures in peers.items()}
        for case, peers in facts.pop("cases").items()
    }
    return results, facts
