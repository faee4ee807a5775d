"""Processes die: a worker takes only its own requests with it, and control takes none."""

import signal
from pathlib import Path

from .harness.load import Callers
from .harness.origin import Origin
from .harness.processes import alive, kill
from .harness.proxy import Proxy, single
from .harness.wait import wait_for

CALLERS = 8


def went_back(before: dict[object, float], after: dict[object, float]) -> dict[object, tuple[float, float]]:
    """Counters that are smaller than they were, or gone. Those of the control process itself start anew with it."""
    return {
        key: (value, after.get(key, -1))
        for key, value in before.items()
        if after.get(key, -1) < value and not str(key[0]).startswith(("tidegate_control", "process_", "python_"))
    }


def test_killed_worker_takes_only_its_own_requests_with_it(tmp_path: Path) -> None:
    with (
        Origin(record=False) as origin,
        Proxy(single(origin, workers=2), tmp_path) as proxy,
        Callers(proxy.address, CALLERS) as callers,
    ):
        workers = proxy.workers()
        assert len(workers) == 2
        for victim in workers:
            callers.wait_more(300)
            before = proxy.metrics().counters()
            kill(victim)
            wait_for(lambda victim=victim: len(proxy.workers()) == 2 and victim not in proxy.workers(), "a replacement")
            wait_for(lambda: proxy.metrics().value("tidegate_worker_up") == 2, "the replacement to serve")
            callers.wait_more(300)
            assert went_back(before, proxy.metrics().counters()) == {}
        callers.stop()
        assert callers.refused == 0
        assert set(callers.statuses) == {200}
        # A caller has one request on its way at a time: at most all of them were with the victim, twice.
        assert callers.broken <= 2 * CALLERS
        assert proxy.metrics().value("tidegate_worker_restarts_total") == 2
        proxy.wait_metric(0, "tidegate_in_flight")
        counted = proxy.metrics().value("tidegate_requests_total", code="200")
        assert 0 <= counted - len(callers.statuses) <= callers.broken


def test_killed_control_costs_no_request_and_is_replaced(tmp_path: Path) -> None:
    with (
        Origin(record=False) as origin,
        Proxy(single(origin, workers=2), tmp_path) as proxy,
        Callers(proxy.address, CALLERS) as callers,
    ):
        workers = proxy.workers()
        control = proxy.control()
        assert control != proxy.pid, "control has no process that would start it again"
        callers.wait_more(300)
        before = proxy.metrics().counters()
        kill(control)
        wait_for(lambda: not alive(control), "control's death")
        callers.wait_more(300)
        wait_for(proxy.ready, "a new control", 20)
        assert proxy.workers() == workers, "the workers were to be taken over, not replaced"
        wait_for(lambda: proxy.metrics().value("tidegate_worker_up") == 2, "both workers to be taken over")
        assert went_back(before, proxy.metrics().counters()) == {}
        proxy.edit(lambda config: config["routes"][0].update(rewrite={"set_headers": {"x-after": "1"}}))
        proxy.get()
        wait_for(
            lambda: any(one.get(b"x-after") == b"1" for one in origin.requests[-50:]), "a reload by the new control"
        )
        callers.stop()
        assert (callers.broken, callers.refused, set(callers.statuses)) == (0, 0, {200})
        proxy.wait_metric(len(callers.statuses) + 1, "tidegate_requests_total", code="200")


def test_worker_without_control_still_ends_on_sigterm(tmp_path: Path) -> None:
    with Origin() as origin, Proxy(single(origin), tmp_path) as proxy:
        workers = proxy.workers()
        proxy.signal(signal.SIGTERM)
        assert proxy.wait_ended() == 0
        wait_for(lambda: not any(alive(pid) for pid in workers), "the workers to end")


def test_limits_are_totals_over_the_workers(tmp_path: Path) -> None:
    def respond(connection: object, request: object) -> None:
        origin.released.wait()

    with Origin(respond) as origin:
        config = single(origin, policy={"limits": {"requests": 6}}, workers=2)
        with Proxy(config, tmp_path) as proxy:
            wires = [proxy.connect() for _ in range(6)]
            try:
                for count, wire in enumerate(wires, 1):
                    wire.send(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
                    origin.wait_connection(count - 1)
                for _ in range(6):  # whichever worker takes them
                    got = proxy.get()
                    assert (got.status, got.get(b"x-tidegate-flags")) == (503, b"UO")
            finally:
                for wire in wires:
                    wire.socket.close()
