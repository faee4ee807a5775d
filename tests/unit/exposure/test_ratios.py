"""Which units count for a sample ratio, where, and when it is said that it is wrong."""

import pytest

from proxy.channel.exposures import RANDOMISED, ROBOT
from proxy.core.plan import DENY, OVERRIDE, SPLIT
from proxy.exposure.queries import Reader
from proxy.exposure.ratios import ALL, EPOCHS_KEPT
from proxy.exposure.records import Records
from proxy.exposure.writer import mismatch_text
from tests.unit.exposure.telling import Teller, store

EVEN = '{"stable":50.0,"canary":50.0}'


@pytest.fixture
def path(tmp_path):
    return tmp_path / "e.db"


def counted(path):
    """Counts by (route, segment, source)."""
    with Reader(path) as reader:
        return {(one.route, one.segment, one.source): one.counts for one in reader.ratios()}


def test_first_assignments_of_the_split_count_once(path):
    teller = Teller()
    store(
        path,
        teller.message(("a", "stable"), ("b", "stable"), ("c", "canary")),
        teller.message(("a", "canary"), ("b", "stable")),  # a change and a repetition: no draw of a new unit
    ).close()
    assert counted(path) == {("shop", ALL, ALL): {"stable": 2, "canary": 1}}


def test_robots_and_whoever_was_not_drawn_do_not_count(path):
    teller = Teller()
    store(
        path,
        teller.message(("a", "stable")),
        teller.message(("b", "stable"), flags=RANDOMISED | ROBOT),
        teller.message(("c", "canary", OVERRIDE, "rules[0]"), ("d", "stable", DENY, "rules[1]")),
        teller.message(("c", "canary", SPLIT)),  # its first was not drawn
    ).close()
    assert counted(path) == {("shop", ALL, ALL): {"stable": 1, "canary": 0}}


def test_ways_in_and_segments_are_tested_for_themselves(path):
    teller = Teller()
    store(
        path,
        teller.message(("a", "stable"), ("b", "canary")),
        teller.message(("c", "stable"), source="minted"),
        teller.message(("d", "canary"), segment="beta", weights=EVEN, reason=OVERRIDE, flags=RANDOMISED),
    ).close()
    assert counted(path) == {
        ("shop", ALL, ALL): {"stable": 2, "canary": 1},
        ("shop", ALL, "header"): {"stable": 1, "canary": 1},
        ("shop", ALL, "minted"): {"stable": 1, "canary": 0},
        ("shop", "beta", ALL): {"stable": 0, "canary": 1},
    }


def test_other_weights_are_another_epoch_and_the_same_ones_go_on(path):
    teller = Teller()
    records = store(path, teller.message(("a", "stable")), teller.message(("b", "stable"), weights=EVEN))
    assert counted(path) == {("shop", ALL, ALL): {"stable": 1, "canary": 0}}
    records.write([teller.message(("c", "canary"))], 0)
    assert counted(path) == {("shop", ALL, ALL): {"stable": 1, "canary": 1}}
    for anew in ({"epoch": 1}, {"salt": "other"}):
        records.write([teller.message((f"d{anew}", "canary"), **anew)], 0)
        assert counted(path) == {("shop", ALL, ALL): {"stable": 0, "canary": 1}}
    records.close()


def test_a_mismatch_is_told_once_also_over_a_restart(path):
    teller = Teller()
    records = store(path)
    told = []
    for start in range(0, 400, 20):
        units = [(f"u{number}", "stable" if number % 4 else "canary") for number in range(start, start + 20)]
        told += records.write([teller.message(*units, weights=EVEN)], 0).mismatches
    (mismatch,) = told
    assert mismatch.mismatch
    assert mismatch.counts["stable"] > mismatch.counts["canary"] * 2
    text = mismatch_text(mismatch)
    assert "stable 50.00%, canary 50.00%" in text
    assert "route shop: the split is not what was asked for" in text
    records.close()
    records = Records(path)
    assert records.write([teller.message(("more", "stable"), weights=EVEN)], 0).mismatches == []
    assert records.ratios.shown()[0].counts == {"stable": 301, "canary": 100}
    # New weights begin anew, and are told of anew.
    units = [(f"n{number}", "stable" if number % 4 else "canary") for number in range(400)]
    assert len(records.write([teller.message(*units, weights='{"stable":1.0,"canary":1.0}')], 0).mismatches) == 1
    records.close()


def test_a_right_split_is_not_told_of(path):
    teller = Teller()
    records = store(path)
    for start in range(0, 2000, 100):
        units = [(f"u{number}", "stable" if number * 7919 % 20 else "canary") for number in range(start, start + 100)]
        assert records.write([teller.message(*units)], 0).mismatches == []
    assert records.ratios.shown()[0].log_bayes_factor < 0
    records.close()


def test_old_epochs_are_forgotten(path):
    teller = Teller()
    records = store(path)
    for number in range(EPOCHS_KEPT + 10):
        records.write(
            [teller.message((f"u{number}", "stable"), weights=f'{{"stable":{number + 1}.0,"canary":1.0}}')], 0
        )
    rows = records.database.execute("SELECT count(*) FROM ratios").fetchone()[0]
    assert rows == EPOCHS_KEPT
    assert records.ratios.shown()[0].weights["stable"] == EPOCHS_KEPT + 10
    records.close()
