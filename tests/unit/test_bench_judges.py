"""The bench of judges: what it skips could not have fired, its sums are those of its users, its short cuts are the judges' own.

It wants numpy, which is not among the tests' requirements: without it nothing here runs.
"""

import json
from math import inf, log

import pytest

np = pytest.importorskip("numpy")

from bench import contenders, gated, judges, verdicts  # noqa: E402
from bench.judges_report import lost_cells, markdown, portable, read, sooner  # noqa: E402
from bench.simulated import HEAVY, LOOKS, Population, day, usual_times  # noqa: E402
from proxy.analysis.error_rate import ErrorRateTest, Stretch  # noqa: E402
from proxy.analysis.kayenta import judge_metric  # noqa: E402
from proxy.analysis.log_ratio import log_ratio, upper_log_ratio  # noqa: E402
from proxy.analysis.sequence import around  # noqa: E402

SMALL = Population("small", 60, 6000.0, 0.3, steady=True, errors=0.03)


def _day(seed, who=SMALL, **more):
    return day(np.random.default_rng(seed), who, times=usual_times(np.random.default_rng(1), who, (0.9, 0.99)), **more)


def test_a_day_adds_up():
    one = _day(1, ratio=3.0)
    assert one.errors.weight[-1].sum() == one.requests.sum()
    assert one.errors.total[-1].sum() == one.failed.sum()
    assert (one.firsts <= one.errors.total).all()
    assert (one.firsts[-1] <= one.errors.units[-1]).all()
    for sums in (one.errors, one.latency, one.ln_latency, *one.slow):
        assert (sums.weight_squared >= sums.weight).all()
        # Cauchy and Schwarz, of sums that belong together.
        assert (sums.crossed**2 <= sums.total_squared * sums.weight_squared + 1e-6).all()
        assert (sums.total**2 <= sums.total_squared * np.maximum(sums.units, 1) + 1e-6).all()


def test_sums_of_equal_users_are_squares():
    """One user to each version: the sums over users are the squares of the sums."""
    alone = Population("alone", 2, 4000.0, 0.5, steady=True, errors=0.05)
    for seed in range(20):
        one = _day(seed, alone)
        if one.errors.units[-1].tolist() == [1.0, 1.0]:
            for sums in (one.errors, one.latency, one.ln_latency, *one.slow):
                assert np.allclose(sums.total_squared, sums.total**2)
                assert np.allclose(sums.crossed, sums.total * sums.weight)
                assert np.allclose(sums.weight_squared, sums.weight**2)
            return
    pytest.fail("no day with one user on each side")


@pytest.mark.slow
@pytest.mark.parametrize("ratio", [1.0, 4.0])
def test_looks_that_are_skipped_could_not_have_fired(ratio):
    one = day(np.random.default_rng(3), HEAVY, ratio=ratio)
    test, fired = ErrorRateTest(), contenders.NEVER
    for look in range(LOOKS):
        test.observe(Stretch(HEAVY.share, int(one.firsts[look, 1]), int(one.firsts[look, 0])))
        if test.worse(0.005):
            fired = contenders.seconds(look)
            break
    assert contenders.by_first_errors(one.firsts, HEAVY.share, 0.005) == fired
    assert (fired < contenders.NEVER) == (ratio > 1.0)
    above = promoted = contenders.NEVER
    for look in range(LOOKS):
        canary, others = (contenders.clusters(one.errors, look, arm) for arm in (1, 0))
        if above == contenders.NEVER and log_ratio(canary, others, 0.01).low > 0.0:
            above = contenders.seconds(look)
        if promoted == contenders.NEVER and upper_log_ratio(canary, others, 0.05) < log(2.0):
            promoted = contenders.seconds(look)
    assert contenders.by_log_ratio(one.errors, 0.01) == above
    assert contenders.promoted(one.errors, 2.0, 0.05) == promoted


@pytest.mark.slow
def test_gates_that_look_each_time_say_no_other():
    one = day(
        np.random.default_rng(3),
        HEAVY,
        ratio=4.0,
        shift=1.4,
        times=usual_times(np.random.default_rng(1), HEAVY, (0.9, 0.99)),
    )
    always, never = np.ones(LOOKS, dtype=bool), np.zeros(LOOKS, dtype=bool)

    def seen(look):
        return gated.evidence(one, HEAVY, look)

    stopped, promoted = gated.by_errors(one, HEAVY)
    assert stopped < contenders.NEVER == promoted
    assert gated.walk(gated.plan(gated.ERRORS), seen, always, never)[0] == stopped
    assert gated.walk(gated.plan(gated.exceedance(one.times), gated.MEAN), seen, always, never)[0] == gated.by_latency(
        one, HEAVY
    )
    minutes = always & (np.arange(LOOKS) % 6 == 5)
    assert gated.walk(gated.plan(gated.BAND), seen, minutes, never)[0] == gated.by_band(one, HEAVY) < contenders.NEVER


