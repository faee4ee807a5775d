"""Keys of tokens in control: read, fetched, renewed, kept when they cannot be had, and given to the workers."""

import asyncio
import json
import logging
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest
from aiohttp import web

from proxy.channel import messages
from proxy.channel.frames import FrameReader
from proxy.control import fetching
from proxy.control.fetching import fetch_document
from proxy.control.kept_keys import KeptKeys
from proxy.control.state import MemoryStore, SqliteStore, Store
from proxy.control.token_keys import TokenKeys
from proxy.telemetry.facts import Facts
from proxy.tokens import MAX_DOCUMENT
from tests.issuer import jwk, key_set, token_spec

ONE, TWO = jwk("P-256", "one"), jwk("P-256", "two", 2)


class Desk:
    """Keys, what is given of them, and a place from which they are fetched."""

    def __init__(self, kept: KeptKeys | None = None) -> None:
        self.facts = Facts()
        self.given: list[tuple[str, list[str]]] = []
        self.answer: bytes | Exception = key_set(ONE)
        self.asked = 0
        self.keys = TokenKeys(self.facts, self._give, self._fetch, lambda: 0.5, lambda: True, kept)

    def _give(self, frame: bytes) -> None:
        for kind, payload in FrameReader().feed(frame):
            assert kind == messages.KEYS
            said = json.loads(payload)
            self.given.append((said["source"], [key["kid"] for key in said["keys"]]))

    async def _fetch(self, url: str) -> bytes:
        self.asked += 1
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer


URL = token_spec(source="http://x/", url="http://x/")


def test_fetched_keys_are_given_and_the_last_good_ones_stay(caplog: pytest.LogCaptureFixture) -> None:
    async def play() -> None:
        desk = Desk()
        facts = desk.facts
        await desk.keys.bring(URL)
        assert desk.given == [("http://x/", ["one"])]
        assert desk.keys.pause(URL) == 300.0
        for failure in (ValueError("answers with 500"), ValueError("answers with 500"), b"<html>"):
            desk.answer = failure
            await desk.keys.look()
        assert len(desk.given) == 1
        assert (facts.token_keys.keys, facts.token_keys.refused) == (1, 3)
        assert facts.token_keys.problem == "http://x/ is not JSON"
        assert desk.keys.pause(URL) == 8.0
        desk.answer = key_set(ONE, TWO)
        await desk.keys.look()
        assert desk.given[1:] == [("http://x/", ["one", "two"])]
        assert (facts.token_keys.keys, facts.token_keys.taken, facts.token_keys.problem) == (2, 2, "")

    with caplog.at_level(logging.INFO, "tidegate.tokens"):
        asyncio.run(play())
    assert [one.message for one in caplog.records if one.levelno == logging.ERROR] == [
        "http://x/ answers with 500; tokens are verified with the keys as they were, 1 of them",
        "http://x/ is not JSON; tokens are verified with the keys as they were, 1 of them",
    ]


def test_keys_that_have_not_changed_are_not_given_again_but_with_a_new_plan() -> None:
    async def play() -> None:
        desk = Desk()
        await desk.keys.bring(URL)
        await desk.keys.look()
        assert len(desk.given) == 1
        await desk.keys.bring(URL | {"leeway": 1.0})
        assert (len(desk.given), desk.asked) == (2, 2)

    asyncio.run(play())


def test_nothing_is_said_of_keys_that_are_not_there_yet() -> None:
    """Workers that were taken over have those of before."""

    async def play() -> None:
        desk = Desk()
        desk.answer = ValueError("cannot be fetched")
        await desk.keys.bring(URL)
        await desk.keys.bring(URL)
        assert desk.given == []
        assert desk.facts.token_keys.keys == 0

    asyncio.run(play())


def test_plan_waits_so_long_for_keys_and_no_longer(monkeypatch: pytest.MonkeyPatch) -> None:
    async def play() -> None:
        desk = Desk()

        async def never(_: str) -> bytes:
            await asyncio.Event().wait()
            raise AssertionError

        monkeypatch.setattr("proxy.control.token_keys.PATIENCE", 0.01)
        desk.keys = TokenKeys(desk.facts, desk._give, never, lambda: 0.5, lambda: True)
        await desk.keys.bring(URL)
        assert desk.given == []
        assert desk.facts.token_keys.problem == "http://x/ takes longer than 0.01 s"
        assert desk.keys.pause(URL) == 2.0  # it is not left at that until the next refresh

    asyncio.run(play())


