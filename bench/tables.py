"""The tables of the report: one for each case, and one each for latency by load, bodies and memory, which take several cases."""

import statistics
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final

from bench.cases import ACTIVE, BY_KEY, CASES, IDLE, Case, Figures, median
from bench.peers import PEERS
from bench.wanted import Results, quotients, within_rounds

BASE: Final = "nginx"
DOWN: Final = ("answer1k", "answer64k", "answer1m", "answer100m")
UP: Final = ("upload1k", "upload64k", "upload1m", "upload100m")
PACED: Final = ("paced30", "paced60", "paced90")
TOGETHER: Final = frozenset({*DOWN, *UP, *PACED, "same"})
"""Cases that share a table; each of the others has its own."""


def ratio(results: Results, case: str, peer: str, name: str) -> float | None:
    """The median over the rounds of a figure divided by nginx's of the same round; None where one of them is
    missing.
    """
    ours, theirs = results.get(case, {}).get(peer, []), results.get(case, {}).get(BASE, [])
    found = quotients(ours, theirs, name)
    return statistics.median(found) if found else None


def cell(value: float | None, by: float | None, form: Callable[[float], str]) -> str:
    """A figure, and in brackets its ratio."""
    if value is None:
        return "n/a"
    return form(value) if by is None else f"{form(value)} ({by:.2f})"


def tenths(value: float) -> str:
    return f"{value:.1f}"


def whole(value: float) -> str:
    return f"{value:,.0f}"


def milliseconds(value: float) -> str:
    return f"{value / 1000:.2f}"


def megabytes(value: float) -> str:
    return f"{value / 1e6:.1f}"


def percent(value: float) -> str:
    return f"{value:.1%}"


COLUMNS: Final[tuple[tuple[str, str, Callable[[float], str]], ...]] = (
    ("CPU µs/request", "cpu", tenths),
    ("user", "cpu_user", tenths),
    ("system", "cpu_system", tenths),
    ("requests/s", "rate", whole),
    ("p50 ms", "p50", milliseconds),
    ("p99 ms", "p99", milliseconds),
    ("PSS MB", "pss", megabytes),
    ("peak RSS MB", "peak_rss", megabytes),
)


def case_table(results: Results, case: Case, peers: Mapping[str, Any]) -> str:
    """One case: a row a peer, ratios to nginx in brackets. Who cannot do it says why."""
    columns: list[tuple[str, str, Callable[[float], str]]] = [
        *COLUMNS,
        ("core used", "busy", lambda used: f"{used:.0%}"),
    ]
    for wanted, column in (
        (case.idle, ("KB per idle connection", "idle_kb", tenths)),
        (case.copied, ("copied", "copies", percent)),
        (case.work.logged, ("lines per request", "logged", percent)),
    ):
        if wanted:
            columns.append(column)
    columns.append(("failed", "failed", whole))
    lines = [_row("peer", (title for title, _, _ in columns)), "|---|" + "---:|" * len(columns)]
    for peer in peers:
        rounds = results.get(case.key, {}).get(peer)
        if rounds:
            middle = median(rounds)
            lines.append(_row(peer, (_cell(results, case, peer, middle, name, form) for _, name, form in columns)))
    return "\n".join(lines + absent(results, case, peers))


def _cell(
    results: Results, case: Case, peer: str, middle: dict[str, float | None], name: str, form: Callable[[float], str]
) -> str:
    compared = any(name == known for _, known, _ in COLUMNS)
    return cell(middle[name], ratio(results, case.key, peer, name) if compared else None, form)


def _row(first: str, cells: Iterable[str]) -> str:
    return f"| {first} | " + " | ".join(cells) + " |"


def absent(results: Results, case: Case, peers: Mapping[str, Any]) -> list[str]:
    """Lines that say of each peer that is not in the table why it is not."""
    refused = {peer.name: case.refused(peer) for peer in PEERS}
    missing = [
        (peer, refused.get(peer, "") or "not measured") for peer in peers if not results.get(case.key, {}).get(peer)
    ]
    return ["", "Not there: " + "; ".join(f"{peer} ({why})" for peer, why in missing) + "."] if missing else []


