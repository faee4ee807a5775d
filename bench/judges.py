"""How often are the judges wrong, and how soon are they right? `python -m bench.judges` (twenty minutes of a core; wants numpy).

Rollouts are simulated (simulated.py) and judged by Tidegate's own gates (gated.py), by thresholds as Flagger and Argo check
them, and by Kayenta's judge (contenders.py). Thresholds and Kayenta are shown twice: as their users begin with them, and
tuned on the very rollouts without a difference until they stop as few of those as Tidegate may, which is stronger than
anybody could run them.
"""

import argparse
import json
import os
import platform
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from math import inf
from pathlib import Path
from typing import Any

import numpy as np

from bench import contenders, gated, verdicts
from bench.contenders import LATENCY, NEVER, Setting, error_series, latency_series, level_reached, settings, stopped
from bench.judges_report import markdown, portable
from bench.simulated import HEAVY, RATIOS, SATURATING, SHIFTS, WINDOWS, Day, Population, day, usual_times
from proxy.analysis.budget import ALPHA, BETA
from proxy.analysis.error_rate import CONCENTRATION, CONCENTRATIONS
from proxy.analysis.latency import EXCEEDED
from proxy.analysis.log_ratio import HARMFUL
from proxy.core.brake import ALPHA as BRAKE_ALPHA

POPULATIONS = (HEAVY, SATURATING)
REFERENCE = {
    (0.01, 1.5): 4556, (0.01, 2.0): 1239, (0.01, 3.0): 394, (0.01, 5.0): 157, (0.01, 10.0): 61,
    (0.05, 1.5): 934, (0.05, 2.0): 326, (0.05, 3.0): 127, (0.05, 5.0): 61, (0.05, 10.0): 28,
    (0.5, 1.5): 270, (0.5, 2.0): 131, (0.5, 3.0): 74, (0.5, 5.0): 51, (0.5, 10.0): 40,
}  # fmt: skip
"""Median errors until abort at alpha .01, k = 100, as computed independently."""
AS_USED = {
    "Flagger: success >= 99 %, every 1 min, 5 failures": (Setting("canary's error share", 1, 5, in_row=False), 0.01),
    "Flagger: success >= 97 %, every 1 min, 5 failures": (Setting("canary's error share", 1, 5, in_row=False), 0.03),
    "Argo: success >= 95 %, every 5 min, 3 failures": (Setting("canary's error share", 5, 3, in_row=False), 0.05),
}
_KAYENTA_Z = 2.326348
KAYENTA_EVERY = 4


@dataclass
class Seen:
    """What one cell's rollouts gave, a number for each. Series stay until thresholds are tuned."""

    ours: dict[str, list[float]] = field(default_factory=dict)
    errors: list[dict[int, dict[str, np.ndarray]]] = field(default_factory=list)
    latency: list[dict[int, dict[str, np.ndarray]]] = field(default_factory=list)
    kayenta: dict[str, list[list[tuple[float, float]]]] = field(default_factory=dict)

    def add(self, name: str, value: float) -> None:
        self.ours.setdefault(name, []).append(value)


