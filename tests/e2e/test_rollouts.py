"""Rollouts with real processes: they walk by themselves, survive kill -9 in every state, and obey the file, hands and people."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from .harness.origin import Origin
from .harness.proxy import Config, Proxy, configuration, upstream
from .harness.wait import wait_for

FREE: Config = {"metrics": [], "minimum": {"requests": 0, "units": 0}}
"""A rollout that nothing but its holds keeps waiting."""


def route(name: str = "shop", *, weight: float = 0, **rollout: Any) -> Config:
    return {
        "name": name,
        "match": {"path_prefix": f"/{name}"},
        "unit": [{"header": "x-user-id"}],
        "versions": {
            "stable": {"upstream": "v1", "weight": 100 - weight},
            "canary": {"upstream": "v2", "weight": weight},
        },
        "rollout": {"revision": "v2", "hold": "1h", "fast_rollback": "0s", "brake": False, **FREE, **rollout},
    }


def shop(origins: tuple[Origin, Origin], *routes: Config, **more: Any) -> Config:
    stable, canary = origins
    upstreams = {"v1": upstream(stable), "v2": upstream(canary)}
    return configuration(upstreams, list(routes), state="sqlite:state.db", **more)


@pytest.fixture
def origins() -> Iterator[tuple[Origin, Origin]]:
    with Origin(record=False) as stable, Origin(record=False) as canary:
        yield stable, canary


def rollout(proxy: Proxy, name: str = "shop") -> Any:
    return proxy.api(f"/api/v1/rollouts/{name}")


def state(proxy: Proxy, name: str = "shop") -> str:
    found: str = rollout(proxy, name)["state"]
    return found


def act(proxy: Proxy, action: str, name: str = "shop") -> Any:
    return proxy.change("POST", f"/api/v1/rollouts/{name}/{action}", {"reason": "the test says so", "by": "anna"})


def causes(proxy: Proxy, name: str = "shop") -> list[str]:
    return [one["cause"] for one in reversed(proxy.api(f"/api/v1/rollouts/{name}/history")["transitions"])]


def in_force(proxy: Proxy, name: str = "shop", version: str = "canary") -> float:
    """Percent, as /metrics has it."""
    return proxy.metrics().value("tidegate_weight_percent", route=name, version=version, source="effective")


def served(proxy: Proxy, users: int = 400, name: str = "shop") -> set[int]:
    """Which users the canary serves."""
    before = proxy.metrics().value("tidegate_requests_total", route=name, version="canary")
    found = set()
    with proxy.connect(record=False) as wire:
        for user in range(users):
            wire.get(f"/{name}", "a.test", f"x-user-id: {user}")
            now = proxy.metrics().value("tidegate_requests_total", route=name, version="canary")
            if now > before:
                found.add(user)
            before = now
    return found


def kill_control(proxy: Proxy) -> None:
    """kill -9, and wait for the next one."""
    old = proxy.control()
    workers = proxy.workers()
    os.kill(old, signal.SIGKILL)
    wait_for(lambda: proxy.control() != old and proxy.ready(), "another control process", 20.0)
    assert proxy.workers() == workers


def tidegate(proxy: Proxy, *arguments: str, timeout: float = 60.0) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "proxy", *arguments, "-c", str(proxy.file)]
    environ = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    return subprocess.run(
        command, capture_output=True, text=True, timeout=timeout, env=environ, cwd=proxy.directory, check=False
    )


@pytest.mark.slow
def test_a_rollout_walks_by_itself_over_a_connection_that_stays_open(
    origins: tuple[Origin, Origin], tmp_path: Path
) -> None:
    walk = route(steps=[1, 5, 25, 50, 100], hold="1s")
    with Proxy(shop(origins, walk), tmp_path) as proxy, proxy.connect(record=False) as wire:
        workers = proxy.workers()
        shares: list[float] = []

        def over() -> bool:
            assert wire.get("/shop", "a.test", "x-user-id: 7").status == 200
            share = in_force(proxy)
            if not shares or shares[-1] != share:
                shares.append(share)
            return state(proxy) == "completed"

        wait_for(over, "the end of the rollout", 30.0)
        over()
        assert [one for one in shares if one] == [1, 5, 25, 50, 100]
        assert causes(proxy) == ["created", "begin", *["step_passed"] * 4]
        assert proxy.workers() == workers
        assert proxy.metrics().value("tidegate_client_connections_accepted_total") == 1
        log = proxy.log()
        assert "route shop: the rollout of v2 is completed (step_passed by tidegate): held for" in log


@pytest.mark.slow
def test_nobody_who_has_come_in_leaves_because_of_a_step(origins: tuple[Origin, Origin], tmp_path: Path) -> None:
    with Proxy(shop(origins, route(steps=[5, 20, 60])), tmp_path) as proxy:
        wait_for(lambda: in_force(proxy) == 5, "the first step")
        before = served(proxy)
        assert 5 <= len(before) <= 40
        for percent in (20, 60):
            act(proxy, "skip")
            wait_for(lambda: in_force(proxy) == percent, "the step")  # noqa: B023 - waited for at once
            after = served(proxy)
            assert before < after
            before = after


STATES: dict[str, tuple[Config, tuple[str, ...]]] = {
    "pending": (
        {"steps": [5, 100], "schedule": {"freeze": [{"from": "2000-01-01T00:00:00Z", "to": "2099-01-01T00:00:00Z"}]}},
        (),
    ),
    "progressing": ({"steps": [5, 100]}, ()),
    "approval": ({"steps": [5, {"approve": True}, 100]}, ("skip",)),
    "paused": ({"steps": [5, 100]}, ("pause",)),
    "frozen": ({"steps": [5, 100]}, ("freeze",)),
    "reverting": ({"steps": [90, 100], "rollback": {"mode": "gradual", "percent": 20, "every": "1h"}}, ("abort",)),
    "watching": ({"steps": [5, 100], "fast_rollback": "1h"}, ("promote",)),
    "completed": ({"steps": [5, 100]}, ("promote",)),
    "aborted": ({"steps": [5, 100]}, ("abort",)),
    "superseded": ({"steps": [5, 100]}, ()),
}
"""The rollout, and what people do to bring it there."""


@pytest.mark.slow
def test_control_killed_in_each_state_goes_on_where_it_was(origins: tuple[Origin, Origin], tmp_path: Path) -> None:
    routes = [route(name, **plan) for name, (plan, _) in STATES.items()]
    with Proxy(shop(origins, *routes), tmp_path) as proxy:
        for name, (_, actions) in STATES.items():
            if name != "pending":
                wait_for(lambda: state(proxy, name) == "progressing", f"{name}: the first step")  # noqa: B023
            for action in actions:
                act(proxy, action, name)

        def without(config: Config) -> None:
            del config["routes"][-1]["rollout"]

        proxy.edit(without)
        wait_for(lambda: all(state(proxy, name) == name for name in STATES), "every state")
        keys = ("state", "step", "sequence", "percent", "weights", "since", "reason", "actor", "revision", "numbers")
        before = {name: {key: rollout(proxy, name)[key] for key in keys} for name in STATES}
        shares = {name: in_force(proxy, name) for name in STATES}
        history = {name: causes(proxy, name) for name in STATES}
        for _ in range(2):
            kill_control(proxy)
            assert {name: in_force(proxy, name) for name in STATES} == shares  # with its very first plan
            wait_for(lambda: "the rollout of v2 goes on: it is" in proxy.log(), "word of it in the log")
            after = {name: {key: rollout(proxy, name)[key] for key in keys} for name in STATES}
            assert after == before
            assert {name: causes(proxy, name) for name in STATES} == history
        # And each goes on from there.
        for name, action, then in (
            ("approval", "approve", "completed"), ("paused", "resume", "progressing"), ("frozen", "resume", "progressing"),
            ("watching", "abort", "aborted"), ("aborted", "retry", "pending"), ("reverting", "abort", "aborted"),
            ("progressing", "skip", "completed"),
        ):  # fmt: skip
            act(proxy, action, name)
            if then != "pending":
                wait_for(lambda: state(proxy, name) == then, f"{name}, {action}")  # noqa: B023
        assert in_force(proxy, "watching") == 0


@pytest.mark.slow
def test_control_killed_again_and_again_takes_every_step_once(origins: tuple[Origin, Origin], tmp_path: Path) -> None:
    steps = [1, 2, 4, 8, 16, 32, 64, 100]
    with Proxy(shop(origins, route(steps=steps, hold="1s")), tmp_path) as proxy:
        for _ in range(4):
            kill_control(proxy)
        wait_for(lambda: state(proxy) == "completed", "the end of the rollout", 60.0)
        assert causes(proxy) == ["created", "begin", *["step_passed"] * 7]
        records = proxy.api("/api/v1/rollouts/shop/history")["transitions"]
        assert [one["sequence"] for one in records] == list(range(9, 0, -1))
        assert [one["percent"] for one in reversed(records)] == [0, *steps]


@pytest.mark.slow
def test_the_split_in_the_file_wins_while_running_and_while_down(
    origins: tuple[Origin, Origin], tmp_path: Path
) -> None:
    with Proxy(shop(origins, route(steps=[5, 25, 100]), route("other", steps=[5, 100])), tmp_path) as proxy:
        wait_for(lambda: in_force(proxy) == 5 and in_force(proxy, "other") == 5, "the first steps")
        proxy.edit(lambda config: config.update(drain={"delay": "0s", "limit": "3s"}), how=comments_first(proxy))
        assert state(proxy) == "progressing"  # comments and other keys disturb nothing

        def weights(canary: int) -> Any:
            def change(config: Config) -> None:
                config["routes"][0] = route(weight=canary, steps=[5, 25, 100])

            return change

        proxy.edit(weights(10))
        wait_for(lambda: state(proxy) == "paused", "the pause")
        found = rollout(proxy)
        assert (found["cause"], found["actor"]) == ("file_edited", "file")
        assert "from stable 100, canary 0 to stable 90, canary 10" in found["reason"]
        assert in_force(proxy) == 10
        assert in_force(proxy, "other") == 5
        assert state(proxy, "other") == "progressing"
        # While it is down: the guardian is told to leave, and starts anew on a file that was edited meanwhile.
        proxy.end()
        weights(20)(proxy.config)
        proxy.file.unlink()
        proxy.start()
        assert in_force(proxy) == 20
        wait_for(lambda: causes(proxy)[-2:] == ["file_edited", "file_edited"], "the second edit in the journal")
        assert in_force(proxy, "other") == 5  # over a whole restart
        act(proxy, "resume")
        wait_for(lambda: in_force(proxy) == 5, "the step's weights")


def comments_first(proxy: Proxy) -> Any:
    """Save with a comment at the top."""
    return lambda text: proxy.save(f"# a comment\n{text}")


@pytest.mark.slow
def test_weights_by_hand_are_respected_visible_and_kept(origins: tuple[Origin, Origin], tmp_path: Path) -> None:
    with Proxy(shop(origins, route(steps=[5, 25, 100])), tmp_path) as proxy:
        wait_for(lambda: in_force(proxy) == 5, "the first step")
        done = tidegate(
            proxy, "weights", "set", "shop", "canary=40", "--reason", "a look", "--by", "anna", "--until", "2h"
        )
        assert done.returncode == 0, done.stderr
        assert "canary  0 in the file, 40 in force" in done.stdout
        assert in_force(proxy) == 40
        assert state(proxy) == "paused"
        kill_control(proxy)
        assert in_force(proxy) == 40
        (shown,) = proxy.api("/api/v1/routes")["routes"]
        assert shown["by_hand"]["by"] == "anna"
        assert [one["weight"] for one in shown["versions"]] == [
            {"file": 100, "effective": 60}, {"file": 0, "effective": 40},
        ]  # fmt: skip
        assert proxy.metrics().value("tidegate_weight_percent", route="shop", version="canary", source="file") == 0
        assert proxy.metrics().value("tidegate_weights_by_hand", route="shop") == 1
        status = tidegate(proxy, "rollout", "status", "shop")
        assert "weights by hand (anna)" in status.stdout
        refused = tidegate(proxy, "rollout", "resume", "shop", "--reason", "go on")
        assert (refused.returncode, "take them back first" in refused.stderr) == (1, True)
        assert tidegate(proxy, "weights", "unset", "shop").returncode == 0
        wait_for(lambda: in_force(proxy) == 5, "the step's weights")
        assert state(proxy) == "paused"
        assert tidegate(proxy, "rollout", "resume", "shop", "--reason", "go on").returncode == 0
        assert state(proxy) == "progressing"


@pytest.mark.slow
def test_a_pipeline_waits_and_gets_its_exit_code(origins: tuple[Origin, Origin], tmp_path: Path) -> None:
    routes = [
        route("healthy", steps=[50, 100], hold="1s"),
        route("long", steps=[5, 100]),
        route("gated", steps=[5, {"approve": True}, 100], hold="1s"),
    ]
    with Proxy(shop(origins, *routes), tmp_path) as proxy:
        wait_for(lambda: in_force(proxy, "long") == 5, "the first step")

        def code(name: str, *more: str) -> int:
            return tidegate(proxy, "rollout", "status", name, *more).returncode

        assert code("long") == 0
        assert code("healthy", "--wait", "--timeout", "30") == 0
        assert code("gated", "--wait", "--timeout", "30") == 4
        assert code("long", "--wait", "--timeout", "1") == 3
        assert code("long", "--wait", "--timeout", "1", "--revision", "v3") == 3  # the file has it not yet
        assert code("long", "--timeout", "1") == 2
        assert code("nothing") == 1
        waiting = subprocess.Popen(
            [sys.executable, "-m", "proxy", "rollout", "status", "long", "--watch", "-c", str(proxy.file)],
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
            cwd=proxy.directory,
        )
        try:
            assert waiting.stdout is not None
            assert waiting.stdout.readline().startswith("long  v2  progressing, step 1 of 2, canary 5 %; waits for")
            kill_control(proxy)  # who waits goes on waiting
            done = tidegate(proxy, "rollout", "abort", "long", "--reason", "too many tickets", "--by", "anna")
            assert done.returncode == 0, done.stderr
            output, _ = waiting.communicate(timeout=30)
        finally:
            waiting.kill()
            waiting.wait()
        assert waiting.returncode == 1
        assert output.splitlines()[-1] == "long  v2  aborted, step 1 of 2, canary 0 %; too many tickets (anna)"
        shown = json.loads(tidegate(proxy, "rollout", "status", "long", "--json").stdout)
        assert [(one["state"], one["actor"]) for one in shown["rollouts"]] == [("aborted", "anna")]
        assert in_force(proxy, "long") == 0
        history = tidegate(proxy, "rollout", "history", "long")
        assert "progressing -> aborted, step 1, 0 %  abort by anna: too many tickets" in history.stdout
        told = tidegate(proxy, "rollout", "explain", "gated")
        assert "It waits for somebody to approve it." in told.stdout
        everything = tidegate(proxy, "rollout", "status")
        assert everything.returncode == 1
        assert len(everything.stdout.splitlines()) == 3


@pytest.mark.slow
def test_copies_come_before_users_and_rings_before_weights(tmp_path: Path) -> None:
    """Shadow steps and ring steps reach the workers, and go when they are over."""
    with Origin() as stable, Origin() as canary:
        shop_route = route(kind="mirror_first", steps=[{"shadow": 100}, {"ring": "staff"}, 100])
        shop_route["rings"] = [{"version": "canary", "order": ["staff", "beta"], "open": "none"}]
        segments = {name: {"header": "x-ring", "is": name} for name in ("staff", "beta")}
        with Proxy(shop((stable, canary), shop_route, segments=segments), tmp_path) as proxy:

            def ask(ring: str = "") -> None:
                assert proxy.get("/shop", "a.test", "x-user-id: 7", f"x-ring: {ring}").status == 200

            def published(mirrors: list[float], ring: str) -> bool:
                spec = proxy.api("/api/v1/config")["spec"]["routes"][0]
                return [one["percent"] for one in spec["mirror"]] == mirrors and spec["rings"][0]["open"] == ring

            wait_for(lambda: published([100], ""), "the step of copies")
            proxy.wait_in_force()
            ask("staff")
            proxy.wait_metric(1, "tidegate_mirror_total", route="shop", outcome="sent")
            proxy.wait_metric(1, "tidegate_requests_total", route="shop", version="stable", code="200")
            kill_control(proxy)
            ask("staff")
            proxy.wait_metric(2, "tidegate_mirror_total", route="shop", outcome="sent")
            act(proxy, "skip")
            wait_for(lambda: published([], "staff"), "the step of a ring")
            proxy.wait_in_force()
            ask("staff")
            proxy.wait_metric(1, "tidegate_requests_total", route="shop", version="canary", code="200")
            ask("beta")
            ask()
            proxy.wait_metric(4, "tidegate_requests_total", route="shop", version="stable", code="200")
            proxy.wait_metric(2, "tidegate_mirror_total", route="shop", outcome="sent")
            act(proxy, "abort")
            wait_for(lambda: published([], ""), "the way back")
            proxy.wait_in_force()
            ask("staff")
            proxy.wait_metric(5, "tidegate_requests_total", route="shop", version="stable", code="200")


@pytest.mark.slow
def test_without_a_store_a_rollout_runs_and_says_what_a_restart_costs(
    origins: tuple[Origin, Origin], tmp_path: Path
) -> None:
    config = shop(origins, route(steps=[5, 100]))
    del config["state"]
    with Proxy(config, tmp_path) as proxy:
        wait_for(lambda: in_force(proxy) == 5, "the first step")
        assert "without `state` a rollout is forgotten at a restart" in proxy.log()
        assert proxy.api("/api/v1/rollouts")["lasting"] is False
        act(proxy, "promote")
        kill_control(proxy)
        wait_for(lambda: in_force(proxy) == 5, "the first step, once more")
        assert causes(proxy) == ["created", "begin"]
