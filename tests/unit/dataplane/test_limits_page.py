"""The first example of docs/limits.md does what the page says it does."""

import re
from collections.abc import Callable
from pathlib import Path

import pytest

from proxy.settings.loader import load
from tests.unit.dataplane.stage import OK, Stage, answer, get
from tests.unit.dataplane.wires import Wire

PAGE = Path(__file__).resolve().parents[3] / "docs/limits.md"


@pytest.fixture
def stage(stage_of: Callable[..., Stage], tmp_path: Path) -> Stage:
    file = tmp_path / "tidegate.yaml"
    file.write_text(re.findall(r"```yaml\n(.*?)```", PAGE.read_text(), re.DOTALL)[0])
    return stage_of(load(file, {}).spec | {"generation": 1})


def ask(stage: Stage, user: str, *fields: str, peer: str = "192.0.2.1") -> Wire:
    client = stage.client(peer)
    client.send(get("/", f"x-user-id: {user}", *fields))
    stage.settle()
    return client


def test_user_has_his_burst_and_is_told_so(stage: Stage):
    said = []
    for _ in range(21):
        client = ask(stage, "alice")
        if stage.dialling():
            stage.accept().send(answer(200, "Connection: close", body=b"hello"))
        said.append(client.take())
    assert b'"rate_limits[1]";q=20;w=2' in said[0]
    assert b'"rate_limits[1]";r=19;t=1' in said[0]
    assert [one[9:12] for one in said] == [b"200"] * 20 + [b"429"]
    assert b"\r\nretry-after: 1\r\n" in said[-1]


def test_address_is_limited_whatever_user_it_says_it_is(stage: Stage):
    statuses = []
    for number in range(201):
        client = ask(stage, f"user-{number}")
        if stage.dialling():
            stage.accept().send(answer(200, "Connection: close", body=b"hello"))
        statuses.append(client.take()[9:12])
    assert statuses.count(b"429") == 1


def test_canary_is_shed_at_80_and_the_queue_holds_50(stage: Stage):
    clients = [ask(stage, f"user-{number}", peer=f"198.51.100.{number % 250}") for number in range(200)]
    said = [client.take() for client in clients]
    canary = [one for one in said if b"(LS)" in one]
    overflow = [one for one in said if b"(UO)" in one]
    assert all(one.startswith(b"HTTP/1.1 503 ") for one in (*canary, *overflow))
    assert 1 <= len(canary) <= 20
    assert len(said) - len(canary) - len(overflow) == 150
    while stage.dialling():
        stage.accept().send(OK)