def watch(seen: Seen, one: Day, who: Population, *, kayenta: bool) -> None:
    """Judge one day of errors, latency or both, by Kayenta too or not."""
    if one.errors is not None and one.firsts is not None:
        # The parts alone, with half of alpha each; of the two-sided interval only the lower end stops, which is half of it.
        first = contenders.by_first_errors(one.firsts, who.share, ALPHA / 2)
        stop, promoted = gated.by_errors(one, who)
        seen.add("errors", stop)
        seen.add("promoted", promoted)
        seen.add("first errors", first)
        seen.add("log ratio", contenders.by_log_ratio(one.errors, ALPHA))
        seen.add("brake", contenders.braked(one.firsts, who.share, BRAKE_ALPHA))
        seen.add("promoted by the ratio", contenders.promoted(one.errors, HARMFUL, BETA))
        seen.add("promoted by first errors", contenders.promoted_by_first_errors(one.firsts, who.share, HARMFUL, BETA))
        seen.errors.append({minutes: error_series(one, minutes) for minutes in WINDOWS})

        def shares(minutes: int) -> tuple[np.ndarray, np.ndarray]:
            requests = one.requests.reshape(-1, minutes, 2).sum(axis=1)
            with np.errstate(all="ignore"):
                found = one.failed.reshape(-1, minutes, 2).sum(axis=1) / requests
            return found[:, 1], found[:, 0]

        for kind in contenders.KAYENTA if kayenta else ():
            seen.kayenta.setdefault("errors, " + kind, []).append(contenders.kayenta_levels(shares, kind))
    if one.latency is not None:
        seen.add("latency", gated.by_latency(one, who))
        seen.add("exceedance", gated.by_exceedance(one, who))
        seen.add("mean", gated.by_mean(one, who))
        seen.add("mean, 10 %", gated.by_mean(one, who, 0.1))
        seen.add("band", gated.by_band(one, who))
        if one.ln_latency is not None:
            seen.add("ln latency", contenders.by_ln_latency(one.ln_latency, ALPHA))
        seen.latency.append({minutes: latency_series(one, minutes) for minutes in WINDOWS})

        def middles(minutes: int) -> tuple[np.ndarray, np.ndarray]:
            found = np.exp(one.percentiles[minutes][:, :, 0])
            return found[:, 1], found[:, 0]

        for kind in contenders.KAYENTA if kayenta else ():
            seen.kayenta.setdefault("latency, " + kind, []).append(contenders.kayenta_levels(middles, kind))


def simulate(
    seed: Sequence[int], who: Population, rollouts: int, *, ratio: float = 1.0, shift: float = 1.0, what: str = "both"
) -> Seen:
    """So many days, all judged; of the many without a difference, every fourth by Kayenta, the slowest of the judges."""
    rng = np.random.default_rng(list(seed))
    times = usual_times(np.random.default_rng(7), who, EXCEEDED) if what != "errors" else None
    seen = Seen()
    for number in range(rollouts):
        one = day(rng, who, ratio=ratio, shift=shift, errors=what != "latency", times=times)
        watch(seen, one, who, kayenta=what != "both" or number % KAYENTA_EVERY == 0)
        if (number + 1) % 250 == 0:
            say(f"{who.name}: {number + 1} rollouts")
    return seen


def delay(times: Sequence[float]) -> float:
    """Median minutes; inf where more than half did not stop within the day."""
    middle = float(np.median(times))
    return middle / 60 if middle < NEVER else inf


def rate(times: Sequence[float]) -> float:
    """The share that was stopped."""
    return float(np.mean(np.array(times) < NEVER))


def tuned(sound: Seen, worse: dict[float, Seen], kind: str, alpha: float) -> dict[str, Any]:
    """Of all thresholds, each at the level that stops `alpha` of the sound: the best for each cell, and the best for all."""
    measures = contenders.ERROR_MEASURES if kind == "errors" else contenders.LATENCY_MEASURES
    rows = []
    for setting in settings(measures):
        reached = [level_reached(one[setting.minutes][setting.measure], setting) for one in getattr(sound, kind)]
        threshold = _level(reached, alpha)
        cells = {}
        for size, seen in worse.items():
            times = [stopped(one[setting.minutes][setting.measure], setting, threshold) for one in getattr(seen, kind)]
            cells[size] = (delay(times), rate(times))
        rows.append((str(setting), threshold, cells))
    return _best(rows, worse)


def _level(reached: Sequence[float], alpha: float) -> float:
    """The lowest threshold that at most `alpha` of them are above."""
    ordered = np.sort(reached)
    return float(ordered[len(ordered) - 1 - int(alpha * len(ordered))])


def tuned_kayenta(sound: Seen, worse: dict[float, Seen], kind: str, alpha: float) -> dict[str, Any]:
    """The same of Kayenta's judge: the confidence that it is asked for, by the series it looks at."""
    rows = []
    for name in [one for one in sound.kayenta if one.startswith(kind)]:
        z = _level([max(level for _, level in one) for one in sound.kayenta[name]], alpha)
        cells = {}
        for size, seen in worse.items():
            times = [next((at for at, level in one if level > z), NEVER) for one in seen.kayenta[name]]
            cells[size] = (delay(times), rate(times))
        rows.append((name.partition(", ")[2] + f", z {z:.2f}", z, cells))
    return _best(rows, worse)


