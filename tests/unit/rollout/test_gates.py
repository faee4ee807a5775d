"""The gates: who fails, who passes, and that nothing passes for lack of data."""

from bisect import bisect_left
from dataclasses import replace
from math import exp, inf, nan, pi
from typing import Any

import pytest

from proxy.analysis.clusters import Clusters
from proxy.analysis.log_ratio import log_ratio
from proxy.analysis.verdict import Verdict
from proxy.rollout.evidence import Evidence, StretchEvidence, VersionEvidence
from proxy.rollout.gates import Gates
from proxy.telemetry.counters import BUCKETS, FINE_EDGES
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


def test_a_ratio_that_is_no_pass_is_not_told_as_one() -> None:
    result, reason = judged(metric("error_rate"), evidence(a_version(10_000, 30), a_version(2000, 4), 100 / 6))
    assert result == "pass"
    assert "errors of at most 1% more units" in reason


def test_little_harm_is_not_let_through_where_the_ratio_is_known_to_be_harmful() -> None:
    """A few users in a thousand are less than 1 %, and three times as many as before."""
    harmed = evidence(a_version(20_000, 20), a_version(20_000, 62))
    for weight in ("critical", "normal"):
        assert judged(metric("error_rate", weight=weight), harmed)[0] == "fail"
    late = evidence(  # the first errors are used up, and tell nothing
        a_version(20_000, 20), a_version(20_000, 45), stretches=[StretchEvidence({"stable": 50.0, "canary": 50.0}, {})]
    )
    assert judged(metric("error_rate"), late)[0] == "insufficient"
    assert judged(metric("error_rate", harmful=4.0), late)[0] == "pass"


def test_little_harm_is_not_let_through_while_first_errors_speak_against_it() -> None:
    speaking = evidence(a_version(40_000, 30), a_version(4000, 11), 100 / 11)
    result, reason = judged(metric("error_rate"), speaking)
    assert result == "insufficient", reason
    assert judged(metric("error_rate"), evidence(a_version(40_000, 30), a_version(4000, 4), 100 / 11))[0] == "pass"


def test_the_ratio_of_all_errors_stops_too_at_half_of_alpha_over_all_steps() -> None:
    """First errors are used up; who errs does so four times as often."""
    seen = [StretchEvidence({"stable": 50.0, "canary": 50.0}, {"stable": [60], "canary": [60]})]
    weights = [10.0] * 4000
    sums = [{"errors": Clusters.of([float(times)] * 60 + [0.0] * 3940, weights)} for times in (1, 4)]
    harmed = evidence(
        a_version(4000, requests=10, sums=sums[0]), a_version(4000, requests=10, sums=sums[1]), stretches=seen
    )
    found = Gates(plan(metric("error_rate"))).judge(harmed, gate=True)
    assert found.result == "fail"
    assert "by users, 4.00 times the share" in found.reason
    (verdict,) = found.verdicts
    assert verdict.low is not None
    assert 1.0 < verdict.low < 4.0
    lowest = log_ratio(harmed.versions["canary"].sums["errors"], harmed.versions["stable"].sums["errors"], 0.01).low
    assert verdict.low == pytest.approx(exp(lowest))
    steps = Gates(plan(metric("error_rate"), steps=[{"judged": True}] * 5)).judge(harmed, gate=True).verdicts[0]
    assert steps.low is not None
    assert steps.low < verdict.low  # each step has a fifth
    assert judged(metric("error_rate", tolerate=3.0, harmful=5.0), harmed)[0] != "fail"
    alone = evidence(a_version(0), a_version(4000, requests=10, sums=sums[1]), stretches=seen)
    assert judged(metric("error_rate"), alone)[0] == "insufficient"


def test_how_much_harms_nobody_is_the_metrics_to_say() -> None:
    seen = evidence(a_version(2000, 0), a_version(2000, 0))
    assert judged(metric("error_rate"), seen)[0] == "pass"
    assert judged(metric("error_rate", negligible=0.01), seen)[0] == "pass"
    assert judged(metric("error_rate", negligible=0.001), seen)[0] == "insufficient"
    assert judged(metric("error_rate", negligible=0.0), seen)[0] == "insufficient"


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([0.5, 5.0, 0.5], "pass"),  # one spike
        ([5.0, 0.5, 5.0], "fail"),
        ([0.5, 5.0], "insufficient"),
        ([5.0, 5.0], "fail"),  # whatever the third was
        ([5.0, 5.0, 0.5, 0.5, 0.5], "pass"),  # long ago
    ],
)
def test_a_threshold_of_several_intervals(values: list[float], expected: str) -> None:
    one = metric("threshold", intervals=3, failures=2)
    seen = evidence(a_version(9), a_version(9), series={"canary": {"error_percent": values}})
    result, reason = judged(one, seen)
    assert result == expected
    assert ("of the last 3 beyond, 2 fail" in reason) == (expected != "insufficient")


