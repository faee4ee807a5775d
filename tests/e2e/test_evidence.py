"""From real requests to a verdict: a version that fails is found out, one that is well passes, and what is not known never does."""

import json
import os
import re
import shutil
import signal
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from .harness.client import Wire
from .harness.message import Message
from .harness.origin import Connection, Origin, Respond
from .harness.processes import alive
from .harness.proxy import Config, Proxy, configuration, free_port, give_back, upstream
from .harness.wait import wait_for
from .test_rollouts import tidegate

BATCH = 200
"""Requests sent at once on one connection."""
ERRORS = {"name": "errors", "judge": "error_rate", "weight": "critical"}


def failing(every: int, *fields: str) -> Respond:
    """Every so-many-th user gets a 500, and always does."""
    lines = "".join(f"{one}\r\n" for one in fields)
    good = f"HTTP/1.1 200 OK\r\n{lines}Content-Length: 2\r\n\r\nok".encode()
    bad = b"HTTP/1.1 500 Oh\r\nContent-Length: 0\r\n\r\n"

    def respond(connection: Connection, request: Message) -> None:
        user = int((request.get(b"x-user-id") or b"0").rpartition(b"-")[2])
        connection.send(bad if every and user % every == 0 else good)

    return respond


def rolled(stable: Origin, canary: Origin, metrics: list[Config], steps: list[Any], **more: Any) -> Config:
    rollout = {"revision": "v2", "steps": steps, "metrics": metrics, "minimum": {"requests": 50}, "fast_rollback": "0s"}
    return configuration(
        {"v1": upstream(stable), "v2": upstream(canary)},
        [
            {
                "name": "shop",
                "unit": [{"header": "x-user-id"}],
                "debug": {"from": ["127.0.0.0/8"]},
                "versions": {"stable": {"upstream": "v1", "weight": 100}, "canary": {"upstream": "v2", "weight": 0}},
                "rollout": rollout | more,
            }
        ],
        state="sqlite:state.db",
    )


class Users:
    """Distinct users, one request each, as long as nobody stops them."""

    def __init__(self, proxy: Proxy, first: int = 1) -> None:
        self._proxy = proxy
        self._first = first
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run)
        self.answered = 0

    def __enter__(self) -> "Users":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def _run(self) -> None:
        first = self._first
        with self._proxy.connect(record=False) as wire:
            while not self._stop.is_set():
                self._ask(wire, range(first, first + BATCH))
                first += BATCH
                self._stop.wait(0.1)

    def _ask(self, wire: Wire, users: range) -> None:
        wire.send(b"".join(b"GET / HTTP/1.1\r\nHost: a\r\nX-User-Id: user-%d\r\n\r\n" % user for user in users))
        for _ in users:
            wire.response()
            self.answered += 1


def state(proxy: Proxy) -> str:
    found = proxy.metrics().by("tidegate_rollout_state", "state", route="shop")
    return next((name for name, value in found.items() if value), "")


def verdict(proxy: Proxy, metric: str) -> str:
    found = proxy.metrics().by("tidegate_verdict", "verdict", route="shop", metric=metric)
    return next((name for name, value in found.items() if value), "")


def test_a_canary_with_errors_is_failed_by_first_errors(tmp_path: Path) -> None:
    """5 % of the users at the canary err, .5 % elsewhere: the promise for ratio 10 at weight 5 is some 28 errors, at most 112."""
    steps = [{"weight": 5, "hold": "10m"}, 100]
    with (
        Origin(failing(200), record=False) as stable,
        Origin(failing(20), record=False) as canary,
        Proxy(rolled(stable, canary, [ERRORS], steps, brake=False), tmp_path) as proxy,
    ):
        wait_for(lambda: state(proxy) == "progressing", "the first step")
        with Users(proxy) as users:
            wait_for(lambda: state(proxy) == "aborted", "the end of it", 60.0)
        errors = proxy.metrics().value("tidegate_errors_total", route="shop")
        assert errors <= 4 * 28, f"{errors:g} errors of {users.answered} requests"
        assert verdict(proxy, "errors") == "fail"
        proxy.wait_metric(0, "tidegate_weight_percent", route="shop", version="canary", source="effective")
        said = "errors: more errors than tolerated"
        assert said in proxy.log()
        assert said in proxy.api("/api/v1/rollouts/shop")["reason"]
        shown = tidegate(proxy, "rollout", "status", "shop")
        assert (shown.returncode, said in shown.stdout) == (1, True)
        assert said in tidegate(proxy, "rollout", "history", "shop").stdout
        assert said in tidegate(proxy, "rollout", "explain", "shop").stdout
        (place,) = wait_for(lambda: [one for one in tmp_path.glob("reports/2*") if one.is_dir()], "the report")
        assert said in (place / "report.md").read_text()
        assert json.loads((place / "report.json").read_text())["rollout"]["reason"].startswith(said)


