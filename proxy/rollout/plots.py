"""Draws lines into SVG: what an incident report shows, with no library behind it.

A chart is a title, axes with round numbers, lines, and marks across it; the text is text, so that it can be searched and read
aloud, and the same input gives the same bytes. Colours are those of Okabe and Ito, which people with colour blindness tell
apart; each line has a dash pattern of its own as well.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from math import ceil, floor, isfinite, log10
from typing import Final

WIDTH: Final = 720
HEIGHT: Final = 300
POINTS: Final = 1000
"""Of a line at most; of more, every so many is drawn."""

_LEFT, _RIGHT, _TOP, _BOTTOM = 64, 16, 56, 44
_COLOURS: Final = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#000000")
_DASHES: Final = ("", "7 3", "2 3", "9 3 2 3", "1 4", "12 4", "4 2")
_TICKS: Final = 5
_HUGE: Final = 1e100  # what is larger is drawn no more than infinity is
_DECADES: Final = 24  # of a logarithmic axis at most

Point = tuple[float, float]


@dataclass(frozen=True, slots=True)
class Line:
    """A line of a chart. Points are in the order of x; a y that is not finite leaves a gap. `steps`: a y holds until the next."""

    name: str
    points: Sequence[Point]
    steps: bool = False


@dataclass(frozen=True, slots=True)
class Mark:
    """A line across the whole chart, at a height (`across`) or at an x, with a word beside it."""

    at: float
    name: str
    across: bool = True


@dataclass(frozen=True, slots=True)
class Chart:
    """What is drawn. `seconds`: x is a time in seconds and its ticks are said as `5m`; a logarithmic axis leaves out what is
    not above 0."""

    title: str
    x_name: str
    y_name: str
    lines: Sequence[Line]
    marks: Sequence[Mark] = ()
    seconds: bool = False
    log_x: bool = False
    log_y: bool = False
    from_zero: bool = True


class _Axis:
    """Values to pixels along one side."""

    def __init__(self, low: float, high: float, start: float, end: float, *, log: bool, seconds: bool = False) -> None:
        self.log: Final = log
        self.seconds: Final = seconds
        if log:
            low, high = max(low, 1e-300), max(high, 1e-300)
            if high / low < 1.001:
                low, high = low / 2, high * 2
            low = max(low, high / 10.0**_DECADES)
        elif high - low <= 1e-12 * max(abs(low), abs(high), 1e-300):
            low, high = (low - abs(low) / 2, high + abs(high) / 2) if low else (0.0, 1.0)
        self.low: Final = low
        self.high: Final = high
        self._start: Final = start
        self._length: Final = end - start

    def place(self, value: float) -> float:
        """The pixel of a value; one outside is put on the border."""
        value = min(max(value, self.low), self.high)
        if self.log:
            share = (log10(value) - log10(self.low)) / (log10(self.high) - log10(self.low))
        else:
            share = (value - self.low) / (self.high - self.low)
        return self._start + share * self._length

    def ticks(self) -> list[tuple[float, str]]:
        """Round values within, and how they are written."""
        if self.log:
            return [(value, _plain(value)) for value in _decades(self.low, self.high)]
        if self.seconds:
            step = _round_seconds((self.high - self.low) / _TICKS)
            return [(value, short_time(value)) for value in _multiples(self.low, self.high, step)]
        step = _round_step((self.high - self.low) / _TICKS)
        return [(value, _plain(value)) for value in _multiples(self.low, self.high, step)]


def draw(chart: Chart) -> str:
    """The chart as an SVG document. A chart without a finite point says that there is nothing to show."""
    lines = [(one.name, _kept(one, chart), one.steps) for one in chart.lines]
    xs = [x for _, points, _ in lines for x, _ in points]
    ys = [y for _, points, _ in lines for _, y in points if isfinite(y)]
    title = _text(chart.title)
    size = f'viewBox="0 0 {WIDTH} {HEIGHT}" width="{WIDTH}" height="{HEIGHT}"'
    words = f'role="img" aria-label="{title}" font-family="sans-serif" font-size="11"'
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" {size} {words}>',
        f"<title>{title}</title>",
        f'<rect width="{WIDTH}" height="{HEIGHT}" fill="#ffffff"/>',
        f'<text x="{_LEFT}" y="18" font-size="14" font-weight="bold" fill="#222222">{title}</text>',
    ]
    if not ys:
        parts.append(f'<text x="{WIDTH / 2:g}" y="{HEIGHT / 2:g}" text-anchor="middle" fill="#666666">no data</text>')
        return "\n".join([*parts, "</svg>", ""])
    ys += [one.at for one in chart.marks if one.across and _drawable(one.at, log=chart.log_y)]
    xs += [one.at for one in chart.marks if not one.across and _drawable(one.at, log=chart.log_x)]
    if chart.from_zero and not chart.log_y:
        ys.append(0.0)
    x_axis = _Axis(min(xs), max(xs), _LEFT, WIDTH - _RIGHT, log=chart.log_x, seconds=chart.seconds)
    y_axis = _Axis(min(ys), max(ys), HEIGHT - _BOTTOM, _TOP, log=chart.log_y)
    parts += _grid(x_axis, y_axis, chart)
    for number, (name, points, steps) in enumerate(lines):
        parts += _path(points, x_axis, y_axis, number, steps=steps)
        parts += _legend(name, number, len(lines))
    for mark in chart.marks:
        parts += _mark(mark, x_axis, y_axis)
    return "\n".join([*parts, "</svg>", ""])


def _kept(line: Line, chart: Chart) -> list[Point]:
    """The points that can be drawn: x finite, y finite or a gap, logarithms only of what has one."""
    every = -(-len(line.points) // POINTS) or 1
    points = [*line.points[::every], *(line.points[-1:] if every > 1 else ())]
    return [
        (x, y if _drawable(y, log=chart.log_y) else float("nan")) for x, y in points if _drawable(x, log=chart.log_x)
    ]


def _drawable(value: float, *, log: bool) -> bool:
    return abs(value) < _HUGE and (value > 0.0 or not log)


def _grid(x_axis: _Axis, y_axis: _Axis, chart: Chart) -> list[str]:
    parts = []
    bottom, right = HEIGHT - _BOTTOM, WIDTH - _RIGHT
    for value, words in y_axis.ticks():
        y = _number(y_axis.place(value))
        parts.append(f'<line x1="{_LEFT}" y1="{y}" x2="{right}" y2="{y}" stroke="#e4e4e4"/>')
        parts.append(f'<text x="{_LEFT - 6}" y="{y}" dy="4" text-anchor="end" fill="#444444">{words}</text>')
    for value, words in x_axis.ticks():
        x = _number(x_axis.place(value))
        parts.append(f'<line x1="{x}" y1="{_TOP}" x2="{x}" y2="{bottom}" stroke="#f0f0f0"/>')
        parts.append(f'<text x="{x}" y="{bottom + 16}" text-anchor="middle" fill="#444444">{words}</text>')
    middle = (_LEFT + right) / 2
    parts.append(f'<path d="M{_LEFT},{_TOP} V{bottom} H{right}" fill="none" stroke="#888888"/>')
    parts.append(
        f'<text x="{middle:g}" y="{HEIGHT - 8}" text-anchor="middle" fill="#444444">{_text(chart.x_name)}</text>'
    )
    height = (_TOP + bottom) / 2
    parts.append(
        f'<text x="14" y="{height:g}" text-anchor="middle" fill="#444444" transform="rotate(-90 14 {height:g})">'
        f"{_text(chart.y_name)}</text>"
    )
    return parts


def _path(points: Sequence[Point], x_axis: _Axis, y_axis: _Axis, number: int, *, steps: bool) -> list[str]:
    words: list[str] = []
    pen_down = False
    for x, y in points:
        if not isfinite(y):
            pen_down = False
            continue
        px, py = _number(x_axis.place(x)), _number(y_axis.place(y))
        if not pen_down:
            words.append(f"M{px},{py}")
        elif steps:
            words.append(f"H{px}V{py}")
        else:
            words.append(f"L{px},{py}")
        pen_down = True
    if not words:
        return []
    if len(words) == 1:  # a single point is a dot
        px, _, py = words[0][1:].partition(",")
        return [f'<circle cx="{px}" cy="{py}" r="2.5" fill="{_colour(number)}"/>']
    return [f'<path d="{"".join(words)}" fill="none" stroke="{_colour(number)}" stroke-width="1.8"{_dash(number)}/>']


def _legend(name: str, number: int, count: int) -> list[str]:
    """In a row under the title, each with as much room as the others."""
    room = min(160.0, (WIDTH - _LEFT - _RIGHT) / count)
    x = _LEFT + number * room
    longest = int((room - 34) / 6)
    words = name if len(name) <= longest else name[: max(1, longest - 1)] + "\N{HORIZONTAL ELLIPSIS}"
    return [
        f'<line x1="{x:g}" y1="36" x2="{x + 22:g}" y2="36" stroke="{_colour(number)}" stroke-width="2.5"{_dash(number)}/>',
        f'<text x="{x + 28:g}" y="40" fill="#222222">{_text(words)}</text>',
    ]


def _mark(mark: Mark, x_axis: _Axis, y_axis: _Axis) -> list[str]:
    axis = y_axis if mark.across else x_axis
    if not _drawable(mark.at, log=axis.log):
        return []
    at = _number(axis.place(mark.at))
    right, bottom = WIDTH - _RIGHT, HEIGHT - _BOTTOM
    name = _text(mark.name)
    if mark.across:
        return [
            f'<line x1="{_LEFT}" y1="{at}" x2="{right}" y2="{at}" stroke="#aa0000" stroke-dasharray="4 3"/>',
            f'<text x="{right - 4}" y="{at}" dy="-4" text-anchor="end" fill="#aa0000">{name}</text>',
        ]
    anchor = "end" if axis.place(mark.at) > WIDTH / 2 else "start"
    return [
        f'<line x1="{at}" y1="{_TOP}" x2="{at}" y2="{bottom}" stroke="#aa0000" stroke-dasharray="4 3"/>',
        f'<text x="{at}" y="{_TOP - 4}" text-anchor="{anchor}" fill="#aa0000">{name}</text>',
    ]


def _colour(number: int) -> str:
    return _COLOURS[number % len(_COLOURS)]


def _dash(number: int) -> str:
    dash = _DASHES[number % len(_DASHES)]
    return f' stroke-dasharray="{dash}"' if dash else ""


def _number(pixels: float) -> str:
    return f"{pixels:.1f}".removesuffix(".0")


def _multiples(low: float, high: float, step: float) -> list[float]:
    first, last = ceil(low / step - 1e-9), floor(high / step + 1e-9)
    return [number * step for number in range(first, min(last, first + 4 * _TICKS) + 1)]


def _round_step(rough: float) -> float:
    """1, 2 or 5 times a power of ten, not below `rough`."""
    power = 10.0 ** floor(log10(rough))
    return next((factor * power for factor in (1, 2, 5) if factor * power >= rough * (1 - 1e-9)), 10 * power)


def _round_seconds(rough: float) -> float:
    if rough <= 1.0:
        return _round_step(rough)
    steps = (2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 10800, 21600, 43200, 86400)
    return next((float(step) for step in steps if step >= rough), _round_step(rough / 86400) * 86400)


def _decades(low: float, high: float) -> list[float]:
    """Powers of ten within; where there are few, 2 and 5 times them as well; where there are many, not all."""
    first, last = floor(log10(low)), ceil(log10(high))
    factors = (1, 2, 5) if last - first <= 3 else (1,)
    every = max(1, (last - first) // 8)
    values = [factor * 10.0**power for power in range(first, last + 1, every) for factor in factors]
    return [value for value in values if low * (1 - 1e-9) <= value <= high * (1 + 1e-9)]


def _plain(value: float) -> str:
    if value and not 1e-4 <= abs(value) < 1e6:
        return f"{value:.0e}".replace("e-0", "e-").replace("e+0", "e").replace("e+", "e")
    return f"{value:.10g}"


def short_time(seconds: float) -> str:
    """`0`, `45s`, `10m`, `1h30m`, `2d`: at most two units, the rest rounded away."""
    sign, left = ("-", -seconds) if seconds < 0 else ("", seconds)
    for (name, size), (below, small) in pairwise((("d", 86400), ("h", 3600), ("m", 60), ("s", 1))):
        whole, rest = divmod(round(left / small) * small, size)
        if whole:
            return f"{sign}{whole}{name}" + (f"{rest // small}{below}" if rest else "")
    return sign + (f"{left:.3g}s" if left else "0")


def _text(words: str) -> str:
    """For XML: what has a meaning there is escaped, and what may not stand there is a question mark."""
    plain = "".join(c if c.isprintable() else "?" for c in words)
    return plain.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;").replace('"', "&quot;")
