"""The channel's order: one plan under way, only what is missing, the newest of what waits, and no bound exceeded."""

import json

import pytest

from proxy.channel import messages
from proxy.channel.exposures import ExposureBatch
from proxy.channel.frames import FrameReader, encode, encode_json
from proxy.control.link import Link
from proxy.control.publish import Publication
from tests.unit.control.heard import Heard


class Wire:
    """A transport that keeps what is written, as frames."""

    def __init__(self):
        self.reader = FrameReader()
        self.frames = []
        self.closed = False

    def write(self, data):
        self.frames += self.reader.feed(data)

    def close(self):
        self.closed = True

    def taken(self):
        frames, self.frames = self.frames, []
        return [(kind, payload.decode()) for kind, payload in frames]


def plan(generation, *digests):
    parts = {digest: encode(messages.PART, digest.encode()) for digest in digests}
    return Publication(generation, parts, encode(messages.PLAN, str(generation).encode()))


@pytest.fixture
def heard():
    return Heard()


@pytest.fixture
def wire():
    return Wire()


@pytest.fixture
def link(heard, wire):
    link = Link(heard)
    link.connection_made(wire)
    say(link, messages.HELLO, {"generation": -1})
    return link


def say(link, kind, value):
    link.data_received(encode_json(kind, value))


def ready(link, generation):
    say(link, messages.READY, {"generation": generation, "seconds": 0.1})


def test_nothing_is_sent_before_the_worker_has_spoken(heard, wire):
    link = Link(heard)
    link.publish(plan(1, "a"))
    link.keep(b"ledger")
    link.connection_made(wire)
    assert wire.taken() == []
    say(link, messages.HELLO, {"generation": -1})
    assert [kind for kind, _ in wire.taken()] == [messages.LEDGER, messages.PART, messages.PLAN]


def test_what_was_read_before_there_was_a_loop_comes_before_what_the_loop_reads(heard, wire):
    said = encode_json(messages.HELLO, {"generation": 3}) + encode(messages.ACCESS, b"2026-11-21T19:20:37 GET /\n")
    for cut in range(len(said)):
        link = Link(heard, said[:cut])
        link.connection_made(wire)
        link.data_received(said[cut:])
        assert not wire.closed
        assert [name for name, *_ in heard.taken()] == ["hello", "accessed"]


def test_a_second_plan_brings_only_what_is_missing(link, wire):
    link.publish(plan(1, "a", "b"))
    ready(link, 1)
    wire.taken()
    link.publish(plan(2, "a", "c"))
    assert wire.taken() == [(messages.PART, "c"), (messages.PLAN, "2")]


def test_a_part_that_left_is_sent_again_when_it_returns(link, wire):
    for generation, digest in ((1, "a"), (2, "b"), (3, "a")):
        wire.taken()
        link.publish(plan(generation, digest))
        assert wire.taken() == [(messages.PART, digest), (messages.PLAN, str(generation))]
        ready(link, generation)


def test_while_a_plan_is_under_way_only_the_newest_waits(link, wire):
    link.publish(plan(1, "a"))
    wire.taken()
    for generation in range(2, 100):
        link.publish(plan(generation, f"part-{generation}"))
    assert wire.taken() == []
    ready(link, 1)
    assert wire.taken() == [(messages.PART, "part-99"), (messages.PLAN, "99")]


def test_a_plan_refused_in_pieces_is_sent_whole_once(link, wire, heard):
    link.publish(plan(1, "a"))
    ready(link, 1)
    link.publish(plan(2, "a", "b"))
    wire.taken()
    say(link, messages.FAILED, {"generation": 2, "error": "which a?"})
    assert wire.taken() == [(messages.PART, "a"), (messages.PART, "b"), (messages.PLAN, "2")]
    say(link, messages.FAILED, {"generation": 2, "error": "no"})
    assert wire.taken() == []
    assert heard.said[-1] == ("failed", 2, "no")


def test_a_refused_plan_gives_way_to_the_one_that_waits(link, wire, heard):
    link.publish(plan(1, "a"))
    link.publish(plan(2, "a"))
    wire.taken()
    say(link, messages.FAILED, {"generation": 1, "error": "no"})
    assert wire.taken() == [(messages.PART, "a"), (messages.PLAN, "2")]
    assert "failed" not in [what[0] for what in heard.said]