def test_evidence_outlives_workers_and_control(tmp_path: Path) -> None:
    """Both are killed on the way; what was known before counts in the verdict."""
    steps = [{"weight": 5, "hold": "10m"}, 100]
    with (
        Origin(failing(100), record=False) as stable,
        Origin(failing(40), record=False) as canary,
        Proxy(rolled(stable, canary, [ERRORS], steps, brake=False), tmp_path) as proxy,
    ):
        wait_for(lambda: state(proxy) == "progressing", "the first step")

        def errors() -> float:
            return proxy.metrics().value("tidegate_errors_total", route="shop")

        with Users(proxy):
            wait_for(lambda: errors() >= 30, "some errors", 60.0)
        before = errors()
        assert state(proxy) == "progressing"
        (worker,) = proxy.workers()
        control = proxy.control()
        os.kill(control, signal.SIGKILL)
        wait_for(lambda: not alive(control), "the end of control")
        wait_for(proxy.ready, "another", 30.0)
        wait_for(lambda: verdict(proxy, "errors") != "", "a verdict", 30.0)
        os.kill(worker, signal.SIGKILL)
        wait_for(lambda: proxy.ready() and proxy.workers() not in ([], [worker]), "another worker", 30.0)
        canary.respond = failing(4)
        with Users(proxy, 1_000_000):
            wait_for(lambda: state(proxy) == "aborted", "the end of it", 60.0)
        found = re.search(r"errors of (\d+) units at `canary` and (\d+) at `stable` by first events", proxy.log())
        assert found is not None
        assert int(found[1]) + int(found[2]) >= before
        assert verdict(proxy, "errors") == "fail"


def test_events_in_answers_are_compared(tmp_path: Path) -> None:
    """Every user at the old version buys something, nobody at the new one does."""
    bought = {
        "name": "purchase",
        "judge": "proportion",
        "event": "purchase",
        "field": "x-purchase",
        "weight": "critical",
    }
    steps = [{"weight": 50, "hold": "10m"}, 100]
    with (
        Origin(failing(0, "x-purchase: 9.90"), record=False) as stable,
        Origin(failing(0), record=False) as canary,
        Proxy(rolled(stable, canary, [bought], steps), tmp_path) as proxy,
        Users(proxy),
    ):
        wait_for(lambda: state(proxy) == "aborted", "the end of it", 60.0)
        assert "0.00% of the units at `canary`, 100.00% at `stable`" in proxy.log()


def test_events_that_are_posted_are_compared(tmp_path: Path) -> None:
    bought = {"name": "purchase", "judge": "proportion", "event": "purchase", "weight": "critical"}
    steps = [{"weight": 50, "hold": "10m"}, 100]
    with (
        Origin(failing(0), record=False) as stable,
        Origin(failing(0), record=False) as canary,
        Proxy(rolled(stable, canary, [bought], steps), tmp_path) as proxy,
    ):
        wait_for(lambda: state(proxy) == "progressing", "the first step")
        stays = [user for user, version in versions(proxy, range(1, 401)).items() if version == b"stable"]
        for start in range(0, len(stays), 100):
            events = [{"name": "purchase", "unit": f"user-{user}", "value": 5} for user in stays[start : start + 100]]
            said = proxy.change("POST", "/api/v1/events", {"events": events})
            assert said == {"counted": len(events), "dropped": 0, "problems": []}
        wait_for(lambda: state(proxy) == "aborted", "the end of it", 60.0)
        assert "0.00% of the units at `canary`, 100.00% at `stable`" in proxy.log()
        proxy.wait_metric(len(stays), "tidegate_events_total", event="purchase")


@pytest.mark.slow
def test_a_healthy_canary_walks_all_the_way_on_its_evidence(tmp_path: Path) -> None:
    """From one user in a hundred, with more users than are kept of the old version: each step on a verdict of its own."""
    steps = [1, 5, 25, 50, 100]
    with (
        Origin(failing(1000), record=False) as stable,
        Origin(failing(1000), record=False) as canary,
        Proxy(rolled(stable, canary, [ERRORS], steps, hold="1s"), tmp_path) as proxy,
        Users(proxy),
        Users(proxy, 10_000_000),
    ):
        wait_for(lambda: state(proxy) in {"completed", "aborted", "paused"}, "the end of it", 240.0)
        assert state(proxy) == "completed", proxy.log()
        records = proxy.api("/api/v1/rollouts/shop/history")["transitions"]
        assert [one["percent"] for one in reversed(records)] == [0, *steps]
        reasons = [one["reason"] for one in records if one["cause"] == "step_passed"]
        assert len(reasons) == 4
        assert all("and errors: " in one for one in reasons), reasons


