"""Endpoints that fail their checks, and endpoints that are drained, get no requests; over real processes and sockets."""

import http.client
import json
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import quote

from .harness.load import Callers
from .harness.message import Message
from .harness.origin import Connection, Origin, answer
from .harness.processes import alive, kill
from .harness.proxy import Config, Proxy, configuration, free_port
from .harness.wait import wait_for

HEALTH = {"path": "/healthz", "interval": "100ms", "timeout": "1s", "healthy_after": 2, "unhealthy_after": 2}


class Patient:
    """An origin that is well or not, and counts the requests that are no checks."""

    def __init__(self) -> None:
        self.well = True
        self.held: threading.Event | None = None
        self.served = 0
        self.origin = Origin(self.respond, record=False)

    def respond(self, connection: Connection, request: Message) -> None:
        if request.target == b"/healthz":
            answer(b"ok" if self.well else b"no", "200 OK" if self.well else "503 Service Unavailable")(
                connection, request
            )
            return
        self.served += 1
        if self.held is not None:
            self.held.wait(20)
        answer()(connection, request)


@contextmanager
def three() -> Iterator[list[Patient]]:
    patients = [Patient() for _ in range(3)]
    with ExitStack() as stack:
        for patient in patients:
            stack.enter_context(patient.origin)
        yield patients


def over(patients: list[Patient], **more: Any) -> Config:
    upstream = {"endpoints": [one.origin.url for one in patients], "health": HEALTH}
    route = {"name": "main", "versions": {"only": {"upstream": "origin"}}}
    return configuration({"origin": upstream}, [route], workers=2, **more)


def endpoints(proxy: Proxy) -> dict[str, dict[str, Any]]:
    """What the API says of them, by URL."""
    return {one["endpoint"]: one for one in proxy.api("/api/v1/upstreams/origin")["endpoints"]}


def verdict(proxy: Proxy, patient: Patient) -> str:
    return str(endpoints(proxy)[patient.origin.url]["health"]["verdict"])


def told(proxy: Proxy, patient: Patient, *, state: str = "unhealthy") -> bool:
    """Whether workers hold the endpoint so."""
    return proxy.metrics().value("tidegate_endpoint_state", endpoint=patient.origin.url, state=state) == 1


def shunned(callers: Callers, patient: Patient) -> bool:
    """Whether fifty more answers brought the endpoint no request: then all workers hold what one of them was seen to hold."""
    before = patient.served
    callers.wait_more(50)
    return patient.served == before


def ask(proxy: Proxy, method: str, patient: Patient, **wish: Any) -> tuple[int, dict[str, Any]]:
    """Drain or undrain it."""
    connection = http.client.HTTPConnection("127.0.0.1", proxy.admin_port, timeout=10)
    path = f"/api/v1/upstreams/origin/endpoints/{quote(patient.origin.url, safe='')}/drain"
    body = json.dumps(wish) if method == "POST" else None
    try:
        connection.request(method, path, body, {"Content-Type": "application/json"} if body else {})
        response = connection.getresponse()
        return response.status, json.loads(response.read())
    finally:
        connection.close()


def test_an_endpoint_that_fails_its_checks_gets_no_requests_until_it_passes_again(tmp_path: Path) -> None:
    with three() as patients, Proxy(over(patients), tmp_path) as proxy, Callers(proxy.address) as callers:
        ill, *others = patients
        wait_for(lambda: all(verdict(proxy, one) == "healthy" for one in patients), "verdicts")
        wait_for(lambda: all(one.served > 20 for one in patients), "requests everywhere")
        ill.well = False
        wait_for(lambda: verdict(proxy, ill) == "unhealthy", "a verdict")
        wait_for(lambda: told(proxy, ill), "the workers to be told")
        wait_for(lambda: shunned(callers, ill), "what is under way to end")
        before = [one.served for one in patients]
        callers.wait_more(300)
        assert ill.served == before[0]
        assert all(one.served > count + 50 for one, count in zip(others, before[1:], strict=True))
        found = endpoints(proxy)[ill.origin.url]
        assert (found["usable"], found["health"]["reason"]) == (False, "status 503, expected 200-299")
        assert proxy.metrics().value("tidegate_health_checks_total", endpoint=ill.origin.url, outcome="status") >= 2
        ill.well = True
        wait_for(lambda: ill.served > before[0] + 20, "requests to return")
        callers.stop()
        assert (callers.broken, callers.refused, set(callers.statuses)) == (0, 0, {200})
        proxy.wait_log("is unhealthy: status 503, expected 200-299")
        proxy.wait_log("is healthy again")


def test_verdicts_outlive_control_and_workers_and_a_reload(tmp_path: Path) -> None:
    with three() as patients, Proxy(over(patients), tmp_path) as proxy:
        ill = patients[0]
        ill.well = False
        wait_for(lambda: told(proxy, ill), "the workers to be told")
        served = ill.served
        with Callers(proxy.address) as callers:
            control = proxy.control()
            kill(control)
            wait_for(lambda: not alive(control), "control's death")
            callers.wait_more(200)
            wait_for(proxy.ready, "a new control", 20)
            assert verdict(proxy, ill) == "unhealthy"
            callers.wait_more(200)
            proxy.edit(lambda config: config["upstreams"]["origin"]["health"].update(timeout="900ms"))
            assert verdict(proxy, ill) == "unhealthy"
            callers.wait_more(200)
            assert ill.served == served
            callers.stop()
            assert (callers.broken, callers.refused, set(callers.statuses)) == (0, 0, {200})


