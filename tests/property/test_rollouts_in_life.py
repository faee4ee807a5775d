"""Whatever happens in whatever order, what is in force is what journal and file say, and each transition is there once."""

import asyncio
import tempfile
from contextlib import suppress
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from proxy.control.rollouts.desk import NotNowError
from proxy.rollout.journal import JournalError
from proxy.rollout.states import HANDS, State
from tests.unit.control.rollouts.rolling import APPROVE, House, TestJudge, Verdict, plan, shop

FILES = ({"stable": 100.0, "canary": 0.0}, {"stable": 90.0, "canary": 10.0})
THINGS = st.one_of(
    st.tuples(st.just("let"), st.integers(1, 130)),
    st.tuples(st.just("jump"), st.sampled_from((-86_400.0, 3_600.0))),
    st.tuples(st.just("act"), st.sampled_from([str(one) for one in HANDS])),
    st.tuples(st.just("file"), st.integers(0, 1), st.sampled_from(("v2", "v3", None))),
    st.tuples(st.just("edit while down"), st.integers(0, 1), st.sampled_from(("v2", "v3", None))),
    st.tuples(st.just("weights"), st.sampled_from((20.0, 70.0))),
    st.tuples(st.just("no weights")),
    st.tuples(st.just("verdict"), st.sampled_from(("pass", "fail", "insufficient"))),
    st.tuples(st.just("kill")),
    st.tuples(st.just("break")),
    st.tuples(st.just("mend")),
)


def route(weights, revision):
    rollout = None if revision is None else plan(
        revision, [1, 5, APPROVE, 50, 100], fast_rollback=90.0,
        rollback={"mode": "gradual", "percent": 20.0, "every": 20.0},
    )  # fmt: skip
    return shop(FILES[weights], rollout)


class Life:
    """A house, and what a reader of journal and file would expect of it."""

    def __init__(self, path):
        self.judge = TestJudge()
        self.house = House(path, route(0, "v2"), judge=self.judge)
        self.mend = None

    async def happen(self, what, *more):
        house = self.house
        if what == "let":
            await house.let(more[0])
        elif what == "jump":
            house.now += more[0]
        elif what == "act":
            with suppress(NotNowError, JournalError):
                await house.act(more[0])
        elif what == "file":
            await house.save(route(*more))
        elif what == "edit while down":
            house.file = {**house.file, "routes": [route(*more)]}
            await self.restart()
        elif what == "weights":
            with suppress(JournalError):
                await house.desk.set_weights("shop", {"canary": more[0]}, "anna", "x", None)
        elif what == "no weights":
            await house.desk.unset_weights("shop", "anna")
        elif what == "verdict":
            self.judge.said = Verdict(more[0])
        elif what == "kill":
            await self.write_all()
            before, weights = house.desk.of("shop"), house.weights()
            await self.restart()
            after = house.desk.of("shop")
            assert (after.state, after.sequence, after.step) == (before.state, before.sequence, before.step)
            assert house.weights() == weights
        elif what == "break":
            self.mend = self.mend or house.break_journal()
        else:
            await self.write_all()

    async def restart(self):
        await self.write_all()
        await self.house.kill()

    async def write_all(self):
        """What the journal has refused until now is nowhere: the next process would not know of it."""
        if self.mend is not None:
            self.mend()
            self.mend = None
            await self.house.let(1)

    async def check(self):
        house = self.house
        last = (await house.journal.load()).last["shop"]
        rollout = house.desk.of("shop")
        assert (rollout.sequence, str(rollout.state)) == (last.sequence, last.after)
        history = await house.journal.history("shop", 500)
        assert [one.sequence for one in history] == list(range(len(history), 0, -1))
        file = house.desk.file_weights("shop")
        hand = house.desk.hand("shop")
        if hand is not None:
            assert hand.bound == file
            expected = hand.weights
        elif rollout.bound != file or rollout.state is State.SUPERSEDED:
            expected = file
        else:
            retreat = house.rollouts.book.retreats.get("shop")
            expected = (retreat or rollout).weights
        assert house.weights() == expected
        if self.mend is None and hand is None and rollout.state is State.ABORTED and rollout.step >= 0:
            # One that has taken no step leaves the weights as they are, and the file may have spoken since.
            assert house.weights() == file or house.weights()["canary"] == 0


@settings(max_examples=60, deadline=None)
@given(st.lists(THINGS, max_size=12))
def test_what_is_in_force_is_what_journal_and_file_say(things):
    async def live(path):
        life = Life(path)
        await life.house.start()
        try:
            for what in things:
                await life.happen(*what)
                await life.check()
        finally:
            await life.house.journal.close()

    with tempfile.TemporaryDirectory() as directory:
        asyncio.run(live(Path(directory) / "s.db"))
