"""Who is asked and told at which transition, over real sockets; and the report that an abort leaves."""

import asyncio
import json
import logging
from collections import Counter
from dataclasses import replace

import pytest

from proxy.control.rollouts.course import Courses
from proxy.control.rollouts.people import CATCH_UP, LazySender, Outside
from proxy.control.tasks import Tasks
from proxy.exposure.queries import Reader
from proxy.exposure.schema import ExposureError, NoExposuresError
from proxy.rollout.journal import JournalError, Record
from proxy.rollout.machine import advance
from proxy.rollout.rollout import Cause
from proxy.rollout.states import CauseKind, State
from proxy.telemetry.facts import RolloutFacts
from proxy.telemetry.measures import NOTHING, Counts
from tests.unit.exposure.telling import NOW, Teller, store
from tests.unit.rollout.receiver import Receiver, Waits
from tests.unit.rollout.rollouts import a_plan, a_rollout


class Journal:
    def __init__(self, *records):
        self.records = list(records)

    async def history(self, route, limit):
        if not self.records:
            raise JournalError("tidegate.db: disk I/O error")
        return self.records[::-1][:limit]


class Exposed:
    def __init__(self, path=None, error=None):
        self.path, self.error = path, error

    async def ask(self, question):
        if self.error is not None:
            raise self.error
        with Reader(self.path) as reader:
            return question(reader)


class Witness:
    def samples_of_requests(self, route):
        return [[NOW, "canary", "ab" * 8, "f" * 32, 503, "UH"], [NOW, "stable", "cd" * 8, "e" * 32, 500, ""]]

    def units_affected(self, route):
        return {"canary": 7}


class Bench:
    """All of it but the runner."""

    def __init__(self, journal=None, exposures=None, plans=None):
        self.facts = RolloutFacts()
        self.tasks = Tasks()
        self.waits = Waits()
        self.sender = LazySender()
        self.counts = {("shop", "stable"): NOTHING, ("shop", "canary"): NOTHING}
        self.now = NOW
        self.courses = Courses(lambda routes: self.counts, lambda: self.now)
        self.outside = Outside(
            self.sender, journal or Journal(), exposures or Exposed(error=NoExposuresError("none")), self.courses, self.facts,
            plans=lambda: plans or {}, clock=lambda: self.now, rng=lambda: 0.0, spawn=self.tasks.spawn, witness=Witness(),
            sleep=self.waits,
        )  # fmt: skip

    async def settle(self):
        while self.tasks._running:
            await asyncio.gather(*self.tasks._running)

    async def close(self):
        await self.tasks.close()
        await self.sender.close()


def hook(url, when, **given):
    return {"url": url, "when": when, "veto": False, "secret": None, "timeout": 2.0, "retries": 1} | given


def play(story, *answers, **given):
    async def run():
        bench = Bench(**given)
        async with Receiver(*answers) as receiver:
            try:
                return await story(bench, receiver)
            finally:
                await bench.close()

    return asyncio.run(run())


def cause(kind, **given):
    return Cause(CauseKind(kind), "tidegate", "because", **{"at": NOW} | given)


def test_a_step_is_asked_about_with_where_it_leads_and_a_no_is_the_reason():
    async def story(bench, receiver):
        hooks = [hook(receiver.url("/asked"), "before_step", veto=True), hook(receiver.url("/told"), "before_step")]
        rollout = a_rollout(step=0, plan=a_plan(webhooks=hooks))
        assert bench.outside.asks(rollout, cause("step_passed"))
        refused = await bench.outside.ask(rollout, cause("step_passed"))
        await bench.settle()
        return refused, receiver, bench.facts.hooks

    refused, receiver, counts = play(story, {"allow": False, "reason": "not on Fridays"})
    assert refused.endswith("/asked says no: not on Fridays")
    assert {request.path for request, _ in receiver.requests} == {"/asked", "/told"}
    (body,) = [body for body in receiver.bodies if body["id"] == "shop/v2/3/before_step"][:1]
    assert body["event"] == "before_step"
    assert body["next"] == {
        "state": "progressing", "step": 2, "percent": 5.0, "ring": None, "shadow": 0.0,
        "weights": {"stable": 95.0, "canary": 5.0},
    }  # fmt: skip
    assert counts == {("before_step", "vetoed"): 1, ("before_step", "ok"): 1}


def test_the_start_is_asked_about_twice_and_what_takes_no_step_not_at_all():
    async def story(bench, receiver):
        hooks = [hook(receiver.url(f"/{when}"), when, veto=True) for when in ("before_step", "before_start")]
        rollout = a_rollout(step=-1, state=State.PENDING, plan=a_plan(webhooks=hooks))
        assert await bench.outside.ask(rollout, cause("begin")) == ""
        assert not bench.outside.asks(a_rollout(plan=a_plan(webhooks=hooks)), cause("pause"))
        assert not bench.outside.asks(a_rollout(plan=a_plan()), cause("step_passed"))
        return [request.path for request, _ in receiver.requests]

    assert play(story) == ["/before_start", "/before_step"]


def test_hooks_are_signed_with_the_key_that_the_file_has_now():
    async def story(bench, receiver):
        url = receiver.url("/asked")
        plans["shop"] = {"webhooks": [hook(url, "before_step", veto=True, secret="s" * 16)]}
        rollout = a_rollout(plan=a_plan(webhooks=[hook(url, "before_step", veto=True)]))
        await bench.outside.ask(rollout, cause("step_passed"))
        return receiver.requests[0][0].headers

    plans = {}
    assert "x-tidegate-signature" in play(story, plans=plans)


