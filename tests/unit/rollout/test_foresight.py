"""How long a plan takes: the estimate agrees with what is played, and what can never be decided is said."""

from math import inf, isfinite

import pytest

from proxy.rollout.foresight import estimate, expected, total_of, words_of
from proxy.rollout.gates import Gates
from proxy.rollout.simulation import PROMOTED, Setting, simulate
from proxy.rollout.world import Assumed
from tests.unit.rollout.plans import BOUND, plan_of


def steps_of(tmp_path, keys, rate=50.0, **assumed):
    plan = plan_of(tmp_path, keys)
    return plan, estimate(plan, BOUND, Assumed(rate, int(rate * 600), **assumed), "shop")


def test_a_small_first_step_with_little_traffic_is_never_decided_and_says_which_gate(tmp_path):
    plan, steps = steps_of(tmp_path, "steps: [1, 50, 100], hold: 5m, maximum: 1h")
    assert [one.decided for one in steps] == [False, True, True]
    errors = next(gate for gate in steps[0].gates if gate.metric == "errors")
    assert errors.passes > 3600.0
    assert "not enough" in errors.reason
    assert total_of(steps, plan) == inf
    weight, seconds = steps[0].larger
    assert weight == 5.0
    assert 300.0 <= seconds <= 3600.0
    assert 3600.0 < steps[0].needed < inf
    assert steps[0].seconds == 3600.0


def test_with_traffic_a_step_takes_its_hold(tmp_path):
    plan, steps = steps_of(tmp_path, "steps: [25, 50, 100], hold: 30m", rate=500.0)
    assert [one.seconds for one in steps] == [1800.0, 1800.0, 0.0]
    assert total_of(steps, plan) == 3600.0


def test_more_traffic_and_a_larger_share_never_take_longer(tmp_path):
    keys = "steps: [5, 20, 50, 100], hold: 1m, maximum: 10h"
    slow, fast = (steps_of(tmp_path, keys, rate)[1] for rate in (20.0, 200.0))
    for one, other in zip(slow, fast, strict=True):
        assert other.seconds <= one.seconds
    by_step = [max((gate.passes for gate in one.gates), default=0.0) for one in slow]
    assert by_step == sorted(by_step, reverse=True)


def test_the_minimum_takes_its_time(tmp_path):
    plan, steps = steps_of(
        tmp_path, "steps: [{weight: 10, minimum: {requests: 90000}}, 100], maximum: 10h, metrics: []"
    )
    assert 18_000.0 <= steps[0].minimum <= 18_000.0 * 1.15
    assert steps[0].seconds == steps[0].minimum
    assert isfinite(total_of(steps, plan))


def test_a_query_and_a_watched_metric_do_not_hold_it_up(tmp_path):
    keys = (
        "steps: [50, 100], metrics: [{name: cpu, judge: threshold, query: up, at_most: 1, prometheus: 'http://127.0.0.1:9090'},"
        " {name: errors, judge: error_rate, weight: watch}], maximum: 1h"
    )
    _, steps = steps_of(tmp_path, keys, rate=0.5)
    assert steps[0].decided == (steps[0].minimum <= 3600.0)
    gates = {gate.metric: gate.passes for gate in steps[0].gates}
    assert gates["cpu"] == 10.0
    assert gates["errors"] > 3600.0


@pytest.mark.slow
def test_the_estimate_is_about_what_is_played(tmp_path):
    """To a factor of two: estimates know no chance."""
    plan, steps = steps_of(tmp_path, "steps: [20, 50, 100], hold: 1m, maximum: 10h", error_share=0.01)
    estimated = total_of(steps, plan)
    plays = simulate(Setting(plan, BOUND, Assumed(50.0, 30_000, error_share=0.01), "shop"), range(8), 1)
    promoted = sorted(play.seconds for play in plays if play.end == PROMOTED)
    assert len(promoted) >= 6
    middle = promoted[len(promoted) // 2]
    assert estimated / 2 <= middle <= estimated * 2


@pytest.mark.parametrize(
    "metric",
    [
        "{name: m, judge: error_rate}",
        "{name: m, judge: exceedance, above: [150ms]}",
        "{name: m, judge: band}",
        "{name: m, judge: mean, of: response_bytes, tolerate: 0.2}",
        "{name: m, judge: proportion, event: buys, tolerate: 0.05}",
        "{name: m, judge: mann_whitney, of: latency}",
        "{name: m, judge: threshold, of: error_percent, at_most: 1}",
        "{name: m, judge: burn_rate, objective: 99}",
        "{name: m, judge: sample_ratio}",
    ],
)
def test_every_judge_lets_a_version_through_that_is_just_as_good(tmp_path, metric):
    plan = plan_of(tmp_path, f"steps: [50, 100], metrics: [{metric}]")
    assumed = Assumed(200.0, 120_000, events={"buys": (0.1, 1.0)})
    evidence = expected(plan, {"stable": 50.0, "canary": 50.0}, plan["steps"][0], assumed, 7200.0)
    (verdict,) = Gates(plan).judge(evidence, gate=True).verdicts
    assert verdict.outcome == "pass", verdict.reason


def test_steps_in_words(tmp_path):
    plan = plan_of(tmp_path, "steps: [{shadow: 10}, {preview: true}, {ring: beta}, 5, {approve: true}, 100]")
    assert [words_of(step) for step in plan["steps"]] == [
        "10 % copied",
        "preview",
        "ring beta",
        "5 %",
        "approval",
        "100 %",
    ]
