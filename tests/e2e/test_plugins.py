"""Plugins in real workers: edited while they run, cut off, disabled, stalled, failing; and the examples of docs/plugins.md."""

import os
import re
import signal
import socketserver
import threading
from pathlib import Path

import pytest
import yaml

from .harness.client import connect
from .harness.message import Ended
from .harness.origin import Origin, answer
from .harness.processes import kill
from .harness.proxy import Config, Proxy, configuration, upstream
from .harness.wait import wait_for

PAGE = Path(__file__).resolve().parents[2] / "docs/plugins.md"

PLUGIN = """
import asyncio
import time

from proxy.plugin import Answer, Plugin


class Plug(Plugin):
    def unit(self, request):
        if request.path == "/slow":
            time.sleep(0.02)
        return request.headers.get("x-user")

    async def on_request(self, request):
        if request.path == "/stall":
            while True:
                pass
        if request.path == "/hang":
            await asyncio.sleep(60)
        if request.path == "/boom":
            raise RuntimeError("boom")
        request.headers["x-plug"] = "one"
"""


def plugged(
    origin: Origin, directory: Path, source: str = PLUGIN, *, entry: Config | None = None, **more: object
) -> Config:
    (directory / "plug.py").write_text(source)
    route = {"name": "main", "versions": {"only": {"upstream": "origin"}}, "plugins": ["plug"]}
    entries = [{"name": "plug", "file": "plug.py", **(entry or {})}]
    return configuration({"origin": upstream(origin)}, [route], plugins=entries, **more)


def seen(origin: Origin) -> bytes | None:
    """What the plugin told the upstream with the last request."""
    return origin.requests[-1].get(b"x-plug")


def test_file_that_is_edited_is_taken_and_one_that_is_broken_is_not(tmp_path: Path) -> None:
    with Origin(answer(b"hello")) as origin, Proxy(plugged(origin, tmp_path, workers=2), tmp_path) as proxy:
        assert proxy.get().status == 200
        assert seen(origin) == b"one"
        file = tmp_path / "plug.py"
        generation = proxy.generation()
        file.write_text(PLUGIN.replace('"one"', '"two"'))
        wait_for(lambda: proxy.generation() > generation, "another plan")

        def everywhere(value: bytes) -> bool:
            return all(proxy.get().status == 200 and seen(origin) == value for _ in range(8))

        wait_for(lambda: everywhere(b"two"), "the new text")
        proxy.wait_log("plugin plug changed: source")
        file.write_text("import nowhere\n" + PLUGIN)
        proxy.wait_log("plug.py:1: cannot be loaded: ModuleNotFoundError: No module named 'nowhere'")
        assert everywhere(b"two")
        # Who takes a dead worker's place gets the text that was checked, not the one that lies there.
        before = proxy.workers()
        kill(before[0])
        wait_for(lambda: len(proxy.workers()) == 2 and before[0] not in proxy.workers(), "another worker")
        proxy.wait_metric(2, "tidegate_worker_up")
        assert everywhere(b"two")
        file.write_text(PLUGIN.replace('"one"', '"three"'))
        wait_for(lambda: everywhere(b"three"), "the mended text")
        assert proxy.metrics().value("tidegate_plugin_errors_total") == 0


def test_hooks_that_fail_or_hang_let_their_request_pass(tmp_path: Path) -> None:
    with Origin(answer(b"hello")) as origin, Proxy(plugged(origin, tmp_path), tmp_path) as proxy:
        proxy.tracebacks_expected = True
        for path in ("/boom", "/hang"):
            assert proxy.get(path).body == b"hello"
            assert seen(origin) is None
        assert proxy.get("/").body == b"hello"
        assert seen(origin) == b"one"
        proxy.wait_metric(1, "tidegate_plugin_errors_total", plugin="plug", hook="on_request", cause="error")
        proxy.wait_metric(1, "tidegate_plugin_errors_total", plugin="plug", hook="on_request", cause="timeout")
        proxy.wait_metric(0, "tidegate_plugin_in_flight", plugin="plug")
        proxy.wait_log("RuntimeError: boom")


