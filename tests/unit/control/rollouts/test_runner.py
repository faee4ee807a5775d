"""Rollouts walk their steps on a clock, follow the file, survive the process, and move nothing that is not written down."""

import asyncio
from dataclasses import replace

import pytest

from proxy.control.rollouts.book import Book
from proxy.control.rollouts.runner import JUDGED_AT_ONCE
from proxy.rollout.journal import JournalError, Record, SqliteJournal
from proxy.rollout.machine import LONGEST_TICK
from proxy.rollout.rollout import Cause
from proxy.rollout.states import CauseKind, State
from proxy.telemetry.facts import RolloutStanding
from proxy.telemetry.ledger import LedgerFullError
from tests.unit.control.rollouts.rolling import APPROVE, FILE, House, TestJudge, Verdict, plan, play, shop, step


@pytest.fixture
def house(tmp_path):
    return House(tmp_path / "state.db", shop(rollout=plan()))


def test_a_rollout_walks_its_steps_and_every_one_is_in_the_journal_with_its_weights(house):
    async def script():
        assert house.at() == ("pending", -1, 0.0)
        seen = []
        for _ in range(4 * 60 + 10):
            await house.let(1)
            if not seen or seen[-1] != house.at():
                seen.append(house.at())
        history = list(reversed(await house.desk.history("shop", 100)))
        return seen, history

    seen, history = play(house, script)
    assert seen == [
        ("progressing", 0, 1.0), ("progressing", 1, 5.0), ("progressing", 2, 25.0), ("progressing", 3, 50.0),
        ("completed", 4, 100.0),
    ]  # fmt: skip
    assert [one.sequence for one in history] == [1, 2, 3, 4, 5, 6]
    assert [one.cause for one in history] == ["created", "begin", *["step_passed"] * 4]
    assert [one.rollout["weights"]["canary"] for one in history] == [0.0, 1.0, 5.0, 25.0, 50.0, 100.0]
    assert house.facts.standing == {"shop": RolloutStanding("completed", 4)}
    assert house.facts.transitions == {("shop", "created"): 1, ("shop", "begin"): 1, ("shop", "step_passed"): 4}
    assert "rollout" not in house.forces["shop"]


def test_a_plan_is_sent_once_a_step_and_not_once_a_second(house):
    async def script():
        await house.let(30)
        before = house.published
        await house.let(25)
        return before, house.published

    assert play(house, script) == (2, 2)  # the first plan, and the one of the first step


def test_nothing_takes_effect_that_could_not_be_written_and_it_is_tried_again(house, caplog):
    async def script():
        mend = house.break_journal()
        await house.let(5)
        assert house.at() == ("pending", -1, 0.0)
        assert house.facts.failures["journal"] == 5
        mend()
        await house.let(1)
        assert house.at() == ("progressing", 0, 1.0)
        return await house.causes()

    assert play(house, script) == ["created", "begin"]
    assert [one.message for one in caplog.records if one.levelname == "ERROR"] == [
        "state: the disk is full; rollouts stand still until this is mended, and tries go on"
    ]


def test_a_version_that_has_to_go_serves_nobody_although_that_cannot_be_written(tmp_path):
    judge = TestJudge()
    house = House(tmp_path / "s.db", shop(rollout=plan()), judge=judge)

    async def script():
        await house.let(70)
        assert house.at() == ("progressing", 1, 5.0)
        mend = house.break_journal()
        judge.said = Verdict("fail", "errors 9 %")
        await house.let(1)
        assert house.at() == ("progressing", 1, 0.0)  # where it was for the journal, and nobody gets it
        mend()
        await house.let(1)
        assert house.at() == ("aborted", 1, 0.0)
        return await house.causes()

    assert play(house, script) == ["created", "begin", "step_passed", "step_failed"]


def test_a_version_has_to_go_also_while_the_next_revision_cannot_be_written(tmp_path):
    judge = TestJudge()
    house = House(tmp_path / "s.db", shop(rollout=plan()), judge=judge)

    async def script():
        await house.let(70)
        house.break_journal()
        await house.save(shop(rollout=plan("v3")))
        assert (house.desk.of("shop").revision, house.weights()["canary"]) == ("v2", 5.0)
        judge.stop = Cause(CauseKind.BRAKE, "tidegate", "8 of 20 failed", {}, house.now)
        await house.let(1)
        return house.weights()["canary"]

    assert play(house, script) == 0.0


