"""The pictures of docs/statistics.md, drawn from Tidegate's own functions: `python -m bench.pictures` writes them.

Chance is a fixed sequence, so that the same functions always draw the same pictures, and a test compares.
"""

import random
from collections.abc import Sequence
from dataclasses import dataclass
from math import exp, log, log10
from pathlib import Path

from proxy.analysis.clusters import Clusters
from proxy.analysis.error_rate import ErrorRateTest, Stretch
from proxy.analysis.latency import band
from proxy.analysis.log_ratio import upper_log_ratio
from proxy.analysis.sample_ratio import single_look
from proxy.analysis.sequence import half_width

DOCS = Path(__file__).resolve().parents[1] / "docs"
WIDE, HIGH = 640, 300
_LEFT, _RIGHT, _TOP, _BOTTOM = 64, 20, 34, 46
_LINE = 15
_FONT = 'font-family="system-ui, -apple-system, \'Segoe UI\', Helvetica, Arial, sans-serif" font-size="13"'
_STYLE = """  <style>
    .box { fill: #ffffff; stroke: #d0d7de } .axis { stroke: #8b949e; fill: none } .grid { stroke: #d8dee4; fill: none }
    .text { fill: #1f2328 } .small { fill: #57606a; font-size: 12px }
    .a { stroke: #0969da; stroke-width: 2; fill: none } .b { stroke: #bf8700; stroke-width: 2; fill: none }
    .c { stroke: #cf222e; stroke-width: 1.5; stroke-dasharray: 5 4; fill: none }
    .aa { fill: #0969da; opacity: .15 } .bb { fill: #bf8700; opacity: .18 } .ta { fill: #0969da } .tb { fill: #9a6700 } .tc { fill: #cf222e }
    @media (prefers-color-scheme: dark) {
      .box { fill: #161b22; stroke: #30363d } .axis { stroke: #8b949e } .grid { stroke: #30363d }
      .text { fill: #e6edf3 } .small { fill: #9198a1 } .a { stroke: #4493f8 } .b { stroke: #d29922 } .c { stroke: #f85149 }
      .aa { fill: #4493f8 } .bb { fill: #d29922 } .ta { fill: #4493f8 } .tb { fill: #d29922 } .tc { fill: #f85149 }
    }
  </style>"""


@dataclass(frozen=True)
class Axis:
    """From `low` to `high`, with words at some values; `logarithmic` by powers of ten."""

    name: str
    low: float
    high: float
    marks: Sequence[tuple[float, str]]
    logarithmic: bool = False

    def place(self, value: float) -> float:
        """0 at the low end, 1 at the high one; beyond them, at them."""
        low, high, at = self.low, self.high, value
        if self.logarithmic:
            low, high, at = log10(low), log10(high), log10(max(value, low))
        return min(max((at - low) / (high - low), 0.0), 1.0)