def test_endpoints_wait_for_the_plan_and_replace_each_other(link, wire):
    link.publish(plan(1, "a"))
    wire.taken()
    link.send_endpoints("shop", [{"host": "1"}])
    link.send_endpoints("shop", [{"host": "2"}])
    assert wire.taken() == []
    ready(link, 1)
    [(kind, text)] = wire.taken()
    assert kind == messages.ENDPOINTS
    assert json.loads(text) == {"upstream": "shop", "endpoints": [{"host": "2"}]}


def test_a_newer_plan_makes_waiting_endpoints_void(link, wire):
    link.publish(plan(1, "a"))
    link.send_endpoints("shop", [{"host": "1"}])
    link.publish(plan(2, "a"))
    wire.taken()
    ready(link, 1)
    ready(link, 2)
    assert messages.ENDPOINTS not in [kind for kind, _ in wire.taken()]


def test_a_worker_that_does_not_read_is_sent_the_newest_when_it_does(link, wire):
    link.pause_writing()
    link.keep(b"one")
    link.keep(b"two")
    link.publish(plan(1, "a"))
    link.publish(plan(2, "b"))
    link.drain(3.0)
    assert wire.taken() == []
    link.resume_writing()
    assert wire.taken() == [
        (messages.DRAIN, '{"limit":3.0}'),
        (messages.LEDGER, "two"),
        (messages.PART, "b"),
        (messages.PLAN, "2"),
    ]


def test_the_ledger_goes_before_the_plan_that_needs_it(link, wire):
    link.keep(b"ledger")
    link.publish(plan(1, "a"))
    assert [kind for kind, _ in wire.taken()] == [messages.LEDGER, messages.PART, messages.PLAN]


def test_what_the_worker_says_is_passed_on(link, heard):
    say(link, messages.SETTLED, {"generation": 3})
    say(link, messages.LOG, {"level": "info", "message": "m"})
    say(link, messages.LACKING, {"source": "s"})
    say(link, messages.DRAINED, {"aborted": 2})
    link.data_received(encode(messages.ACCESS, b"line\n"))
    link.connection_lost(None)
    assert heard.said[1:] == [
        ("settled", 3),
        ("logged", {"level": "info", "message": "m"}),
        ("lacking", "s"),
        ("drained", 2),
        ("accessed", b"line\n"),
        ("lost",),
    ]


@pytest.mark.parametrize(
    "data",
    [
        b"\xff\xff\xff\xff\x01",
        encode(messages.READY, b"no json"),
        encode(messages.READY, b"{}"),
        encode(messages.EXPOSURES, b"x"),
    ],
)
def test_a_stream_out_of_step_closes_the_channel(link, wire, data):
    link.data_received(data)
    assert wire.closed


def test_exposures_are_passed_on_and_acknowledged_once_they_are_stored(link, wire, heard):
    payloads = [ExposureBatch().payload(number) for number in (1, 2)]
    for payload in payloads:
        link.data_received(encode(messages.EXPOSURES, payload))
    first, second = ((payload, done) for _, payload, done in heard.said[-2:])
    assert [first[0], second[0]] == payloads
    assert wire.taken() == []
    first[1]()
    assert wire.taken() == [(messages.STORED, '{"sequence":1}')]
    second[1]()
    assert wire.taken() == [(messages.STORED, '{"sequence":2}')]


def test_exposures_stored_after_the_worker_has_gone_are_nobodys_business(link, wire, heard):
    link.data_received(encode(messages.EXPOSURES, ExposureBatch().payload(1)))
    link.connection_lost(None)
    heard.said[0 - 2][2]()
    assert wire.taken() == []


def test_exposures_stored_after_the_last_word_are_not_acknowledged(link, wire, heard):
    link.data_received(encode(messages.EXPOSURES, ExposureBatch().payload(1)))
    wire.write_eof = lambda: None
    link.let_go()
    heard.said[-1][2]()
    assert wire.taken() == []  # the worker tells the next control process again


def test_an_erased_unit_is_told_at_once_whatever_plan_is_under_way(link, wire):
    link.publish(plan(1, "a"))
    wire.taken()
    link.forget("00000000000000aa")
    assert wire.taken() == [(messages.FORGET, '{"unit":"00000000000000aa"}')]


