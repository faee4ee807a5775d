"""Faults and deadlines in real processes: what clients see, what is counted, and that they can be stopped at once."""

import threading
import time
from pathlib import Path
from typing import Any

import pytest

from .harness.message import Ended
from .harness.origin import Connection, Origin, answer
from .harness.proxy import Proxy, configuration, single, upstream
from .harness.wait import wait_for

UNBOUNDED = {"enabled": True, "max_percent": 100}


def disturbed(origin: Origin, *faults: dict[str, Any], **more: Any) -> dict[str, Any]:
    return single(origin, route={"faults": list(faults)}, **{"faults": UNBOUNDED, **more})


def test_users_of_one_version_are_disturbed_and_nobody_else(tmp_path: Path) -> None:
    route = {
        "name": "main",
        "unit": [{"header": "x-user-id"}],
        "versions": {"stable": {"upstream": "old", "weight": 50}, "canary": {"upstream": "new", "weight": 50}},
        "debug": {"from": ["127.0.0.0/8"]},
        "faults": [{"abort": 503, "percent": 30, "versions": ["canary"]}],
    }
    with Origin(answer(b"old")) as old, Origin(answer(b"new")) as new:
        config = configuration({"old": upstream(old), "new": upstream(new)}, [route], faults=UNBOUNDED)
        with Proxy(config, tmp_path) as proxy, proxy.connect() as wire:
            outcomes = []
            for _ in range(2):
                outcomes.append({})
                for number in range(200):
                    got = wire.get("/", "plain.test", f"x-user-id: user-{number}")
                    outcomes[-1][number] = (got.status, got.get(b"x-tidegate-version"), got.get(b"x-tidegate-flags"))
            first, second = outcomes
            assert first == second  # the same users each time
            aborted = [one for one in first.values() if one[0] == 503]
            assert set(aborted) == {(503, b"canary", b"FI")}
            canary = [one for one in first.values() if one[1] == b"canary"]
            assert 0.15 < len(aborted) / len(canary) < 0.45
            count = 2 * len(aborted)
            proxy.wait_metric(count, "tidegate_faults_total", version="canary", kind="abort")
            proxy.wait_metric(count, "tidegate_marked_requests_total", version="canary")
            proxy.wait_metric(0, "tidegate_errors_total")


def test_the_blast_radius_is_bounded(tmp_path: Path) -> None:
    with Origin() as origin:
        config = disturbed(origin, {"abort": 503, "percent": 100}, faults={"max_percent": 10})
        with Proxy(config, tmp_path) as proxy, proxy.connect() as wire:
            statuses = [wire.get().status for _ in range(300)]
            assert statuses.count(503) == 30
            assert statuses.count(200) == 270
            for end in range(40, 300):
                assert statuses[:end].count(503) <= end / 10
            proxy.wait_metric(270, "tidegate_faults_total", kind="capped")