class Picture:
    """Lines over two axes."""

    def __init__(
        self, title: str, about: str, across: Axis, up: Axis, *, style: str = _STYLE, right: int = _RIGHT
    ) -> None:
        self._across, self._up, self._right = across, up, right
        self._lines = [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDE} {HIGH}" role="img" aria-labelledby="t d" {_FONT}>',
            f'  <title id="t">{title}</title>',
            f'  <desc id="d">{about}</desc>',
            style,
            f'  <rect class="box" x=".5" y=".5" width="{WIDE - 1}" height="{HIGH - 1}" rx="6"/>',
            f'  <text class="text" x="{_LEFT}" y="22" font-weight="600">{title}</text>',
        ]
        for value, word in up.marks:
            y = self._y(value)
            self._lines.append(f'  <path class="grid" d="M{_LEFT} {y:.1f}H{WIDE - right}"/>')
            self._lines.append(f'  <text class="small" x="{_LEFT - 6}" y="{y + 4:.1f}" text-anchor="end">{word}</text>')
        for value, word in across.marks:
            self._lines.append(
                f'  <text class="small" x="{self._x(value):.1f}" y="{HIGH - _BOTTOM + 17}" text-anchor="middle">{word}</text>'
            )
        self._lines.append(f'  <path class="axis" d="M{_LEFT} {_TOP}V{HIGH - _BOTTOM}H{WIDE - right}"/>')
        self._lines.append(
            f'  <text class="small" x="{WIDE - right}" y="{HIGH - 10}" text-anchor="end">{across.name}</text>'
        )

    def _x(self, value: float) -> float:
        return _LEFT + (WIDE - _LEFT - self._right) * self._across.place(value)

    def _y(self, value: float) -> float:
        return HIGH - _BOTTOM - (HIGH - _TOP - _BOTTOM) * self._up.place(value)

    def line(self, points: Sequence[tuple[float, float]], kind: str, *, stairs: bool = False) -> None:
        """One line; as stairs, if it stays where it is until the next point."""
        path = f"M{self._x(points[0][0]):.1f} {self._y(points[0][1]):.1f}"
        for x, y in points[1:]:
            path += f"H{self._x(x):.1f}V{self._y(y):.1f}" if stairs else f"L{self._x(x):.1f} {self._y(y):.1f}"
        self._lines.append(f'  <path class="{kind}" d="{path}"/>')

    def between(self, low: Sequence[tuple[float, float]], high: Sequence[tuple[float, float]], kind: str) -> None:
        """What lies between two lines."""
        outline = [*low, *reversed(high)]
        path = "L".join(f"{self._x(x):.1f} {self._y(y):.1f}" for x, y in outline)
        self._lines.append(f'  <path class="{kind}" d="M{path}Z"/>')

    def named(self, ends: Sequence[tuple[float, str, str]]) -> None:
        """Names at the right of lines that end at these heights, moved apart where they would lie on each other."""
        places = sorted((self._y(value), kind, text) for value, kind, text in ends)
        low = HIGH - _BOTTOM - _LINE * (len(places) - 1)
        y = float(_TOP)
        for number, (wanted, kind, text) in enumerate(places):
            y = min(max(wanted, y), low + _LINE * number)
            x = WIDE - self._right + 8
            self._lines.append(f'  <text class="{kind}" x="{x}" y="{y + 4:.1f}" font-size="12">{text}</text>')
            y += _LINE

    def words(self, x: float, y: float, text: str, kind: str, anchor: str = "start") -> None:
        """Words at a place."""
        self._lines.append(
            f'  <text class="{kind}" x="{self._x(x):.1f}" y="{self._y(y):.1f}" text-anchor="{anchor}">{text}</text>'
        )

    def __str__(self) -> str:
        return "\n".join([*self._lines, "</svg>", ""])


def peeking() -> Picture:
    """How often a sound canary was ever stopped, by the number of looks: a plain p-value, and the e-value."""
    chance = random.Random(5)
    runs, looks, errors = 1000, 60, 10
    plain, ours = [0] * looks, [0] * looks
    for _ in range(runs):
        canary, stopped, convicted = 0, False, False
        test = ErrorRateTest()
        for look in range(looks):
            canary += sum(chance.random() < 0.5 for _ in range(errors))
            others = (look + 1) * errors - canary
            stopped = stopped or (single_look([canary, others], [1.0, 1.0]) < 0.05 and canary > others)
            if canary > 1.15 * others and not convicted:
                test.observe(Stretch(0.5, canary, others))
                convicted = test.worse(0.025)
            plain[look] += stopped
            ours[look] += convicted
    picture = Picture(
        "Looking often: sound canaries that were stopped",
        "The share stopped by a plain p-value grows with each look to many times what was asked for; that of the e-value stays below it.",
        Axis("looks, ten errors apart", 1, looks, [(one, str(one)) for one in (1, 10, 20, 30, 40, 50, 60)]),
        Axis(
            "", 0.0, 0.20, [(0.0, "0"), (0.025, "2.5 %"), (0.05, "5 %"), (0.1, "10 %"), (0.15, "15 %"), (0.2, "20 %")]
        ),
    )
    picture.line([(1, 0.025), (looks, 0.025)], "c")
    picture.line([(look + 1, count / runs) for look, count in enumerate(plain)], "b")
    picture.line([(look + 1, count / runs) for look, count in enumerate(ours)], "a")
    picture.words(looks, plain[-1] / runs + 0.008, "p &lt; .025, looked at each time", "tb", "end")
    picture.words(looks, ours[-1] / runs + 0.006, "e-value", "ta", "end")
    picture.words(2, 0.031, "asked for", "tc")
    return picture


