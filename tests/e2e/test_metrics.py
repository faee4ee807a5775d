"""What is counted is what was sent, and what /metrics says is what Prometheus can read."""

import shutil
import subprocess
from pathlib import Path

import pytest

from .harness.origin import Origin, answer
from .harness.proxy import Proxy, configuration, free_port, single, upstream
from .harness.wait import wait_for

TABLE = {
    "tidegate_requests": {"route", "version", "served", "code"},
    "tidegate_request_duration_seconds": {"route", "version"},
    "tidegate_upstream_duration_seconds": {"route", "version"},
    "tidegate_request_bytes": {"route", "version"},
    "tidegate_response_bytes": {"route", "version"},
    "tidegate_in_flight": {"route", "version"},
    "tidegate_errors": {"route", "version", "flag"},
    "tidegate_decisions": {"route", "version", "reason"},
    "tidegate_weight_percent": {"route", "version", "source"},
    "tidegate_mirror": {"route", "upstream", "outcome"},
    "tidegate_mirror_responses": {"route", "upstream", "code"},
    "tidegate_mirror_duration_seconds": {"route", "upstream"},
    "tidegate_upstream_connections": {"upstream", "state"},
    "tidegate_endpoint_up": {"upstream", "endpoint"},
    "tidegate_retries": {"route", "version", "outcome"},
    "tidegate_config_generation": set(),
    "tidegate_config_last_reload_success": set(),
    "tidegate_config_last_reload_seconds": set(),
    "tidegate_worker_up": {"worker"},
    "tidegate_worker_restarts": {"worker"},
    "tidegate_worker_cpu_seconds": {"worker"},
    "tidegate_worker_loop_lag_seconds": {"worker"},
}
"""Names and labels as they are fixed for users, by metric family."""


def test_counts_are_what_was_sent(tmp_path: Path) -> None:
    with Origin(answer(b"12345")) as origin, Origin(answer(b"", "503 Down")) as broken:
        config = configuration(
            {"good": upstream(origin), "bad": upstream(broken)},
            [
                {"name": "good", "match": {"path_prefix": "/good"}, "versions": {"v": {"upstream": "good"}}},
                {"name": "bad", "match": {"path_prefix": "/bad"}, "versions": {"v": {"upstream": "bad"}}},
            ],
        )
        with Proxy(config, tmp_path) as proxy, proxy.connect() as wire:
            for _ in range(30):
                assert wire.get("/good").status == 200
            for _ in range(5):
                assert wire.get("/good/x", method="POST", body=b"a" * 100).status == 200
            for _ in range(7):
                assert wire.get("/bad").status == 503
            for _ in range(3):
                assert wire.get("/nowhere").status == 404
            with proxy.connect() as other:
                other.send(b"nonsense\r\n\r\n")
                assert other.response().status == 400
            wait_for(lambda: proxy.metrics().value("tidegate_requests_total") == 46, "46 requests")
            found = proxy.metrics()
            assert found.by("tidegate_requests_total", "code", route="good", version="v", served="v") == {"200": 35}
            assert found.by("tidegate_requests_total", "code", route="bad", version="v", served="v") == {"503": 7}
            assert found.by("tidegate_requests_total", "code", route="none", version="none") == {"404": 3, "400": 1}
            assert found.value("tidegate_request_bytes_total", route="good") == 500
            assert found.value("tidegate_response_bytes_total", route="good") == 35 * 5
            assert found.by("tidegate_errors_total", "flag") == {"5xx": 7}
            assert found.value("tidegate_request_duration_seconds_count", route="good") == 35
            assert found.value("tidegate_request_duration_seconds_bucket", route="good", le="+Inf") == 35
            assert found.value("tidegate_upstream_duration_seconds_count", route="bad") == 7
            assert 0 < found.value("tidegate_request_duration_seconds_sum", route="good") < 30
            assert found.value("tidegate_decisions_total", route="good") == 35
            assert found.value("tidegate_in_flight") == 0
            assert found.value("tidegate_endpoint_up", upstream="good") == 1
            assert found.value("tidegate_worker_up") == 1
            # The state of pools is written down a few times a second.
            proxy.wait_metric(1, "tidegate_upstream_connections", upstream="good", state="idle")