def test_a_reset_is_a_reset(tmp_path: Path) -> None:
    with Origin() as origin, Proxy(disturbed(origin, {"reset": True, "percent": 100}), tmp_path) as proxy:
        with proxy.connect() as wire:
            wire.send(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
            with pytest.raises(Ended) as end:
                wire.response()
            assert end.value.reset
        proxy.wait_metric(1, "tidegate_faults_total", kind="reset")
        proxy.wait_metric(0, "tidegate_client_connections")
        assert origin.requests == []


def test_a_fault_on_request_is_for_those_who_may(tmp_path: Path) -> None:
    header = {"name": "x-tidegate-fault", "from": ["127.0.0.1/32"]}
    with Origin() as origin, Proxy(disturbed(origin, {"abort": 418, "header": header}), tmp_path) as proxy:
        assert proxy.get("/", "a", "x-tidegate-fault: abort").status == 418
        assert proxy.get().status == 200
        with proxy.connect("127.0.0.2") as stranger:
            assert stranger.get("/", "a", "x-tidegate-fault: abort").status == 200
        assert all(not one.get(b"x-tidegate-fault") for one in origin.requests)


def test_a_delay_and_a_slow_body_take_their_time_and_the_bytes_stay_the_same(tmp_path: Path) -> None:
    body = bytes(range(256)) * 512  # 128 KiB
    faults = [{"delay": "300ms", "percent": 100}, {"slow_body": "256KiB", "percent": 100}]
    with Origin(answer(body)) as origin, Proxy(disturbed(origin, *faults), tmp_path) as proxy:
        started = time.monotonic()
        got = proxy.get()
        seconds = time.monotonic() - started
        assert (got.status, got.body) == (200, body)
        assert 0.75 < seconds < 10
        assert got.get(b"x-tidegate-flags") == b"DI"


def test_a_slow_body_makes_the_upstream_wait_and_not_the_memory_grow(tmp_path: Path) -> None:
    size = 64 << 20
    sent: list[int] = []

    def play(connection: Connection) -> None:
        connection.head()
        connection.send(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % size)
        for _ in range(size >> 16):
            connection.send(b"x" * (1 << 16))
            sent.append(1 << 16)

    with (
        Origin(play=play, record=False) as origin,
        Proxy(disturbed(origin, {"slow_body": "1KiB", "percent": 100}), tmp_path) as proxy,
        proxy.connect(record=False) as wire,
    ):
        wire.send(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
        wait_for(lambda: sent, "the upstream to begin")
        before = -1
        while sum(sent) != before:  # until it is stopped by those who do not read
            before = sum(sent)
            for _ in range(4):  # bites for the client: the proxy had time to read more, if it wanted to
                wire.reader.fill()
        assert before < 16 << 20  # kernel buffers, and little else
        proxy.change("POST", "/api/v1/faults/kill", {"reason": "seen enough"})
        got = 0

        def take(data: bytes) -> None:
            nonlocal got
            got += len(data)

        wire.response(sink=take)
        assert got == size


def test_the_kill_switch_ends_what_is_under_way_and_stays_over_a_restart(tmp_path: Path) -> None:
    with Origin() as origin:
        config = disturbed(origin, {"delay": "60s", "percent": 100}, state=f"sqlite:{tmp_path}/state.db", workers=2)
        with Proxy(config, tmp_path) as proxy:
            answers: list[int] = []
            threads = [threading.Thread(target=lambda: answers.append(proxy.get().status)) for _ in range(8)]
            for thread in threads:
                thread.start()
            proxy.wait_metric(8, "tidegate_faults_total", kind="delay")
            said = proxy.change("POST", "/api/v1/faults/kill", {"reason": "pager", "by": "alice"})
            assert (said["killed"]["reason"], said["killed"]["by"]) == ("pager", "alice")
            for thread in threads:
                thread.join(5)
            assert answers == [200] * 8
            assert proxy.get().status == 200
            assert proxy.metrics().value("tidegate_faults_killed") == 1
            proxy.wait_log("faults are switched off by alice: pager")
        again = Proxy(config, tmp_path)
        again.file.unlink()
        with again:
            assert again.api("/api/v1/faults")["killed"]["by"] == "alice"
            assert again.get().status == 200
            again.change("DELETE", "/api/v1/faults/kill")
            with again.connect() as wire:
                wire.send(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
                again.wait_metric(1, "tidegate_faults_total", kind="delay")


def test_the_file_switches_faults_off_and_their_end_does(tmp_path: Path) -> None:
    until = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(time.time() + 3600))
    faults = [{"abort": 503, "percent": 100, "until": until}]
    with Origin() as origin, Proxy(disturbed(origin, *faults), tmp_path) as proxy:
        assert proxy.get().status == 503
        shown = proxy.api("/api/v1/faults")["routes"][0]
        assert shown["faults"][0]["until"] > time.time()
        assert shown["versions"] == [{"name": "only", "counts": {"abort": 1}}]
        proxy.edit(lambda config: config["faults"].update(enabled=False))
        wait_for(lambda: proxy.get().status == 200, "no faults")
        proxy.edit(lambda config: config["faults"].update(enabled=True))
        wait_for(lambda: proxy.get().status == 503, "faults again")

        def end(config: dict[str, Any]) -> None:
            config["routes"][0]["faults"][0]["until"] = "2026-01-01T00:00:00Z"

        proxy.edit(end)
        wait_for(lambda: proxy.get().status == 200, "faults to be over")
        assert proxy.api("/api/v1/faults")["routes"][0]["faults"][0]["over"]
        assert any("faults" in line for line in proxy.api("/api/v1/config")["warnings"])


# Deadlines.


def test_the_whole_exchange_has_its_time_and_the_upstream_is_told_what_is_left(tmp_path: Path) -> None:
    def play(connection: Connection) -> None:
        connection.request()
        connection.hold()

    route = {"timeout": "2s", "deadline": {"header": "x-request-timeout"}}
    with Origin(play=play) as origin:
        config = single(origin, route=route, trusted_proxies=["127.0.0.9/32"])
        with Proxy(config, tmp_path) as proxy:
            started = time.monotonic()
            assert proxy.fails(504, "UT")
            assert 1.9 < time.monotonic() - started < 12, "not the upstream's own 15 s"
            with proxy.connect("127.0.0.9") as peer:
                started = time.monotonic()
                assert peer.get("/", "a", "X-Request-Timeout: 300ms").status == 504
                assert 0.25 < time.monotonic() - started < 1.9, "not the route's own 2 s"
                assert peer.get("/", "a", "X-Request-Timeout: 0").status == 504
            told = [one.get(b"x-request-timeout") for one in origin.requests]
            assert len(told) == 2
            left = [int(one.removesuffix(b"ms")) for one in told]
            assert 1000 < left[0] <= 2000
            assert 0 < left[1] <= 300
            origin.released.set()


def test_an_answer_that_never_ends_is_cut_off_when_its_time_is_over(tmp_path: Path) -> None:
    stop = threading.Event()

    def play(connection: Connection) -> None:
        connection.request()
        connection.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
        while not stop.wait(0.02):
            connection.send(b"1\r\nx\r\n")

    with (
        Origin(play=play) as origin,
        Proxy(single(origin, route={"timeout": "500ms"}), tmp_path) as proxy,
        proxy.connect() as wire,
    ):
        wire.send(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
        with pytest.raises(Ended):
            wire.response()
        stop.set()
        proxy.wait_metric(1, "tidegate_errors_total", flag="UT")
