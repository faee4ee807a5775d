"""What a verdict costs: the gates of ten metrics over 100,000 units. `python -m bench.verdicts` (a second)."""

import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

from bench.apart import measure_apart
from bench.place import Place, Row
from proxy.analysis.clusters import Clusters
from proxy.rollout.foresight import expected
from proxy.rollout.gates import Gates
from proxy.rollout.world import Assumed
from proxy.settings.loader import load

UNITS: Final = 100_000
WANTED: Final = 20.0
"""Milliseconds."""
_FILE: Final = """
listen: 127.0.0.1:1
upstreams: {a: {endpoints: [http://127.0.0.1:2]}}
routes:
  - name: shop
    unit: [{header: x-user-id}]
    versions: {stable: {upstream: a, weight: 100}, canary: {upstream: a, weight: 0}}
    rollout:
      revision: v2
      steps: [5, 100]
      metrics:
        - {name: errors, judge: error_rate, weight: critical}
        - {name: slow, judge: exceedance, above: [200ms, 500ms, 1s]}
        - {name: latency, judge: band}
        - {name: size, judge: mean, of: response_bytes, tolerate: 0.1}
        - {name: basket, judge: mean, event: purchase, tolerate: 0.1}
        - {name: buyers, judge: proportion, event: purchase, direction: higher, tolerate: 0.02}
        - {name: rank, judge: mann_whitney, of: latency}
        - {name: ceiling, judge: threshold, of: error_percent, at_most: 2}
        - {name: slo, judge: burn_rate, objective: 99.9}
        - {name: split, judge: sample_ratio}
"""


def cost(repeats: int = 15) -> dict[str, float]:
    """Milliseconds, medians: a verdict from sums, and making the sums of arrays; they are kept up as requests end."""
    with tempfile.TemporaryDirectory(prefix="tidegate-verdicts-") as temporary:
        file = Path(temporary) / "tidegate.yaml"
        file.write_text(_FILE)
        plan: dict[str, Any] = load(file, {}).spec["routes"][0]["rollout"]
    assumed = Assumed(1000.0, UNITS, events={"purchase": (0.03, 1.0)})
    evidence = expected(plan, {"stable": 95.0, "canary": 5.0}, plan["steps"][0], assumed, 3600.0)
    units = sum(version.units for version in evidence.versions.values())
    gates = Gates(plan)
    canary = _units(UNITS // 20, 1)
    others = _units(UNITS - UNITS // 20, 2)
    return {
        "units": round(units, -3),
        "metrics": len(plan["metrics"]),
        "milliseconds": _timed(lambda: gates.judge(evidence, gate=True), repeats),
        "milliseconds to sum up arrays": _timed(lambda: (Clusters.of(*canary), Clusters.of(*others)), min(repeats, 5)),
    }


def _units(count: int, first: int) -> tuple[list[float], list[float]]:
    """Errors and requests of each unit: made up, but not all the same."""
    weights = [1.0 + (one * 7919 + first) % 61 for one in range(count)]
    return [float((one * 104_729 + first) % 1000 < 10.0 * weight) for one, weight in enumerate(weights)], weights


def _timed(work: Callable[[], Any], repeats: int) -> float:
    taken = []
    for _ in range(repeats):
        begun = time.perf_counter()
        work()
        taken.append((time.perf_counter() - begun) * 1000)
    return statistics.median(taken)


def gates(_place: Place, quick: bool, _interpreted: bool = False) -> list[Row]:
    """One verdict over ten metrics. What judges are worth is simulated elsewhere (judges.py)."""
    found = cost(3 if quick else 15)
    where = "how often verdicts are right: [RESULTS-judges.md](RESULTS-judges.md)"
    title = f"a verdict over {found['metrics']} metrics and {found['units']:,} units ({where})"
    return [Row(title, f"{found['milliseconds']:.1f} ms", f"< {WANTED:g} ms")]


def main() -> int:
    """Measure, and print."""
    return measure_apart("verdicts", __doc__, "fewer rounds", gates)


if __name__ == "__main__":
    sys.exit(main())
