"""A plan played in a described world: who is well is promoted, who is bad is stopped, and the same seed is the same game."""

import json
from collections import Counter
from random import Random

import pytest

from proxy.rollout.recorded import BadRecordError, read_recorded
from proxy.rollout.simulation import PROMOTED, STOPPED, WAITING, Game, Outlook, Setting, Spread, simulate, wilson
from proxy.rollout.states import State
from proxy.rollout.track import Track
from proxy.rollout.world import Assumed, Recorded, binomial, poisson
from tests.unit.rollout.plans import BOUND, plan_of

QUICK = "steps: [20, 50, 100], hold: 2m, maximum: 30m"

METRICS = (
    "{name: slow, judge: exceedance, above: [150ms]}",
    "{name: buys, judge: proportion, event: buys, tolerate: 0.05}",
    "{name: size, judge: mean, of: response_bytes, tolerate: 0.3}",
    "{name: top, judge: threshold, of: error_percent, at_most: 5}",
    "{name: cpu, judge: threshold, query: up, at_most: 1, prometheus: 'http://127.0.0.1:9090'}",
)


def setting(tmp_path, keys=QUICK, rate=100.0, **assumed):
    values = {"users": int(rate * 600), "error_share": 0.01} | assumed
    return Setting(plan_of(tmp_path, keys), BOUND, Assumed(rate, **values), "shop")


def played(tmp_path, runs=6, **given):
    plays = simulate(setting(tmp_path, **given), range(runs), 1)
    return Outlook(tuple(plays)), Counter(play.end for play in plays)


@pytest.mark.slow
def test_a_healthy_version_is_promoted_and_hurts_nobody(tmp_path):
    outlook, ends = played(tmp_path)
    assert ends[PROMOTED] >= 5
    assert ends[STOPPED] == 0
    assert all(play.hurt == 0 for play in outlook.plays)
    promoted = outlook.ended(PROMOTED)
    assert all(play.seconds >= 240.0 for play in promoted)  # both holds
    assert all(play.step == 3 for play in promoted)


@pytest.mark.slow
def test_a_plain_comparison_after_the_last_step_does_not_stop_a_version_for_a_handful_of_errors(tmp_path):
    """A hundred requests of a few users may be anything."""
    _, ends = played(tmp_path, runs=20, keys=f"{QUICK}, fast_rollback: 20m")
    assert ends[STOPPED] == 0
    assert ends[PROMOTED] >= 18


@pytest.mark.slow
def test_five_times_the_errors_are_stopped_early_by_errors_or_the_brake(tmp_path):
    outlook, ends = played(tmp_path, errors=5.0)
    assert ends == {STOPPED: 6}
    by, steps = outlook.counted(STOPPED)
    assert set(by) <= {"errors", "brake"}
    assert set(steps) == {1}
    for play in outlook.plays:
        assert play.seconds < 120.0
        assert 0 < play.hurt <= play.erred <= play.given


@pytest.mark.slow
def test_everything_failing_is_stopped_within_seconds_also_by_the_brake(tmp_path):
    outlook, ends = played(tmp_path, errors=90.0)
    assert ends == {STOPPED: 6}
    by, _ = outlook.counted(STOPPED)
    assert set(by) <= {"errors", "brake"}
    assert by["brake"] > 0
    assert max(play.seconds for play in outlook.plays) <= 20.0


@pytest.mark.slow
def test_one_that_is_much_slower_is_stopped_by_latency(tmp_path):
    outlook, ends = played(tmp_path, latency=2.0)
    assert ends == {STOPPED: 6}
    assert set(outlook.counted(STOPPED)[0]) == {"latency"}


@pytest.mark.slow
def test_too_little_traffic_is_never_a_pass(tmp_path):
    outlook, ends = played(tmp_path, runs=3, rate=0.5, error_share=0.001)
    assert ends == {WAITING: 3}
    assert all("undecided after 30m" in play.reason for play in outlook.plays)
    assert "errors" in outlook.counted(WAITING)[0]


@pytest.mark.slow
def test_copies_that_fail_stop_it_before_any_user(tmp_path):
    keys = "kind: mirror_first, steps: [{shadow: 20}, 50, 100], hold: 2m"
    outlook, ends = played(tmp_path, keys=keys, errors=10.0)
    assert ends == {STOPPED: 6}
    assert all(play.step == 1 and play.given == 0 for play in outlook.plays)


@pytest.mark.slow
def test_a_version_that_all_users_have_is_held_against_what_the_old_one_had(tmp_path):
    _, ends = played(tmp_path, keys="steps: [50, 100], hold: 2m, fast_rollback: 10m", error_share=0.03)
    assert ends == {PROMOTED: 6}


def test_the_same_seed_is_the_same_game_whatever_else_is_played(tmp_path):
    given = setting(tmp_path, errors=4.0)
    assert simulate(given, [0, 1], 7) == simulate(given, [0, 1], 7)
    assert simulate(given, [1], 7) == simulate(given, [0, 1], 7)[1:]
    assert simulate(given, [0], 8) != simulate(given, [0], 7)


