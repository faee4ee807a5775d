"""The gates: who fails, who passes, and that nothing passes for lack of data."""

from math import inf, nan
from typing import Any

import pytest

from proxy.analysis.clusters import Clusters
from proxy.rollout.evidence import Evidence, StretchEvidence, VersionEvidence
from proxy.rollout.gates import Gates
from proxy.telemetry.counters import BUCKETS
from proxy.telemetry.measures import Counts
from tests.unit.rollout.evidence import METRICS, a_version, evidence, metric, plan


def judged(one: dict[str, Any], seen: Evidence, *, gate: bool = True) -> tuple[str, str]:
    found = Gates(plan(one)).judge(seen, gate=gate)
    return found.result, found.reason


NOTHING = evidence(a_version(0), a_version(0))


@pytest.mark.parametrize("judge", METRICS)
def test_nothing_known_is_insufficient(judge: str) -> None:
    assert judged(metric(judge), NOTHING)[0] == "insufficient"
    bare = Evidence("shop", "stable", "canary", None, 0.0, 0.0, {})
    assert judged(metric(judge), bare)[0] == "insufficient"


@pytest.mark.parametrize(
    ("judge", "stable", "canary", "expected"),
    [
        ("error_rate", a_version(2000, 20), a_version(2000, 100), "fail"),
        ("error_rate", a_version(20_000, 400), a_version(20_000, 400), "pass"),
        ("error_rate", a_version(2000, 0), a_version(2000, 0), "pass"),  # hardly any errors: by the difference
        ("error_rate", a_version(100, 0), a_version(100, 0), "insufficient"),
        ("error_rate", a_version(2000, 40), a_version(2000, 45), "insufficient"),
        ("exceedance", a_version(2000, slow=20), a_version(2000, slow=120), "fail"),
        ("exceedance", a_version(20_000, slow=400), a_version(20_000, slow=390), "pass"),
        ("band", a_version(20_000), a_version(20_000, bucket=110), "fail"),
        ("band", a_version(20_000), a_version(20_000), "pass"),
        ("band", a_version(50), a_version(50), "insufficient"),
        ("mean", a_version(5000), a_version(5000), "pass"),
        ("mean", a_version(10), a_version(10), "insufficient"),
        ("sample_ratio", a_version(1000), a_version(1000), "pass"),
        ("sample_ratio", a_version(1000), a_version(600), "fail"),
        ("sample_ratio", a_version(20), a_version(20), "insufficient"),
    ],
)
def test_by_units(judge: str, stable: VersionEvidence, canary: VersionEvidence, expected: str) -> None:
    result, reason = judged(metric(judge), evidence(stable, canary))
    assert result == expected, reason


def test_a_mean_that_moved_fails_both_ways() -> None:
    heavier = a_version(5000, sums={"bytes": Clusters.of([2000.0 + one % 2 for one in range(5000)], [1.0] * 5000)})
    for stable, canary in ((a_version(5000), heavier), (heavier, a_version(5000))):
        assert judged(metric("mean"), evidence(stable, canary))[0] == "fail"
    assert judged(metric("mean", direction="lower"), evidence(heavier, a_version(5000)))[0] == "pass"


def bought(units: int, hits: int) -> VersionEvidence:
    did = [1.0] * hits + [0.0] * (units - hits)
    spent = [1000.0 * (1 + place % 3) for place in range(hits)] + [0.0] * (units - hits)
    ones = [1.0] * units
    return a_version(units, sums={"event:purchase": Clusters.of(did, ones), "value:purchase": Clusters.of(spent, ones)})


@pytest.mark.parametrize(("hits", "expected"), [(1000, "pass"), (500, "fail"), (880, "insufficient")])
def test_a_share_of_units_with_an_event(hits: int, expected: str) -> None:
    result, reason = judged(metric("proportion"), evidence(bought(10_000, 1000), bought(10_000, hits)))
    assert (result, "units at `canary`" in reason) == (expected, True), reason


def test_an_event_that_nobody_has_told_of_is_insufficient() -> None:
    result, reason = judged(metric("proportion", event="purchas"), evidence(bought(9000, 900), bought(9000, 900)))
    assert (result, "no event `purchas`" in reason) == ("insufficient", True)
    worth = metric("mean", of=None, event="purchase", direction="higher", tolerate=0.2)
    assert judged(worth, evidence(bought(9000, 900), bought(9000, 900)))[0] == "pass"
    assert judged(worth, evidence(bought(9000, 900), bought(9000, 300)))[0] == "fail"


@pytest.mark.parametrize(
    ("values", "expected"),
    [([0.5], "pass"), ([5.0], "fail"), ([nan], "insufficient"), ([], "insufficient"), ([inf], "insufficient")],
)
def test_a_threshold_of_a_series(values: list[float], expected: str) -> None:
    seen = evidence(a_version(9), a_version(9), series={"canary": {"error_percent": values}})
    assert judged(metric("threshold"), seen)[0] == expected


@pytest.mark.parametrize(("answer", "expected"), [(0.5, "pass"), (1.5, "fail"), (nan, "insufficient")])
def test_a_threshold_of_a_query(answer: float, expected: str) -> None:
    one = metric("threshold", of=None, query="up", prometheus="http://127.0.0.1:1", version=None)
    seen = evidence(a_version(9), a_version(9), answers={"threshold": answer}, problems={"threshold": "no series"})
    result, reason = judged(one, seen)
    assert result == expected
    assert ("no series" in reason) == (expected == "insufficient")