def test_a_hold_that_nobody_watched_does_not_count(house):
    async def script():
        await house.let(11)  # written down every ten seconds
        held = house.desk.of("shop").held
        assert held == pytest.approx(10.0)
        house.now += 86_400.0  # the clock jumps a day, and the process slept as long
        house.elapsed += 86_400.0
        await house.rollouts.look()
        assert house.at() == ("progressing", 0, 1.0)
        assert house.desk.of("shop").held == pytest.approx(held + LONGEST_TICK)
        house.now -= 7 * 86_400.0
        await house.let(10)
        assert house.at() == ("progressing", 0, 1.0)
        await house.let(40)
        return house.at(), await house.causes()

    at, causes = play(house, script)
    assert at == ("progressing", 1, 5.0)
    assert causes == ["created", "begin", "step_passed"]


def test_a_kill_costs_some_seconds_of_a_hold_and_never_the_step(house):
    async def script():
        await house.let(1 + 35)
        before = house.desk.of("shop")
        await house.kill()
        after = house.desk.of("shop")
        assert after == replace(before, held=after.held)
        assert before.held - 10.0 <= after.held <= before.held
        assert house.weights()["canary"] == 1.0  # in the very first plan
        await house.let(24)
        assert house.at()[1] == 0
        await house.let(11)
        return house.at()

    assert play(house, script) == ("progressing", 1, 5.0)


def in_state(state):
    """How a house gets there; `script(house, judge)`."""

    async def pending(house, judge):
        assert house.at()[0] == "pending"

    async def progressing(house, judge):
        await house.let(70)

    async def approval(house, judge):
        await house.let(70)
        await house.until("approval")

    async def paused(house, judge):
        await progressing(house, judge)
        await house.act("pause")

    async def frozen(house, judge):
        await progressing(house, judge)
        await house.act("freeze")

    async def reverting(house, judge):
        await house.until("watching")
        judge.said = Verdict("fail")
        await house.until("reverting")

    async def watching(house, judge):
        await house.until("watching")

    async def completed(house, judge):
        await house.until("completed")

    async def aborted(house, judge):
        await progressing(house, judge)
        await house.act("abort")

    async def superseded(house, judge):
        await progressing(house, judge)
        await house.save(shop())

    return locals()[state]


@pytest.mark.parametrize("state", [str(one) for one in State])
def test_a_process_that_is_killed_in_any_state_goes_on_in_it_with_the_same_weights(tmp_path, state):
    judge = TestJudge()
    steps = [1, 5, APPROVE, 100] if state == "approval" else [1, 5, 25, 50, 100]
    rollout = plan(steps=steps, fast_rollback=300.0, rollback={"mode": "gradual", "percent": 20.0, "every": 30.0})
    closed = (lambda rollout, now: "shut") if state == "pending" else None
    house = House(tmp_path / "s.db", shop(rollout=rollout), judge=judge, closed=closed)

    async def script():
        await in_state(state)(house, judge)
        before, weights, causes = house.desk.of("shop"), house.weights(), await house.causes()
        assert str(before.state) == state
        await house.kill()
        assert house.desk.of("shop") == replace(before, held=house.desk.of("shop").held)
        assert house.weights() == weights
        assert await house.causes() == causes  # nothing happens for having been killed
        judge.said = None
        await house.let(1)
        return before, house.desk.of("shop")

    before, after = play(house, script)
    assert after.state is before.state
    assert after.sequence == before.sequence


