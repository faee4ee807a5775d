"""Flags in real processes, asked by the real client of OpenFeature."""

import json
import time
import urllib.request
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from openfeature import api
from openfeature.contrib.provider.ofrep import OFREPProvider
from openfeature.evaluation_context import EvaluationContext

from .harness.origin import Origin, answer
from .harness.proxy import Config, Proxy, configuration, free_port, give_back, upstream
from .harness.wait import wait_for

TOKEN = "a token of this test"
FLAGS: dict[str, Any] = {
    "new-cart": {
        "default": "off",
        "rules": [
            {"units": ["alice"], "variant": "on"},
            {"when": {"attribute": "country", "in": ["NO"]}, "split": {"on": 100, "off": 0}},
        ],
    },
    "price": {"type": "float", "variants": {"low": 1, "high": 2.5}, "default": "low"},
    "seats": {"variants": {"few": 4, "many": 40}, "default": "many", "off": "few", "on": False},
    "theme": {"variants": {"dark": {"background": "black"}}, "default": "dark"},
    "dealt": {"default": "off", "split": {"on": 50, "off": 50}},
    "main": {"route": "main"},
}


def proxied(old: Origin, new: Origin, port: int) -> Config:
    route = {
        "name": "main",
        "unit": [{"header": "x-user-id"}],
        "inject_flags": ["main", "new-cart"],
        "versions": {"stable": {"upstream": "old", "weight": 50}, "canary": {"upstream": "new", "weight": 50}},
        "rules": [{"units": ["alice"], "version": "canary"}],
    }
    ofrep = {"listen": f"127.0.0.1:{port}", "tokens": [TOKEN]}
    return configuration({"old": upstream(old), "new": upstream(new)}, [route], flags=FLAGS, ofrep=ofrep)


def test_client_of_openfeature_gets_what_the_proxy_decides(tmp_path: Path) -> None:
    port = free_port()
    with Origin(answer(b"stable")) as old, Origin(answer(b"canary")) as new:
        with Proxy(proxied(old, new, port), tmp_path) as proxy:
            provider = OFREPProvider(
                f"http://127.0.0.1:{port}", headers_factory=lambda: {"Authorization": f"Bearer {TOKEN}"}
            )
            api.set_provider(provider)
            client = api.get_client()
            alice, carol = EvaluationContext("alice"), EvaluationContext("carol", {"country": "NO"})

            found = client.get_boolean_details("new-cart", False, alice)
            assert (found.value, found.variant, found.reason) == (True, "on", "TARGETING_MATCH")
            assert found.flag_metadata == {"reason": "rule", "rule": "rules[0]"}
            assert client.get_boolean_details("new-cart", False, carol).reason == "SPLIT"
            assert client.get_boolean_details("new-cart", True, EvaluationContext("dave")).reason == "DEFAULT"
            assert client.get_float_details("price", 9.0, alice).value == 1.0
            assert client.get_float_details("price", 9.0, alice).error_code is None
            seats = client.get_integer_details("seats", 1, alice)
            assert (seats.value, seats.reason) == (4, "DISABLED")
            assert client.get_object_value("theme", {}, alice) == {"background": "black"}
            assert client.get_boolean_details("dealt", True).error_code == "TARGETING_KEY_MISSING"
            assert client.get_boolean_details("nobody", True, alice).error_code == "FLAG_NOT_FOUND"

            for user in ("alice", *(f"user-{number}" for number in range(30))):
                served = proxy.get("/", "plain.test", f"X-User-Id: {user}").body.decode()
                assert client.get_string_value("main", "", EvaluationContext(user)) == served

            locked = OFREPProvider(f"http://127.0.0.1:{port}")
            api.set_provider(locked, "locked")
            assert api.get_client("locked").get_boolean_details("new-cart", True, alice).error_code == "GENERAL"
            provider.session.close()
            locked.session.close()
            proxy.wait_metric(2, "tidegate_flag_evaluations_total", flag="price", variant="low", reason="STATIC")
    give_back(port)


def test_change_of_the_file_is_told_on_the_stream(tmp_path: Path) -> None:
    port = free_port()
    with Origin(answer(b"stable")) as old, Origin(answer(b"canary")) as new:
        with Proxy(proxied(old, new, port), tmp_path) as proxy:
            url = f"http://127.0.0.1:{port}/ofrep/v1/events"
            request = urllib.request.Request(url, headers={"X-API-Key": TOKEN})
            with urllib.request.urlopen(request, timeout=20) as stream:
                assert stream.readline() == b": flags\n"
                proxy.edit(lambda config: config["flags"]["price"].update(default="high"))
                wait_for(lambda: stream.readline().startswith(b"data: "), "an event")
    give_back(port)


def test_end_that_comes_is_told_on_the_stream(tmp_path: Path) -> None:
    port = free_port()
    with Origin(answer(b"stable")) as old, Origin(answer(b"canary")) as new:
        config = proxied(old, new, port)
        end = datetime.fromtimestamp(time.time() + 4, UTC).isoformat(timespec="seconds")
        config["flags"] = {**FLAGS, "sale": {"default": "on", "until": end}}
        with Proxy(config, tmp_path):
            url = f"http://127.0.0.1:{port}/ofrep/v1/"
            fields = {"X-API-Key": TOKEN}

            def sale() -> str:
                asked = urllib.request.Request(f"{url}evaluate/flags/sale", b"", fields, method="POST")
                with urllib.request.urlopen(asked, timeout=20) as found:
                    variant: str = json.load(found)["variant"]
                    return variant

            events = urllib.request.Request(f"{url}events", headers=fields)
            with urllib.request.urlopen(events, timeout=20) as stream:
                assert stream.readline() == b": flags\n"
                assert sale() == "on"
                wait_for(lambda: stream.readline().startswith(b"data: "), "an event")
                assert sale() == "off"
    give_back(port)
