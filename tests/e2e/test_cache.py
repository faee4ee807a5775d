"""Stored answers over real sockets: the configuration that docs/caching.md shows, and what the page says of it."""

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from .harness.message import Message
from .harness.origin import Connection, Origin, answer
from .harness.proxy import Config, Proxy, configuration, free_port, single, upstream
from .harness.wait import wait_for

PAGE = Path(__file__).resolve().parents[2] / "docs/caching.md"


def documented() -> Config:
    """The route that the page shows, with its cache."""
    shown = re.findall(r"^```yaml\n(.*?)^```", PAGE.read_text(), re.DOTALL | re.MULTILINE)
    route: Config = yaml.safe_load(shown[0])["routes"][0]
    return route


def cached(origin: Origin, **parts: Any) -> Config:
    return single(origin, route={"cache": {"size": "1MiB", **parts}})


def outcomes(proxy: Proxy, **labels: str) -> dict[str, float]:
    names = ("hit", "miss", "stale", "revalidated", "bypass", "stored", "evicted", "refreshed")
    scrape = proxy.metrics()
    found = {name: scrape.value("tidegate_cache_total", outcome=name, **labels) for name in names}
    return {name: count for name, count in found.items() if count}


def by_version(connection: Connection, request: Message) -> None:
    """Each version makes its own page, which may be kept."""
    version = request.get(b"x-tidegate-version") or b""
    page = b"page of " + version
    head = b'HTTP/1.1 200 OK\r\nCache-Control: max-age=60\r\nETag: "%b"\r\nContent-Length: %d\r\n\r\n' % (
        version,
        len(page),
    )
    connection.send(head + page)


def test_the_page_tells_what_happens(tmp_path: Path) -> None:
    route = documented()
    route["versions"] = {
        "stable": {"upstream": "v1", "weight": 50},
        "canary": {"upstream": "v2", "weight": 50, "fallback": "stable"},
    }
    with Origin(by_version) as one, Origin(by_version) as two:
        config = configuration({"v1": upstream(one), "v2": upstream(two)}, [route], access_log="stdout")
        with Proxy(config, tmp_path) as proxy:
            pages: dict[bytes, set[bytes]] = {}
            for user in range(20):
                with proxy.connect() as wire:
                    for _ in range(3):
                        got = wire.get("/menu", "shop.test", f"x-user-id: u{user}")
                        assert got.status == 200
                        pages.setdefault(b"u%d" % user, set()).add(got.body)
            assert all(len(seen) == 1 for seen in pages.values()), "somebody was given another version's page"
            assert {body for seen in pages.values() for body in seen} == {b"page of stable", b"page of canary"}
            assert len(one.requests) == len(two.requests) == 1
            assert outcomes(proxy) == {"miss": 2, "stored": 2, "hit": 58}
            assert proxy.metrics().value("tidegate_requests_total", code="200") == 60
            assert proxy.metrics().value("tidegate_upstream_duration_seconds_count") == 2
            wait_for(lambda: proxy.output().count('"cache":"hit"') == 58, "the access log")

            got = proxy.get("/menu", "shop.test", "x-user-id: u1", "If-None-Match: *")
            assert got.status == 304
            shown = re.search(r"<!-- transcript:begin -->\n```\n(.*?)```", PAGE.read_text(), re.DOTALL)
            assert shown is not None
            names = {line.partition(":")[0].lower().encode() for line in shown[1].splitlines()[1:]}
            got = proxy.get("/menu", "shop.test", "x-user-id: u1")
            assert names <= {name.lower() for name, _ in got.fields}
            assert re.fullmatch(rb"tidegate; hit; ttl=\d+", got.get(b"cache-status") or b"")