def test_widths_of_many_are_those_of_one():
    errors = np.array([0.01, 0.1, 0.7])
    for alpha, matters in ((0.01, log(2.0)), (0.005, 0.3)):
        widths = [around(0.0, error, alpha, matters).high for error in errors.tolist()]
        assert np.allclose(gated._width(errors, alpha, matters), widths)


def test_the_evidence_of_a_day_is_what_its_users_had():
    one = _day(2, ratio=2.0)
    look = LOOKS - 1
    seen = gated.evidence(one, SMALL, look)
    for arm, name in enumerate(gated.NAMES):
        version = seen.version(name)
        assert version.counts.requests == one.requests[:, arm].sum() == sum(version.counts.durations)
        assert version.counts.errors == one.failed[:, arm].sum()
        assert seen.stretches[0].first(name, 0) == version.sums["errors"].affected
        assert [version.sums[f"slow:{edge!r}"].affected for edge in seen.slow] == [
            seen.stretches[0].first(name, 1 + place) for place in range(2)
        ]
    assert seen.stretches[0].share("canary", ["stable"]) == pytest.approx(SMALL.share)


def test_kayenta_by_its_level_is_kayenta():
    """High by the level at that judge's own z, High by the judge: but for its roots, which are found to 1e-4 only."""
    chance = np.random.default_rng(4)
    different = high = 0
    for _ in range(150):
        x, y = chance.normal(100.0 + 4.0 * chance.random(), 2.0, 24), chance.normal(100.0, 2.0, 24)
        found = judge_metric(list(x), list(y)).label == "High"
        high += found
        different += found != (contenders.level_of(x, y) > 2.326348)
    assert 20 < high < 145
    assert different <= 2
    assert contenders.level_of(x[:0], y) == -inf


def test_thresholds_stop_as_often_as_they_are_tuned_to():
    chance = np.random.default_rng(5)
    for setting in contenders.settings(("any",)):
        series = [chance.random(1440 // setting.minutes) for _ in range(200)]
        level = judges._level([contenders.level_reached(one, setting) for one in series], 0.05)
        stopped = [contenders.stopped(one, setting, level) < contenders.NEVER for one in series]
        assert sum(stopped) == 10, setting


def test_failures_in_all_and_in_a_row():
    series = np.array([0.0, 9.0, 0.0, 9.0, 9.0, np.nan])
    in_all, in_row = (contenders.Setting("any", 5, 2, in_row=one) for one in (False, True))
    assert contenders.stopped(series, in_all, 5.0) == 4 * 300
    assert contenders.stopped(series, in_row, 5.0) == 5 * 300
    assert contenders.stopped(series, in_row, 9.0) == contenders.NEVER


def test_who_is_sooner():
    assert sooner((5.0, 1.0), (6.0, 1.0)) is True
    assert sooner((inf, 0.4), (inf, 0.2)) is True
    assert sooner((inf, 0.2), (100.0, 0.6)) is False
    assert sooner((5.0, 1.0), (5.0, 1.0)) is None


@pytest.mark.slow
def test_a_small_run_makes_a_whole_report(monkeypatch):
    monkeypatch.setattr(judges, "RATIOS", (2.0, 10.0))
    monkeypatch.setattr(judges, "REFERENCE", {(0.5, 10.0): 40})
    monkeypatch.setattr("bench.judges_report.RATIOS", (2.0, 10.0))
    sizes = judges.Sizes(4, 2, 2, 3)
    results = {
        "populations": {"heavy-tailed": judges.population(0, 1, sizes, lambda _: None)},
        "streams": judges.streams(1, 3),
        "streams sound": judges.false_alarms_of_streams(1, 2, 200),
        "verdict": verdicts.cost(1),
    }
    facts = {
        "command": "python -m bench.judges", "date": "2026-01-01", "cpu seconds": 1, "python": "CPython",
        "sizes": {"sound": 4, "bad": 2, "harmful": 2, "streams": 3},
    }  # fmt: skip
    text = markdown(results, facts)
    assert "| 10 x errors |" in text
    assert "## Where somebody else is sooner" in text
    assert markdown(*[read(json.dumps(portable({**facts, **results})))] * 2) == text
    assert all(line.startswith("- heavy-tailed") for line in lost_cells(results))