def _best(rows: list[tuple[str, float, dict[float, tuple[float, float]]]], worse: dict[float, Seen]) -> dict[str, Any]:
    def slowness(cell: tuple[float, float]) -> tuple[float, float]:
        return (cell[0], -cell[1])

    single = min(rows, key=lambda row: sum(np.log(min(cell[0], 2880.0)) - cell[1] for cell in row[2].values()))
    each = {size: min(rows, key=lambda row: slowness(row[2][size])) for size in worse}
    return {
        "tried": len(rows),
        "single": {"setting": single[0], "threshold": single[1], "cells": {str(k): v for k, v in single[2].items()}},
        "each": {str(size): {"setting": row[0], "cell": row[2][size]} for size, row in each.items()},
    }


def as_used(seen: Seen) -> dict[str, float]:
    """How often each stops, as its users begin with it."""
    found = {}
    for name, (setting, threshold) in AS_USED.items():
        found[name] = rate([stopped(one[setting.minutes][setting.measure], setting, threshold) for one in seen.errors])
    for name, looks in seen.kayenta.items():
        found[f"Kayenta, {name}"] = float(np.mean([any(level > _KAYENTA_Z for _, level in one) for one in looks]))
    return found


def streams(seed: int, runs: int) -> list[dict[str, float]]:
    """The table of statistics: median errors until abort."""
    rows = []
    for (share, ratio), reference in REFERENCE.items():
        most = int(reference * 12)
        found = {"share": share, "ratio": ratio, "reference": reference, "best": contenders.least_errors(share, ratio)}
        for name, concentrations in (("k100", (CONCENTRATION,)), ("ours", CONCENTRATIONS)):
            rng = np.random.default_rng([seed, int(share * 100), int(ratio * 10)])
            found[name] = float(
                np.median([contenders.errors_until(rng, share, ratio, concentrations, most) for _ in range(runs)])
            )
        rows.append(found)
    return rows


def false_alarms_of_streams(seed: int, runs: int, most: int) -> dict[str, float]:
    """Without a difference: the share of streams of `most` errors that E ever stops, looked at after each error."""
    found = {}
    for share in (0.01, 0.05, 0.5):
        for name, concentrations in (("k100", (CONCENTRATION,)), ("ours", CONCENTRATIONS)):
            rng = np.random.default_rng([seed, 99, int(share * 100)])
            times = [contenders.errors_until(rng, share, 1.0, concentrations, most) for _ in range(runs)]
            found[f"{share:g} {name}"] = float(np.mean(np.isfinite(times)))
    return found


def population(place: int, seed: int, sizes: "Sizes", say: Callable[[str], None]) -> dict[str, Any]:
    """Everything about one kind of users."""
    who = POPULATIONS[place]
    say(f"{who.name}: {sizes.sound} rollouts without a difference")
    sound = simulate((seed, place, 0), who, sizes.sound)
    worse: dict[float, Seen] = {}
    for at, ratio in enumerate(RATIOS):
        say(f"{who.name}: {sizes.bad} with {ratio:g} times the errors")
        rollouts = sizes.harmful if ratio == HARMFUL else sizes.bad
        worse[ratio] = simulate((seed, place, 1, at), who, rollouts, ratio=ratio, what="errors")
    slow: dict[float, Seen] = {}
    for at, shift in enumerate(SHIFTS):
        say(f"{who.name}: {sizes.bad} that are {shift:g} times as slow")
        slow[shift] = simulate((seed, place, 2, at), who, sizes.bad, shift=shift, what="latency")
    say(f"{who.name}: tuning the others")
    harmful = worse[HARMFUL].ours
    return {
        "users": who.users, "requests": who.requests, "share": who.share,
        "sound": {name: rate(times) for name, times in sound.ours.items()},
        "as used": as_used(sound),
        "healthy promoted after": delay(sound.ours["promoted"]),
        "harmful promoted": rate(harmful["promoted"]),
        "harmful promoted by the ratio": rate(harmful["promoted by the ratio"]),
        "harmful promoted by first errors": rate(harmful["promoted by first errors"]),
        "ours": {
            **{f"errors {ratio:g}": _both(seen, ("errors", "first errors", "log ratio", "brake")) for ratio, seen in worse.items()},
            **{f"latency {shift:g}": _both(seen, ("latency", *LATENCY)) for shift, seen in slow.items()},
        },
        "thresholds": {"errors": tuned(sound, worse, "errors", ALPHA), "latency": tuned(sound, slow, "latency", ALPHA)},
        "kayenta": {
            "errors": tuned_kayenta(sound, worse, "errors", ALPHA),
            "latency": tuned_kayenta(sound, slow, "latency", ALPHA),
        },
    }  # fmt: skip