def test_keys_of_the_configuration_are_given_and_leave_with_it() -> None:
    async def play() -> None:
        desk = Desk()
        await desk.keys.bring(token_spec(keys=[ONE]))
        assert desk.given == [("here", ["one"])]
        await desk.keys.bring(None)
        assert desk.facts.token_keys.source == ""
        assert len(desk.given) == 1

    asyncio.run(play())


def test_url_is_fetched_again_in_its_time_and_a_new_configuration_counts_at_once() -> None:
    async def play() -> None:
        desk = Desk()
        running = asyncio.create_task(desk.keys.run())
        await desk.keys.bring(URL | {"refresh": 0.01})
        while desk.asked < 4:  # noqa: ASYNC110
            await asyncio.sleep(0.005)
        await desk.keys.bring(token_spec(keys=[TWO]))
        assert desk.given[-1] == ("here", ["two"])
        running.cancel()

    asyncio.run(asyncio.wait_for(play(), 10))


async def until(true: Callable[[], bool]) -> None:
    while not true():  # noqa: ASYNC110
        await asyncio.sleep(0.002)


def test_token_that_names_another_key_has_them_fetched_at_once_but_not_often(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def play() -> None:
        desk = Desk()
        running = asyncio.create_task(desk.keys.run())
        await desk.keys.bring(URL)
        desk.answer = key_set(ONE, TWO)
        desk.keys.want("http://elsewhere/")
        desk.keys.want("http://x/")
        await until(lambda: len(desk.given) == 2)
        assert desk.given[-1] == ("http://x/", ["one", "two"])
        for _ in range(100):
            desk.keys.want()
            await asyncio.sleep(0)
        assert (desk.asked, desk.facts.token_keys.early) == (2, 1)
        assert 29.0 < desk.keys._rest() <= 30.0  # and then they are fetched, once
        running.cancel()

    with caplog.at_level(logging.INFO, "tidegate.tokens"):
        asyncio.run(asyncio.wait_for(play(), 10))
    assert [one.message for one in caplog.records].count(
        "a token names a key that is not there: the keys are fetched"
    ) == 1


def test_keys_of_a_file_are_not_wanted() -> None:
    async def play() -> None:
        desk = Desk()
        await desk.keys.bring(token_spec(keys=[ONE]))
        desk.keys.want()
        assert not desk.keys._wanted

    asyncio.run(play())


def stores(directory: Path) -> list[tuple[Store, Path | None]]:
    return [(SqliteStore(directory / "state.db"), None), (MemoryStore(), directory)]


@pytest.mark.parametrize("place", [0, 1], ids=["state", "run_dir"])
def test_keys_outlive_a_restart_while_the_issuer_is_away(
    place: int, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async def play() -> None:
        for answer in (key_set(ONE), ValueError("cannot be fetched")):
            store, directory = stores(tmp_path)[place]
            desk = Desk(KeptKeys(store, directory))
            desk.answer = answer
            await desk.keys.bring(URL)
            assert desk.given == [("http://x/", ["one"])]
        facts = desk.facts.token_keys
        assert (facts.keys, facts.taken, facts.refused, facts.problem) == (1, 0, 1, "http://x/ cannot be fetched")
        assert facts.taken_at > 0
        desk.answer = key_set(TWO)
        await desk.keys.look()
        assert desk.given[-1] == ("http://x/", ["two"])
        await store.close()
        store, directory = stores(tmp_path)[place]
        other = Desk(KeptKeys(store, directory))
        other.answer = ValueError("cannot be fetched")
        await other.keys.bring(token_spec(source="http://y/", url="http://y/"))
        assert other.given == []  # they are another issuer's
        await store.close()

    with caplog.at_level(logging.WARNING, "tidegate.tokens"):
        asyncio.run(play())
    assert "tokens are verified with 1 keys that were fetched 20" in caplog.text


@pytest.mark.parametrize("text", ["", "[]", '{"source": "http://x/"}', '{"source": "http://x/", "at": 1, "keys": []}'])
def test_keys_that_were_kept_badly_are_told_and_not_used(
    text: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "token_keys.json").write_text(text)
    assert asyncio.run(KeptKeys(MemoryStore(), tmp_path).get("http://x/")) == ([], 0.0)
    assert "that were kept cannot be used" in caplog.text


def test_keys_that_cannot_be_kept_are_told_and_used(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    async def play() -> None:
        desk = Desk(KeptKeys(MemoryStore(), tmp_path / "gone"))
        await desk.keys.bring(URL)
        assert desk.given == [("http://x/", ["one"])]
        alone = Desk(KeptKeys(MemoryStore(), None))  # nowhere to keep them
        await alone.keys.bring(URL)
        assert alone.given == [("http://x/", ["one"])]

    asyncio.run(play())
    assert caplog.text.count("cannot be kept for the next start") == 1


@pytest.mark.slow
def test_file_is_read_again_when_it_changes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("proxy.control.watch._LOOK", 0.01)

    async def play() -> None:
        desk = Desk()
        file = tmp_path / "jwks.json"
        file.write_bytes(key_set(ONE))
        spec = token_spec(source=str(file), file=str(file))
        running = asyncio.create_task(desk.keys.run())
        await desk.keys.bring(spec)
        assert desk.given == [(str(file), ["one"])]
        file.write_bytes(b"broken")
        while not desk.facts.token_keys.problem:  # noqa: ASYNC110
            await asyncio.sleep(0.005)
        assert desk.facts.token_keys.problem == f"{file} is not JSON"
        file.write_bytes(key_set(TWO))
        while len(desk.given) < 2:  # noqa: ASYNC110
            await asyncio.sleep(0.005)
        assert desk.given[-1] == (str(file), ["two"])
        assert not desk.facts.token_keys.problem
        running.cancel()

    asyncio.run(asyncio.wait_for(play(), 10))


# Over the wire.

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


def fetched(handler: Handler, path: str = "/keys") -> bytes:
    async def play() -> bytes:
        application = web.Application()
        application.router.add_get("/{tail:.*}", handler)
        runner = web.AppRunner(application)
        await runner.setup()
        try:
            site = web.TCPSite(runner, "127.0.0.1", 0)
            await site.start()
            port = runner.addresses[0][1]
            return await fetch_document(f"http://127.0.0.1:{port}{path}")
        finally:
            await runner.cleanup()

    return asyncio.run(play())


def test_document_is_fetched_also_after_a_redirect_within_its_host() -> None:
    async def answer(request: web.Request) -> web.Response:
        if request.path == "/keys":
            raise web.HTTPFound("/there")
        return web.Response(body=b"{}")

    assert fetched(answer) == b"{}"


@pytest.mark.parametrize(
    ("location", "reason"),
    [
        ("http://127.0.0.2:1/", "redirects to another place, http://127.0.0.2:1"),
        ("file:///etc/passwd", "redirects to another place|absolute"),
        ("https://127.0.0.1/", "redirects to another place"),
        ("/keys", "redirects too often"),
        ("", "redirects too often"),
    ],
)
def test_redirect_elsewhere_or_in_a_circle_is_refused(location: str, reason: str) -> None:
    async def answer(_: web.Request) -> web.Response:
        return web.Response(status=302, headers={"location": location})

    with pytest.raises(ValueError, match=reason):
        fetched(answer)


def test_answer_that_is_none_is_refused() -> None:
    async def answer(_: web.Request) -> web.Response:
        return web.Response(status=503)

    with pytest.raises(ValueError, match="answers with 503"):
        fetched(answer)


def test_document_that_is_too_large_is_not_read_to_its_end() -> None:
    async def answer(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        for _ in range(1000):
            await response.write(b" " * (MAX_DOCUMENT // 8))
        raise AssertionError

    with pytest.raises(ValueError, match="is larger than 256 KiB"):
        fetched(answer)


def test_place_that_does_not_answer_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fetching, "SECONDS", 0.05)

    async def answer(_: web.Request) -> web.Response:
        await asyncio.sleep(0.2)
        return web.Response()

    with pytest.raises(ValueError, match="takes longer than"):
        fetched(answer)


def test_place_that_is_not_there_is_told() -> None:
    with pytest.raises(ValueError, match="cannot be fetched"):
        asyncio.run(fetch_document("http://127.0.0.1:1/keys"))