def test_what_has_happened_is_told_with_what_was_before():
    async def story(bench, receiver):
        hooks = [hook(receiver.url(f"/{when}"), when) for when in ("after_step", "after_end")]
        notify = [{"url": receiver.url("/chat"), "format": "json", "events": ["step", "completed"]}]
        first = a_rollout(plan=a_plan(webhooks=hooks, notify=notify))
        second = advance(first, cause("step_passed"))
        bench.outside.tell(None, first)
        bench.outside.tell(first, second)
        await bench.settle()
        third = advance(second, cause("window_over"))
        bench.outside.tell(second, third)
        await bench.settle()
        return receiver, bench

    receiver, bench = play(story)
    told = [(request.path, json.loads(body)) for request, body in receiver.requests]
    assert Counter(path for path, _ in told) == {"/chat": 2, "/after_step": 1, "/after_end": 1}
    after_step = next(body for path, body in told if path == "/after_step")
    assert after_step["previous"]["step"] == 2
    assert after_step["step"] == 3
    assert [body["event"] for path, body in told if path == "/chat"] == ["step", "completed"]
    assert bench.facts.notices == {("step", "sent"): 1, ("completed", "sent"): 1}
    assert bench.facts.reports == {}


def counts(requests, errors):
    durations = [0] * len(NOTHING.durations)
    durations[40] = requests
    return Counts(requests, errors, durations=tuple(durations))


@pytest.fixture
def records(tmp_path):
    """Ten units at the canary."""
    path = tmp_path / "exposures.db"
    teller = Teller()
    store(path, *[teller.message((f"u{number}", "canary")) for number in range(10)]).close()
    return path


def test_an_abort_leaves_a_report_of_all_that_is_known(tmp_path, records, monkeypatch, caplog):
    monkeypatch.chdir(tmp_path)
    before = a_rollout(plan=a_plan(reports="reports"), started=NOW - 100)

    async def story(bench, receiver):
        bench.courses.look({"shop": before}, lambda _: None)
        bench.counts = {("shop", "stable"): counts(950, 9), ("shop", "canary"): counts(50, 8)}
        bench.now += 60.0
        after = advance(before, cause("step_failed", numbers={"verdict": "fail"}, at=NOW + 60))
        bench.outside.tell(before, after)
        await bench.settle()
        assert bench.courses.of(after)[0].moments == []
        return bench.facts.reports

    journal = Journal(Record.of(before, State.PENDING))
    with caplog.at_level(logging.WARNING):
        assert play(story, journal=journal, exposures=Exposed(records)) == {"written": 1}
    (place,) = (tmp_path / "reports").iterdir()
    value = json.loads((place / "report.json").read_text())
    assert value["affected"] == {"canary": 10}
    assert value["erred"] == {"canary": 7}
    assert value["samples"][0]["request_id"] == "f" * 32
    assert value["samples"][0]["what"].endswith("503 UH")
    assert len(value["samples"]) == 11
    assert [one["cause"] for one in value["timeline"]] == ["step_passed"]
    assert [(one["version"], one["requests"], one["errors"]) for one in value["traffic"]] == [
        ("stable", 950, 9),
        ("canary", 50, 8),
    ]
    assert {"errors.svg", "weights.svg", "latency.svg"} <= set(value["plots"])
    assert str(place / "report.md") in caplog.text


@pytest.mark.parametrize(
    ("error", "said"),
    [(NoExposuresError("none"), "nothing was recorded"), (ExposureError("disk"), "cannot be read (disk)")],
)
def test_a_report_without_journal_and_record_says_so(tmp_path, monkeypatch, error, said):
    monkeypatch.chdir(tmp_path)
    before = a_rollout(plan=a_plan(reports="reports"))

    async def story(bench, receiver):
        bench.outside.tell(before, advance(before, cause("brake")))
        await bench.settle()

    play(story, exposures=Exposed(error=error))
    (text,) = (tmp_path / "reports").glob("*/report.md")
    assert said in text.read_text()


def test_a_report_that_cannot_be_written_is_counted_and_logged(tmp_path, monkeypatch, caplog):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "reports").write_text("a file")
    before = a_rollout(plan=a_plan(reports="reports"))

    async def story(bench, receiver):
        bench.outside.tell(before, advance(before, cause("brake")))
        await bench.settle()
        return bench.facts.reports

    assert play(story) == {"failed": 1}
    assert "cannot be written" in caplog.text


def test_a_report_that_a_killed_process_did_not_get_to_is_written_by_the_next_and_only_once(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    before = a_rollout(plan=a_plan(reports="reports"))
    after = advance(before, cause("step_failed"))
    journal = Journal(Record.of(before, State.PENDING), Record.of(after, before.state))

    async def story(bench, receiver):
        await bench.outside.catch_up([after, a_rollout(route="other")])
        await bench.outside.catch_up([after])

    play(story, journal=journal)
    assert len(list((tmp_path / "reports").iterdir())) == 1

    async def late(bench, receiver):
        bench.now += CATCH_UP + 1
        await bench.outside.catch_up([replace(after, revision="v2")])
        return bench.facts.reports

    assert play(late, journal=journal) == {}


def test_who_has_no_hooks_has_no_client():
    sender = LazySender()
    asyncio.run(sender.close())
    assert sender._send is None