def test_workers_that_come_later_know_an_unhealthy_endpoint_before_their_first_request(tmp_path: Path) -> None:
    with three() as patients, Proxy(over(patients), tmp_path) as proxy:
        ill = patients[0]
        ill.well = False
        wait_for(lambda: told(proxy, ill), "the workers to be told")
        with Callers(proxy.address) as callers:
            wait_for(lambda: shunned(callers, ill), "what is under way to end")
            served = ill.served
            first = proxy.workers()
            for victim in first:
                kill(victim)
                wait_for(lambda: len(proxy.workers()) == 2 and victim not in proxy.workers(), "a replacement")  # noqa: B023
                wait_for(lambda: proxy.metrics().value("tidegate_worker_up") == 2, "a replacement")
                callers.wait_more(100)
            callers.stop()
            assert ill.served == served


def test_a_drained_endpoint_finishes_what_it_has_and_stays_drained_over_a_restart(tmp_path: Path) -> None:
    with three() as patients:
        config = over(patients, state="sqlite:tidegate.db")
        leaving, *others = patients
        with Proxy(config, tmp_path) as proxy:
            leaving.held = threading.Event()
            wires = [proxy.connect() for _ in range(9)]
            for wire in wires:
                wire.send(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
            wait_for(lambda: leaving.served >= 1 and sum(one.served for one in patients) == 9, "requests")
            held = leaving.served
            wait_for(lambda: endpoints(proxy)[leaving.origin.url]["in_flight"] == held, "the count of those in flight")
            status, said = ask(proxy, "POST", leaving, reason="a new disk", by="ann")
            assert (status, said["in_flight"]) == (200, held)
            wait_for(lambda: told(proxy, leaving, state="drained"), "the workers to be told")
            with Callers(proxy.address) as callers:
                callers.wait_more(300)
                callers.stop()
                assert set(callers.statuses) == {200}
            assert leaving.served == held
            leaving.held.set()
            assert [wire.response().status for wire in wires] == [200] * 9
            wait_for(lambda: endpoints(proxy)[leaving.origin.url]["in_flight"] == 0, "the end of those in flight")
            for wire in wires:
                wire.socket.close()
            assert ask(proxy, "POST", others[0])[0] == 200
            assert ask(proxy, "POST", others[1])[0] == 409
            assert ask(proxy, "DELETE", others[0])[0] == 200
        leaving.held = None
        again = Proxy(config, tmp_path, file=proxy.file)
        again.port, again.admin_port = proxy.port, proxy.admin_port
        with again:
            drained = endpoints(again)[leaving.origin.url]["drained"]
            assert (drained["reason"], drained["by"], drained["until"]) == ("a new disk", "ann", None)
            wait_for(lambda: told(again, leaving, state="drained"), "the workers to be told")
            with Callers(again.address) as callers:
                callers.wait_more(100)
                assert leaving.served == held
                assert ask(again, "DELETE", leaving)[0] == 200
                wait_for(lambda: leaving.served > held, "requests to return")
                callers.stop()
                assert set(callers.statuses) == {200}


def test_an_endpoint_that_is_dead_at_the_start_costs_at_most_the_first_requests(tmp_path: Path) -> None:
    with three() as patients:
        dead = patients[0]
        dead.well = False
        with Proxy(over(patients), tmp_path) as proxy:
            wait_for(lambda: told(proxy, dead), "the workers to be told")
            with Callers(proxy.address) as callers:
                wait_for(lambda: shunned(callers, dead), "all workers to be told")
                served = dead.served
                callers.wait_more(200)
                callers.stop()
            assert dead.served == served
            assert set(callers.statuses) == {200}


def test_a_check_of_connecting_alone_and_one_with_fields_of_its_own(tmp_path: Path) -> None:
    """`health: tcp` sees who does not listen; an HTTP check is sent as the file says, and judged by what it expects."""
    asked: list[Message] = []

    def particular(connection: Connection, request: Message) -> None:
        if request.target != b"/alive?deep=1":
            answer(b"page")(connection, request)
            return
        asked.append(request)
        known = request.get(b"x-check") == b"tidegate" and request.get(b"host") == b"health.test"
        answer(b"", "301 Moved" if known else "403 Forbidden")(connection, request)

    port = free_port()
    with Origin(particular, record=False) as origin, Origin(record=False) as steady:
        upstreams = {
            "fields": {
                "endpoints": [origin.url],
                "health": {
                    "path": "/alive?deep=1",
                    "host": "health.test",
                    "headers": {"x-check": "tidegate"},
                    "expected": ["2xx", 301],
                    "interval": "100ms",
                },
            },
            "tcp": {
                "endpoints": [steady.url, f"http://127.0.0.1:{port}"],
                "health": {"kind": "tcp", "interval": "100ms", "healthy_after": 2, "unhealthy_after": 2},
            },
        }
        routes = [
            {"name": name, "match": {"host": f"{name}.test"}, "versions": {"only": {"upstream": name}}}
            for name in upstreams
        ]

        def states(upstream: str) -> list[str]:
            found = proxy.api(f"/api/v1/upstreams/{upstream}")["endpoints"]
            return [one["health"]["verdict"] for one in found]

        with Proxy(configuration(upstreams, routes), tmp_path) as proxy:
            wait_for(lambda: states("fields") == ["healthy"], "a verdict")
            assert asked[0].get(b"x-check") == b"tidegate"
            wait_for(lambda: states("tcp") == ["healthy", "unhealthy"], "verdicts")
            assert {proxy.get("/", "tcp.test").status for _ in range(10)} == {200}
            with Origin(port=port) as late:
                wait_for(lambda: states("tcp") == ["healthy", "healthy"], "a good verdict")
                checks = len(late.connections)
                assert checks >= 2, "it takes two good ones"
                assert late.requests == [], "nothing was sent"
            wait_for(lambda: states("tcp") == ["healthy", "unhealthy"], "a bad verdict")
            assert proxy.metrics().value("tidegate_errors_total") == 0
