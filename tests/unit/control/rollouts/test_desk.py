"""What people ask of rollouts, and weights set by hand: done at once, refused with what is possible, kept over restarts."""

import pytest

from proxy.control.rollouts.desk import NotNowError, UnknownRouteError
from proxy.rollout.by_hand import BadWeightsError
from proxy.rollout.journal import JournalError
from tests.unit.control.rollouts.rolling import APPROVE, FILE, House, plan, play, shop
from tests.unit.control.rollouts.test_runner import TestPeople

HAND = {"stable": 80.0, "canary": 20.0}


@pytest.fixture
def house(tmp_path):
    return House(tmp_path / "state.db", shop(rollout=plan()), shop({"stable": 95.0, "canary": 5.0}, name="plain"))


async def by_hand(house, route="shop", until=None, **weights):
    return await house.desk.set_weights(route, weights or {"canary": 20.0}, "anna", "a try", until)


def test_people_pause_resume_skip_promote_and_abort_with_a_reason(house):
    async def script():
        await house.let(1)
        seen = []
        for kind in ("pause", "resume", "skip", "freeze", "skip", "promote"):
            await house.act(kind)
            seen.append((kind, *house.at()))
        await house.kill()
        history = list(reversed(await house.desk.history("shop", 100)))[2:]
        return seen, [(one.cause, one.actor, one.reason) for one in history]

    seen, history = play(house, script)
    assert seen == [
        ("pause", "paused", 0, 1.0), ("resume", "progressing", 0, 1.0), ("skip", "progressing", 1, 5.0),
        ("freeze", "frozen", 1, 5.0), ("skip", "progressing", 2, 25.0), ("promote", "completed", 4, 100.0),
    ]  # fmt: skip
    assert history == [(kind, "anna", "a reason") for kind, *_ in seen]


def test_an_abort_takes_effect_at_once_and_can_be_tried_again(house):
    async def script():
        await house.let(65)
        await house.act("abort", "it hurts")
        assert house.at() == ("aborted", 1, 0.0)
        await house.let(100)
        assert house.at() == ("aborted", 1, 0.0)
        await house.act("retry")
        await house.let(1)
        return house.at()

    assert play(house, script) == ("progressing", 0, 1.0)


def test_what_is_nothing_now_is_refused_with_what_is_possible(house):
    async def script():
        await house.let(1)
        with pytest.raises(
            NotNowError, match="is progressing, and resume is nothing then; possible: pause, promote, skip"
        ):
            await house.act("resume")
        await house.act("pause")
        with pytest.raises(NotNowError, match="is paused, and pause is nothing then; possible: resume,"):
            await house.act("pause")
        with pytest.raises(UnknownRouteError, match="route other has no rollout; routes that have one: shop"):
            await house.act("pause", route="other")
        with pytest.raises(UnknownRouteError, match="route plain has no rollout"):
            house.desk.of("plain")
        with pytest.raises(UnknownRouteError, match="there is no route other; there are: shop, plain"):
            await by_hand(house, "other")
        return await house.causes()

    assert play(house, script) == ["created", "begin", "pause"]


def test_what_could_not_be_written_has_not_happened(house):
    async def script():
        await house.let(1)
        mend = house.break_journal()
        for kind in ("pause", "skip", "promote"):
            with pytest.raises(JournalError):
                await house.act(kind)
        assert house.at() == ("progressing", 0, 1.0)
        mend()
        await house.let(1)
        return house.at()[0]

    assert play(house, script) == "progressing"


def test_an_abort_takes_the_version_out_although_it_cannot_be_written_and_is_written_later(house):
    async def script():
        await house.let(1)
        mend = house.break_journal()
        with pytest.raises(JournalError, match="gone back all the same, and that is written down as soon as it can be"):
            await house.act("abort", "it loses orders")
        assert house.at() == ("progressing", 0, 0.0)  # where it was for the journal, and nobody gets it
        await house.let(120)
        assert house.at() == ("progressing", 0, 0.0)
        mend()
        await house.let(1)
        assert house.at() == ("aborted", 0, 0.0)
        record = (await house.desk.history("shop", 1))[0]
        return record.cause, record.actor, record.reason

    assert play(house, script) == ("abort", "anna", "it loses orders")


