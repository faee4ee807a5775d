"""The plots of a run: CPU, latency by load, bodies and memory, by peer. `bench.pages` writes them below docs/."""

from collections.abc import Callable, Mapping, Sequence
from math import ceil, log10
from typing import Any, Final

from bench.cases import ACTIVE, IDLE
from bench.pictures import WIDE, Axis, Picture
from bench.tables import BASE, DOWN, PACED, middle_of, ratio
from bench.wanted import Results

_LINES: Final = ("tidegate", "tidegate-interpreted", "nginx", "haproxy", "envoy", "traefik", "caddy")
"""Peers that have a line of their own; of the others only bars are drawn."""
_COLOURS: Final = {
    "tidegate": ("#0969da", "#4493f8"),
    "tidegate-interpreted": ("#0969da", "#4493f8"),
    "nginx": ("#1a7f37", "#3fb950"),
    "haproxy": ("#bc4c00", "#f0883e"),
    "envoy": ("#8250df", "#a371f7"),
    "traefik": ("#0b7285", "#39c5cf"),
    "caddy": ("#bf3989", "#f778ba"),
}
_OTHER: Final = ("#57606a", "#9198a1")
_LINE_STYLE: Final = "stroke-width: 2; fill: none"
_RIGHT: Final = 150
_ROW, _TOP, _LEFT, _END = 24, 58, 150, 104


def _style() -> str:
    """Colours for a light page and for a dark one."""
    light = [
        f".l-{name} {{ stroke: {one}; {_LINE_STYLE} }} .t-{name} {{ fill: {one} }}"
        for name, (one, _) in _COLOURS.items()
    ]
    dark = [f".l-{name} {{ stroke: {two} }} .t-{name} {{ fill: {two} }}" for name, (_, two) in _COLOURS.items()]
    us, other = _COLOURS["tidegate"], _OTHER
    return "\n".join(
        [
            "  <style>",
            "    .box { fill: #ffffff; stroke: #d0d7de } .axis { stroke: #8b949e; fill: none } .grid { stroke: #d8dee4; fill: none }",
            "    .text { fill: #1f2328 } .small { fill: #57606a; font-size: 12px }",
            f"    .us {{ fill: {us[0]} }} .them {{ fill: {other[0]} }} .part {{ opacity: .45 }} .third {{ opacity: .22 }}",
            *(f"    {line}" for line in light),
            "    .l-tidegate { stroke-width: 3 } .l-tidegate-interpreted { stroke-dasharray: 5 4 }",
            "    @media (prefers-color-scheme: dark) {",
            "      .box { fill: #161b22; stroke: #30363d } .grid { stroke: #30363d } .text { fill: #e6edf3 } .small { fill: #9198a1 }",
            f"      .us {{ fill: {us[1]} }} .them {{ fill: {other[1]} }}",
            *(f"      {line}" for line in dark),
            "    }",
            "  </style>",
        ]
    )


def bars(
    title: str, about: str, rows: Sequence[tuple[str, Sequence[float], str]], legend: Sequence[str], *, stacked: bool
) -> str:
    """A picture of horizontal bars: by name, its values and what is written behind them. One on another, or one below another."""
    font = 'font-family="system-ui, -apple-system, \'Segoe UI\', Helvetica, Arial, sans-serif" font-size="13"'
    each = _ROW if stacked else 10 * len(legend) + 10
    high = _TOP + each * len(rows) + 12
    most = max((sum(values) if stacked else max(values) for _, values, _ in rows), default=1.0) or 1.0
    across = (WIDE - _LEFT - _END) / most
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDE} {high}" role="img" aria-labelledby="t d" {font}>',
        f'  <title id="t">{title}</title>',
        f'  <desc id="d">{about}</desc>',
        _style(),
        f'  <rect class="box" x=".5" y=".5" width="{WIDE - 1}" height="{high - 1}" rx="6"/>',
        f'  <text class="text" x="16" y="24" font-weight="600">{title}</text>',
    ]
    x = 16.0
    for shade, word in zip(_SHADES, legend, strict=False):
        lines.append(f'  <rect class="them {shade}" x="{x:.1f}" y="36" width="10" height="10"/>')
        lines.append(f'  <text class="small" x="{x + 15:.1f}" y="45">{word}</text>')
        x += 30 + 6.4 * len(word)
    for number, (name, values, said) in enumerate(rows):
        top = _TOP + each * number
        kind = "us" if name.startswith("tidegate") else "them"
        lines.append(
            f'  <text class="text" x="{_LEFT - 8}" y="{top + each / 2 + 2:.1f}" text-anchor="end">{name}</text>'
        )
        begin, y = float(_LEFT), top + 2.0
        thick = each - 8 if stacked else 10
        for shade, value in zip(_SHADES, values, strict=False):
            wide = value * across
            lines.append(
                f'  <rect class="{kind} {shade}" x="{begin:.1f}" y="{y:.1f}" width="{wide:.1f}" height="{thick}"/>'
            )
            begin, y = (begin + wide, y) if stacked else (begin, y + 10)
        end = begin if stacked else _LEFT + max(values) * across
        lines.append(f'  <text class="small" x="{end + 6:.1f}" y="{top + each / 2 + 2:.1f}">{said}</text>')
    return "\n".join([*lines, "</svg>", ""])