@pytest.mark.slow
@pytest.mark.parametrize(
    "keys",
    [
        "steps: [{ring: beta, minimum: {requests: 50}}, {approve: true}, 30, 100], hold: 1m",
        "baseline: fresh, steps: [25, 100], hold: 1m",
        "kind: blue_green, steps: [{preview: true, hold: 1m}, 100], fast_rollback: 1m",
        "kind: ab, hold: 10m",
        "kind: mirror_first, steps: [{shadow: 20}, 50, 100], hold: 1m",
        "steps: {linear: 25, every: 1m}, brake: false, metrics: []",
        f"steps: [25, 100], hold: 2m, metrics: [{', '.join(METRICS)}]",
    ],
)
def test_every_kind_of_plan_comes_to_an_end(tmp_path, keys):
    given = setting(tmp_path, keys, events={"buys": (0.1, 1.0)} if "buys" in keys else {}, ring=0.1)
    for play in simulate(given, range(2), 3):
        assert play.end in {PROMOTED, STOPPED, WAITING}
        assert play.seconds > 0
        assert play.reason


@pytest.mark.slow
def test_a_gradual_way_back_ends_with_nobody_there(tmp_path):
    keys = f"{QUICK}, rollback: {{mode: gradual, percent: 5, every: 20s}}"
    given = setting(tmp_path, keys, errors=8.0)
    game = Game(given.plan, BOUND, given.assumed, Random(1))
    play = game.play()
    assert play.end == STOPPED
    assert game.rollout.state is State.ABORTED
    assert game.rollout.weights["canary"] == 0.0


def test_the_course_of_a_run_can_be_noted(tmp_path):
    given = setting(tmp_path, errors=8.0)
    track = Track()
    Game(given.plan, BOUND, given.assumed, Random(1), track=track).play()
    assert track.moments[-1].counts["canary"][1] > 0
    assert any("errors" in one.evidence for one in track.moments)


def course(share, seconds=600):
    return [
        {"at": 1000.0 + at, "counts": {"stable": [80 * at, at], "canary": [20 * at, int(20 * at * share)]}}
        for at in range(0, seconds + 1, 60)
    ]


@pytest.mark.slow
@pytest.mark.parametrize(("share", "end"), [(0.0125, PROMOTED), (0.2, STOPPED)])
def test_recorded_counters_are_played(tmp_path, share, end):
    replay = read_recorded(json.dumps({"course": course(share)}), "stable", "canary")
    given = Setting(plan_of(tmp_path, QUICK), BOUND, Assumed(100.0, 60_000), "shop", replay)
    assert Counter(play.end for play in simulate(given, range(4), 1)).most_common(1)[0][0] == end


def test_a_record_begins_again_after_its_end_and_knows_its_rates():
    replay = read_recorded(json.dumps(course(0.1)), "stable", "canary")
    assert replay(30.0) == replay(630.0)
    assert replay(599.0).rate == 100.0
    assert replay(61.0).errors == {"stable": 1 / 80, "canary": 0.1}
    assert isinstance(replay(0.0), Recorded)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("{", "no JSON"), ("[]", "fewer than two"), ("3", "no points"), ('{"a": 1}', "fewer than two"),
        ('[{"at": 1}]', "no points"),
        (json.dumps([{"at": 1, "counts": {"stable": [1, 0]}}, {"at": 2, "counts": {"stable": [9, 0]}}]), "version `canary`"),
    ],
)  # fmt: skip
def test_what_is_no_record_is_refused(text, why):
    with pytest.raises(BadRecordError, match=why):
        read_recorded(text, "stable", "canary")


@pytest.mark.parametrize(("count", "share"), [(5, 0.01), (50, 0.3), (1000, 0.5), (1000, 0.001)])
def test_draws_have_their_mean_and_spread(count, share):
    rng = Random(1)
    drawn = [binomial(rng, count, share) for _ in range(4000)]
    mean = sum(drawn) / len(drawn)
    variance = sum((one - mean) ** 2 for one in drawn) / len(drawn)
    assert mean == pytest.approx(count * share, rel=0.15)
    assert variance == pytest.approx(count * share * (1 - share), rel=0.2)
    assert all(0 <= one <= count for one in drawn)
    many = [poisson(rng, count * share) for _ in range(4000)]
    assert sum(many) / len(many) == pytest.approx(count * share, rel=0.15)


def test_shares_have_their_interval():
    assert wilson(0, 0) == (0.0, 0.0, 1.0)
    share, low, high = wilson(15, 30)  # R: binom::binom.confint(15, 30, methods = "wilson")
    assert (share, round(low, 4), round(high, 4)) == (0.5, 0.3315, 0.6685)
    assert Spread.of([]) is None
    assert Spread.of(range(101)) == Spread(50, 10, 90)