@pytest.mark.parametrize("moment", ["before", "after"])
@pytest.mark.parametrize("state", ["pending", "progressing", "approval", "paused", "frozen", "watching", "reverting"])
def test_killed_around_the_write_there_is_exactly_one_transition(tmp_path, state, moment):
    judge = TestJudge()
    steps = [1, 5, APPROVE, 100] if state == "approval" else [1, 5, 25, 50, 100]
    rollout = plan(steps=steps, fast_rollback=300.0, rollback={"mode": "gradual", "percent": 20.0, "every": 30.0})
    house = House(tmp_path / "s.db", shop(rollout=rollout), judge=judge)

    class Killed(BaseException):
        pass

    async def script():
        await in_state(state)(house, judge)
        count = len(await house.causes())
        append = house.journal.append

        async def die(*records):
            if moment == "after":
                await append(*records)
            raise Killed

        house.journal.append = die
        with pytest.raises(Killed):
            await house.act("abort")
        await house.kill()
        assert len(await house.causes()) == count + (moment == "after")
        if moment == "before":
            await house.act("abort")
        causes = await house.causes()
        assert len(causes) == count + 1
        assert causes[-1] == "abort"
        await house.until("aborted")
        return house.weights()

    assert play(house, script) == FILE


def test_a_new_revision_ends_the_one_under_way_in_the_same_stroke(house):
    async def script():
        await house.let(65)
        assert house.at() == ("progressing", 1, 5.0)
        await house.save(shop(rollout=plan("v3", [10, 100])))
        assert house.desk.of("shop").revision == "v3"
        assert house.at() == ("pending", -1, 5.0)  # nobody moves before the first step
        await house.let(1)
        assert house.at() == ("progressing", 0, 10.0)
        history = list(reversed(await house.desk.history("shop", 10)))
        return [(one.revision, one.sequence, one.cause, one.after) for one in history][-3:]

    assert play(house, script) == [
        ("v2", 4, "superseded", "superseded"), ("v3", 5, "created", "pending"), ("v3", 6, "begin", "progressing"),
    ]  # fmt: skip


def test_a_revision_that_came_while_the_process_was_down_is_begun_once(house):
    async def script():
        await house.let(65)
        house.file = {**house.file, "routes": [shop(rollout=plan("v3"))]}
        await house.kill()
        assert (house.desk.of("shop").revision, house.weights()["canary"]) == ("v3", 5.0)
        await house.kill()
        return await house.causes()

    assert play(house, script) == ["created", "begin", "step_passed", "superseded", "created"]


def test_what_a_superseded_rollout_has_reached_is_watched_until_the_first_step_and_goes_with_an_abort(tmp_path):
    judge, closed = TestJudge(), []
    house = House(tmp_path / "state.db", shop(rollout=plan()), judge=judge, closed=lambda *_: "".join(closed))

    async def script():
        await house.let(65)
        closed.append("a freeze")
        await house.save(shop(rollout=plan("v3")))
        await house.let(30)
        await house.kill()
        pending = house.desk.of("shop")
        assert (str(pending.state), pending.taken_over, house.weights()["canary"]) == ("pending", True, 5.0)
        judge.stop = Cause(CauseKind.BRAKE, "tidegate", "it fails", {}, house.now)
        await house.let(2)
        assert (str(house.desk.of("shop").state), house.weights()) == ("aborted", FILE)
        judge.stop = None
        await house.desk.act("shop", CauseKind.RETRY, "ann", "mended")
        judge.stop = Cause(CauseKind.BRAKE, "tidegate", "it fails", {}, house.now)
        await house.let(2)
        return str(house.desk.of("shop").state)

    assert play(house, script) == "pending"  # there is nothing to brake any more


def test_of_another_version_that_is_to_come_in_the_old_share_is_watched_and_goes_back(tmp_path):
    """The newer revision has another `to`, and waits for its hour: what the older one gave is braked meanwhile."""
    judge, closed = TestJudge(), []
    file = {**FILE, "next": 0.0}
    house = House(tmp_path / "state.db", shop(file, plan()), judge=judge, closed=lambda *_: "".join(closed))

    async def script():
        await house.let(65)
        closed.append("a freeze")
        await house.save(shop(file, plan("v3", to="next")))
        await house.let(3)
        await house.kill()
        pending = house.desk.of("shop")
        assert (pending.arms[1], pending.watched_arms[1], pending.percent) == ("next", "canary", 0.0)
        assert house.weights() == {"stable": 95.0, "canary": 5.0, "next": 0.0}
        await house.save(shop(file, plan("v4", to="next")))  # and one more, before any step
        assert house.desk.of("shop").watched_arms[1] == "canary"
        mend = house.break_journal()
        judge.stop = Cause(CauseKind.BRAKE, "tidegate", "it fails", {}, house.now)
        await house.let(2)
        assert house.weights() == file  # it goes although that cannot be written
        mend()
        await house.let(2)
        assert str(house.desk.of("shop").state) == "aborted"
        judge.stop = None
        closed.clear()
        await house.act("retry")
        await house.let(2)
        retried = house.desk.of("shop")
        return house.weights(), retried.watched_arms[1], retried.tries

    assert play(house, script) == ({"stable": 99.0, "canary": 0.0, "next": 1.0}, "next", 2)