def test_a_healthy_canary_passes(tmp_path: Path) -> None:
    steps = [{"weight": 50, "hold": "1s"}, 100]
    with (
        Origin(failing(500), record=False) as stable,
        Origin(failing(500), record=False) as canary,
        Proxy(rolled(stable, canary, [ERRORS, {"name": "latency", "judge": "band"}], steps), tmp_path) as proxy,
        Users(proxy),
    ):
        wait_for(lambda: state(proxy) in {"completed", "aborted", "paused"}, "the end of it", 60.0)
        assert state(proxy) == "completed", proxy.log()


@pytest.fixture
def prometheus(tmp_path: Path) -> Iterator[str]:
    """A real one, which scrapes nothing."""
    program = shutil.which("prometheus")
    if program is None:
        pytest.skip("prometheus is not installed")
    port = free_port()
    place = tmp_path / "prometheus"
    place.mkdir()
    (place / "prometheus.yml").write_text("global: {scrape_interval: 1h}\n")
    with (place / "log").open("wb") as log:
        process = subprocess.Popen(
            [program, f"--config.file={place}/prometheus.yml", f"--storage.tsdb.path={place}/data",
             f"--web.listen-address=127.0.0.1:{port}"],
            stdout=log, stderr=log, stdin=subprocess.DEVNULL,
        )  # fmt: skip
    try:
        yield f"http://127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait()
        give_back(port)


def test_a_query_of_prometheus_guards_and_a_misspelt_one_never_passes(tmp_path: Path, prometheus: str) -> None:
    held = {"name": "held", "judge": "threshold", "query": "vector(0.5)", "at_most": 0.8, "prometheus": prometheus}
    misspelt = held | {"name": "misspelt", "query": "avg(rate(no_such_metric_total[5m]))"}
    steps = [{"weight": 50, "hold": "1s", "maximum": "3s"}, 100]
    with (
        Origin(failing(0), record=False) as stable,
        Origin(failing(0), record=False) as canary,
        Proxy(rolled(stable, canary, [held, misspelt], steps), tmp_path) as proxy,
        Users(proxy),
    ):
        wait_for(lambda: state(proxy) == "paused", "the pause", 60.0)
        assert verdict(proxy, "misspelt") == "insufficient"
        wait_for(lambda: proxy.metrics().value("tidegate_queries_total", outcome="empty") > 0, "a query")
        assert "misspelt?" in proxy.log()
        wait_for(lambda: proxy.metrics().value("tidegate_queries_total", outcome="answered") > 0, "an answer")


def test_without_control_a_worker_stops_what_fails_and_control_decides_when_it_is_back(tmp_path: Path) -> None:
    """The guardian is held, so that control stays away for as long as it takes."""
    steps = [{"weight": 50, "hold": "10m"}, 100]
    with (
        Origin(failing(0), record=False) as stable,
        Origin(failing(0), record=False) as canary,
        Proxy(rolled(stable, canary, [ERRORS], steps), tmp_path) as proxy,
        Users(proxy) as users,
    ):
        wait_for(lambda: state(proxy) == "progressing" and users.answered > 2000, "the first step", 30.0)
        proxy.workers()
        control = proxy.control()
        proxy.signal(signal.SIGSTOP)
        os.kill(control, signal.SIGKILL)
        canary.respond = failing(2)
        try:
            wait_for(lambda: served(proxy) == {b"stable"}, "the version to be taken out", 30.0)
        finally:
            proxy.signal(signal.SIGCONT)
        wait_for(proxy.ready, "control", 30.0)
        wait_for(lambda: state(proxy) == "aborted", "the end of it", 30.0)
        assert served(proxy) == {b"stable"}
        assert proxy.metrics().value("tidegate_brakes_total", route="shop", version="canary") >= 1
        assert "there is no control process, and canary of route shop is taken out of service" in proxy.log()


def served(proxy: Proxy) -> set[bytes]:
    """The versions that fifty users get now."""
    return set(versions(proxy, range(1, 51)).values())


def versions(proxy: Proxy, users: range) -> dict[int, bytes]:
    """The version that each of these users gets now."""
    found: dict[int, bytes] = {}
    with proxy.connect(record=False) as wire:
        for start in range(users.start, users.stop, BATCH):
            some = range(start, min(start + BATCH, users.stop))
            wire.send(b"".join(b"GET / HTTP/1.1\r\nHost: a\r\nX-User-Id: user-%d\r\n\r\n" % user for user in some))
            for user in some:
                found[user] = wire.response().get(b"x-tidegate-version") or b""
    return found