def test_an_answer_that_is_looked_at_again_is_no_second_one() -> None:
    one = metric(
        "threshold", of=None, query="up", prometheus="http://127.0.0.1:1", version=None, intervals=2, failures=2
    )
    gates = Gates(plan(one))

    def look(answer: float, answered: float) -> str:
        seen = evidence(a_version(9), a_version(9), answers={"threshold": answer}, answered=answered)
        return gates.judge(seen, gate=True).result

    assert [look(5.0, at) for at in (10.0, 10.0, 10.0, 20.0)] == ["insufficient"] * 3 + ["fail"]
    gates.begin_step()
    assert [look(0.5, 30.0), look(nan, 30.0), look(0.5, 40.0), look(0.5, 50.0)] == ["insufficient"] * 3 + ["pass"]


def test_ranks_that_show_no_shift_are_no_pass_until_it_is_known_to_be_small() -> None:
    noisy = [0.05 + 0.01 * (place * 7 % 11) for place in range(22)]
    series = {"stable": {"latency_mean": noisy}, "canary": {"latency_mean": noisy[::-1]}}
    seen = evidence(a_version(9), a_version(9), series=series)
    result, reason = judged(metric("mann_whitney"), seen)
    assert (result, "too few points to tell" in reason) == ("insufficient", True)
    assert judged(metric("mann_whitney", tolerate=0.9), seen)[0] == "pass"
    same = {name: {"latency_mean": [0.1] * 30} for name in ("stable", "canary")}
    assert judged(metric("mann_whitney"), evidence(a_version(9), a_version(9), series=same))[0] == "pass"


def of_points(count: int, made: int) -> Evidence:
    points = [0.05 + 0.01 * (place * 7 % 11) for place in range(count)]
    series = {name: {"latency_mean": points} for name in ("stable", "canary")}
    return evidence(a_version(9), a_version(9), series=series, made=made)


def test_ranks_are_charged_for_looks_at_new_points_that_are_enough() -> None:
    """Of too few points there is no test; one that is looked at again is no second one; and where old points go, new ones come."""
    gates = Gates(plan(metric("mann_whitney")))
    for made in range(1, 20):
        gates.judge(of_points(made, made), gate=True)
    assert gates.looks == 0
    for _ in range(5):
        assert gates.judge(of_points(20, 20), gate=True).verdicts[0].alpha == pytest.approx(0.01 * 6.0 / pi**2)
    assert gates.looks == 1
    gates.begin_step()
    assert gates.judge(of_points(20, 40), gate=True).verdicts[0].alpha == pytest.approx(0.01 * 6.0 / (2.0 * pi) ** 2)
    gates.judge(of_points(20, 41), gate=True)
    assert gates.looks == 3


def test_looks_that_were_made_before_a_restart_stay_charged() -> None:
    gates = Gates(plan(metric("mann_whitney")))
    gates.resume(60)
    assert gates.judge(of_points(20, 20), gate=True).verdicts[0].alpha == pytest.approx(0.01 * 6.0 / (61.0 * pi) ** 2)
    gates.forget()
    assert gates.looks == 0


def test_who_has_no_ranks_makes_no_looks() -> None:
    gates = Gates(plan(metric("band"), metric("mann_whitney", compat="kayenta")))
    gates.judge(of_points(20, 20), gate=True)
    assert gates.looks == 0


@pytest.mark.parametrize("judge", ["error_rate", "exceedance", "mean", "proportion"])
def test_an_interval_over_half_of_the_units_is_another_one_and_has_its_part_of_the_budget(judge: str) -> None:
    """Else each halving of the share would be one more chance to be wrong, at all of the level."""

    def of(level: int) -> Verdict:
        event = {"event:purchase": Clusters.of([1.0] * 600 + [0.0] * 3400, [1.0] * 4000)}
        versions = [replace(a_version(4000, 400, slow=400, sums=event), level=level) for _ in range(2)]
        return Gates(plan(metric(judge))).judge(evidence(*versions, level=level), gate=True).verdicts[0]

    whole, half, quarter = of(0), of(1), of(2)
    for one, other in ((whole, half), (half, quarter)):
        assert one.low is not None
        assert one.high is not None
        assert other.low is not None
        assert other.high is not None
        assert other.low < one.low < one.high < other.high


def test_less_than_a_millisecond_is_not_slower() -> None:
    quick, cold = edge_of(0.0002), edge_of(0.0008)
    assert (
        judged(metric("band"), evidence(a_version(20_000, bucket=quick), a_version(20_000, bucket=cold)))[0] != "fail"
    )
    slow = edge_of(0.0016)
    assert (
        judged(metric("band"), evidence(a_version(20_000, bucket=quick), a_version(20_000, bucket=slow)))[0] == "fail"
    )


def edge_of(seconds: float) -> int:
    return bisect_left(FINE_EDGES, seconds)


def test_after_the_last_step_one_client_that_tries_again_takes_nobody_back() -> None:
    """The old version has no units any more; of the new one they are known."""
    before = a_version(20_000, 20)

    def seen(erring: int) -> Evidence:
        canary = a_version(4000, erring)
        counts = Counts(20_000, 2000, durations=canary.counts.durations)
        one = VersionEvidence(counts, canary.units, canary.sums, canary.listened)
        return evidence(before, one, 100.0, randomised=False, earlier=True)

    result, reason = judged(metric("error_rate"), seen(1))
    assert (result, "all of one unit" in reason) == ("insufficient", True)
    assert judged(metric("error_rate"), seen(40))[0] == "fail"