def test_client_that_leaves_ends_what_its_request_waits_for(tmp_path: Path) -> None:
    entry = {"timeout": "60s"}
    with Origin(answer(b"hello")) as origin, Proxy(plugged(origin, tmp_path, entry=entry), tmp_path) as proxy:
        with proxy.connect() as wire:
            wire.send(b"GET /hang HTTP/1.1\r\nHost: plain.test\r\n\r\n")
            proxy.wait_metric(1, "tidegate_plugin_in_flight", plugin="plug")
        proxy.wait_metric(0, "tidegate_plugin_in_flight", plugin="plug")
        proxy.wait_metric(1, "tidegate_requests_total", code="499")
        assert not origin.requests


def test_hook_that_holds_everybody_up_is_not_asked_any_more(tmp_path: Path) -> None:
    entry = {"budget": "10ms", "overruns": 3}
    with Origin(answer(b"hello")) as origin, Proxy(plugged(origin, tmp_path, entry=entry), tmp_path) as proxy:
        for _ in range(5):
            assert proxy.get("/slow").body == b"hello"
        proxy.wait_metric(3, "tidegate_plugin_errors_total", hook="unit", cause="overrun")
        proxy.wait_metric(2, "tidegate_plugin_errors_total", hook="unit", cause="disabled")
        proxy.wait_metric(1, "tidegate_plugin_hooks_disabled", plugin="plug")
        proxy.edit(lambda config: config["routes"][0].update(max_body="1MiB"))
        proxy.wait_metric(0, "tidegate_plugin_hooks_disabled", plugin="plug")


@pytest.mark.slow
def test_worker_that_stands_still_is_replaced_and_its_counters_are_kept(tmp_path: Path) -> None:
    with Origin(answer(b"hello")) as origin, Proxy(plugged(origin, tmp_path, watchdog="2s"), tmp_path) as proxy:
        for _ in range(5):
            assert proxy.get("/").status == 200
        (before,) = proxy.workers()
        with connect(proxy.address) as wire, pytest.raises(Ended):
            wire.get("/stall")
        assert proxy.get("/").body == b"hello"  # it waited in the backlog for the one that came
        (after,) = proxy.workers()
        assert after != before
        proxy.wait_metric(1, "tidegate_worker_stalls_total")
        proxy.wait_metric(1, "tidegate_worker_restarts_total")
        proxy.wait_metric(6, "tidegate_requests_total", code="200")
        assert proxy.metrics().value("tidegate_in_flight") == 0
        assert "worker 0 has stood still for" in proxy.log()
        assert re.search(r'plug\.py", line \d+ in on_request', proxy.log()), "it has said where"


@pytest.mark.slow
def test_worker_that_is_stopped_by_a_signal_is_left_alone(tmp_path: Path) -> None:
    with Origin(answer(b"hello")) as origin, Proxy(plugged(origin, tmp_path, watchdog="1s"), tmp_path) as proxy:
        (worker,) = proxy.workers()
        os.kill(worker, signal.SIGSTOP)
        proxy.wait_log("worker 0 is stopped (SIGSTOP, or a debugger); it is left alone")
        os.kill(worker, signal.SIGCONT)
        assert proxy.get("/").body == b"hello"
        assert proxy.workers() == [worker]


def test_plugin_that_cannot_start_is_refused_by_the_worker_and_the_plan_before_goes_on(tmp_path: Path) -> None:
    starting = (
        PLUGIN + "\n    async def start(self):\n        if self.config:\n            raise OSError('no route to it')\n"
    )
    with Origin(answer(b"hello")) as origin, Proxy(plugged(origin, tmp_path, starting), tmp_path) as proxy:
        proxy.tracebacks_expected = True
        proxy.config["plugins"][0]["config"] = {"far": True}
        proxy.save(yaml.safe_dump(proxy.config))
        proxy.wait_log("plugin plug cannot start: OSError: no route to it")
        proxy.wait_metric(0, "tidegate_config_last_reload_success")
        assert proxy.get("/").body == b"hello"
        assert seen(origin) == b"one"


# The page.


class Lookup(socketserver.ThreadingTCPServer):
    """The service of the last example: a line with a unit, and a line with its plan."""

    daemon_threads = True

    def __init__(self, plans: dict[str, str]) -> None:
        self.plans = plans
        self.asked: list[str] = []
        super().__init__(("127.0.0.1", 0), _Answers)


