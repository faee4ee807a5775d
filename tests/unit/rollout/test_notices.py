"""Notices over real sockets: both shapes, who gets which event, and that a dead place delays and grows nothing."""

import asyncio
import json
import logging
import re
from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from proxy.control.tasks import Tasks
from proxy.rollout import notices as module
from proxy.rollout.http_sending import HttpSender
from proxy.rollout.notices import DROPPED, FAILED, QUEUE, SENT, TRIES, Notices, as_slack
from proxy.rollout.sending import Sender
from proxy.rollout.telling import ABORTED, COMPLETED, EVENTS, STARTED, STEP, facts_of
from tests.unit.rollout.receiver import HANG, Receiver, Waits
from tests.unit.rollout.rollouts import a_rollout

NUMBERS = {
    "verdict": "fail",
    "metrics": [
        {
            "metric": "errors",
            "outcome": "fail",
            "measure": "ratio",
            "effect": 5.04,
            "samples": [812, 91880],
            "unit": "units",
        }
    ],
}
FACTS = facts_of(a_rollout(reason="errors 5 times those of stable", numbers=NUMBERS), at=1000.0)


def target(url, form="json", events=EVENTS):
    return {"url": url, "format": form, "events": list(events)}


def play(story, *answers):
    """Run `story(notices, receiver, waits)` against a receiver that answers so, until all that was told is through."""

    async def run():
        waits, http, tasks = Waits(), HttpSender(), Tasks()
        notices = Notices(Sender(http, waits, lambda: 0.0), tasks.spawn, Counter())
        async with Receiver(*answers) as receiver:
            result = await story(notices, receiver, waits)
            await tasks.close()
            await http.close()
            return result

    return asyncio.run(run())


async def until(condition):
    async with asyncio.timeout(5):
        while not condition():  # noqa: ASYNC110 - gives the loop its turn
            await asyncio.sleep(0)


def test_own_shape_has_the_line_and_all_that_is_known():
    async def story(notices, receiver, waits):
        notices.tell([target(receiver.url())], ABORTED, FACTS)
        await until(lambda: notices.counts)
        return receiver.bodies, notices.counts

    (body,), counts = play(story)
    assert body == {
        "event": "aborted",
        "text": "shop v2: aborted, step 2 of 3, canary had 5 %: errors 5 times those of stable",
        **FACTS,
    }
    assert counts == {(ABORTED, SENT): 1}


def test_the_shape_of_slack_has_the_numbers_in_its_fields():
    body = as_slack(ABORTED, FACTS)
    assert body["text"] == "shop v2: aborted, step 2 of 3, canary had 5 %: errors 5 times those of stable"
    (attachment,) = body["attachments"]
    assert attachment["color"] == "danger"
    assert {field["title"]: field["value"] for field in attachment["fields"]} == {
        "weights": "stable 95, canary 5",
        "by": "tidegate",
        "errors": "fail: ratio 5.04, 812 and 91,880 units",
        "verdict": "fail",
    }


@given(st.text(max_size=50), st.dictionaries(st.text(max_size=10), st.text(max_size=30), max_size=20))
def test_nobody_is_mentioned_by_what_others_wrote(reason, numbers):
    facts = FACTS | {"reason": f"<!channel> {reason}", "numbers": numbers, "actor": "<@U1>"}
    body = as_slack(STEP, facts)
    (attachment,) = body["attachments"]
    said = [body["text"], *(words for field in attachment["fields"] for words in (field["title"], field["value"]))]
    assert not any(re.search("[<>]", words) for words in said)
    assert json.loads(json.dumps(body)) == body


def test_each_target_gets_the_events_it_wants_in_their_order():
    async def story(notices, receiver, waits):
        few = target(receiver.url("/few"), events=[COMPLETED])
        all_of_them = target(receiver.url("/all"), "slack")
        for event in (STARTED, STEP, COMPLETED):
            notices.tell([few, all_of_them], event, FACTS)
        await until(lambda: notices.counts.total() == 4)
        return [(request.path, json.loads(body)["text"].split()[2].strip(",")) for request, body in receiver.requests]

    got = play(story)
    assert [word for path, word in got if path == "/few"] == ["completed"]
    assert [word for path, word in got if path == "/all"] == ["started", "goes", "completed"]


def test_an_error_is_tried_again_and_in_the_end_counted_and_logged(caplog):
    async def story(notices, receiver, waits):
        notices.tell([target(receiver.url("/services/T0/SECRET"))], STEP, FACTS)
        await until(lambda: notices.counts)
        return len(receiver.requests), waits.seconds, notices.counts

    with caplog.at_level(logging.WARNING):
        requests, waits, counts = play(story, 500)
    assert requests == TRIES
    assert waits == [0.5, 1.0, 2.0]
    assert counts == {(STEP, FAILED): 1}
    assert "answers with 500" in caplog.text
    assert "SECRET" not in caplog.text


def test_a_place_that_hangs_delays_no_other_and_its_queue_is_bounded(monkeypatch, caplog):
    monkeypatch.setattr(module, "TIMEOUT", 60.0)

    async def story(notices, receiver, waits):
        async with Receiver(200) as good:
            dead = target(receiver.url())
            notices.tell([dead], STARTED, FACTS)
            await receiver.wait_for(1)
            for _ in range(QUEUE + 3):
                notices.tell([dead], STEP, FACTS)
            notices.tell([dead, target(good.url())], COMPLETED, FACTS)
            await good.wait_for(1)
            return dict(notices.counts), notices

    counts, notices = play(story, HANG)
    assert counts[STEP, DROPPED] == 4
    assert "dropped" in caplog.text
    # Those still waiting when the process ends are counted as well.
    assert notices.counts[STEP, DROPPED] == 3 + QUEUE
    assert notices.counts[COMPLETED, DROPPED] == 1
    assert not notices._queues


def test_places_waited_for_are_bounded(monkeypatch):
    monkeypatch.setattr(module, "QUEUES", 1)

    async def story(notices, receiver, waits):
        notices.tell([target(receiver.url("/a")), target(receiver.url("/b"))], STEP, FACTS)
        await until(lambda: notices.counts.total() == 2)
        notices.tell([target(receiver.url("/b"))], STEP, FACTS)
        await until(lambda: notices.counts.total() == 3)
        return notices.counts

    assert play(story) == {(STEP, SENT): 2, (STEP, DROPPED): 1}
