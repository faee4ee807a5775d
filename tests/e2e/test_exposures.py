"""Exposures in real processes: who is recorded, what survives the death of control, and who is forgotten."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

from .harness.origin import Origin, answer
from .harness.proxy import Config, Proxy, configuration, upstream
from .harness.wait import wait_for


def recording(old: Origin, new: Origin, **more: Any) -> Config:
    route = {
        "name": "main",
        "unit": [{"header": "x-user-id"}],
        "versions": {"stable": {"upstream": "old", "weight": 50}, "canary": {"upstream": "new", "weight": 50}},
        "rules": [{"units": ["alice"], "version": "canary"}],
        "exposure": True,
    }
    more = {"workers": 2, "state": "sqlite:tidegate.db", "exposure": {"jsonl": "exposures.jsonl"}, **more}
    return configuration({"old": upstream(old), "new": upstream(new)}, [route], **more)


def come(proxy: Proxy, users: list[str]) -> dict[str, str]:
    """All these users ask on connections of their own, so that every worker meets some; who served them."""
    return {user: proxy.get("/", "plain.test", f"X-User-Id: {user}").body.decode() for user in users}


def recorded(proxy: Proxy, query: str = "") -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = proxy.api(f"/api/v1/exposures?limit=1000{query}")["exposures"]
    return found


def command(proxy: Proxy, *words: str) -> Any:
    ran = subprocess.run(
        [sys.executable, "-m", "proxy", "exposures", "-c", str(proxy.file), "--json", *words],
        cwd=proxy.directory, capture_output=True, text=True, check=True, timeout=60,
        env={"PYTHONPATH": ":".join(sys.path)},
    )  # fmt: skip
    return json.loads(ran.stdout)


def test_every_user_is_recorded_once_and_every_change_too(tmp_path: Path) -> None:
    users = ["alice", *(f"user-{number}" for number in range(30))]
    with Origin(answer(b"stable")) as old, Origin(answer(b"canary")) as new:
        with Proxy(recording(old, new), tmp_path) as proxy:
            got = come(proxy, users * 3)
            wait_for(lambda: len(recorded(proxy)) >= len(users), "every user's record")
            proxy.wait_metric(len(users), "tidegate_exposures_total", route="main", outcome="recorded")
            by_version: dict[str, int] = {}
            for one in recorded(proxy):
                assert (one["before"], one["first"], one["source"]) == (None, True, "header")
                by_version[one["version"]] = by_version.get(one["version"], 0) + 1
            assert by_version == {name: list(got.values()).count(name) for name in ("stable", "canary")}
            (alice,) = recorded(proxy, "&unit=alice")
            assert (alice["version"], alice["reason"], alice["rule"]) == ("canary", "override", "rules[0]")

            def all_to_canary(config: Config) -> None:
                config["routes"][0]["versions"] = {
                    "stable": {"upstream": "old", "weight": 0},
                    "canary": {"upstream": "new", "weight": 100},
                }

            proxy.edit(all_to_canary)
            come(proxy, users)
            moved = [user for user in users if got[user] == "stable"]
            assert moved
            wait_for(lambda: len(recorded(proxy)) == len(users) + len(moved), "the record of every move")
            summary = proxy.api("/api/v1/exposures/summary")
            assert {one["version"]: one["units"] for one in summary["versions"]} == {
                "canary": len(users),
                "stable": len(moved),
            }
            ratio = next(one for one in summary["sample_ratios"] if not one["source"])
            assert (sum(ratio["counts"].values()), ratio["mismatch"]) == (len(users) - 1, False)  # alice was not drawn
            said = command(proxy, "--unit", moved[0])["exposures"]
            assert [(one["version"], one["before"]) for one in said] == [("canary", "stable"), ("stable", None)]
            gone = proxy.change("DELETE", f"/api/v1/exposures?unit={moved[0]}")
            assert gone["erased"] == 2
            assert recorded(proxy, f"&unit={moved[0]}") == []
            assert gone["unit"] not in (tmp_path / "exposures.jsonl").read_text()
            come(proxy, [moved[0]])
            wait_for(lambda: len(recorded(proxy, f"&unit={moved[0]}")) == 1, "the erased user, who is new")
        assert len((tmp_path / "exposures.jsonl").read_text().splitlines()) == len(users) + len(moved) - 1


def test_users_who_come_while_control_is_dead_are_recorded(tmp_path: Path) -> None:
    before, meanwhile = ([f"{when}-{number}" for number in range(20)] for when in ("before", "meanwhile"))
    with Origin(answer(b"stable")) as old, Origin(answer(b"canary")) as new:
        with Proxy(recording(old, new), tmp_path) as proxy:
            come(proxy, before)
            control = proxy.control()
            os.kill(control, signal.SIGKILL)
            come(proxy, meanwhile)
            wait_for(
                lambda: proxy.control() not in (control, proxy.pid) and proxy.ready(), "another control process", 20.0
            )
            wait_for(lambda: len(recorded(proxy)) == 40, "all users' records")