def betting() -> Picture:
    """The stake against a sound canary and against one with three times the errors."""
    chance = random.Random(8)
    across = Axis(
        "errors so far, of all versions (canary's share 5 %)", 0, 200, [(one, str(one)) for one in range(0, 201, 50)]
    )
    picture = Picture(
        "An e-value is what a bet has become",
        "Against a canary with three times the errors a stake of 1 grows past 100 within some 90 errors; against a sound one it dwindles.",
        across,
        Axis(
            "",
            0.01,
            10_000.0,
            [(0.01, ".01"), (0.1, ".1"), (1, "1"), (10, "10"), (100, "100"), (1000, "1,000")],
            logarithmic=True,
        ),
    )
    picture.line([(0, 100), (200, 100)], "c")
    picture.words(2, 130, "stop: 1 / alpha = 100", "tc")
    for ratio, kind, word, place in (
        (3.0, "b", "three times the errors", (150, 2500)),
        (1.0, "a", "a sound canary", (150, 0.05)),
    ):
        theta = ratio * 0.05 / (ratio * 0.05 + 0.95)
        test, canary, points = ErrorRateTest(), 0, [(0.0, 1.0)]
        for error in range(1, 201):
            canary += chance.random() < theta
            test.observe(Stretch(0.05, canary, error - canary))
            points.append((float(error), min(exp(test.ln_evidence), 1e4)))
        picture.line(points, kind)
        picture.words(*place, word, f"t{kind}", "middle")
    return picture


def users() -> Picture:
    """The same number of errors, of many users or of few: what the interval says."""
    picture = Picture(
        "100 errors of the canary, of how many users?",
        "The fewer users the errors come from, the wider the interval for the ratio of error rates; requests alone would always say the narrowest.",
        Axis(
            "users that the canary's 100 errors came from (of 500)",
            20,
            100,
            [(one, str(one)) for one in (20, 25, 33, 50, 100)],
        ),
        Axis("", 1.0, 2.5, [(1, "1 x"), (1.5, "1.5 x"), (2, "2 x"), (2.5, "2.5 x")]),
    )
    others = Clusters.of([float(one % 5 == 0) for one in range(5000)], [20.0] * 5000)
    points = []
    for each in (5, 4, 3, 2, 1):
        count = round(100 / each)
        canary = Clusters.of([float(each)] * count + [0.0] * (500 - count), [20.0] * 500)
        points.append((float(count), exp(upper_log_ratio(canary, others, 0.05))))
    picture.line([(20, 2.0), (100, 2.0)], "c")
    picture.words(99, 2.07, "2 x: harmful", "tc", "end")
    picture.line([(20, points[-1][1]), (100, points[-1][1])], "b")
    picture.line(points, "a")
    picture.words(60, points[-1][1] - 0.12, "as if each request were a user", "tb")
    picture.words(30, points[2][1] + 0.1, "how many times the errors are still possible", "ta")
    return picture