def test_what_a_route_calls_an_error_is_what_is_counted_as_one(tmp_path: Path) -> None:
    with Origin(answer(b"", "429 Slow Down")) as origin:
        route = {"errors": {"codes": [429], "flags": []}}
        with Proxy(single(origin, route=route), tmp_path) as proxy:
            proxy.get()
            proxy.wait_metric(1, "tidegate_errors_total")


def test_in_flight_is_what_is_in_flight(tmp_path: Path) -> None:
    with Origin(lambda connection, request: (connection.hold(), answer()(connection, request))[1]) as origin:
        with Proxy(single(origin), tmp_path) as proxy, proxy.connect() as wire:
            wire.send(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
            origin.wait_requests(1)
            assert proxy.metrics().value("tidegate_in_flight", route="main", version="only") == 1
            origin.released.set()
            assert wire.response().status == 200
            proxy.wait_metric(0, "tidegate_in_flight")


def test_counters_survive_reloads_and_versions_that_leave(tmp_path: Path) -> None:
    with Origin() as origin, Proxy(single(origin), tmp_path) as proxy:
        for _ in range(5):
            proxy.get()
        proxy.wait_metric(5, "tidegate_requests_total", version="only")
        proxy.edit(lambda config: config["routes"][0].update(versions={"next": {"upstream": "origin"}}))
        for _ in range(3):
            proxy.get()
        proxy.wait_metric(3, "tidegate_requests_total", version="next")
        assert proxy.metrics().value("tidegate_requests_total", version="only") == 5
        proxy.edit(lambda config: config["routes"][0].update(versions={"only": {"upstream": "origin"}}))
        proxy.get()
        proxy.wait_metric(6, "tidegate_requests_total", version="only")


def test_every_promised_metric_is_there_with_its_labels(tmp_path: Path) -> None:
    with Origin() as origin, Origin() as shadow:
        config = single(origin, route={"mirror": [{"upstream": "shadow", "percent": 100}]})
        config["upstreams"]["shadow"] = upstream(shadow)
        with Proxy(config, tmp_path) as proxy:
            proxy.get()
            shadow.wait_requests(1)
            proxy.wait_metric(1, "tidegate_mirror_responses_total")
            text = proxy.metrics().text
            for name in TABLE:
                assert f"# TYPE {name}" in text, name
            for sample, labels, _ in proxy.metrics().samples:
                family = next(
                    (
                        name
                        for name in TABLE
                        if sample in {name, *(f"{name}_{end}" for end in ("total", "sum", "count", "bucket"))}
                    ),
                    None,
                )
                if family is not None:
                    assert set(labels) - {"le"} == TABLE[family], sample


@pytest.mark.skipif(shutil.which("promtool") is None, reason="promtool is not installed")
def test_promtool_finds_no_fault(tmp_path: Path) -> None:
    with Origin() as origin, Proxy(single(origin), tmp_path) as proxy:
        proxy.get()
        proxy.get("/", "a", method="POST", body=b"x")
        checked = subprocess.run(
            ["promtool", "check", "metrics"], input=proxy.metrics().text, capture_output=True, text=True, check=False
        )
        assert checked.returncode == 0, checked.stdout + checked.stderr


def test_read_only_listener_shows_metrics_and_health_alone(tmp_path: Path) -> None:
    with Origin() as origin:
        proxy = Proxy(single(origin), tmp_path)
        port = free_port()
        proxy.config["metrics"] = f"127.0.0.1:{port}"
        with proxy:
            own = proxy.admin_port
            wait_for(lambda: "the metrics port listens" in proxy.log(), "the listener")
            proxy.admin_port = port
            for path, status in (
                ("/metrics", 200),
                ("/healthz", 200),
                ("/readyz", 200),
                ("/api/v1/config", 404),
                ("/", 404),
            ):
                assert proxy.admin(path)[0] == status, path
            proxy.admin_port = own


def test_admin_api_shows_the_plan_and_its_routes(tmp_path: Path) -> None:
    with Origin() as origin, Proxy(single(origin), tmp_path) as proxy:
        shown = proxy.api("/api/v1/config")
        assert "main" in str(shown)
        assert "a cookie key for tests" not in str(shown), "secrets stay secret"
        assert "a unit key for tests" not in str(shown)
        assert "main" in str(proxy.api("/api/v1/routes"))
