"""Judges of units: what they promise of false alarms, and what must not matter to them."""

from math import exp, log, sqrt
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from proxy.analysis.clusters import Clusters
from proxy.analysis.error_rate import ln_evidence
from proxy.analysis.sequence import half_width
from proxy.rollout.evidence import Evidence, StretchEvidence
from proxy.rollout.gates import Gates
from proxy.rollout.judging import charged
from tests.unit.rollout.evidence import a_version, evidence, metric, plan

USERS = 400
ALPHA = 0.1


def seen(users: list[tuple[bool, int, int]], share: float) -> Evidence:
    """Of each user: whether it is the canary's, requests, errors."""
    versions = []
    for canary in (False, True):
        ours = [(float(requests), float(errors)) for mine, requests, errors in users if mine == canary]
        sums = Clusters.of([errors for _, errors in ours], [requests for requests, _ in ours])
        versions.append(a_version(len(ours), sums={"errors": sums}))
    firsts = {name: [one.sums["errors"].affected] for name, one in zip(("stable", "canary"), versions, strict=True)}
    stretches = [StretchEvidence({"stable": 100.0 - share, "canary": share}, firsts)]
    return evidence(versions[0], versions[1], stretches=stretches)


def stopped(chance: Random, ratio: float, steps: int) -> bool:
    """One rollout of so many steps: users who differ much, and looks all the while."""
    gates = Gates(plan(metric("error_rate", weight="critical"), alpha=ALPHA, steps=[{"judged": True}] * steps))
    prone = [0.08 * chance.lognormvariate(-0.5, 1.0) for _ in range(USERS)]
    share = 50.0
    past: set[int] = set()  # who has erred in an earlier step
    stretches: list[StretchEvidence] = []
    canary = [chance.random() < share / 100.0 for _ in range(USERS)]
    for _ in range(steps):
        users = [[mine, 0, 0] for mine in canary]
        firsts = {"stable": [0], "canary": [0]}
        stretches.append(StretchEvidence({"stable": 100.0 - share, "canary": share}, firsts))
        for _ in range(12):
            for place in range(USERS):
                users[place][1] += 3
                bad = min(0.9, prone[place] * (ratio if canary[place] else 1.0))
                errors = sum(chance.random() < bad for _ in range(3))
                users[place][2] += errors
                if errors and place not in past:
                    past.add(place)
                    firsts["canary" if canary[place] else "stable"][0] += 1
            look = seen([(mine, requests, errors) for mine, requests, errors in users], share)
            judged = Evidence(**{name: getattr(look, name) for name in look.__slots__} | {"stretches": stretches})
            if gates.judge(judged, gate=False).result == "fail":
                return True
    return False


@pytest.mark.parametrize("steps", [1, 3])
def test_a_sound_version_is_stopped_no_more_often_than_alpha(steps: int) -> None:
    """Alpha .1; of 60, 13 and more would be by chance once in a thousand at most."""
    assert sum(stopped(Random(seed), 1.0, steps) for seed in range(60)) <= 12


def test_a_bad_one_is_stopped() -> None:
    assert sum(stopped(Random(seed), 3.0, 1) for seed in range(10)) >= 8


@settings(max_examples=60)
@given(share=st.floats(0.02, 0.8), errors=st.integers(1, 60), tolerated=st.sampled_from([1.0, 1.5]))
def test_the_bet_on_first_errors_is_fair(share: float, errors: int, tolerated: float) -> None:
    """Over all that chance may do to so many errors, E is 1 in the mean: a bet that nobody gets rich of."""
    expected = tolerated * share / (tolerated * share + 1.0 - share)
    mean, chance = 0.0, (1.0 - expected) ** errors
    for canary in range(errors + 1):
        mean += chance * exp(ln_evidence(canary, errors - canary, share, tolerated=tolerated))
        chance *= (errors - canary) / (canary + 1) * expected / (1.0 - expected)
    assert mean <= 1.0 + 1e-6


users = st.lists(st.tuples(st.booleans(), st.integers(1, 30), st.integers(0, 3)), min_size=120, max_size=200)


@settings(max_examples=60, deadline=None)
@given(users=users, share=st.sampled_from([10.0, 50.0]), more=st.integers(2, 5))
def test_a_failure_needs_one_of_the_two_at_half_of_alpha(
    users: list[tuple[bool, int, int]], share: float, more: int
) -> None:
    """More steps and metrics make the ratio's part smaller, and nothing fails that neither part can carry."""
    users = [(mine, requests, min(errors, requests)) for mine, requests, errors in users]
    look = seen(users, share)
    found = Gates(plan(metric("error_rate"))).judge(look, gate=True).verdicts[0]
    narrow = Gates(plan(metric("error_rate"), steps=[{"judged": True}] * more)).judge(look, gate=True).verdicts[0]
    assert found.alpha == narrow.alpha == 0.01
    by_firsts = (found.evidence or 0.0) >= -log(0.005)
    by_ratio = found.low is not None and found.low > 1.0
    assert (found.outcome == "fail") == (by_firsts or by_ratio)
    if narrow.low is not None and found.low is not None:
        assert narrow.low <= found.low
    if narrow.outcome == "fail":
        assert found.outcome == "fail"


@pytest.mark.slow
def test_intervals_over_ever_smaller_shares_of_the_units_err_together_no_more_often_than_they_may() -> None:
    """Two sound versions, up to 640,000 units, of which at most 20,000 are kept: half, and half again. A look each 2,000 units.

    At all of alpha each (`alpha` below, not divided) 5 to 6 % of these rollouts would be stopped, and not 3 %.
    """
    tracked, halvings, block, runs, alpha = 20_000, 5, 2_000, 400, 0.05
    chance = Random(5)
    wrong = 0
    for _ in range(runs):
        sums = [0.0] * (halvings + 1)  # of those units that are left at each share
        level = 0
        for units in range(block, tracked * 2**halvings + 1, block):
            for place in range(halvings + 1):
                left = block / 2 ** (place + (place < halvings))  # units that are in this share and in no smaller one
                more = chance.gauss(0.0, sqrt(left))
                for share in range(place + 1):
                    sums[share] += more
            while units > tracked * 2**level:
                level += 1
            kept = units / 2**level
            if abs(sums[level]) / kept > half_width(kept**-0.5, kept, charged(alpha, level), 5_000.0):
                wrong += 1
                break
    assert wrong / runs < 0.04
