"""The results as people read them (Markdown) and as programs do (JSON), and the README's table from either."""

import json
import platform
import statistics
from collections.abc import Callable
from pathlib import Path
from typing import Any

from bench.cases import CASES, Case, Figures, median

BASE = "nginx"
MARKS = ("<!-- bench:begin -->", "<!-- bench:end -->")

Results = dict[str, dict[str, list[Figures]]]
"""By case key and peer name, the figures of each round."""


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


def ratio(results: Results, case: str, peer: str, name: str) -> float | None:
    """The median over the rounds of a figure divided by nginx's of the same round; None where one of them is
    missing.
    """
    ours, theirs = results.get(case, {}).get(peer, []), results.get(case, {}).get(BASE, [])
    pairs = [
        getattr(one, name) / getattr(other, name)
        for one, other in zip(ours, theirs, strict=False)
        if getattr(one, name) is not None and getattr(other, name)
    ]
    return statistics.median(pairs) if pairs else None


def _cell(value: float | None, by: float | None, form: Callable[[float], str]) -> str:
    if value is None:
        return "n/a"
    return form(value) if by is None else f"{form(value)} ({by:.2f})"


def _one(value: float) -> str:
    return f"{value:.1f}"


def _whole(value: float) -> str:
    return f"{value:,.0f}"


def _milli(value: float) -> str:
    return f"{value / 1000:.2f}"


def _mega(value: float) -> str:
    return f"{value / 1e6:.1f}"


COLUMNS: tuple[tuple[str, str, Callable[[float], str]], ...] = (
    ("CPU µs/request", "cpu", _one),
    ("user", "cpu_user", _one),
    ("system", "cpu_system", _one),
    ("requests/s", "rate", _whole),
    ("p50 ms", "p50", _milli),
    ("p99 ms", "p99", _milli),
    ("PSS MB", "pss", _mega),
    ("peak RSS MB", "peak_rss", _mega),
)


def added_by_mirror(results: Results, peer: str) -> float | None:
    """What copying everything adds, as a share of the cost without; the median over the rounds."""
    plain, copied = results.get("small", {}).get(peer, []), results.get("mirror", {}).get(peer, [])
    added = [(more.cpu - less.cpu) / less.cpu for less, more in zip(plain, copied, strict=False)]
    return statistics.median(added) if added else None


def case_table(results: Results, case: Case, sticky: dict[str, str]) -> str:
    """One case: a row a peer, ratios to nginx in brackets."""
    columns = list(COLUMNS)
    if case.idle:
        columns.append(("KB per idle connection", "idle_kb", _one))
    lines = [
        f"### {case.title}",
        "",
        "| peer | "
        + " | ".join(title for title, _, _ in columns)
        + " | core used | "
        + ("copied | " if case.copied else "")
        + "failed |",
        "|---|" + "---:|" * (len(columns) + 2 + case.copied),
    ]
    for peer in sticky:
        rounds = results.get(case.key, {}).get(peer)
        if not rounds:
            lines.append(f"| {peer} |" + " n/a |" * (len(columns) + 2 + case.copied))
            continue
        middle = median(rounds)
        cells = [
            # Of what an idle connection costs nginx, which is nothing that shows, there is no ratio.
            _cell(middle[name], None if name == "idle_kb" else ratio(results, case.key, peer, name), form)
            for _, name, form in columns
        ]
        cells.append(f"{middle['busy'] or 0:.0%}")
        if case.copied:
            cells.append(f"{middle['copies'] or 0:.1%}")
        cells.append(_whole(middle["failed"] or 0))
        lines.append(f"| {peer} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def markdown(results: Results, facts: dict[str, Any]) -> str:
    """The whole of RESULTS.md."""
    rounds = "1 round" if facts["rounds"] == 1 else f"{facts['rounds']} rounds"
    lines = [
        "# Results",
        "",
        "Made by `"
        + facts["command"]
        + f"` on {facts['date']}; do not edit. How it is measured stands in [README.md](README.md).",
        "",
        f"In brackets: the ratio to nginx of the same round. Every figure is the median over {rounds} of",
        f"{facts['seconds']:g} s with 64 connections; each peer has one worker on a core of its own, the load and",
        "the upstream share the rest. `core used` is what of its core the peer took: where that is well below 100 %,",
        "requests/s and latency are bounded by the load generator too, and CPU per request is the one to compare.",
        "",
        "| machine | |",
        "|---|---|",
        *(f"| {name} | {value} |" for name, value in facts["machine"].items()),
        f"| load generator | {facts['wrk']} |",
        f"| upstream | nginx {facts['upstream']} |",
        "",
        "| peer | version | sticky by | canary's share of 1,000 users (10 % wanted) | same version when asked again |",
        "|---|---|---|---:|---:|",
    ]
    for name, peer in facts["peers"].items():
        share = f"{peer['share']:.1%} | {peer['same']:.1%}" if peer.get("splits") else "n/a | n/a"
        lines.append(f"| {name} | {peer['version']} | {peer['sticky']} | {share} |")
    if facts["skipped"]:
        lines += ["", "Not measured:", "", *(f"- {name}: {why}" for name, why in facts["skipped"].items())]
    lines += ["", "## Cases", ""]
    for case in CASES:
        if case.key in results:
            lines += [case_table(results, case, dict.fromkeys(facts["peers"], "")), ""]
    added = [(peer, more) for peer in facts["peers"] if (more := added_by_mirror(results, peer)) is not None]
    if added:
        lines += ["What a 100 % mirror adds to the CPU of a request, as a multiple of the cost without:", ""]
        lines += [f"- {peer}: {more:.2f}" for peer, more in added]
        lines.append("")
    if facts.get("own"):
        lines += ["## Tidegate alone", "", "| figure | measured | wanted |", "|---|---:|---:|"]
        lines += [f"| {row['title']} | {row['measured']} | {row['wanted']} |" for row in facts["own"]]
        lines.append("")
    return "\n".join(lines)


def small_table(results: Results, facts: dict[str, Any]) -> str:
    """The README's table: CPU per request of every peer in every case, with the ratio to nginx."""
    cases = [case for case in CASES if case.key in results]
    lines = [
        "CPU microseconds per request on one core, user and system (ratio to nginx of the same run):",
        "",
        "| | " + " | ".join(case.title for case in cases) + " |",
        "|---|" + "---:|" * len(cases),
    ]
    for peer in facts["peers"]:
        cells = []
        for case in cases:
            rounds = results[case.key].get(peer)
            cells.append(_cell(median(rounds)["cpu"] if rounds else None, ratio(results, case.key, peer, "cpu"), _one))
        lines.append(f"| {peer} | " + " | ".join(cells) + " |")
    facts_line = (
        f"{facts['machine']['CPU']}; Linux {facts['machine']['kernel']}; {facts['machine']['Python']}; {facts['date']}."
    )
    return "\n".join([*lines, "", f"Made by `{facts['command']}`. {facts_line}"])


def put_between_marks(text: str, block: str) -> str:
    """`text` with what stands between the marks replaced by `block`.

    Raises ValueError when the marks are not there.
    """
    head, begin, rest = text.partition(MARKS[0])
    _, end, tail = rest.partition(MARKS[1])
    if not begin or not end:
        raise ValueError(f"no {MARKS[0]} ... {MARKS[1]}")
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
