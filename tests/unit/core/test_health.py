"""The verdict on an endpoint: the whole table, the first check, and the streaks."""

import pytest

from proxy.core.health import TABLE, After, Condition, HealthPolicy, Verdict

SPEC = {
    "kind": "http", "method": "GET", "path": "/healthz", "host": "", "port": 0, "headers": {},
    "expected": [[200, 299], [301, 301]], "interval": 5.0, "timeout": 1.0, "jitter_percent": 10.0,
    "healthy_after": 2, "unhealthy_after": 3,
}  # fmt: skip


def policy(**parts):
    return HealthPolicy(SPEC | parts)


def walk(checks, verdict=Verdict.UNKNOWN, **parts):
    """The verdicts after each of `checks`: + passed, - failed."""
    condition = Condition(verdict)
    changes = []
    for check in checks:
        before = condition.verdict
        changed = condition.take(check == "+", policy(**parts))
        assert changed is (condition.verdict is not before)
        changes.append(condition.verdict.value[0])
    return "".join(changes)


def test_the_table_is_total_and_never_leads_back_to_unknown():
    assert set(TABLE) == {(verdict, passed) for verdict in Verdict for passed in (True, False)}
    for (verdict, passed), (after, following) in TABLE.items():
        assert following is (Verdict.HEALTHY if passed else Verdict.UNHEALTHY)
        assert (after is After.NEVER) is (following is verdict)


@pytest.mark.parametrize(("checks", "verdicts"), [("+", "h"), ("-", "u"), ("-+", "uu"), ("-++", "uuh")])
def test_the_first_check_decides_at_once(checks, verdicts):
    assert walk(checks) == verdicts


@pytest.mark.parametrize(
    ("checks", "verdicts"),
    [("+--", "hhh"), ("+---", "hhhu"), ("+--+--", "hhhhhh"), ("+---+-++", "hhhuuuuh"), ("---", "uuu")],
)
def test_only_checks_in_a_row_change_a_verdict(checks, verdicts):
    assert walk(checks) == verdicts


def test_a_threshold_of_one_is_one_check():
    assert walk("+-+-", healthy_after=1, unhealthy_after=1) == "huhu"


def test_statuses_are_expected_by_ranges_and_named_in_words():
    found = [status for status in range(100, 600) if policy().expects(status)]
    assert found == [*range(200, 300), 301]
    assert policy().expectation == "200-299, 301"


def test_a_pause_stays_within_the_jitter():
    assert policy().pause(0.0) == pytest.approx(4.5)
    assert policy().pause(0.5) == pytest.approx(5.0)
    assert policy().pause(0.999999) == pytest.approx(5.5, abs=1e-4)
    assert policy(jitter_percent=0.0).pause(0.9) == 5.0