def test_an_abort_that_is_owed_is_no_more_when_the_file_has_spoken(house):
    async def script():
        await house.let(1)
        mend = house.break_journal()
        with pytest.raises(JournalError):
            await house.act("abort")
        await house.save(shop({"stable": 60.0, "canary": 40.0}, rollout=house.desk.of("shop").plan))
        mend()
        await house.let(5)
        return house.at()

    assert play(house, script) == ("paused", 0, 40.0)


def test_an_approval_is_a_person_s(tmp_path):
    house = House(tmp_path / "s.db", shop(rollout=plan(steps=[5, APPROVE, 100])))

    async def script():
        await house.until("approval")
        await house.let(3600)
        assert house.at() == ("approval", 1, 5.0)
        await house.act("approve", "looks well")
        return house.at()

    assert play(house, script) == ("completed", 2, 100.0)


def test_webhooks_are_asked_before_an_approval_takes_effect(tmp_path):
    people = TestPeople()
    house = House(tmp_path / "s.db", shop(rollout=plan(steps=[APPROVE, 100])), people=people)

    async def script():
        import asyncio

        await house.let(1)
        people.answer.set_result("")
        await house.settled()
        assert house.at()[0] == "approval"
        for answer, expected in (("no: not today", "paused"), ("", "completed")):
            asking = asyncio.ensure_future(house.act("approve"))
            while people.answer.done():  # noqa: ASYNC110 - nobody tells
                await asyncio.sleep(0)
            with pytest.raises(NotNowError, match="are being asked already"):
                await house.act("approve")
            assert "approve" not in house.desk.possible(house.desk.of("shop"))
            people.answer.set_result(answer)
            rollout = await asking
            assert str(rollout.state) == expected
            if expected == "paused":
                await house.act("resume")
        return [kind for _, kind in people.asked]

    assert play(house, script) == ["begin", "approve", "approve"]


def test_weights_by_hand_hold_over_a_restart_and_are_shown_with_who_and_why(house):
    async def script():
        assert (await by_hand(house, "plain")).weights == HAND
        assert house.weights("plain") == HAND
        assert house.facts.by_hand == {"plain"}
        await house.kill()
        assert house.weights("plain") == HAND
        hand = house.desk.hand("plain")
        assert (hand.by, hand.reason, hand.until, hand.since) == ("anna", "a try", None, house.now)
        assert house.desk.file_weights("plain") == {"stable": 95.0, "canary": 5.0}
        assert house.desk.effective_weights("plain") == HAND
        gone = await house.desk.unset_weights("plain", "bert")
        assert gone == hand
        assert house.weights("plain") == house.desk.effective_weights("plain") == {"stable": 95.0, "canary": 5.0}
        assert house.facts.by_hand == set()
        return await house.desk.unset_weights("plain", "bert")

    assert play(house, script) is None


def test_weights_by_hand_end_by_themselves(house, caplog):
    caplog.set_level("INFO")

    async def script():
        await by_hand(house, "plain", until=house.now + 30)
        await house.let(29)
        assert house.weights("plain") == HAND
        await house.let(1)
        return house.weights("plain")["canary"], house.desk.hand("plain")

    assert play(house, script) == (5.0, None)
    assert "route plain: weights set by hand by anna hold no more: their time is up" in caplog.messages


@pytest.mark.parametrize("down", [False, True])
def test_the_file_s_split_wins_over_weights_by_hand(house, down):
    async def script():
        await by_hand(house, "plain")
        routes = [shop(rollout=plan()), shop({"stable": 90.0, "canary": 10.0}, name="plain")]
        if down:
            house.file = {**house.file, "routes": routes}
            await house.kill()
        else:
            await house.save(*routes)
        assert house.weights("plain")["canary"] == 10.0
        await house.save(shop(rollout=plan()), shop({"stable": 95.0, "canary": 5.0}, name="plain"))
        return house.weights("plain")["canary"], house.desk.hand("plain")

    assert play(house, script) == (5.0, None)


