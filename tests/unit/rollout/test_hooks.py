"""Hooks over real sockets: who is asked, what holds a rollout, what is tried again, and that a receiver can tell us from others."""

import asyncio
import hashlib
import hmac
import json
import logging
import socket
from collections import Counter

import pytest
from aiohttp import web
from hypothesis import given
from hypothesis import strategies as st

from proxy.rollout import hooks as module
from proxy.rollout.hooks import DROPPED, FAILED, OK, VETOED, Hooks, read_answer
from proxy.rollout.http_sending import LARGEST, HttpSender
from proxy.rollout.sending import Reply, Sender
from tests.unit.rollout.receiver import HANG, Receiver, Waits

NOW = 1_700_000_000.9
FACTS = {"id": "shop/v2/3", "route": "shop", "revision": "v2", "step": 2, "reason": "größer"}


def hook(url, **given):
    return {
        "url": url, "when": "before_step", "veto": True, "secret": None, "timeout": 2.0, "retries": 3,
    } | given  # fmt: skip


class Bench:
    """Hooks with a clock that stands and waits that take no time."""

    def __init__(self, draw=0.0):
        self.waits = Waits()
        self.http = HttpSender()
        self.hooks = Hooks(Sender(self.http, self.waits, lambda: draw), lambda: NOW, Counter())

    async def __aenter__(self):
        return self.hooks

    async def __aexit__(self, *_):
        await self.http.close()


def play(story, *answers):
    """Run `story(hooks, receiver, waits)` against a receiver that answers so."""

    async def run():
        bench = Bench()
        async with Receiver(*answers) as receiver, bench as hooks:
            return await story(hooks, receiver, bench.waits)

    return asyncio.run(run())


def ask(*answers, facts=FACTS, **given):
    async def story(hooks, receiver, waits):
        answer = await hooks.ask([hook(receiver.url(), **given)], "before_step", facts)
        return answer, receiver, waits.seconds, hooks.counts

    return play(story, *answers)


def test_yes_lets_a_rollout_go_on():
    answer, receiver, waits, counts = ask(204)
    assert answer.allowed
    assert waits == []
    assert counts == {("before_step", OK): 1}
    assert receiver.bodies == [
        {"event": "before_step", "id": "shop/v2/3/before_step"} | {k: FACTS[k] for k in FACTS if k != "id"}
    ]


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        ({"allow": False, "reason": "no\x1b[31m deploys\n today"}, "says no: no [31m deploys today"),
        ({"allow": False}, "says no"),
        (403, "says no with 403"),
        (409, "says no with 409"),
    ],
)
def test_no_holds_it_and_is_not_asked_again(answer, reason):
    answer, receiver, waits, counts = ask(answer)
    assert not answer.allowed
    assert answer.reason == f"the before_step hook {receiver.url()} {reason}"
    assert len(receiver.requests) == 1
    assert waits == []
    assert counts == {("before_step", VETOED): 1}


@pytest.mark.parametrize("body", [b"", b"ok", b"[]", b"{}", b'{"allow": true}', b'{"allow": "false"}', b"[" * 16000])
def test_any_other_2xx_is_a_yes(body):
    assert read_answer(Reply(200, body), "it", veto=True).allowed


def test_errors_are_tried_again_with_longer_waits_until_one_is_a_yes():
    answer, receiver, waits, counts = ask(500, 503, 429, 200)
    assert answer.allowed
    assert waits == [0.5, 1.0, 2.0]
    assert len(receiver.requests) == 4
    assert {body["id"] for body in receiver.bodies} == {"shop/v2/3/before_step"}
    assert counts == {("before_step", OK): 1}


def test_errors_to_the_end_hold_the_rollout():
    answer, receiver, waits, counts = ask(500, retries=5)
    assert not answer.allowed
    assert "answers with 500" in answer.reason
    assert len(receiver.requests) == 6
    assert waits == [0.5, 1.0, 2.0, 4.0, 8.0]
    assert counts == {("before_step", FAILED): 1}


@pytest.mark.parametrize("status", [301, 302, 307, 400, 404, 410])
def test_a_refusal_for_good_is_not_tried_again_and_holds(status):
    answer, receiver, waits, _ = ask(web.Response(status=status, headers={"location": "/elsewhere"}))
    assert not answer.allowed
    assert f"answers with {status}" in answer.reason
    assert len(receiver.requests) == 1
    assert waits == []


def test_waits_are_shortened_by_up_to_half():
    async def run():
        bench = Bench(draw=0.999)
        async with Receiver(500) as receiver, bench as hooks:
            await hooks.ask([hook(receiver.url())], "before_step", FACTS)
        return bench.waits.seconds

    assert asyncio.run(run()) == pytest.approx([0.25, 0.5, 1.0], abs=0.01)


def test_one_that_hangs_holds_the_rollout_after_its_tries(caplog):
    with caplog.at_level(logging.WARNING):
        answer, receiver, _, counts = ask(HANG, timeout=0.05, retries=1)
    assert not answer.allowed
    assert answer.reason == f"the before_step hook {receiver.url()} failed: no answer within 0.05 s"
    assert len(receiver.requests) == 2
    assert counts == {("before_step", FAILED): 1}
    assert answer.reason in caplog.text


