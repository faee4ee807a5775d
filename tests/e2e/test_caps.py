"""Caps in real processes: two workers, a restart, a control process killed, a raised cap, an erased unit."""

import os
import signal
from pathlib import Path
from typing import Any

from .harness.origin import Origin, answer
from .harness.proxy import Config, Proxy, configuration, upstream
from .harness.wait import wait_for

CAP = 20


def capped(old: Origin, new: Origin, **more: Any) -> Config:
    route = {
        "name": "main",
        "unit": [{"header": "x-user-id"}],
        "versions": {
            "stable": {"upstream": "old", "weight": 20},
            "canary": {"upstream": "new", "weight": 80, "cap": CAP},
        },
        "exposure": True,
    }
    more = {"workers": 2, "state": "sqlite:tidegate.db", "secrets": {"unit_hash": "a key of the tests"}, **more}
    return configuration({"old": upstream(old), "new": upstream(new)}, [route], **more)


def come(proxy: Proxy, users: list[str]) -> dict[str, str]:
    """All these users ask on connections of their own, so that every worker meets some; who served them."""
    return {user: proxy.get("/", "plain.test", f"X-User-Id: {user}").body.decode() for user in users}


def with_canary(got: dict[str, str]) -> set[str]:
    return {user for user, version in got.items() if version == "canary"}


def shown(proxy: Proxy) -> dict[str, Any]:
    (route,) = proxy.api("/api/v1/routes")["routes"]
    found: dict[str, Any] = route["versions"][1]["cap"]
    return found


def test_never_more_than_the_cap_over_workers_restarts_and_the_death_of_control(tmp_path: Path) -> None:
    users = [f"user-{number}" for number in range(60)]
    with Origin(answer(b"stable")) as old, Origin(answer(b"canary")) as new:
        config = capped(old, new)
        with Proxy(config, tmp_path) as proxy:
            had = with_canary(come(proxy, users))
            assert len(had) == CAP
            for _ in range(3):
                assert with_canary(come(proxy, users)) == had  # from whichever worker
            proxy.wait_metric(CAP, "tidegate_cap_units", route="main", version="canary")
            proxy.wait_metric(CAP, "tidegate_cap_limit", route="main", version="canary")
            proxy.wait_metric(CAP, "tidegate_cap_admissions_total", outcome="admitted")
            assert shown(proxy) == {"limit": CAP, "units": CAP, "reached": True, "problem": ""}
            wait_for(lambda: "nobody new gets it" in proxy.log(), "the line in the log")
            kept, other = min(had), min(set(users) - had)
            said = proxy.api(f"/api/v1/explain?route=main&unit={kept}")
            assert (said["version"], said["reason"], said["capped"]) == ("canary", "sticky", [])
            said = proxy.api(f"/api/v1/explain?route=main&unit={other}")
            assert (said["version"], said["capped"]) == ("stable", ["canary"])

            control = proxy.control()
            os.kill(control, signal.SIGKILL)
            assert with_canary(come(proxy, [f"meanwhile-{number}" for number in range(20)])) == set()
            wait_for(
                lambda: proxy.control() not in (control, proxy.pid) and proxy.ready(), "another control process", 20.0
            )
            assert with_canary(come(proxy, users)) == had
            os.kill(proxy.workers()[0], signal.SIGKILL)
            wait_for(lambda: len(proxy.workers()) == 2 and proxy.ready(), "another worker", 20.0)
            assert with_canary(come(proxy, users)) == had
        proxy = Proxy(config, tmp_path)  # all of it anew
        proxy.file.unlink()
        with proxy:
            assert with_canary(come(proxy, [*reversed(users), "another"])) == had
            assert shown(proxy)["units"] == CAP

            def raise_it(changed: Config) -> None:
                changed["routes"][0]["versions"]["canary"]["cap"] = CAP + 5

            proxy.edit(raise_it)
            more = with_canary(come(proxy, users))
            assert more > had
            assert len(more) == CAP + 5
            proxy.change("DELETE", f"/api/v1/exposures?unit={kept}")
            wait_for(lambda: with_canary(come(proxy, [kept])) == set(), "the erased unit to be a new one")
            proxy.wait_metric(CAP + 5, "tidegate_cap_units")
            assert with_canary(come(proxy, users)) == more - {kept}


def test_units_that_had_it_before_there_was_a_cap_keep_it(tmp_path: Path) -> None:
    users = [f"user-{number}" for number in range(40)]
    with Origin(answer(b"stable")) as old, Origin(answer(b"canary")) as new:
        config = capped(old, new)
        del config["routes"][0]["versions"]["canary"]["cap"]
        with Proxy(config, tmp_path) as proxy:
            had = with_canary(come(proxy, users))
            wait_for(lambda: len(proxy.api("/api/v1/exposures?limit=1000")["exposures"]) == len(users), "all records")
            proxy.edit(lambda changed: changed["routes"][0]["versions"]["canary"].update(cap=5))
            assert shown(proxy)["units"] == len(had) > 5
            assert with_canary(come(proxy, [*users, *(f"new-{number}" for number in range(20))])) == had