def test_each_try_is_counted_and_outlives_a_kill(house):
    async def script():
        await house.let(5)
        await house.act("pause")
        await house.act("resume")
        assert house.desk.of("shop").tries == 1  # it goes on where it was
        await house.act("retry")
        await house.kill()
        assert house.desk.of("shop").tries == 2
        await house.act("abort")
        await house.act("retry")
        await house.let(2)
        await house.kill()
        rollout = house.desk.of("shop")
        history = [one.rollout["tries"] for one in reversed(await house.desk.history("shop", 10))]
        return str(rollout.state), rollout.tries, history

    assert play(house, script) == ("progressing", 3, [1, 1, 1, 1, 2, 2, 3, 3])


def test_a_process_that_never_lives_long_still_gets_on(house):
    async def script():
        for _ in range(30):
            await house.let(4)
            await house.kill()
        return house.at()[1]

    assert play(house, script) >= 1  # of a hold of 60 seconds


def test_what_was_reached_and_is_not_in_the_file_is_said_before_and_when_the_next_revision_begins(house, caplog):
    async def script():
        await house.until("completed")
        await house.save(shop(rollout=plan("v3", [10, 100])))

    play(house, script)
    said = "The file still has stable 100, canary 0: write stable 0, canary 100 into it"
    assert caplog.text.count(said) == 1
    assert "revision v3 begins over weights that revision v2 has reached and the file does not have" in caplog.text
    assert "Its first step takes `canary` down from 100 % to 10 %." in caplog.text


def test_the_way_back_of_versions_goes_on_from_what_was_reached_without_a_word(house, caplog):
    """From blue to green, and the next time from green to blue: the file never changes."""

    async def script():
        await house.until("completed")
        await house.save(shop(rollout=plan("v3", [10, 100], **{"from": "canary", "to": "stable"})))
        await house.let(1)
        return house.weights()

    assert play(house, script) == {"stable": 10.0, "canary": 90.0}
    assert "begins over weights" not in caplog.text


@pytest.mark.parametrize("end", ["completed", "aborted"])
def test_the_same_revision_starts_nothing_once_it_is_over(house, end):
    async def script():
        await in_state(end)(house, None)
        causes, weights = await house.causes(), house.weights()
        await house.save(shop(rollout=plan(steps=[3, 100])))
        await house.kill()
        await house.let(100)
        assert await house.causes() == causes
        assert house.weights() == weights
        await house.save(shop(rollout=plan("v3")))
        await house.save(
            shop(rollout=plan("v2"))
        )  # another one than the last: it is new again, with numbers of its own
        return [one.sequence for one in await house.desk.history("shop", 3)], house.desk.of("shop").revision

    sequences, revision = play(house, script)
    assert sequences == sorted(sequences, reverse=True)
    assert revision == "v2"


EDITED = {"stable": 90.0, "canary": 10.0}


@pytest.mark.parametrize("down", [False, True])
@pytest.mark.parametrize("state", ["pending", "progressing", "approval", "paused", "frozen", "watching", "reverting"])
def test_a_split_edited_in_the_file_wins_at_once_and_the_rollout_waits(tmp_path, state, down):
    judge = TestJudge()
    steps = [1, 5, APPROVE, 100] if state == "approval" else [1, 5, 25, 50, 100]
    rollout = plan(steps=steps, fast_rollback=300.0, rollback={"mode": "gradual", "percent": 20.0, "every": 30.0})
    house = House(tmp_path / "s.db", shop(rollout=rollout), judge=judge)

    async def script():
        await in_state(state)(house, judge)
        if down:
            house.file = {**house.file, "routes": [shop(EDITED, rollout)]}
            await house.kill()
        else:
            await house.save(shop(EDITED, rollout))
        assert house.weights() == EDITED
        assert (str(house.desk.of("shop").state), str(house.desk.of("shop").cause)) == ("paused", "file_edited")
        assert "from stable 100, canary 0 to stable 90, canary 10" in house.desk.of("shop").reason
        causes = await house.causes()
        assert causes.count("file_edited") == 1
        judge.said = None
        await house.let(100)
        assert house.weights() == EDITED
        assert await house.causes() == causes

    play(house, script)