def test_one_whose_body_does_not_end_counts_as_hanging():
    async def drip(request):
        response = web.StreamResponse()
        await response.prepare(request)
        await response.write(b" ")
        await asyncio.sleep(5)
        return response

    async def run():
        bench = Bench()
        receiver = Receiver()
        receiver._answer = drip
        async with receiver, bench as hooks:
            return await hooks.ask([hook(receiver.url(), timeout=0.05, retries=0)], "before_step", FACTS)

    assert "no answer within" in asyncio.run(run()).reason


def test_nobody_there_holds_the_rollout():
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]

    async def run():
        bench = Bench()
        async with bench as hooks:
            url = f"http://me:secret@127.0.0.1:{port}/gate?token=secret"
            return await hooks.ask([hook(url, retries=1)], "before_step", FACTS), bench.waits.seconds

    answer, waits = asyncio.run(run())
    assert not answer.allowed
    assert f"the before_step hook http://127.0.0.1:{port}/gate failed: cannot be reached" in answer.reason
    assert "secret" not in answer.reason
    assert len(waits) == 1


def test_a_huge_answer_is_not_read_to_its_end():
    answer, _, _, _ = ask(web.Response(body=b"{" + b" " * (LARGEST * 8) + b'"allow": false}'))
    assert answer.allowed


@pytest.mark.parametrize(("answer", "outcome"), [(500, FAILED), (403, FAILED), ({"allow": False}, OK), (200, OK)])
def test_one_that_is_told_is_counted_and_holds_nothing(answer, outcome):
    async def story(hooks, receiver, waits):
        called = [hook(receiver.url(), veto=False, retries=0)]
        asked = await hooks.ask(called, "before_step", FACTS)
        assert not receiver.requests
        await hooks.tell(called, "before_step", FACTS)
        return asked, hooks.counts

    asked, counts = play(story, answer)
    assert asked.allowed
    assert counts == {("before_step", outcome): 1}


def test_only_hooks_of_the_moment_are_called_and_none_after_the_first_no():
    async def story(hooks, receiver, waits):
        called = [
            hook(receiver.url("/told"), veto=False),
            hook(receiver.url("/other"), when="after_step", veto=False),
            hook(receiver.url("/start"), when="before_start"),
            hook(receiver.url("/first")),
            hook(receiver.url("/second")),
            hook(receiver.url("/never")),
        ]
        answer = await hooks.ask(called, "before_step", FACTS)
        await hooks.tell(called, "before_step", FACTS)
        await hooks.tell(called, "after_step", FACTS)
        return answer, [request.path for request, _ in receiver.requests]

    answer, paths = play(story, 200, 403, 200)
    assert not answer.allowed
    assert paths == ["/first", "/second", "/told", "/other"]


def test_after_a_step_a_no_changes_nothing():
    async def story(hooks, receiver, waits):
        called = [hook(receiver.url(path), when="after_end", veto=False) for path in ("/a", "/b")]
        await hooks.tell(called, "after_end", FACTS)
        return [request.path for request, _ in receiver.requests], hooks.counts

    paths, counts = play(story, 403)
    assert paths == ["/a", "/b"]
    assert counts == {("after_end", FAILED): 2}


def test_a_round_without_hooks_sends_nothing():
    bench = Bench()
    assert asyncio.run(bench.hooks.ask([], "before_step", FACTS)).allowed
    assert bench.http._session is None


def test_signature_is_that_of_the_body_and_the_time_and_made_anew_for_each_try():
    ticks = iter([1000.2, 1007.9])

    async def run():
        async with Receiver(500, 200) as receiver:
            http = HttpSender()
            hooks = Hooks(Sender(http, Waits(), lambda: 0.0), lambda: next(ticks), Counter())
            await hooks.ask([hook(receiver.url(), secret="schlüssel")], "before_step", FACTS)
            await http.close()
            return receiver.requests

    requests = asyncio.run(run())
    for (request, body), at in zip(requests, (1000, 1007), strict=True):
        digest = hmac.new("schlüssel".encode(), b"%d." % at + body, hashlib.sha256).hexdigest()
        assert request.headers["x-tidegate-signature"] == f"t={at},v1={digest}"
        assert request.headers["content-type"] == "application/json"
        assert json.loads(body)["reason"] == "größer"


def test_without_a_secret_there_is_no_signature():
    _, receiver, _, _ = ask(200)
    assert "x-tidegate-signature" not in receiver.requests[0][0].headers


def test_too_many_rounds_hold_one_that_is_asked_and_are_counted(monkeypatch, caplog):
    monkeypatch.setattr(module, "UNDER_WAY", 1)

    async def story(hooks, receiver, waits):
        first = asyncio.ensure_future(hooks.ask([hook(receiver.url())], "before_step", FACTS))
        await receiver.wait_for(1)
        asked = await hooks.ask([hook(receiver.url())], "before_step", FACTS)
        await hooks.tell([hook(receiver.url(), veto=False)], "before_step", FACTS)
        first.cancel()
        await asyncio.gather(first, return_exceptions=True)
        await hooks.tell([hook(receiver.url(), veto=False, timeout=0.05, retries=0)], "before_step", FACTS)
        return asked, hooks.counts

    asked, counts = play(story, HANG)
    assert not asked.allowed
    assert "too many" in asked.reason
    assert counts == {("before_step", DROPPED): 2, ("before_step", FAILED): 1}
    assert "were not called" in caplog.text


@given(st.integers(100, 599), st.binary(max_size=200))
def test_whatever_is_answered_only_a_2xx_is_a_yes(status, body):
    answer = read_answer(Reply(status, body), "it", veto=True)
    assert not (answer.allowed and not 200 <= status < 300)
    assert answer.allowed or answer.reason.isprintable()