def measure(seed: int, sizes: "Sizes", jobs: int, say: Callable[[str], None]) -> dict[str, Any]:
    """Everything, by `jobs` processes."""
    places = range(len(POPULATIONS))
    with ProcessPoolExecutor(jobs) as pool:
        each = [pool.submit(population, place, seed, sizes, say) for place in places]
        results: dict[str, Any] = {"populations": {POPULATIONS[place].name: each[place].result() for place in places}}
    say("streams of errors")
    results["streams"] = streams(seed, sizes.streams)
    results["streams sound"] = false_alarms_of_streams(seed, sizes.sound, 2000)
    say("the cost of a verdict")
    results["verdict"] = verdicts.cost()
    return results


def _both(seen: Seen, names: Sequence[str]) -> dict[str, tuple[float, float]]:
    return {name: (delay(seen.ours[name]), rate(seen.ours[name])) for name in names}


@dataclass(frozen=True)
class Sizes:
    """How many rollouts: without a difference, with one, with the harmful ratio; and streams of errors."""

    sound: int
    bad: int
    harmful: int
    streams: int


FULL, QUICK = Sizes(2000, 100, 300, 200), Sizes(50, 10, 20, 30)


def say(what: str) -> None:
    """What is being done."""
    print(f"{datetime.now(UTC):%H:%M:%S}  {what}", flush=True)


def main() -> int:
    """Measure, and write down."""

    parser = argparse.ArgumentParser(prog="python -m bench.judges", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="a first look: fifty rollouts, about a minute")
    parser.add_argument("--sound", type=int, help="rollouts without a difference, instead of 2,000")
    parser.add_argument("--bad", type=int, help="rollouts of each size of difference, instead of 100")
    parser.add_argument("--jobs", type=int, default=1, help="processes, of up to two")
    parser.add_argument("--seed", type=int, default=20261121)
    parser.add_argument("--out", type=Path, help="write the tables here")
    parser.add_argument("--json", type=Path, help="write the figures here")
    chosen = parser.parse_args()
    sizes = QUICK if chosen.quick else FULL
    if chosen.sound is not None:
        sizes = replace(sizes, sound=chosen.sound)
    if chosen.bad is not None:
        sizes = replace(sizes, bad=chosen.bad)
    begun = time.monotonic()

    results = measure(chosen.seed, sizes, chosen.jobs, say)
    options = "".join(
        [
            " --quick" if chosen.quick else "",
            f" --sound {chosen.sound}" if chosen.sound is not None else "",
            f" --bad {chosen.bad}" if chosen.bad is not None else "",
            f" --seed {chosen.seed}",
            f" --jobs {chosen.jobs}" if chosen.jobs > 1 else "",
        ]
    )
    files = "".join(f" --{name} {path}" for name, path in (("out", chosen.out), ("json", chosen.json)) if path)
    facts = {
        "command": f"python -m bench.judges{options}{files}",
        "date": datetime.now(UTC).date().isoformat(),
        "seconds": round(time.monotonic() - begun),
        "cpu seconds": round(sum(os.times()[:4])),
        "python": f"{platform.python_implementation()} {platform.python_version()}, numpy {np.__version__}",
        "sizes": {"sound": sizes.sound, "bad": sizes.bad, "harmful": sizes.harmful, "streams": sizes.streams},
    }
    text = markdown(results, facts)
    if chosen.out:
        chosen.out.write_text(text)
    else:
        print(text)
    if chosen.json:
        chosen.json.write_text(json.dumps(portable({**facts, **results}), indent=1, default=_plain) + "\n")
    return 0


def _plain(value: Any) -> Any:
    if isinstance(value, np.generic):
        return value.item()
    raise TypeError(f"{value!r} is not for JSON")


if __name__ == "__main__":
    raise SystemExit(main())