def test_an_edit_of_the_split_ends_what_a_rollout_that_is_over_had_moved_for_good(house):
    async def script():
        await house.until("completed")
        assert house.weights() == {"stable": 0.0, "canary": 100.0}
        await house.save(shop(EDITED, plan()))
        assert house.weights() == EDITED
        await house.save(shop(FILE, plan()))  # as it was once: it does not come back
        assert house.weights() == FILE
        await house.kill()
        return house.weights(), (await house.causes())[-2:], str(house.desk.of("shop").state)

    assert play(house, script) == (FILE, ["file_edited", "file_edited"], "completed")


def test_comments_and_other_keys_disturb_nothing(house, caplog):
    async def script():
        await house.let(65)
        before, causes = house.desk.of("shop"), await house.causes()
        await house.save(shop(rollout=plan(), timeout=3.0))
        assert house.desk.of("shop") == before
        assert house.weights()["canary"] == 5.0
        assert not [one for one in caplog.records if one.levelname == "WARNING"]
        await house.save(shop(rollout=plan(steps=[2, 100])))
        assert await house.causes() == causes
        await house.let(60)
        return house.at()

    assert play(house, script) == ("progressing", 2, 25.0)
    (warning,) = [one.message for one in caplog.records if one.levelname == "WARNING"]
    assert warning.startswith("route shop: the plan of revision v2 was changed under way: it goes on as it began")


def test_a_version_that_is_another_under_way_is_told_and_its_weights_are_none_of_it(tmp_path, caplog):
    house = House(tmp_path / "s.db", shop(rollout=plan()))

    async def script():
        await house.let(70)
        route = shop(rollout=plan())
        await house.save(route)
        assert "is another now" not in caplog.text
        versions = [one | ({"upstream": "elsewhere"} if one["name"] == "canary" else {}) for one in route["versions"]]
        await house.save(route | {"versions": versions})
        assert house.at() == ("progressing", 1, 5.0)
        assert (
            "route shop: `canary` is another now (upstream), and what was seen of the one before counts on"
            in caplog.text
        )
        caplog.clear()
        await house.save(route | {"versions": versions})
        assert "is another now" not in caplog.text

    play(house, script)


def test_a_rollout_that_the_file_no_longer_has_is_over_and_the_file_s_weights_hold(house):
    async def script():
        await house.let(65)
        await house.save(shop())
        assert house.weights() == FILE
        assert str(house.desk.of("shop").state) == "superseded"
        await house.save()
        assert house.desk.all() == []
        assert house.facts.standing == {}

    play(house, script)


def test_a_completed_rollout_holds_until_the_file_s_split_is_edited(house):
    async def script():
        await house.until("completed")
        await house.save(shop(timeout=1.0))  # without its `rollout`
        assert house.weights()["canary"] == 100.0
        await house.save(shop({"stable": 0.0, "canary": 100.0}))
        return house.weights()["canary"]

    assert play(house, script) == 100.0


def test_what_the_journal_refused_of_the_file_is_done_as_soon_as_it_can_be(house):
    async def script():
        await house.let(65)
        mend = house.break_journal()
        await house.save(shop(EDITED, plan()))
        assert house.weights() == EDITED  # the file wins, whatever the disk says
        await house.let(3)
        assert str(house.desk.of("shop").state) == "progressing"
        assert house.weights() == EDITED
        mend()
        await house.let(1)
        assert str(house.desk.of("shop").state) == "paused"
        mend = house.break_journal()
        await house.save(shop(EDITED, plan("v3")))
        assert house.desk.of("shop").revision == "v2"
        mend()
        await house.let(1)
        return house.desk.of("shop").revision

    assert play(house, script) == "v3"


