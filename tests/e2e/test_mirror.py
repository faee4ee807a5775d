"""Shadows get copies, and whatever a shadow does, the client's exchange does not notice."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from .harness.message import Message
from .harness.origin import BLOCK, Connection, Origin, answer
from .harness.processes import memory
from .harness.proxy import Config, Proxy, configuration, free_port, upstream
from .harness.wait import wait_for

MIB = 1 << 20


def mirrored(origin: Origin, shadow: Origin | str, rule: dict[str, Any] | None = None, **route: Any) -> Config:
    return configuration(
        {"origin": upstream(origin), "shadow": upstream(shadow)},
        [
            {
                "name": "main",
                "versions": {"only": {"upstream": "origin"}},
                "mirror": [{"upstream": "shadow", "percent": 100, **(rule or {})}],
                **route,
            }
        ],
    )


def outcomes(proxy: Proxy) -> dict[str, float]:
    """Copies by outcome."""
    return proxy.metrics().by("tidegate_mirror_total", "outcome", route="main", upstream="shadow")


def test_copy_is_the_request_with_a_marker(tmp_path: Path) -> None:
    with Origin() as origin, Origin(answer(b"nobody reads this", "500 Oops")) as shadow:
        with Proxy(mirrored(origin, shadow), tmp_path) as proxy:
            got = proxy.get("/a?b=c", "shop.test", "X-A: b", "Cookie: sid=1", "Authorization: Basic eA==")
            assert (got.status, got.body) == (200, b"ok")
            (copy,) = shadow.wait_requests(1)
            (original,) = origin.wait_requests(1)
            assert copy.start == original.start == b"GET /a?b=c HTTP/1.1"
            assert copy.get(b"x-tidegate-shadow") == b"1"
            assert original.get(b"x-tidegate-shadow") is None
            for name in (
                b"host",
                b"x-a",
                b"cookie",
                b"authorization",
                b"x-request-id",
                b"traceparent",
                b"x-forwarded-for",
            ):
                assert copy.get(name) == original.get(name) is not None, name
            proxy.wait_metric(1, "tidegate_mirror_responses_total", route="main", upstream="shadow", code="500")
            assert outcomes(proxy) == {"sent": 1}
            assert proxy.metrics().value("tidegate_mirror_duration_seconds_count") == 1
            assert proxy.metrics().value("tidegate_requests_total", route="main") == 1
            assert proxy.metrics().value("tidegate_errors_total") == 0


def test_credentials_are_left_out_on_request(tmp_path: Path) -> None:
    with Origin() as origin, Origin() as shadow:
        with Proxy(mirrored(origin, shadow, {"strip_credentials": True}), tmp_path) as proxy:
            proxy.get("/", "a", "Cookie: sid=1", "Authorization: Basic eA==")
            (copy,) = shadow.wait_requests(1)
            assert copy.get(b"cookie") is None
            assert copy.get(b"authorization") is None
            assert origin.requests[0].get(b"cookie") == b"sid=1"


def test_body_is_teed_whole_or_not_at_all(tmp_path: Path) -> None:
    with Origin() as origin, Origin() as shadow:
        config = mirrored(origin, shadow, {"methods": "all", "body_limit": "64KiB"})
        with Proxy(config, tmp_path) as proxy, proxy.connect() as wire:
            small = bytes(range(256)) * 100
            assert wire.get(method="POST", body=small).status == 200
            assert shadow.wait_requests(1)[0].body == small
            wire.send(b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n")
            wire.send(b"6\r\n world\r\n0\r\nX-Sum: 1\r\n\r\n")
            assert wire.response().status == 200
            copy = shadow.wait_requests(2)[1]
            assert (copy.body, copy.framing, copy.trailers) == (b"hello world", "chunked", [(b"X-Sum", b"1")])
            # Too long, announced; and too long, found out on the way.
            large = b"a" * 100_000
            assert wire.get(method="POST", body=large).status == 200
            wire.send(
                b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n%x\r\n%b\r\n0\r\n\r\n"
                % (len(large), large)
            )
            assert wire.response().status == 200
            assert [one.body == large for one in origin.requests] == [False, False, True, True]
            wait_for(lambda: outcomes(proxy) == {"sent": 2, "dropped_body_limit": 2}, "four outcomes")
            shadow.settle()
            assert [one.body for one in shadow.requests if one.complete] == [small, b"hello world"]


def test_unsafe_methods_and_upgrades_are_not_copied_unless_asked_for(tmp_path: Path) -> None:
    with Origin() as origin, Origin() as shadow, Proxy(mirrored(origin, shadow), tmp_path) as proxy:
        assert proxy.get(method="POST", body=b"x").status == 200
        assert proxy.get("/", "a", "Connection: upgrade", "Upgrade: websocket").status == 200
        assert outcomes(proxy) == {"dropped_method": 1, "dropped_upgrade": 1}
        assert shadow.requests == []


def test_copies_are_not_copied_again(tmp_path: Path) -> None:
    """Two proxies that shadow each other: one request makes one copy, not a storm."""
    with Origin() as origin:
        port = free_port()
        here, there = tmp_path / "here", tmp_path / "there"
        here.mkdir()
        there.mkdir()
        second = Proxy(mirrored(origin, f"http://127.0.0.1:{port}"), there)
        first = Proxy(mirrored(origin, f"http://127.0.0.1:{second.port}"), here)
        first.config["listen"] = f"127.0.0.1:{port}"
        first.port = port
        with second, first:
            assert first.get().status == 200
            origin.wait_requests(2)
            wait_for(lambda: outcomes(second) == {"dropped_loop": 1}, "the loop guard")
            assert outcomes(first) == {"sent": 1}
            assert len(origin.requests) == 2


def never_reads(connection: Connection) -> None:
    connection.hold()


def never_answers(connection: Connection) -> None:
    connection.request()
    connection.hold()


def resets_at_once(connection: Connection) -> None:
    connection.reset()


def resets_mid_answer(connection: Connection) -> None:
    connection.request()
    connection.send(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhello")
    connection.reset()


def answers_gigabytes(connection: Connection) -> None:
    connection.request()
    connection.send(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % (4 << 30))
    connection.stream(4 << 30)


def answers_garbage(connection: Connection) -> None:
    connection.request()
    connection.send(b"\x00garbage\r\n\r\n")
    connection.gone()


def closes(connection: Connection) -> None:
    connection.request()
    connection.close()


HOSTILE = (never_reads, never_answers, resets_at_once, resets_mid_answer, answers_gigabytes, answers_garbage, closes)


@pytest.mark.parametrize("play", HOSTILE, ids=lambda play: play.__name__)
def test_hostile_shadow_is_not_noticed_by_the_client(tmp_path: Path, play: Callable[[Connection], None]) -> None:
    count = 40
    with Origin() as origin, Origin(play=play, record=False) as shadow:
        with Proxy(mirrored(origin, shadow, {"in_flight": 4, "timeout": "60s"}), tmp_path) as proxy:
            (worker,) = proxy.workers()
            before = memory(worker)
            with proxy.connect() as wire:
                assert [wire.get().status for _ in range(count)] == [200] * count
            found = outcomes(proxy)
            wait_for(lambda: sum(outcomes(proxy).values()) == count, "an outcome for every request")
            if play in {never_reads, never_answers}:
                assert found == {"sent": 4, "dropped_in_flight": count - 4}
            assert memory(worker) - before < 12 * MIB
            assert proxy.metrics().value("tidegate_errors_total") == 0
            assert proxy.get().status == 200


def test_shadow_that_is_down_costs_a_count(tmp_path: Path) -> None:
    with Origin() as origin, Proxy(mirrored(origin, f"http://127.0.0.1:{free_port()}"), tmp_path) as proxy:
        with proxy.connect() as wire:
            assert [wire.get().status for _ in range(20)] == [200] * 20
        wait_for(lambda: outcomes(proxy) == {"dropped_unreachable": 20}, "20 drops")


def test_copy_has_its_own_deadline(tmp_path: Path) -> None:
    with Origin() as origin, Origin(play=never_answers) as shadow:
        with Proxy(mirrored(origin, shadow, {"in_flight": 1, "timeout": "100ms"}), tmp_path) as proxy:
            assert proxy.get().status == 200
            connection = shadow.wait_connection()
            wait_for(
                lambda: proxy.metrics().value("tidegate_mirror_failures_total", kind="timeout") == 1, "the deadline"
            )
            proxy.wait_metric(0, "tidegate_mirror_in_flight")
            shadow.released.set()
            wait_for(connection.ended.is_set, "the connection to end")
            assert proxy.get().status == 200
            wait_for(lambda: outcomes(proxy) == {"sent": 2}, "a copy after the deadline freed the place")


def test_shadow_that_does_not_read_bodies_costs_bounded_memory(tmp_path: Path) -> None:
    size = 64 * MIB

    def count_body(connection: Connection) -> None:
        while True:
            request = connection.head()
            connection.body(request, lambda _: None)
            answer()(connection, request)

    rule = {"methods": "all", "body_limit": "1GiB", "buffer": "2MiB", "timeout": "60s"}
    with (
        Origin(play=count_body, record=False) as origin,
        Origin(play=never_reads, record=False) as shadow,
        Proxy(mirrored(origin, shadow, rule), tmp_path) as proxy,
        proxy.connect(record=False) as wire,
    ):
        (worker,) = proxy.workers()
        before = memory(worker)
        wire.send(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n" % size)
        for _ in range(size // len(BLOCK)):
            wire.send(BLOCK)
        assert wire.response().status == 200
        assert origin.requests[0].size == size
        assert memory(worker) - before < 16 * MIB
        assert outcomes(proxy) == {"dropped_buffer": 1}
        proxy.wait_metric(0, "tidegate_mirror_buffered_bytes")


def test_sampling_by_unit_copies_whole_sessions(tmp_path: Path) -> None:
    units = 300
    with Origin() as origin, Origin() as shadow:
        config = mirrored(origin, shadow, {"percent": 30, "in_flight": 1000}, unit=[{"header": "x-user-id"}])
        with Proxy(config, tmp_path) as proxy, proxy.connect() as wire:
            for _ in range(3):
                wire.send(
                    b"".join(b"GET / HTTP/1.1\r\nHost: a\r\nX-User-Id: u%d\r\n\r\n" % unit for unit in range(units))
                )
                for _ in range(units):
                    assert wire.response().status == 200
            found = outcomes(proxy)
            assert set(found) == {"sent", "sampled_out"}
            assert sum(found.values()) == 3 * units
            copies = shadow.wait_requests(int(found["sent"]))
            seen: dict[bytes | None, int] = {}
            for copy in copies:
                seen[copy.get(b"x-user-id")] = seen.get(copy.get(b"x-user-id"), 0) + 1
            assert set(seen.values()) == {3}
            assert 0.2 < len(seen) / units < 0.4


def test_several_shadows_each_get_a_copy(tmp_path: Path) -> None:
    with Origin() as origin, Origin() as first, Origin(play=never_answers) as second:
        config = mirrored(origin, first)
        config["upstreams"]["other"] = upstream(second)
        config["routes"][0]["mirror"].append({"upstream": "other", "percent": 100})
        with Proxy(config, tmp_path) as proxy:
            assert proxy.get().status == 200
            first.wait_requests(1)
            wait_for(lambda: second.requests, "the other shadow's copy")
            assert proxy.metrics().value("tidegate_mirror_total", outcome="sent") == 2


def test_shadow_may_answer_before_it_has_the_body(tmp_path: Path) -> None:
    def eager(connection: Connection) -> None:
        connection.head()
        connection.send(b"HTTP/1.1 400 Bad\r\nContent-Length: 0\r\n\r\n")
        connection.gone()

    def respond(connection: Connection, request: Message) -> None:
        answer(b"whole")(connection, request)

    with Origin(respond) as origin, Origin(play=eager) as shadow:
        with Proxy(mirrored(origin, shadow, {"methods": "all"}), tmp_path) as proxy, proxy.connect() as wire:
            wire.send(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\nhello")
            wait_for(lambda: shadow.requests and shadow.connections[0].requests, "the copy's head")
            proxy.wait_metric(1, "tidegate_mirror_responses_total", code="400")
            wire.send(b"world")
            assert wire.response().body == b"whole"
            assert origin.requests[0].body == b"helloworld"