@pytest.mark.parametrize(("shift", "expected"), [(1.0, "pass"), (2.0, "fail")])
@pytest.mark.parametrize("compat", [None, "kayenta"])
def test_ranks_of_points(shift: float, expected: str, compat: str | None) -> None:
    points = [0.1 + 0.001 * (place * 7 % 13) for place in range(60)]
    series = {"stable": {"latency_mean": points}, "canary": {"latency_mean": [value * shift for value in points]}}
    seen = evidence(a_version(9), a_version(9), series=series)
    assert judged(metric("mann_whitney", compat=compat), seen)[0] == expected
    few = {name: {"latency_mean": one["latency_mean"][:5]} for name, one in series.items()}
    assert (
        judged(metric("mann_whitney", compat=compat), evidence(a_version(9), a_version(9), series=few))[0]
        == "insufficient"
    )


@pytest.mark.parametrize(("errors", "expected"), [(0, "pass"), (500, "fail")])
def test_a_burn_rate(errors: int, expected: str) -> None:
    seen = evidence(a_version(9), a_version(9), points=[(float(10 * place), 1000, errors) for place in range(40)])
    assert judged(metric("burn_rate"), seen)[0] == expected


def test_only_a_critical_metric_fails_before_the_gate() -> None:
    bad = evidence(a_version(2000, 20), a_version(2000, 200))
    assert judged(metric("error_rate"), bad, gate=False)[0] == "insufficient"
    found = Gates(plan(metric("error_rate", weight="critical"))).judge(bad, gate=False)
    assert (found.result, found.at_once) == ("fail", True)
    assert judged(metric("error_rate", weight="watch"), bad)[0] == "insufficient"  # and nothing else counts


def test_evidence_that_was_once_enough_stays_so_until_the_rollout_begins_anew() -> None:
    gates = Gates(plan(metric("error_rate")))
    assert gates.judge(evidence(a_version(2000, 20), a_version(2000, 200)), gate=True).result == "fail"
    well = evidence(a_version(20_000, 400), a_version(20_000, 400))
    assert gates.judge(well, gate=True).result == "fail"
    gates.forget()
    assert gates.judge(well, gate=True).result == "pass"


def test_evidence_goes_on_through_stretches_and_each_has_its_own_share() -> None:
    def stretch(share: float, stable: int, canary: int) -> StretchEvidence:
        return StretchEvidence({"stable": 100 - share, "canary": share}, {"stable": [stable], "canary": [canary]})

    fair = [stretch(1.0, 99, 1), stretch(10.0, 90, 10), stretch(50.0, 50, 50)]
    worse = [stretch(1.0, 99, 5), stretch(10.0, 90, 30), stretch(50.0, 50, 90)]
    base = evidence(a_version(40, 5), a_version(40, 5))
    for stretches, expected in ((fair, "insufficient"), (worse, "fail")):
        seen = evidence(base.versions["stable"], base.versions["canary"], stretches=stretches)
        assert judged(metric("error_rate"), seen)[0] == expected


def test_a_ring_is_compared_plainly_and_says_so() -> None:
    durations = (0,) * BUCKETS
    for errors, expected in ((0, "pass"), (60, "fail")):
        canary = VersionEvidence(Counts(1000, errors, durations=durations))
        stable = VersionEvidence(Counts(1000, 5, durations=durations))
        seen = evidence(a_version(0), a_version(0), versions={"stable": stable, "canary": canary}, randomised=False)
        result, reason = judged(metric("error_rate"), seen)
        assert (result, "not randomised" in reason) == (expected, True)
        assert judged(metric("proportion"), seen)[0] == "insufficient"


def test_units_that_are_nobody_are_told_of() -> None:
    seen = evidence(a_version(2000), a_version(2000), identity="a unit may be an address here")
    assert "a unit may be an address here" in judged(metric("error_rate"), seen)[1]


def test_the_baseline_is_what_is_compared_with() -> None:
    three = {"stable": a_version(5000, 2000), "baseline": a_version(5000, 50), "canary": a_version(5000, 260)}
    firsts = {name: [int(one.sums["errors"].affected)] for name, one in three.items()}
    weights = {"stable": 50.0, "baseline": 25.0, "canary": 25.0}
    seen = evidence(
        three["stable"],
        three["canary"],
        versions=three,
        baseline="baseline",
        stretches=[StretchEvidence(weights, firsts)],
    )
    assert judged(metric("error_rate"), seen)[0] == "fail"


def test_the_numbers_are_plain_and_state_the_budget() -> None:
    found = Gates(plan(metric("error_rate"), metric("band"))).judge(
        evidence(a_version(50, 1), a_version(50, 1)), gate=True
    )
    assert found.numbers["budget"] == {"alpha": 0.01, "beta": 0.05, "metrics": 2, "steps": 1}
    assert [one["metric"] for one in found.numbers["metrics"]] == ["error_rate", "band"]
    errors = found.numbers["metrics"][0]
    assert errors["alpha"] == 0.005
    assert errors["seconds"] is not None  # expected time to a decision
    assert found.numbers["samples"]["canary"] == {"requests": 50, "units": 50}
