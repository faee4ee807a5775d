"""Expressions under a running proxy: decided by, counted where they fail, explained, and refused where they are wrong."""

from pathlib import Path

from .harness.origin import Origin, answer
from .harness.proxy import Proxy, configuration, dump, upstream


def test_expression_decides_is_explained_and_a_wrong_one_changes_nothing(tmp_path: Path) -> None:
    with Origin(answer(b"stable")) as stable, Origin(answer(b"canary")) as canary:
        config = configuration(
            {"stable": upstream(stable), "canary": upstream(canary)},
            [
                {
                    "name": "main",
                    "unit": [{"header": "x-user"}],
                    "versions": {"stable": {"upstream": "stable", "weight": 1}, "canary": {"upstream": "canary"}},
                    "rules": [{"segment": "pro", "version": "canary"}],
                }
            ],
            segments={"pro": {"cel": 'unit == "al" && request.headers["x-plan"] == "pro"'}},
            workers=2,
        )
        with Proxy(config, tmp_path) as proxy:

            def gets(*fields: str) -> bytes:
                return proxy.get("/", "main.test", *fields).body

            assert gets("X-User: al", "X-Plan: pro") == b"canary"
            assert gets("X-User: bo", "X-Plan: pro") == b"stable"
            assert gets("X-User: al") == b"stable"
            proxy.wait_metric(1, "tidegate_cel_errors_total", cause="absent")
            said = proxy.api("/api/v1/explain?route=main&unit=al&header=x-plan:%20pro")
            assert said["version"] == "canary"
            assert said["rules"][0]["where"]["where"]["matched"]
            before = proxy.generation()
            good = proxy.config["segments"]["pro"]
            proxy.config["segments"]["pro"] = {"cel": "unit == 1"}
            proxy.save(dump(proxy.config))
            proxy.wait_metric(0, "tidegate_config_last_reload_success")
            proxy.config["segments"]["pro"] = good
            assert proxy.generation() == before
            assert gets("X-User: al", "X-Plan: pro") == b"canary"
            proxy.edit(lambda changed: changed["segments"].update(pro={"cel": 'request.path == "/" && unit == "bo"'}))
            assert gets("X-User: bo") == b"canary"
            assert gets("X-User: al", "X-Plan: pro") == b"stable"