def saturating() -> Picture:
    """Canary's share of the errors as the day goes on: of first errors, and of all."""
    chance = random.Random(3)
    heavy = [(chance.random() < 0.25, 20.0 + 60.0 * chance.random()) for _ in range(2000)]
    first, every = [], []
    for tenth in range(1, 101):
        share = tenth / 100
        counts = [0.0, 0.0]
        totals = [0.0, 0.0]
        for canary, requests in heavy:
            rate = 0.04 * (2.0 if canary else 1.0) * requests * share
            counts[canary] += 1.0 - exp(-rate)
            totals[canary] += rate
        dealt = sum(canary for canary, _ in heavy) / len(heavy)
        first.append((24 * share, counts[1] / counts[0] * (1 - dealt) / dealt))
        every.append((24 * share, totals[1] / totals[0] * (1 - dealt) / dealt))
    picture = Picture(
        "A canary with twice the errors, and users who ask much",
        "By first errors the canary looks ever better as users run out who have not erred yet; by all errors, clustered by user, it stays at twice.",
        Axis("hours", 0, 24, [(one, str(one)) for one in (0, 6, 12, 18, 24)]),
        Axis("", 1.0, 2.2, [(1.0, "1 x"), (1.5, "1.5 x"), (2.0, "2 x")]),
    )
    picture.line(every, "a")
    picture.line(first, "b")
    picture.words(12, 2.05, "all errors, clustered by user: promotion rests on this", "ta", "middle")
    picture.words(23, 1.45, "first errors: good to stop on, wrong to promote on", "tb", "end")
    return picture


def bands() -> Picture:
    """Two latency distributions with their bands."""
    picture = Picture(
        "Bands around two latency distributions",
        "Of 20,000 and 2,000 requests. Where the bands part, the canary is slower, however often one looks.",
        Axis("seconds", 0.01, 0.6, [(one, f"{one:g}") for one in (0.01, 0.03, 0.1, 0.3)], logarithmic=True),
        Axis("", 0.0, 1.0, [(0.0, "0 %"), (0.5, "50 %"), (0.9, "90 %"), (1.0, "100 %")]),
    )
    edges = [0.01 * 1.05**step for step in range(85)]
    for middle, samples, kind, fill in ((0.05, 20_000, "a", "aa"), (0.08, 2000, "b", "bb")):
        chance = random.Random(11)
        values = sorted(chance.lognormvariate(log(middle), 0.6) for _ in range(samples))
        share = []
        at = 0
        for edge in edges:
            while at < samples and values[at] <= edge:
                at += 1
            share.append((edge, at / samples))
        width = band(samples, 0.025)
        picture.between([(x, y - width) for x, y in share], [(x, y + width) for x, y in share], fill)
        picture.line(share, kind)
    picture.words(0.028, 0.55, "others", "ta", "end")
    picture.words(0.13, 0.55, "canary, 1.6 x as slow", "tb")
    return picture


def widths() -> Picture:
    """What an interval that holds at all looks costs, beside one for a single look."""
    picture = Picture(
        "The price of looking at any time",
        "Half the width of the interval in standard errors: 3.04 at its best, more before and after, where one look would have 1.96.",
        Axis(
            "units",
            50,
            500_000,
            [(50, "50"), (500, "500"), (5000, "5,000"), (50_000, "50,000"), (300_000, "300,000")],
            logarithmic=True,
        ),
        Axis("", 0.0, 6.0, [(one, str(one)) for one in range(0, 7, 2)]),
    )
    points = [(50 * 10 ** (step / 25), half_width(1.0, 50 * 10 ** (step / 25), 0.05)) for step in range(101)]
    picture.line([(50, 1.96), (500_000, 1.96)], "b")
    picture.line(points, "a")
    picture.words(5000, 3.3, "any look", "ta", "middle")
    picture.words(5000, 1.5, "one look, decided on beforehand", "tb", "middle")
    return picture


PICTURES = {
    "statistics-looking.svg": peeking,
    "statistics-betting.svg": betting,
    "statistics-users.svg": users,
    "statistics-saturating.svg": saturating,
    "statistics-bands.svg": bands,
    "statistics-widths.svg": widths,
}


def main() -> None:
    """Write them."""
    for name, draw in PICTURES.items():
        (DOCS / name).write_text(str(draw()))
        print(name)


if __name__ == "__main__":
    main()
