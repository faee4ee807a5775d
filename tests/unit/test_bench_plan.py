"""The bench's plan: what comes first, that it is in time, and what is left out when it is not."""

from pathlib import Path

import pytest

from bench import compare, own
from bench.cases import BY_KEY, CASES
from bench.load import LoadError
from bench.peers import PEERS, Ports
from bench.place import Place
from bench.plan import FULL, QUICK, Pace, Step, Watch, steps, title
from bench.wanted import WANTED, decisive, needed


def lasts(found: list[Step]) -> float:
    return sum(step.expected for step in found)


def test_everything_is_in_twenty_minutes_and_a_quick_look_in_two() -> None:
    assert FULL.limit < 20 * 60
    assert QUICK.limit < 2 * 60
    decided = [step for step in steps(PEERS, CASES, FULL, named=False) if not step.survey]
    assert lasts(decided) + compare.RELOAD < FULL.limit / 2
    alone = compare.RELOAD + sum(expected for *_, expected in (*own.PARTS, *compare.PARTS))
    assert lasts(steps(PEERS, CASES, FULL, named=False)) + alone < FULL.limit
    assert lasts(steps(PEERS, CASES, QUICK, named=False)) + compare.RELOAD / 2 < QUICK.limit


def test_what_is_wanted_comes_first_and_in_every_round() -> None:
    found = steps(PEERS, CASES, FULL, named=False)
    rounds = [
        {(step.peer, case.key) for step in found if step.round == turn and not step.survey for case, _ in step.cases}
        for turn in range(FULL.rounds)
    ]
    pairs = {(one.peer, one.case) for one in WANTED} | {(one.other, one.reference) for one in WANTED}
    assert all(pairs <= measured for measured in rounds)
    surveys = [step.survey for step in found]
    assert surveys == sorted(surveys)


def test_the_peer_that_sets_the_rate_begins_each_round_and_nobody_else_always_follows() -> None:
    found = steps(PEERS, CASES, FULL, named=False)
    for turn in range(FULL.rounds):
        assert next(step.cases[0][0].key for step in found if step.round == turn) == "small"
    orders = [list(dict.fromkeys(step.peer for step in found if step.round == turn)) for turn in range(FULL.rounds)]
    assert {order[0] for order in orders} == {"tidegate"}
    assert len({order[1] for order in orders}) > 2


def test_only_the_first_round_has_peers_that_no_figure_needs() -> None:
    found = steps(PEERS, CASES, FULL, named=False)
    for turn in range(FULL.rounds):
        present = {step.peer for step in found if step.round == turn}
        assert present == {peer.name for peer in PEERS if turn == 0 or needed(peer.name)}


def test_the_survey_is_a_round_of_its_own_in_which_every_peer_has_everything() -> None:
    survey = [step for step in steps(PEERS, CASES, FULL, named=False) if step.survey]
    assert {step.round for step in survey} == {FULL.rounds}
    found = {(step.peer, case.key) for step in survey for case, _ in step.cases}
    assert found == {(peer.name, case.key) for peer in PEERS for case in CASES if not case.refused(peer)}


def test_a_share_of_the_capacity_has_the_capacity_before_it() -> None:
    for step in steps(PEERS, [BY_KEY["paced60"]], QUICK, named=True):
        assert [case.key for case, _ in step.cases] == ["small", "paced60"]


def test_a_quick_look_takes_the_wanted_figures_or_what_is_named() -> None:
    quick = steps(PEERS, CASES, QUICK, named=False)
    assert all(case.key in decisive(step.peer) for step in quick for case, _ in step.cases)
    named = steps(PEERS, [BY_KEY["close"]], QUICK, named=True)
    assert {case.key for step in named for case, _ in step.cases} == {"close"}


def test_each_work_is_a_start_of_its_own() -> None:
    found = steps(PEERS[:1], [BY_KEY["logged"], BY_KEY["two"], BY_KEY["close"]], Pace(1, 1, 1, 60.0), named=True)
    assert sorted(step.work.key for step in found) == ["logged", "plain", "two"]
    assert all(case.work is step.work for step in found for case, _ in step.cases)


def test_what_does_not_fit_is_left_out_and_said() -> None:
    now = [0.0]
    watch = Watch(10.0, lambda: now[0])
    assert watch.allows("first", 10.0)
    now[0] = 4.0
    assert not watch.allows("second", 6.5)
    assert watch.allows("third", 6.0)
    assert (watch.dropped, watch.elapsed) == (["second"], 4.0)


@pytest.mark.parametrize("key", ["two", "small"])
def test_a_step_is_said_in_words(key: str) -> None:
    (step,) = steps(PEERS[:1], [BY_KEY[key]], QUICK, named=True)
    assert title(step) == {"two": "tidegate, two workers: small GET, two workers", "small": "tidegate: small GET"}[key]


class Failing(compare.Comparison):
    """Fails the first `times` tries of whatever it is asked."""

    def __init__(self, place: Place, times: int) -> None:
        super().__init__(PEERS, place, {}, {"failures": {}, "peers": {"tidegate": {}}})
        self.tries = 0
        self._times = times

    def _run(self, step: Step) -> None:
        self.tries += 1
        if self.tries <= self._times:
            raise LoadError("no answer")


@pytest.mark.parametrize(("times", "tries", "skipped"), [(0, 1, False), (1, 2, False), (2, 2, True)])
def test_a_peer_that_fails_has_a_second_try(times: int, tries: int, skipped: bool, tmp_path: Path) -> None:
    comparison = Failing(Place(tmp_path, Ports(1, 2, 3, 4, 5), set(), set()), times)
    (step,) = steps(PEERS[:1], [BY_KEY["small"]], QUICK, named=True)
    comparison.run(step)
    assert comparison.tries == tries
    assert ("tidegate" in comparison.skipped) is skipped
    if skipped:
        comparison.run(step)
        assert comparison.tries == tries  # it is not asked again
        assert comparison.skipped["tidegate"] == "failed in round 1: no answer"


def test_work_that_a_peer_fails_at_is_named_and_the_peer_goes_on(tmp_path: Path) -> None:
    comparison = Failing(Place(tmp_path, Ports(1, 2, 3, 4, 5), set(), set()), 2)
    (step,) = steps(PEERS[:1], [BY_KEY["routes"]], QUICK, named=True)
    comparison.run(step)
    assert (comparison.skipped, comparison.facts["failures"]) == ({}, {"tidegate, 1,000 routes": "no answer"})