def test_gates_decide_and_a_schedule_holds_steps_back(tmp_path):
    judge = TestJudge()
    shut = {"why": "it is night"}
    steps = [step(5, judged=True, maximum=600.0, minimum={"requests": 10, "units": 0}), step(100)]
    house = House(
        tmp_path / "s.db", shop(rollout=plan(steps=steps)), judge=judge, closed=lambda rollout, now: shut["why"]
    )

    async def script():
        await house.let(10)
        assert house.at()[0] == "pending"
        assert house.desk.seen(house.desk.of("shop")).closed == "it is night"
        shut["why"] = ""
        await house.let(100)
        assert house.at() == ("progressing", 0, 5.0)
        judge.said = Verdict("insufficient")
        await house.let(100)
        judge.said = Verdict("pass")
        await house.let(100)
        assert house.at() == ("progressing", 0, 5.0)  # too few samples
        judge.had = {"stable": had(10), "canary": had(10)}
        await house.let(1)
        assert house.at() == ("completed", 1, 100.0)
        return (await house.desk.history("shop", 1))[0]

    record = play(house, script)
    assert record.numbers["errors"] == 2.5
    assert "because" in record.reason


def had(requests):
    from proxy.rollout.rollout import Samples

    return Samples(requests, 0)


def test_no_data_never_passes(tmp_path):
    judge = TestJudge()
    steps = [step(5, judged=True, maximum=600.0), step(100)]
    house = House(tmp_path / "s.db", shop(rollout=plan(steps=steps)), judge=judge)

    async def script():
        rollout = await house.until("paused")
        return str(rollout.cause), rollout.held, house.weights()["canary"]

    assert play(house, script) == ("undecided", 600.0, 5.0)


def test_the_brake_waits_for_nothing(tmp_path):
    judge = TestJudge()
    house = House(tmp_path / "s.db", shop(rollout=plan()), judge=judge)

    async def script():
        await house.let(2)
        judge.stop = Cause(CauseKind.BRAKE, "tidegate", "8 of 20 failed", {"errors": 8}, house.now)
        await house.let(1)
        return house.at(), house.desk.of("shop").reason, await house.causes()

    at, reason, causes = play(house, script)
    assert (at, reason) == (("aborted", 0, 0.0), "8 of 20 failed")
    assert causes == ["created", "begin", "brake"]


def test_one_rollout_that_cannot_be_looked_at_does_not_stop_the_others(tmp_path, caplog):
    class OneBreaks(TestJudge):
        def verdict(self, rollout, now):
            if rollout.route == "shop":
                raise ZeroDivisionError
            return Verdict("insufficient")

    house = House(tmp_path / "s.db", shop(rollout=plan()), shop(name="b", rollout=plan()), judge=OneBreaks())

    async def script():
        await house.let(3)
        assert house.facts.failures == {"look": 3}
        return house.at("shop")[0], house.at("b")[0]

    assert play(house, script) == ("pending", "progressing")
    assert any(one.message == "a rollout could not be looked at" and one.exc_info for one in caplog.records)


def test_many_rollouts_are_judged_in_turn_and_braked_every_second(tmp_path):
    class Counting(TestJudge):
        def verdict(self, rollout, now):
            judged.append(rollout.route)
            return Verdict("insufficient")

        def brake(self, rollout, now):
            braked.append(rollout.route)

    judged, braked = [], []
    count = 2 * JUDGED_AT_ONCE + 5
    routes = [shop(name=f"r{index}", rollout=plan()) for index in range(count)]
    house = House(tmp_path / "s.db", *routes, judge=Counting())

    async def script():
        await house.let(1)
        judged.clear()
        braked.clear()
        await house.let(1)
        assert len(judged) == JUDGED_AT_ONCE
        assert len(set(braked)) == count
        await house.let(8)
        counts = {judged.count(f"r{index}") for index in range(count)}
        assert counts == {4}
        await house.let(55)
        return {house.at(f"r{index}")[1] for index in range(count)}

    assert play(house, script) == {1}  # and none is forgotten


def test_a_plan_without_room_in_the_counters_is_tried_again(house, caplog):
    async def script():
        publish = house.publish

        def full():
            raise LedgerFullError("no room")

        house.rollouts._publish = full
        await house.let(3)
        assert house.weights() == FILE
        assert house.facts.failures == {"publish": 3}
        house.rollouts._publish = publish
        await house.let(1)
        return house.weights()["canary"]

    assert play(house, script) == 1.0
    assert len([one for one in caplog.records if "no room" in one.message]) == 1


