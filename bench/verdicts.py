"""What a verdict costs: ten metrics over 100,000 units. `python -m bench.verdicts` prints milliseconds; it needs nothing else."""

import statistics
import time
from collections.abc import Callable
from math import log
from typing import Any

from proxy.analysis.budget import Budget
from proxy.analysis.clusters import Clusters
from proxy.analysis.error_rate import ErrorRateTest, Stretch
from proxy.analysis.judging import judge_band, judge_errors, judge_latency
from proxy.analysis.judging_plain import (
    judge_means,
    judge_proportions,
    judge_ranks,
    judge_sample_ratio,
    judge_threshold,
)
from proxy.analysis.latency import ExceedanceTest, slower
from proxy.analysis.means import Moments
from proxy.analysis.proportions import Share
from proxy.analysis.sample_ratio import sample_ratio
from proxy.analysis.threshold import Limits
from proxy.analysis.verdict import Verdict, together
from proxy.telemetry.counters import FINE_EDGES

UNITS = 100_000
_METRICS = (
    "errors", "timeouts", "latency", "upstream latency", "distribution", "buyers", "basket", "cpu", "queue", "ratio",
)  # fmt: skip


def _units(count: int, rate: float, first: int) -> tuple[list[float], list[float]]:
    """Errors and requests of each unit: made up, but not all the same."""
    weights = [1.0 + (one * 7919 + first) % 61 for one in range(count)]
    return [float((one * 104_729 + first) % 1000 < rate * 1000 * weight) for one, weight in enumerate(weights)], weights


def _once(sums: dict[str, tuple[Clusters, Clusters]], histogram: list[int], points: list[float]) -> Any:
    """All verdicts, from sums; nothing is kept from one to the next."""
    budget = Budget(dict.fromkeys(_METRICS, "normal"))
    verdicts: list[Verdict] = []
    for name in ("errors", "timeouts"):
        test = ErrorRateTest()
        test.observe(Stretch(0.05, 1210, 22_800))
        verdicts.append(judge_errors(name, test, *sums["errors"], budget.of(name), seconds=3600.0))
    for name in ("latency", "upstream latency"):
        over = ExceedanceTest((0.2, 0.5, 1.0))
        over.observe([Stretch(0.05, 1400, 26_000), Stretch(0.05, 420, 8000), Stretch(0.05, 60, 1100)])
        verdicts.append(judge_latency(name, over, *sums["latency"], budget.of(name), seconds=3600.0))
    band = slower(histogram, histogram, FINE_EDGES, budget.of("distribution").alpha)
    verdicts.append(judge_band("distribution", band, (5000, 95_000), budget.of("distribution")))
    verdicts.append(
        judge_proportions("buyers", Share(160, 5000), Share(3000, 95_000), budget.of("buyers"), harmful=0.01)
    )
    moments = Moments(5000, 31.0, 5000 * 400.0), Moments(95_000, 31.2, 95_000 * 400.0)
    verdicts.append(judge_means("basket", *moments, budget.of("basket"), harmful=2.0))
    verdicts.append(judge_ranks("cpu", points, points[::-1], budget.of("cpu"), look=3))
    verdicts.append(judge_threshold("queue", points, Limits(most=2.0, intervals=5)))
    verdicts.append(judge_sample_ratio("ratio", sample_ratio([5021, 94_979], [5.0, 95.0]), (5021, 94_979)))
    return together(budget.metrics, verdicts, gate=True)


def cost(repeats: int = 15) -> dict[str, float]:
    """Milliseconds, medians: a verdict from sums, and making the sums of arrays; they are kept up as requests end."""
    errors = _units(UNITS // 20, 0.01, 1), _units(UNITS - UNITS // 20, 0.01, 2)
    kept = Clusters.of(*errors[0]), Clusters.of(*errors[1])
    slow = [Clusters.of([log(0.05 + one / 7) * one for one in weights], weights) for _, weights in errors]
    sums = {"errors": kept, "latency": (slow[0], slow[1])}
    histogram = [1 + (one * 37) % 400 for one in range(len(FINE_EDGES) + 1)]
    points = [1.0 + (one * 29 % 31) / 31 for one in range(60)]
    together_now = _timed(lambda: _once(sums, histogram, points), repeats)
    return {
        "units": UNITS,
        "metrics": len(_METRICS),
        "milliseconds": together_now,
        "milliseconds to sum up arrays": _timed(lambda: (Clusters.of(*errors[0]), Clusters.of(*errors[1])), 5),
    }


def _timed(work: Callable[[], Any], repeats: int) -> float:
    taken = []
    for _ in range(repeats):
        begun = time.perf_counter()
        work()
        taken.append((time.perf_counter() - begun) * 1000)
    return statistics.median(taken)


if __name__ == "__main__":
    for name, value in cost().items():
        print(f"{name}: {value:.4g}")