class _Answers(socketserver.StreamRequestHandler):
    server: Lookup

    def handle(self) -> None:
        unit = self.rfile.readline().decode().strip()
        self.server.asked.append(unit)
        self.wfile.write(f"{self.server.plans.get(unit, 'none')}\n".encode())


def example(name: str, directory: Path, *origins: Origin) -> Config:
    """The example of docs/plugins.md whose file this is: its configuration, on these origins."""
    found = re.search(rf"```python\n(# plugins/{name}\.py\n.*?)```\n\n```yaml\n(.*?)```", PAGE.read_text(), re.DOTALL)
    assert found is not None, name
    (directory / "plugins").mkdir()
    (directory / f"plugins/{name}.py").write_text(found[1])
    config: Config = yaml.safe_load(found[2])
    del config["listen"]
    for one, origin in zip(config["upstreams"].values(), origins, strict=True):
        one["endpoints"] = [origin.url]
    return {"drain": {"delay": "0s", "limit": "2s"}, **config}


def test_every_example_of_the_page_is_played() -> None:
    assert re.findall(r"^# plugins/(\w+)\.py$", PAGE.read_text(), re.MULTILINE) == [
        "tenant",
        "partners",
        "guard",
        "plans",
    ]


def test_tenant_of_the_page_is_the_unit(tmp_path: Path) -> None:
    with (
        Origin(answer(b"stable")) as stable,
        Origin(answer(b"canary")) as canary,
        Proxy(example("tenant", tmp_path, stable, canary), tmp_path) as proxy,
    ):
        got = {tenant: {proxy.get(f"/{tenant}/{page}").body for page in range(3)} for tenant in map(str, range(60))}
        assert all(len(one) == 1 for one in got.values())
        assert {b"".join(one) for one in got.values()} == {b"stable", b"canary"}
        assert proxy.get("/acme/orders").status == 200
        assert b"acme" in {request.get(b"x-tenant") for request in (*stable.requests, *canary.requests)}


def test_partners_of_the_page_stay_on_stable(tmp_path: Path) -> None:
    with (
        Origin(answer(b"stable")) as stable,
        Origin(answer(b"canary")) as canary,
        Proxy(example("partners", tmp_path, stable, canary), tmp_path) as proxy,
    ):
        got = [proxy.get("/", "a.test", f"X-Partner: {name}").body for name in ("globex", "hooli", "initech")]
        assert got == [b"stable", b"canary", b"stable"]
        proxy.wait_metric(2, "tidegate_decisions_total", version="stable", reason="override")
        proxy.wait_metric(2, "tidegate_plugin_overrides_total", plugin="partners")


def test_guard_of_the_page_refuses_and_stamps(tmp_path: Path) -> None:
    with Origin(answer(b"stable")) as stable, Proxy(example("guard", tmp_path, stable), tmp_path) as proxy:
        refused = proxy.get("/admin/users")
        assert (refused.status, refused.body, refused.get(b"cache-control")) == (
            403,
            b"this is not for you\n",
            b"no-store",
        )
        assert not stable.requests
        passed = proxy.get("/admin/users", "a.test", "X-Key: a key for trying it")
        assert (passed.status, passed.get(b"x-content-type-options")) == (200, b"nosniff")
        assert stable.requests[-1].get(b"x-key") is None
        assert proxy.get("/").get(b"x-content-type-options") == b"nosniff"
        said = proxy.api("/api/v1/config")
        assert "a key for trying it" not in str(said)


def test_plans_of_the_page_are_looked_up_once(tmp_path: Path) -> None:
    with (
        Origin(answer(b"stable")) as stable,
        Origin(answer(b"canary")) as canary,
        Lookup({"alice": "gold", "bob": "free"}) as lookup,
    ):
        threading.Thread(target=lookup.serve_forever, daemon=True).start()
        config = example("plans", tmp_path, stable, canary)
        config["plugins"][0]["config"]["port"] = lookup.server_address[1]
        with Proxy(config, tmp_path) as proxy:
            for unit, body in (("alice", b"canary"), ("bob", b"stable"), ("alice", b"canary")):
                assert proxy.get("/", "a.test", f"X-User-Id: {unit}").body == body
            assert lookup.asked == ["alice", "bob"]
            assert proxy.metrics().value("tidegate_plugin_errors_total") == 0
        lookup.shutdown()