def test_another_process_that_writes_to_the_journal_has_the_word(house, caplog):
    async def script():
        await house.let(1)
        rollout = house.desk.of("shop")
        other = SqliteJournal(house.path)
        theirs = replace(rollout, state=State.PAUSED, from_state=State.PROGRESSING, sequence=rollout.sequence + 1)
        await other.append(Record.of(theirs, State.PROGRESSING))
        await other.close()
        with pytest.raises(Exception, match="paused"):
            await house.act("abort")
        return str(house.desk.of("shop").state), house.desk.of("shop").sequence

    assert play(house, script) == ("paused", 3)
    assert any("another process writes to this journal" in one.message for one in caplog.records)


def test_values_that_are_no_rollout_are_said_with_the_route(tmp_path):
    journal = SqliteJournal(tmp_path / "s.db")

    async def script():
        await journal.append(Record("shop", "v2", 1, 0.0, "", "pending", 0, "created", "", "", {}, {"state": "what"}))
        kept = await journal.load()
        await journal.close()
        from proxy.telemetry.facts import RolloutFacts

        book = Book(journal, lambda: 0.0, RolloutFacts(), None)
        with pytest.raises(JournalError, match="the rollout of route shop kept there cannot be understood"):
            book.take(kept.last, kept.progress)

    asyncio.run(script())


class TestPeople:
    """Webhooks that answer when and what the test wants."""

    __test__ = False

    def __init__(self):
        self.asked = []
        self.told = []
        self.answer = None

    def asks(self, rollout, cause):
        return True

    async def ask(self, rollout, cause):
        self.asked.append((rollout.sequence, str(cause.kind)))
        self.answer = asyncio.get_running_loop().create_future()
        return await self.answer

    def tell(self, before, after):
        self.told.append((None if before is None else str(before.state), str(after.state)))


def test_webhooks_are_asked_before_a_step_and_holds_go_on_meanwhile(tmp_path):
    people = TestPeople()
    house = House(tmp_path / "s.db", shop(rollout=plan(steps=[step(5), step(100)])), people=people)

    async def script():
        await house.let(5)
        assert people.asked == [(1, "begin")]  # once, however long it takes
        assert house.desk.seen(house.desk.of("shop")).asking
        people.answer.set_result("")
        await house.settled()
        assert house.at() == ("progressing", 0, 5.0)
        await house.let(61)
        assert people.asked[-1] == (2, "step_passed")
        people.answer.set_result("the hook http://h says no: not today")
        await house.settled()
        assert house.at() == ("paused", 0, 5.0)
        assert "not today" in house.desk.of("shop").reason
        return people.told

    assert play(house, script) == [(None, "pending"), ("pending", "progressing"), ("progressing", "paused")]


def test_an_answer_that_was_overtaken_moves_nothing_and_after_a_kill_it_is_asked_again(tmp_path):
    people = TestPeople()
    house = House(tmp_path / "s.db", shop(rollout=plan(steps=[step(5), step(100)])), people=people)

    async def script():
        await house.let(2)
        first = people.answer
        await house.act("pause")
        first.set_result("")
        await house.let(1)
        assert house.at() == ("paused", -1, 0.0)
        await house.act("resume")
        await house.let(1)
        await house.kill()
        await house.let(1)
        assert people.asked == [(1, "begin"), (3, "begin"), (3, "begin")]
        people.answer.set_result("")
        await house.settled()
        return house.at()

    assert play(house, script) == ("progressing", 0, 5.0)


def test_secrets_of_webhooks_stay_in_the_file(tmp_path):
    hook = {"url": "http://h", "when": "before_step", "veto": True, "secret": "hush-hush", "timeout": 1, "retries": 0}
    house = House(tmp_path / "s.db", shop(rollout=plan(webhooks=[hook])))

    async def script():
        await house.let(1)
        return house.desk.of("shop").plan["webhooks"]

    assert play(house, script) == [{**hook, "secret": None}]
    assert b"hush-hush" not in b"".join(one.read_bytes() for one in tmp_path.iterdir())