_SHADES: Final = ("", "part", "third")


def cpu(results: Results, peers: Mapping[str, Any]) -> str | None:
    """CPU of a small GET, least first."""
    found = []
    for peer in peers:
        user, system = (middle_of(results, "small", peer, name) for name in ("cpu_user", "cpu_system"))
        total, by = middle_of(results, "small", peer, "cpu"), ratio(results, "small", peer, "cpu")
        if user is not None and system is not None and total is not None:
            found.append((peer, (user, system), f"{total:.0f}" + (f" ({by:.2f} x)" if by else "")))
    if not found:
        return None
    found.sort(key=lambda row: sum(row[1]))
    return bars(
        "CPU microseconds for a small GET on one core",
        "How much CPU each proxy takes for one small request, in brackets as a multiple of nginx's.",
        found, ("in the program", "in the kernel"), stacked=True,
    )  # fmt: skip


def memory(results: Results, peers: Mapping[str, Any]) -> str | None:
    """PSS at rest, with idle and with active connections."""
    found = []
    for peer, facts in peers.items():
        idle, active = (middle_of(results, case, peer, "pss") for case in ("idle", "active"))
        rest = facts.get("rest")
        if idle is not None and active is not None and rest is not None:
            values = tuple(value / 1e6 for value in (rest, idle, active))
            found.append((peer, values, ", ".join(f"{value:.0f}" for value in values)))
    if not found:
        return None
    found.sort(key=lambda row: row[1][1])
    return bars(
        "Memory, MB",
        "Proportional set size of all processes of each proxy: before the first load, with idle and with active connections.",
        found, ("nothing asked yet", f"{IDLE:,} idle connections", f"{ACTIVE:,} active connections"), stacked=False,
    )  # fmt: skip


def _lines(
    title: str, about: str, across: Axis, up: Axis, found: Mapping[str, Sequence[tuple[float, float]]]
) -> Picture:
    picture = Picture(title, about, across, up, style=_style(), right=_RIGHT)
    for peer, points in found.items():
        picture.line(points, f"l-{peer}")
    picture.named([(points[-1][1], f"t-{peer}", peer) for peer, points in found.items()])
    return picture


def latency(results: Results, peers: Mapping[str, Any]) -> Picture | None:
    """The 99th percentile at three shares of the peer's own capacity."""
    found: dict[str, list[tuple[float, float]]] = {}
    for peer in (name for name in _LINES if name in peers):
        waits = [middle_of(results, case, peer, "p99") for case in PACED]
        if None not in waits:
            found[peer] = [(share, (wait or 0) / 1000) for share, wait in zip((30, 60, 90), waits, strict=True)]
    if not found:
        return None
    values = [wait for points in found.values() for _, wait in points]
    low, high = 10 ** int(log10(min(values)) - 1), 10 ** ceil(log10(max(values)))
    marks = [(value, f"{value:g}") for value in (0.01, 0.1, 1, 10, 100, 1000, 10_000) if low <= value <= high]
    return _lines(
        "Latency by load: the 99th percentile, milliseconds",
        "Open-loop load at 30, 60 and 90 percent of what each proxy can do on one core; the wait counts from when a request was due.",
        Axis("share of the proxy's own capacity", 25, 95, [(30, "30 %"), (60, "60 %"), (90, "90 %")]),
        Axis("", low, high, marks, logarithmic=True),
        found,
    )  # fmt: skip


def bodies(results: Results, peers: Mapping[str, Any]) -> Picture | None:
    """CPU for an answer by its size, as a multiple of nginx's."""
    sizes = (1.0, 64.0, 1024.0, 102_400.0)
    found: dict[str, list[tuple[float, float]]] = {}
    for peer in (name for name in _LINES if name in peers and BASE in peers):
        by = [ratio(results, case, peer, "cpu") for case in DOWN]
        if None not in by:
            found[peer] = [(size, value or 0.0) for size, value in zip(sizes, by, strict=True)]
    if not found:
        return None
    high = max(1.5, ceil(max(value for points in found.values() for _, value in points)))
    step = 1 if high <= 6 else 2
    return _lines(
        "CPU for an answer by its size, as a multiple of nginx's",
        "How much CPU each proxy takes to pass on an answer of 1 KiB, 64 KiB, 1 MiB and 100 MiB.",
        Axis("size of the answer", 0.7, 150_000, list(zip(sizes, ("1 KiB", "64 KiB", "1 MiB", "100 MiB"), strict=True)),
             logarithmic=True),
        Axis("", 0.0, high, [(value, f"{value} x") for value in range(0, int(high) + 1, step)]),
        found,
    )  # fmt: skip


PLOTS: Final[dict[str, Callable[[Results, Mapping[str, Any]], str | Picture | None]]] = {
    "performance-cpu.svg": cpu,
    "performance-latency.svg": latency,
    "performance-bodies.svg": bodies,
    "performance-memory.svg": memory,
}