def test_the_last_good_answer_stands_in_while_the_upstream_is_down(tmp_path: Path) -> None:
    port = free_port()
    stopped = False
    origin = Origin(answer(b"good", "200 OK", "Cache-Control: max-age=1", 'ETag: "1"'), port=port)
    try:
        with Proxy(cached(origin, stale_if_error="1h"), tmp_path) as proxy:
            assert proxy.get().body == b"good"
            origin.respond = answer(b"bad", "503 Down")

            def stale() -> bool:
                got = proxy.get()
                assert (got.status, got.body) == (200, b"good")
                return got.get(b"x-tidegate-flags") == b"5xx,ST"

            wait_for(stale, "what is stored to grow old")
            origin.stop()
            stopped = True
            wait_for(lambda: proxy.get().get(b"x-tidegate-flags") in (b"UF,ST", b"UH,ST"), "nobody to connect to")
            with Origin(answer(b"new"), port=port):
                wait_for(lambda: proxy.get().body == b"new", "the upstream to be asked again")
            assert proxy.metrics().value("tidegate_requests_total", code="503") == 0
            assert proxy.metrics().value("tidegate_errors_total", flag="5xx") == 1
    finally:
        if not stopped:
            origin.stop()


def test_a_stale_answer_is_given_while_a_new_one_is_fetched(tmp_path: Path) -> None:
    with Origin(answer(b"old", "200 OK", "Cache-Control: max-age=1, stale-while-revalidate=60")) as origin:
        with Proxy(cached(origin), tmp_path) as proxy:
            assert proxy.get().body == b"old"

            def slow(connection: Connection, request: Message) -> None:
                connection.origin.released.wait()
                answer(b"new", "200 OK", "Cache-Control: max-age=60")(connection, request)

            origin.respond = slow

            def asked_again() -> bool:
                assert proxy.get().body == b"old"
                return len(origin.requests) == 2

            wait_for(asked_again, "what is stored to grow old")
            for _ in range(20):
                assert proxy.get().body == b"old"
            assert len(origin.requests) == 2
            origin.released.set()
            wait_for(lambda: proxy.get().body == b"new", "the refresh")
            assert outcomes(proxy)["refreshed"] == 1


def test_keep_alive_pipelines_and_old_clients_get_whole_answers(tmp_path: Path) -> None:
    body = bytes(range(256)) * 1200  # more than a socket takes at once
    with Origin(answer(body, "200 OK", "Cache-Control: max-age=60")) as origin:
        with Proxy(cached(origin), tmp_path) as proxy:
            with proxy.connect() as wire:
                for _ in range(3):
                    assert wire.get().body == body
                assert wire.get(method="HEAD").body == b""
                wire.send(b"GET / HTTP/1.1\r\nHost: plain.test\r\n\r\n" * 3)
                for _ in range(3):
                    assert wire.response().body == body
                wire.send(b"GET / HTTP/1.0\r\n\r\n")
                assert wire.response().get(b"connection") == b"close"
            assert outcomes(proxy)["hit"] >= 6


def test_weights_change_and_nothing_is_forgotten(tmp_path: Path) -> None:
    route = documented()
    route["versions"] = {"stable": {"upstream": "v1", "weight": 100}, "canary": {"upstream": "v2", "weight": 0}}
    with Origin(by_version) as one, Origin(by_version) as two:
        with Proxy(configuration({"v1": upstream(one), "v2": upstream(two)}, [route]), tmp_path) as proxy:
            assert proxy.get("/menu", "shop.test", "x-user-id: a").body == b"page of stable"

            def flip(config: Config) -> None:
                config["routes"][0]["versions"]["stable"]["weight"] = 0
                config["routes"][0]["versions"]["canary"]["weight"] = 100

            proxy.edit(flip)
            assert proxy.get("/menu", "shop.test", "x-user-id: a").body == b"page of canary"

            def flip_back(config: Config) -> None:
                config["routes"][0]["versions"]["stable"]["weight"] = 100
                config["routes"][0]["versions"]["canary"]["weight"] = 0

            proxy.edit(flip_back)
            assert proxy.get("/menu", "shop.test", "x-user-id: a").body == b"page of stable"
            assert len(one.requests) == len(two.requests) == 1


@pytest.mark.parametrize("size", ["64KiB"])
def test_a_small_cache_stays_small(tmp_path: Path, size: str) -> None:
    with Origin(answer(bytes(4096), "200 OK", "Cache-Control: max-age=60")) as origin:
        with Proxy(cached(origin, size=size, object_limit="8KiB"), tmp_path) as proxy:
            with proxy.connect() as wire:
                for page in range(100):
                    assert len(wire.get(f"/{page}").body) == 4096
            found = outcomes(proxy)
            assert (found["stored"], found["miss"]) == (100, 100)
            assert 100 - 65536 // 4096 <= found["evicted"] < 100