def paced_table(results: Results, peers: Mapping[str, Any], same: float | None) -> str:
    """Latency at three shares of a peer's own capacity, and of all at one rate."""
    titles = ["load", "asked/s", "answered/s", "p50 ms", "p99 ms", "p99.9 ms", "the upstream alone: p50, p99 ms"]
    lines = [_row("peer", [*titles, "sent late, p99 ms", "core used", "failed"]), "|---|---|" + "---:|" * 9]
    for peer in peers:
        for key in (*PACED, "same"):
            rounds = results.get(key, {}).get(peer)
            if not rounds:
                continue
            middle = median(rounds)
            load = "the same for all" if key == "same" else BY_KEY[key].title
            bare = f"{milliseconds(middle['bare50'] or 0)}, {milliseconds(middle['bare99'] or 0)}"
            cells = [load, whole(middle["asked"] or 0), whole(middle["rate"] or 0)]
            cells += [milliseconds(middle[name] or 0) for name in ("p50", "p99", "p999")]
            cells += [
                bare,
                milliseconds(middle["late"] or 0),
                f"{middle['busy'] or 0:.0%}",
                whole(middle["failed"] or 0),
            ]
            lines.append(_row(peer, cells))
    if same is not None:
        beyond = [peer for peer in peers if not results.get("same", {}).get(peer)]
        if beyond and results.get("same"):
            lines += ["", f"{whole(same)} requests a second are beyond, or were not asked of: {', '.join(beyond)}."]
    return "\n".join(lines)


def bodies_table(results: Results, peers: Mapping[str, Any], keys: tuple[str, ...]) -> str:
    """CPU for bodies of all sizes one way, and how fast the largest go. Of those the CPU is in milliseconds."""
    titles = [f"{BY_KEY[key].title}, CPU µs" for key in keys[:-1]]
    last = BY_KEY[keys[-1]].title
    lines = [_row("peer", [*titles, f"{last}, CPU ms", "MiB/s", "core used"]), "|---|" + "---:|" * (len(keys) + 2)]
    for peer in peers:
        cells = []
        for key in keys:
            rounds = results.get(key, {}).get(peer)
            form = tenths if key != keys[-1] else milliseconds
            cells.append(cell(median(rounds)["cpu"] if rounds else None, ratio(results, key, peer, "cpu"), form))
        rounds = results.get(keys[-1], {}).get(peer)
        middle = median(rounds) if rounds else None
        cells.append(cell(middle["mebibytes"] if middle else None, ratio(results, keys[-1], peer, "mebibytes"), whole))
        cells.append(f"{middle['busy'] or 0:.0%}" if middle else "n/a")
        lines.append(_row(peer, cells))
    return "\n".join(lines)


def memory_table(results: Results, peers: Mapping[str, Any]) -> str:
    """PSS of all processes of a peer: before the first load, with idle and with active connections."""
    lines = [
        f"| peer | nothing asked yet, MB | {IDLE:,} idle connections, MB | {ACTIVE:,} active connections, MB |",
        "|---|---:|---:|---:|",
    ]
    for peer, facts in peers.items():
        cells = [cell(facts.get("rest"), None, megabytes)]
        for key in ("idle", "active"):
            rounds = results.get(key, {}).get(peer)
            cells.append(cell(median(rounds)["pss"] if rounds else None, ratio(results, key, peer, "pss"), megabytes))
        lines.append(_row(peer, cells))
    return "\n".join(lines)


def added_by_mirror(results: Results, peer: str) -> float | None:
    """What copying everything adds, as a share of the cost without; the median over the rounds."""
    plain, copied = results.get("small", {}).get(peer, []), results.get("mirror", {}).get(peer, [])
    added = [(more.cpu - less.cpu) / less.cpu for less, more in within_rounds(plain, copied)]
    return statistics.median(added) if added else None


def small_table(results: Results, peers: Mapping[str, Any]) -> str:
    """The README's: CPU per request of every peer in a few cases, with the ratio to nginx."""
    cases = [BY_KEY[key] for key in ("small", "answer64k", "upload64k", "mirror", "close") if results.get(key)]
    lines = [_row("", (case.title for case in cases)), "|---|" + "---:|" * len(cases)]
    for peer in peers:
        cells = []
        for case in cases:
            rounds = results[case.key].get(peer)
            cells.append(cell(median(rounds)["cpu"] if rounds else None, ratio(results, case.key, peer, "cpu"), tenths))
        lines.append(_row(peer, cells))
    return "\n".join(lines)


def with_tables_of_their_own(results: Results) -> list[Case]:
    """The cases that are shown one by one."""
    return [case for case in CASES if case.key not in TOGETHER and results.get(case.key)]


def middle_of(results: Results, case: str, peer: str, name: str) -> float | None:
    """The median of one figure over the rounds; None where it was not measured."""
    rounds: list[Figures] = results.get(case, {}).get(peer, [])
    return median(rounds)[name] if rounds else None