def test_other_keys_of_the_file_leave_weights_by_hand_alone_and_a_route_that_goes_takes_them_along(house):
    async def script():
        await by_hand(house, "plain")
        await house.save(shop({"stable": 95.0, "canary": 5.0}, name="plain", timeout=2.0))
        assert house.weights("plain") == HAND
        await house.save(shop(rollout=plan()))
        await house.save(shop({"stable": 95.0, "canary": 5.0}, name="plain"))
        return house.weights("plain")["canary"]

    assert play(house, script) == 5.0


def test_weights_by_hand_pause_a_rollout_which_goes_on_only_when_somebody_says_so(house):
    async def script():
        await house.let(65)
        await by_hand(house)
        assert house.at() == ("paused", 1, 20.0)
        rollout = house.desk.of("shop")
        assert (str(rollout.cause), rollout.actor) == ("overridden", "anna")
        assert rollout.reason == "weights set by hand: stable 80, canary 20 (a try)"
        await house.let(100)
        await house.kill()
        await house.let(1)
        assert house.at() == ("paused", 1, 20.0)
        for kind in ("resume", "skip", "promote", "retry"):
            with pytest.raises(
                NotNowError, match=f"weights set by hand by anna hold: take them back first, then {kind}"
            ):
                await house.act(kind)
        assert house.desk.possible(rollout) == ["abort", "freeze"]
        await house.desk.unset_weights("shop", "anna")
        await house.let(100)
        assert house.at() == ("paused", 1, 5.0)  # at the step's weights, and nobody has gone further
        await house.act("resume")
        assert house.at() == ("progressing", 1, 5.0)
        await house.let(61)
        return house.at(), (await house.causes()).count("overridden")

    assert play(house, script) == (("progressing", 2, 25.0), 1)


def test_a_rollout_that_begins_under_weights_by_hand_waits(house):
    async def script():
        await by_hand(house, "plain")
        await house.save(shop({"stable": 95.0, "canary": 5.0}, plan(), name="plain"))
        await house.let(1)
        return house.at("plain")

    assert play(house, script) == ("paused", -1, 20.0)


def test_killed_between_the_weights_and_the_pause_the_rollout_pauses_with_the_next_look(house):
    async def script():
        await house.let(65)
        mend = house.break_journal()
        with pytest.raises(JournalError):
            await by_hand(house)
        assert house.at() == ("progressing", 1, 20.0)  # they are kept, and hold
        mend()
        await house.kill()
        assert house.weights() == HAND
        await house.let(1)
        return house.at(), (await house.causes()).count("overridden")

    assert play(house, script) == (("paused", 1, 20.0), 1)


def test_a_frozen_rollout_stays_frozen_under_weights_by_hand(house):
    async def script():
        await house.let(65)
        await by_hand(house)
        await house.act("freeze")
        await house.let(5)
        return house.at()

    assert play(house, script) == ("frozen", 1, 20.0)


def test_weights_that_make_no_split_change_nothing(house):
    async def script():
        with pytest.raises(BadWeightsError, match="no version cannary"):
            await by_hand(house, "plain", cannary=20.0)
        return house.weights("plain")["canary"], house.desk.hand("plain")

    assert play(house, script) == (5.0, None)


def test_a_version_that_the_file_no_longer_has_cannot_be_brought_in(house):
    async def script():
        await house.let(65)
        await house.save(shop({"stable": 100.0, "other": 0.0}, plan()))
        assert str(house.desk.of("shop").state) == "paused"
        with pytest.raises(NotNowError, match="the file has no version canary any more: a new revision starts anew"):
            await house.act("resume")
        return house.desk.possible(house.desk.of("shop")), house.weights()

    possible, weights = play(house, script)
    assert possible == ["abort", "freeze"]
    assert weights == {"stable": 100.0, "other": 0.0}
    assert weights != FILE
