"""Budgets, verdicts, and what many make together."""

from math import inf, nan, pi

import pytest

from proxy.analysis.budget import Budget
from proxy.analysis.verdict import Verdict, missing, together

METRICS = {"errors": "critical", "latency": "normal", "cpu": "watch"}


def _said(**outcomes):
    return [Verdict(metric, outcome, f"{metric} {outcome}") for metric, outcome in outcomes.items()]


def test_budget_is_shared_by_the_metrics_that_can_stop_a_rollout():
    budget = Budget(METRICS, steps=4)
    assert budget.of("errors").alpha == pytest.approx(0.005)
    assert budget.of("errors", anew=True).alpha == pytest.approx(0.00125)
    assert (
        budget.of("errors", anew=True).words == "alpha 0.0013 of 0.01 for the rollout, shared by 2 metrics and 4 steps"
    )
    assert budget.of("cpu").alpha == budget.of("latency").alpha
    assert Budget({"cpu": "watch"}).of("cpu").words == "alpha 0.01 of 0.01 for the rollout, shared by 1 metric"


def test_metric_that_was_not_named_has_no_allowance():
    with pytest.raises(KeyError, match="erors"):
        Budget(METRICS).of("erors")


def test_looks_never_spend_more_than_there_is():
    allowance = Budget(METRICS).of("errors")
    assert allowance.at_look(1) == pytest.approx(allowance.alpha * 6 / pi**2)
    assert sum(allowance.at_look(look) for look in range(1, 5000)) < allowance.alpha
    planned = Budget(METRICS).of("errors", looks=5)
    assert sum(planned.at_look(look) for look in range(1, 6)) == pytest.approx(planned.alpha)
    for look in (0, 6):
        with pytest.raises(ValueError, match="look"):
            planned.at_look(look)


@pytest.mark.parametrize("wrong", [{"alpha": 0.0}, {"beta": 1.0}, {"steps": 0}])
def test_budget_of_what_cannot_be_is_an_error(wrong):
    with pytest.raises(ValueError, match="between 0 and 1"):
        Budget(METRICS, **wrong)


@pytest.mark.parametrize(
    ("outcomes", "gate", "outcome", "at_once", "action"),
    [
        ({"errors": "pass", "latency": "pass", "cpu": "fail"}, True, "pass", False, ""),
        ({"errors": "pass", "latency": "pass"}, True, "pass", False, ""),
        ({"errors": "fail", "latency": "pass"}, False, "fail", True, ""),
        ({"errors": "fail", "latency": "insufficient"}, True, "fail", True, ""),
        ({"errors": "pass", "latency": "fail"}, False, "insufficient", False, "wait"),
        ({"errors": "pass", "latency": "fail"}, True, "fail", False, ""),
        ({"errors": "pass", "latency": "insufficient"}, False, "insufficient", False, "wait"),
        ({"errors": "pass", "latency": "insufficient"}, True, "insufficient", False, "pause"),
        ({"errors": "pass"}, True, "insufficient", False, "pause"),
        ({}, True, "insufficient", False, "pause"),
    ],
)
def test_verdicts_together(outcomes, gate, outcome, at_once, action):
    found = together(METRICS, _said(**outcomes), gate=gate)
    assert (found.outcome, found.at_once, found.action) == (outcome, at_once, action)
    assert [one.metric for one in found.verdicts] == list(METRICS)
    assert found.reason


def test_lacking_data_pauses_waits_or_fails_and_never_passes():
    said = _said(errors="pass")
    assert together(METRICS, said, gate=True, on_no_data="wait").action == "wait"
    failed = together(METRICS, said, gate=True, on_no_data="fail")
    assert (failed.outcome, failed.reason) == ("fail", "on_no_data: latency: no data")
    with pytest.raises(ValueError, match="on_no_data: one of pause, wait, fail"):
        together(METRICS, said, gate=True, on_no_data="pass")


def test_misspelt_metric_is_missing_and_says_what_there_is():
    found = together({"errors": "critical"}, _said(erors="pass"), gate=True)
    assert (found.outcome, found.reason) == ("insufficient", "errors: no data; known are erors")
    assert missing("errors").reason == "errors: no data"


def test_nothing_to_judge_by_is_no_pass():
    found = together({"cpu": "watch"}, _said(cpu="pass"), gate=True)
    assert (found.outcome, found.reason) == ("insufficient", "no metric that counts")
    assert together({}, [], gate=True).outcome == "insufficient"


@pytest.mark.parametrize("value", [nan, inf, -inf])
def test_effect_that_is_no_number_proves_nothing(value):
    verdict = Verdict("errors", "pass", "fine", effect=value)
    assert (verdict.outcome, verdict.effect) == ("insufficient", None)
    assert Verdict("errors", "fail", "bad", effect=value).outcome == "fail"
    assert Verdict("errors", "pass", "fine", effect=1.0, low=-inf).low is None
    assert Verdict("errors", "pass", "fine", effect=1.0, low=nan).outcome == "insufficient"
