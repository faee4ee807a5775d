"""Names: the last good answer stays, a change is told once, a slow resolver does not hold the start."""

import asyncio
import logging
import socket

import pytest

from proxy.control import resolver as subject
from proxy.control.resolver import Resolver, look_up, names_of, with_addresses


class Names:
    """A resolver whose answers the test sets."""

    def __init__(self, **answers):
        self.answers = answers
        self.changes = []
        self.resolver = Resolver(self.look_up, lambda: 0.5, self.changes.append)

    async def look_up(self, name):
        answer = self.answers[name]
        if isinstance(answer, asyncio.Event):
            await answer.wait()
            answer = ["9.9.9.9"]
        if isinstance(answer, Exception):
            raise answer
        return answer


FAILURE = socket.gaierror(-2, "Name or service not known")


def test_the_first_answers_are_waited_for_and_not_told_as_changes():
    async def script():
        names = Names(a=["1.1.1.1"])
        await names.resolver.want({"a"}, 1.0)
        assert names.resolver.addresses("a") == ["1.1.1.1"]
        assert names.changes == []

    asyncio.run(script())


def test_a_change_is_told_and_the_same_in_another_order_is_none():
    async def script():
        names = Names(a=["1.1.1.1", "2.2.2.2"], b=["3.3.3.3"])
        await names.resolver.want({"a", "b"}, 1.0)
        names.answers["a"] = ["2.2.2.2", "1.1.1.1"]
        await names.resolver.refresh()
        assert names.changes == []
        names.answers["a"] = ["4.4.4.4"]
        await names.resolver.refresh()
        assert names.changes == [{"a"}]
        assert names.resolver.addresses("a") == ["4.4.4.4"]

    asyncio.run(script())


def test_a_failure_keeps_the_last_good_answer_and_is_said_once(caplog):
    async def script():
        names = Names(a=["1.1.1.1"])
        await names.resolver.want({"a"}, 1.0)
        names.answers["a"] = FAILURE
        for _ in range(5):
            await names.resolver.refresh()
        assert names.resolver.addresses("a") == ["1.1.1.1"]
        assert names.resolver.answers["a"].failures == 5
        names.answers["a"] = []
        await names.resolver.refresh()
        assert names.resolver.addresses("a") == ["1.1.1.1"]
        names.answers["a"] = ["1.1.1.1"]
        await names.resolver.refresh()
        assert names.resolver.answers["a"].error == ""
        assert names.changes == []

    with caplog.at_level(logging.INFO):
        asyncio.run(script())
    assert [record.getMessage() for record in caplog.records] == [
        "a does not resolve: Name or service not known; the last good answer stays",
        "a does not resolve: no addresses; the last good answer stays",
        "a resolves again",
    ]


def test_a_name_without_any_answer_has_no_endpoint_until_it_has_one():
    async def script():
        names = Names(a=FAILURE)
        await names.resolver.want({"a"}, 1.0)
        assert names.resolver.addresses("a") == []
        names.answers["a"] = ["1.1.1.1"]
        await names.resolver.refresh()
        assert names.changes == [{"a"}]

    asyncio.run(script())


def test_a_slow_resolver_does_not_hold_the_start_and_is_heard_later():
    async def script():
        late = asyncio.Event()
        names = Names(a=late, b=["1.1.1.1"])
        await names.resolver.want({"a", "b"}, 0.01)
        assert names.resolver.addresses("a") == []
        late.set()
        while not names.changes:  # noqa: ASYNC110
            await asyncio.sleep(0)
        assert names.resolver.addresses("a") == ["9.9.9.9"]

    asyncio.run(script())


def test_a_look_up_that_never_ends_is_given_up(monkeypatch):
    monkeypatch.setattr(subject, "LIMIT", 0.01)

    async def script():
        names = Names(a=asyncio.Event())
        await names.resolver.want({"a"}, 1.0)
        assert names.resolver.answers["a"].error == "no answer in time"

    asyncio.run(script())


def test_names_that_are_no_longer_wanted_are_forgotten():
    async def script():
        names = Names(a=["1.1.1.1"], b=["2.2.2.2"])
        await names.resolver.want({"a"}, 1.0)
        await names.resolver.want({"b"}, 1.0)
        assert set(names.resolver.answers) == {"b"}

    asyncio.run(script())


def test_the_systems_resolver():
    assert asyncio.run(look_up("localhost")) == ["127.0.0.1"]
    with pytest.raises(socket.gaierror):
        asyncio.run(look_up("no-such-host.invalid"))


ENDPOINTS = [
    {"url": "http://a:1", "host": "a", "unix": ""},
    {"url": "http://1.2.3.4", "host": "1.2.3.4", "unix": ""},
    {"url": "http://[::1]", "host": "::1", "unix": ""},
    {"url": "http+unix:/s", "host": "", "unix": "/s"},
]


def test_only_names_are_looked_up():
    assert names_of([{"endpoints": ENDPOINTS}]) == {"a"}


def test_each_address_is_an_endpoint_and_no_address_is_none():
    found = with_addresses(ENDPOINTS, lambda _: ["5.5.5.5", "6.6.6.6"])
    assert [one["host"] for one in found] == ["5.5.5.5", "6.6.6.6", "1.2.3.4", "::1", ""]
    assert found[0]["url"] == "http://a:1"
    assert [one["host"] for one in with_addresses(ENDPOINTS, lambda _: [])] == ["1.2.3.4", "::1", ""]
