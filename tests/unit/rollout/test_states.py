"""The table says all that may happen to a rollout, and the page shows the table."""

from itertools import product
from pathlib import Path

import pytest

from proxy.rollout.states import FINAL, FORKS, HANDS, TABLE, CauseKind, Fork, State, allowed, as_markdown, following

PAGE = Path(__file__).resolve().parents[3] / "docs" / "rollouts.md"


def test_the_page_shows_the_table() -> None:
    shown = PAGE.read_text().partition("<!-- states:begin -->\n")[2].partition("<!-- states:end -->")[0]
    assert shown == as_markdown()


def test_every_state_is_reached_and_every_cause_moves_something() -> None:
    reached = {state for one in TABLE for state in following(*one)}
    assert reached | {State.PENDING} == set(State)
    assert {kind for _, kind in TABLE} == set(CauseKind) - {CauseKind.CREATED}
    assert {entry for entry in TABLE.values() if isinstance(entry, Fork)} == set(FORKS)


def test_who_waits_is_let_on_and_out_by_hand() -> None:
    for state in set(State) - FINAL:
        ways = {kind: set(following(state, kind)) for kind in allowed(state)}
        out = {one for kind in ways for one in ways[kind]}
        assert out & FINAL, f"{state} has no way out by hand"
        assert out - {state}, f"{state} has no way on by hand"


@pytest.mark.parametrize("state", sorted(FINAL))
def test_what_is_final_goes_nowhere_by_itself(state: State) -> None:
    for kind in set(CauseKind) - set(HANDS):
        assert following(state, kind) in ((), (state,)), kind


@pytest.mark.parametrize(("state", "kind"), list(product(State, CauseKind)))
def test_each_pair_has_its_states_or_none(state: State, kind: CauseKind) -> None:
    states = following(state, kind)
    assert bool(states) == ((state, kind) in TABLE)
    assert len(set(states)) == len(states)