def test_a_kind_of_message_from_the_future_is_ignored(link, wire):
    link.data_received(encode_json(200, {}))
    assert not wire.closed


MARKS = {"upstream": "shop", "unhealthy": ["a"], "drained": []}


def marks(wire):
    return [json.loads(text) for kind, text in wire.taken() if kind == messages.HEALTH]


def test_health_is_told_before_the_plan_and_at_once_while_one_is_under_way(heard, wire):
    link = Link(heard)
    link.publish(plan(1, "a"))
    link.mark("shop", (["a"], []))
    link.connection_made(wire)
    say(link, messages.HELLO, {"generation": -1})
    assert [kind for kind, _ in wire.taken()] == [messages.HEALTH, messages.PART, messages.PLAN]
    link.mark("shop", (["a"], ["b"]))
    link.mark("shop", ([], []))
    assert marks(wire) == [MARKS | {"drained": ["b"]}, MARKS | {"unhealthy": []}]
    ready(link, 1)
    assert marks(wire) == []


def test_of_health_that_waits_only_the_last_is_sent(link, wire):
    link.pause_writing()
    for index in range(100):
        link.mark("shop", ([str(index)], []))
    assert wire.taken() == []
    link.resume_writing()
    assert marks(wire) == [MARKS | {"unhealthy": ["99"]}]


def test_killed_faults_are_told_before_the_plan_and_only_where_the_worker_believes_otherwise(heard, wire):
    link = Link(heard)
    link.kill_faults(True)
    link.publish(plan(1, "a"))
    link.connection_made(wire)
    say(link, messages.HELLO, {"generation": -1})
    assert [kind for kind, _ in wire.taken()] == [messages.FAULTS, messages.PART, messages.PLAN]
    link.kill_faults(True)
    assert wire.taken() == []
    link.kill_faults(False)
    assert wire.taken() == [(messages.FAULTS, '{"killed":false}')]


@pytest.mark.parametrize("killed", [True, False])
def test_a_worker_that_was_told_by_an_earlier_control_process_is_told_anew(heard, wire, killed):
    link = Link(heard)
    link.kill_faults(killed)
    link.connection_made(wire)
    say(link, messages.HELLO, {"generation": 3, "faults_killed": not killed})
    assert wire.taken() == [(messages.FAULTS, json.dumps({"killed": killed}, separators=(",", ":")))]


def test_lists_are_lent_before_the_plan_and_again_after_one_that_failed(link, wire):
    link.publish(plan(1, "a"))
    ready(link, 1)
    wire.taken()
    link.lend(encode(messages.UNITS, b"lists"))
    assert wire.taken() == [(messages.UNITS, "lists")]
    link.lend(encode(messages.UNITS, b"more"))
    link.publish(plan(2, "b"))
    assert wire.taken() == [(messages.UNITS, "more"), (messages.PART, "b"), (messages.PLAN, "2")]
    link.publish(plan(3, "c"))
    say(link, messages.FAILED, {"generation": 2, "error": "no such list"})
    assert wire.taken() == [(messages.UNITS, "more"), (messages.PART, "c"), (messages.PLAN, "3")]


def test_lists_come_first_to_a_worker_that_has_only_just_spoken(heard, wire):
    link = Link(heard)
    link.connection_made(wire)
    link.publish(plan(1, "a"))
    link.lend(encode(messages.UNITS, b"lists"))
    say(link, messages.HELLO, {"generation": -1})
    assert [kind for kind, _ in wire.taken()] == [messages.UNITS, messages.PART, messages.PLAN]


def test_keys_of_tokens_come_before_the_plan(heard, wire):
    link = Link(heard)
    link.connection_made(wire)
    link.publish(plan(1, "a"))
    link.give_keys(encode(messages.KEYS, b"old"))
    link.give_keys(encode(messages.KEYS, b"keys"))
    say(link, messages.HELLO, {"generation": -1})
    assert wire.taken() == [(messages.KEYS, "keys"), (messages.PART, "a"), (messages.PLAN, "1")]
    link.give_keys(encode(messages.KEYS, b"more"))
    assert wire.taken() == [(messages.KEYS, "more")]
