"""What rollouts ask and tell outside, with real processes: hooks that say no or hang, kill -9 while one is asked, a report."""

import hashlib
import hmac
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from .harness.message import Message
from .harness.origin import Connection, Origin, answer
from .harness.proxy import Proxy
from .harness.wait import wait_for
from .test_rollouts import act, kill_control, rollout, route, shop, state

SECRET = "0123456789abcdef"


@pytest.fixture
def origins() -> Iterator[tuple[Origin, Origin]]:
    with Origin(record=False) as stable, Origin(record=False) as canary:
        yield stable, canary


@pytest.fixture
def people() -> Iterator[Origin]:
    """Where hooks and notices go."""
    with Origin() as receiver:
        yield receiver


def told(people: Origin, path: str) -> list[Any]:
    return [json.loads(one.body) for one in list(people.requests) if one.complete and one.target == path.encode()]


def hook(people: Origin, when: str, **more: Any) -> dict[str, Any]:
    return {"url": f"{people.url}/{when}", "when": when, "timeout": "30s", "retries": 0, **more}


def refuse(connection: Connection, request: Message) -> None:
    answer(b'{"allow": false, "reason": "not today"}')(connection, request)


@pytest.mark.slow
def test_a_hook_that_says_no_holds_a_rollout_until_it_says_yes(
    origins: tuple[Origin, Origin], people: Origin, tmp_path: Path
) -> None:
    people.respond = refuse
    walk = route(steps=[5, 100], webhooks=[hook(people, "before_step", veto=True, secret=SECRET)])
    with Proxy(shop(origins, walk), tmp_path) as proxy:
        wait_for(lambda: state(proxy) == "paused", "the rollout to be held")
        assert rollout(proxy)["reason"].endswith("/before_step says no: not today")
        people.respond = answer()
        act(proxy, "resume")
        wait_for(lambda: state(proxy) == "progressing", "the rollout to go on")
        asked = people.requests[0]
        seconds, _, digest = (asked.get(b"x-tidegate-signature") or b"").decode().removeprefix("t=").partition(",v1=")
        assert digest == hmac.new(SECRET.encode(), seconds.encode() + b"." + asked.body, hashlib.sha256).hexdigest()
        assert SECRET not in json.dumps(proxy.api("/api/v1/config"))


@pytest.mark.slow
def test_a_control_process_that_is_killed_while_a_hook_is_asked_asks_the_same_again(
    origins: tuple[Origin, Origin], people: Origin, tmp_path: Path
) -> None:
    people.respond = lambda connection, _: connection.hold()
    walk = route(steps=[5, 100], webhooks=[hook(people, "before_step", veto=True)])
    with Proxy(shop(origins, walk), tmp_path) as proxy:
        wait_for(lambda: len(told(people, "/before_step")) == 1, "the hook to be asked")
        assert state(proxy) == "pending"
        kill_control(proxy)
        people.respond = answer()
        wait_for(lambda: state(proxy) == "progressing", "the hook to be asked again", 20.0)
        first, *again = told(people, "/before_step")
        assert [one["id"] for one in again] == [first["id"]]


@pytest.mark.slow
def test_an_abort_is_told_and_leaves_a_report(origins: tuple[Origin, Origin], people: Origin, tmp_path: Path) -> None:
    walk = route(
        steps=[50, 100],
        webhooks=[hook(people, "after_end")],
        notify=[{"url": f"{people.url}/chat", "format": "slack", "events": ["aborted"]}],
    )
    with Proxy(shop(origins, walk | {"exposure": True}), tmp_path) as proxy, proxy.connect(record=False) as wire:
        wait_for(lambda: state(proxy) == "progressing", "the rollout to begin")
        for user in range(50):
            assert wire.get("/shop", "a.test", f"x-user-id: {user}").status == 200
        recorded = wait_for(
            lambda: (
                {one["version"]: one["units"] for one in proxy.api("/api/v1/exposures/summary")["versions"]}
                if sum(one["units"] for one in proxy.api("/api/v1/exposures/summary")["versions"]) == 50
                else None
            ),
            "exposures",
        )
        act(proxy, "abort")
        (place,) = wait_for(lambda: [one for one in tmp_path.glob("reports/2*") if one.is_dir()], "the report")
        value = json.loads((place / "report.json").read_text())
        assert value["affected"] == recorded
        assert value["rollout"]["actor"] == "anna"
        assert [one["cause"] for one in value["timeline"]] == ["created", "begin", "abort"]
        assert len({one["request_id"] for one in value["samples"]}) >= 5
        assert "anna" in (place / "report.md").read_text()
        (body,) = wait_for(lambda: told(people, "/chat"), "the notice")
        assert "aborted" in body["text"]
        (body,) = wait_for(lambda: told(people, "/after_end"), "the hook")
        assert body["state"] == "aborted"
        assert proxy.metrics().value("tidegate_rollout_reports_total", outcome="written") == 1
