"""Evidence for tests of judges: versions with so many units that err so often."""

from typing import Any

from proxy.analysis.clusters import Clusters
from proxy.rollout.evidence import Evidence, StretchEvidence, VersionEvidence
from proxy.telemetry.counters import BUCKETS
from proxy.telemetry.measures import Counts

METRICS = {
    "error_rate": {"tolerate": 1.0, "harmful": 2.0, "negligible": 0.01},
    "exceedance": {"above": [0.25], "tolerate": 1.0, "harmful": 2.0, "negligible": 0.01},
    "band": {"tolerate": 1.2},
    "mean": {"of": "response_bytes", "event": None, "field": None, "direction": "same", "tolerate": 0.1},
    "proportion": {"event": "purchase", "field": None, "direction": "higher", "tolerate": 0.02},
    "mann_whitney": {"of": "latency", "direction": "lower", "tolerate": 0.1, "compat": None},
    "threshold": {
        "of": "error_percent", "query": None, "prometheus": None, "at_most": 1.0, "at_least": None, "intervals": 1, "failures": 1,
        "version": "canary",
    },
    "burn_rate": {"objective": 99.0, "window": 30 * 86_400.0, "at_most": 14.4, "version": "canary"},
    "sample_ratio": {},
}  # fmt: skip


def metric(judge: str, **given: Any) -> dict[str, Any]:
    return {"name": judge, "judge": judge, "weight": "normal", **METRICS[judge], **given}


def plan(*metrics: dict[str, Any], **given: Any) -> dict[str, Any]:
    return {"metrics": list(metrics), "steps": [{"judged": True}], "alpha": 0.01, "beta": 0.05} | given


def a_version(
    units: int, erring: int = 0, *, requests: int = 1, bucket: int = 100, slow: int = 0, **given: Any
) -> VersionEvidence:
    """`erring` of the units have one error each, `slow` one slow answer; every unit has so many requests of 1000 bytes."""
    weights = [float(requests)] * units
    durations = [0] * BUCKETS
    durations[bucket] = units * requests
    counts = Counts(units * requests, erring, response_bytes=1000 * units * requests, durations=tuple(durations))
    sums = {
        "requests": Clusters.of(weights, weights),
        "errors": Clusters.of([1.0] * erring + [0.0] * (units - erring), weights),
        "slow:0.25": Clusters.of([1.0] * slow + [0.0] * (units - slow), weights),
        "bytes": Clusters.of([(900.0 + 200.0 * (one % 2)) * requests for one in range(units)], weights),
    }
    return VersionEvidence(given.pop("counts", counts), units, sums | given.pop("sums", {}), units)


def evidence(stable: VersionEvidence, canary: VersionEvidence, share: float = 50.0, **given: Any) -> Evidence:
    firsts = {
        name: [int(one.sums["errors"].affected), int(one.sums["slow:0.25"].affected)]
        for name, one in (("stable", stable), ("canary", canary))
    }
    values: dict[str, Any] = {
        "route": "shop", "old": "stable", "new": "canary", "baseline": None, "began": 0.0, "seconds": 100.0,
        "versions": {"stable": stable, "canary": canary}, "slow": [0.25],
        "stretches": [StretchEvidence({"stable": 100.0 - share, "canary": share}, firsts)],
    }  # fmt: skip
    return Evidence(**(values | given))
