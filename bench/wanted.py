"""The figures that are wanted of Tidegate: where each comes from in a run, and whether it was met."""

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from bench.cases import Figures

Results = dict[str, dict[str, list[Figures]]]
"""By case key and peer name, the figures of each round."""

STALL: Final = "stall"
"""The key of the row of bench/own.py with the wait while routes are reloaded."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """A ratio: `figure` of `peer` in `case`, divided by that of `other` in `beside`, within each round; the median counts.

    `limit` is the most it may be, or the least where `least`.
    """

    title: str
    case: str
    figure: str
    limit: float
    other: str = "nginx"
    peer: str = "tidegate"
    beside: str = ""
    least: bool = False

    @property
    def reference(self) -> str:
        """The case that it is divided by."""
        return self.beside or self.case

    @property
    def bound(self) -> str:
        """The limit in words."""
        return f"{'>=' if self.least else '<='} {self.limit:g}"

    def ratios(self, results: Results) -> list[float]:
        """One for each round in which both were measured."""
        ours = results.get(self.case, {}).get(self.peer, [])
        theirs = results.get(self.reference, {}).get(self.other, [])
        return quotients(ours, theirs, self.figure)

    def met(self, value: float) -> bool:
        return value >= self.limit if self.least else value <= self.limit


WANTED: tuple[Wanted, ...] = (
    Wanted("small GET, CPU per request, to nginx's", "small", "cpu", 1.25),
    Wanted("small GET, CPU per request, to Envoy's", "small", "cpu", 0.3, other="envoy"),
    Wanted("small GET, CPU per request, to Traefik's", "small", "cpu", 0.3, other="traefik"),
    Wanted("small GET, CPU per request, to Caddy's", "small", "cpu", 0.3, other="caddy"),
    Wanted("p99 at 60 % of its own capacity, to nginx's at the same rate", "same", "p99", 1.5),
    Wanted("64 KiB answer, CPU per request, to nginx's", "answer64k", "cpu", 1.3),
    Wanted("100 MiB download, MiB/s, to nginx's", "answer100m", "mebibytes", 0.8, least=True),
    Wanted("100 MiB upload, MiB/s, to nginx's", "upload100m", "mebibytes", 0.8, least=True),
    Wanted("100 % mirrored, CPU per request, to nginx's mirror", "mirror", "cpu", 1.0),
    Wanted(
        "1,000 routes, CPU per request, to its own with one", "routes", "cpu", 1.1, other="tidegate", beside="small"
    ),
    Wanted("10,000 idle connections, memory (PSS), to Envoy's", "idle", "pss", 1.0, other="envoy"),
    Wanted("interpreted: small GET, CPU per request, to nginx's", "small", "cpu", 1.8, peer="tidegate-interpreted"),
)
STALL_TITLE: Final = "weights of 1,000 routes reloaded: the worker's longest stall"
STALL_LIMIT: Final = 5.0
"""Milliseconds."""


@dataclass(frozen=True, slots=True)
class Met:
    """A line of the table. `met` is None where nothing was measured."""

    title: str
    wanted: str
    measured: str
    met: bool | None


def within_rounds(ours: Sequence[Figures], theirs: Sequence[Figures]) -> list[tuple[Figures, Figures]]:
    """Pairs of figures that were measured in the same round."""
    by_round = {other.round: other for other in theirs}
    return [(one, by_round[one.round]) for one in ours if one.round in by_round]


def quotients(ours: Sequence[Figures], theirs: Sequence[Figures], figure: str) -> list[float]:
    """`figure` of the one divided by that of the other, for each round in which both were measured."""
    return [
        getattr(one, figure) / getattr(other, figure)
        for one, other in within_rounds(ours, theirs)
        if getattr(one, figure) is not None and getattr(other, figure)
    ]


def needed(peer: str) -> bool:
    """Whether a wanted figure needs `peer`."""
    return any(peer in (one.peer, one.other) for one in WANTED)


def decisive(peer: str) -> frozenset[str]:
    """The cases of `peer` that a wanted figure needs, and its small GET."""
    ours = {one.case for one in WANTED if one.peer == peer}
    return frozenset({"small"} | ours | {one.reference for one in WANTED if one.other == peer})


def judged(results: Results, own: Sequence[Mapping[str, Any]]) -> list[Met]:
    """Every wanted figure with what this run says of it; `own` are the rows of Tidegate alone."""
    found = []
    for one in WANTED:
        ratios = one.ratios(results)
        if not ratios:
            found.append(Met(one.title, one.bound, "not measured", None))
            continue
        middle = statistics.median(ratios)
        spread = f" ({min(ratios):.2f} to {max(ratios):.2f})" if len(ratios) > 1 else ""
        found.append(Met(one.title, one.bound, f"{middle:.2f}{spread}", one.met(middle)))
    stalls = [row["value"] for row in own if row.get("key") == STALL and row.get("value") is not None]
    measured = f"{stalls[0]:.2f} ms" if stalls else "not measured"
    found.append(Met(STALL_TITLE, f"<= {STALL_LIMIT:g} ms", measured, stalls[0] <= STALL_LIMIT if stalls else None))
    return found


def table(results: Results, own: Sequence[Mapping[str, Any]]) -> str:
    """The table of wanted figures, for the report and for docs/performance.md."""
    words = {True: "met", False: "not met", None: ""}
    lines = ["| figure | wanted | measured | |", "|---|---:|---:|---|"]
    lines += [f"| {one.title} | {one.wanted} | {one.measured} | {words[one.met]} |" for one in judged(results, own)]
    return "\n".join(lines)
