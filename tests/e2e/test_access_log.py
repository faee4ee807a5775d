"""The access log: a line for every request, and never a request lost for a line."""

import json
from pathlib import Path

from .harness.origin import Origin, answer
from .harness.proxy import Proxy, single
from .harness.wait import wait_for


def test_access_log_has_a_line_for_every_request(tmp_path: Path) -> None:
    file = tmp_path / "access.log"
    with Origin(answer(b"hello")) as origin, Proxy(single(origin, access_log=str(file)), tmp_path) as proxy:
        trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
        fields = ("X-Request-Id: find-me", f"traceparent: {trace}")
        proxy.get('/a"b?secret=1', "a", *fields, method="POST", body=b"xyz")
        with proxy.connect() as wire:
            wire.send(b"nonsense\r\n\r\n")
            assert wire.response().status == 400
        wait_for(lambda: file.exists() and file.read_text().count("\n") == 2, "two lines")
        first, second = [json.loads(line) for line in file.read_text().splitlines()]
        expected = {
            "route": "main", "assigned": "only", "served": "only", "method": "POST", "path": '/a"b', "status": 200,
            "flag": "", "client": "127.0.0.1", "request_bytes": 3, "response_bytes": 5, "request_id": "find-me",
            "trace_id": "0af7651916cd43dd8448eb211c80319c",
            "marked": "",
            "cache": "",
        }  # fmt: skip
        assert {key: first[key] for key in expected} == expected
        assert first["duration_ms"] >= first["upstream_ms"] >= 0
        assert (second["status"], second["flag"], second["route"]) == (400, "DPE", "none")
        assert "secret" not in file.read_text()


def test_access_log_to_standard_output(tmp_path: Path) -> None:
    with Origin() as origin, Proxy(single(origin, access_log="stdout"), tmp_path) as proxy:
        proxy.get("/to-stdout")
        wait_for(lambda: '"/to-stdout"' in proxy.output(), "the line")


def test_access_log_on_a_full_disk_costs_lines_and_no_request(tmp_path: Path) -> None:
    with Origin() as origin, Proxy(single(origin, access_log="/dev/full"), tmp_path) as proxy, proxy.connect() as wire:
        assert [wire.get().status for _ in range(50)] == [200] * 50
        wait_for(
            lambda: proxy.metrics().value("tidegate_access_log_lines_dropped_total") == 50, "the count of lost lines"
        )
        assert wire.get().status == 200
        assert proxy.ready()
