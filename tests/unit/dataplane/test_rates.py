"""Rate limits at the gate: who is refused, what is said, and what is charged."""

import re
from collections.abc import Callable

import pytest

from proxy.core.gcra import SET_SLOTS, RateTable
from proxy.errors import RL
from proxy.telemetry.counters import (
    LIMITED_RATE,
    SHARED_AT,
    SHARED_SLOTS,
    V_FLAGS,
    V_IN_FLIGHT,
    V_LIMITED,
    W_RATE_KEYS_FORGOTTEN,
)
from tests.specs import version_spec
from tests.unit.dataplane.stage import OK, Spec, Stage, get, pool_spec, shop
from tests.unit.dataplane.wires import Wire

StageOf = Callable[..., Stage]


def limit(*by: str, rate: float = 1.0, burst: int = 2, **parts: object) -> Spec:
    kinds = [dict(zip(("kind", "name"), (*one.split(":"), ""), strict=False)) for one in by]
    return {"label": "rate_limits[0]", "by": kinds, "rate": rate, "burst": burst, "versions": []} | parts


def limited(*limits: Spec, **route: object) -> Spec:
    return shop(route={"rate_limits": list(limits)} | route)


class Shop:
    """Clients who ask one after another, and an upstream that answers."""

    def __init__(self, stage: Stage) -> None:
        self.stage = stage
        self.upstream: Wire | None = None
        self.clients: dict[str, Wire] = {}

    def ask(self, *fields: str, path: str = "/", peer: str = "192.0.2.1") -> bytes:
        client = self.clients.get(peer) or self.clients.setdefault(peer, self.stage.client(peer))
        client.send(get(path, *fields))
        said = client.take()
        if not said:
            if self.upstream is None or self.upstream.ended:
                self.upstream = self.stage.accept()
            self.upstream.send(OK)
            said = client.take()
        return said

    def statuses(self, times: int, *fields: str, **how: str) -> list[int]:
        return [int(self.ask(*fields, **how)[9:12]) for _ in range(times)]


def field(said: bytes, name: str) -> list[str]:
    return re.findall(rf"^{name}: (.*)\r$", said.decode(), re.MULTILINE)


def test_beyond_the_burst_is_refused_and_told_when_to_come_again(stage_of: StageOf):
    stage = stage_of(limited(limit(rate=0.4, burst=2)))
    users = Shop(stage)
    first = users.ask()
    assert first.startswith(b"HTTP/1.1 200 ")
    assert field(first, "ratelimit") == ['"rate_limits[0]";r=1;t=3']
    assert field(first, "ratelimit-policy") == ['"rate_limits[0]";q=2;w=5']
    assert field(first, "retry-after") == []
    assert field(users.ask(), "ratelimit") == ['"rate_limits[0]";r=0;t=3']
    refused = users.ask()
    assert refused.startswith(b"HTTP/1.1 429 Too Many Requests\r\n")
    assert field(refused, "retry-after") == ["3"]
    assert field(refused, "ratelimit") == ['"rate_limits[0]";r=0;t=3']
    assert b"rate limited (RL)" in refused
    assert stage.of_version(V_LIMITED + LIMITED_RATE) == 1
    assert stage.of_version(V_FLAGS + RL.index) == 0  # it is nobody's error
    assert stage.codes() == {("stable", "stable", 200): 2, ("stable", "none", 429): 1}
    assert stage.of_version(V_IN_FLIGHT) == 0
    stage.time += 2.4
    assert users.statuses(1) == [429]
    stage.time += 0.1
    assert users.statuses(2) == [200, 429]


def test_refused_request_is_in_the_log_with_its_flag(stage_of: StageOf):
    stage = stage_of(limited(limit(burst=1)) | {"access_log": True})
    Shop(stage).statuses(2)
    assert b'"status":429,"flag":"RL"' in stage.runtime._lines[-1]
    assert b'"served":"none"' in stage.runtime._lines[-1]


def test_refused_client_keeps_its_connection_and_one_with_a_body_is_told_too(stage_of: StageOf):
    stage = stage_of(limited(limit(burst=1)))
    users = Shop(stage)
    assert users.statuses(3) == [200, 429, 429]
    client = stage.client()
    client.send(get("/", "Content-Length: 5", method="POST"))
    assert client.take().startswith(b"HTTP/1.1 429 ")
    client.send(b"hello")
    stage.end_everything()
    stage.assert_nothing_left()


@pytest.mark.parametrize(
    ("by", "one", "other"),
    [
        ("unit", {"fields": ["x-user-id: a"]}, {"fields": ["x-user-id: b"]}),
        ("client_ip", {"peer": "192.0.2.1"}, {"peer": "192.0.2.2"}),
        ("client_ip", {"peer": "2001:db8::1"}, {"peer": "2001:db8:0:1::1"}),
        ("header:x-api-key", {"fields": ["X-Api-Key: a"]}, {"fields": ["X-Api-Key: b"]}),
        ("query:token", {"path": "/?token=a"}, {"path": "/?token=b"}),
        ("cookie:sid", {"fields": ["Cookie: sid=a"]}, {"fields": ["Cookie: sid=b"]}),
    ],
)
def test_each_key_has_a_bucket_of_its_own(stage_of: StageOf, by: str, one: Spec, other: Spec):
    users = Shop(stage_of(limited(limit(by))))

    def ask(who: Spec) -> list[int]:
        return users.statuses(3, *who.get("fields", ()), **{key: who[key] for key in who if key != "fields"})

    assert ask(one) == [200, 200, 429]
    assert ask(other) == [200, 200, 429]


def test_ipv6_network_has_one_bucket(stage_of: StageOf):
    users = Shop(stage_of(limited(limit("client_ip"))))
    assert [users.statuses(1, peer=f"2001:db8::{host}")[0] for host in range(1, 4)] == [200, 200, 429]


def test_request_without_the_key_is_not_limited_and_told_nothing(stage_of: StageOf):
    users = Shop(stage_of(limited(limit("header:x-api-key", burst=1))))
    assert users.statuses(5) == [200] * 5
    assert field(users.ask(), "ratelimit") == []
    assert users.statuses(2, "x-api-key: a") == [200, 429]
    assert users.statuses(1) == [200]


def test_limit_of_one_version_leaves_the_others_alone(stage_of: StageOf):
    versions = [version_spec("stable", 0.0), version_spec("canary", 100.0)]
    rules = [{"label": "rules[0]", "units": ["s"], "version": "stable"}]
    users = Shop(stage_of(limited(limit("version", burst=1, versions=["canary"]), versions=versions, rules=rules)))
    assert users.statuses(3, "x-user-id: s") == [200] * 3
    assert users.statuses(2, "x-user-id: c") == [200, 429]


def test_what_one_limit_refuses_is_charged_to_none(stage_of: StageOf):
    stage = stage_of(limited(limit(rate=1, burst=4), limit("unit", rate=0.1, burst=1, label="rate_limits[1]")))
    users = Shop(stage)
    said = users.ask("x-user-id: a")
    assert field(said, "ratelimit") == ['"rate_limits[0]";r=3;t=1, "rate_limits[1]";r=0;t=10']
    assert field(said, "ratelimit-policy") == ['"rate_limits[0]";q=4;w=4, "rate_limits[1]";q=1;w=10']
    refused = users.ask("x-user-id: a")
    assert field(refused, "ratelimit") == ['"rate_limits[0]";r=3;t=1, "rate_limits[1]";r=0;t=10']
    assert field(refused, "retry-after") == ["10"]  # when all of them would admit it
    assert users.statuses(5, "x-user-id: a") == [429] * 5
    assert [users.statuses(1, f"x-user-id: {user}")[0] for user in "bcdef"] == [200, 200, 200, 429, 429]
    assert stage.of_version(V_LIMITED + LIMITED_RATE) == 8


def test_two_limits_that_are_alike_are_two(stage_of: StageOf):
    users = Shop(stage_of(limited(limit(), limit(label="rate_limits[1]"))))
    assert users.statuses(3) == [200, 200, 429]


def test_none_of_several_limits_may_concern_a_request(stage_of: StageOf):
    users = Shop(stage_of(limited(limit("header:a"), limit("header:b"))))
    assert users.statuses(4) == [200] * 4


def test_other_workers_are_counted_with(stage_of: StageOf):
    stage = stage_of(limited(limit("unit", burst=3)), workers=2)
    route = stage.plan.routes[0].rate_limits[0]
    other = RateTable(stage.cells.view, SHARED_AT, SHARED_SLOTS, stage.plan.unit_hash_key, 1)
    bucket = other.bucket(route.identity + b"a")
    now = int(stage.time * 1e9)
    for _ in range(2):
        other.charge(other.find(bucket, now), bucket, now, route.interval, route.span)
    assert Shop(stage).statuses(2, "x-user-id: a") == [200, 429]


def test_limits_go_on_over_a_reload_and_start_anew_where_they_changed(stage_of: StageOf):
    two = [limit("unit", burst=1), limit("client_ip", burst=3, label="rate_limits[1]")]
    stage = stage_of(limited(*two))
    users = Shop(stage)
    assert users.statuses(2, "x-user-id: a") == [200, 429]
    stage.bring(
        limited(limit("client_ip", burst=3)) | {"generation": 2}
    )  # the first is gone, the other another's place
    assert users.statuses(3, "x-user-id: a") == [200, 200, 429]
    stage.bring(limited(limit("client_ip", burst=4)) | {"generation": 3})
    assert users.statuses(1, "x-user-id: a") == [200]


def test_new_secret_starts_anew(stage_of: StageOf):
    stage = stage_of(limited(limit(burst=1)))
    users = Shop(stage)
    assert users.statuses(2) == [200, 429]
    stage.bring(limited(limit(burst=1)) | {"generation": 2, "secrets": {"cookie": [], "unit_hash": "other"}})
    assert users.statuses(2) == [200, 429]


def one_set(stage: Stage) -> Stage:
    """A table in which eight keys are all there is room for."""
    stage.runtime.rates = RateTable(stage.cells.view, SHARED_AT, SET_SLOTS, stage.plan.unit_hash_key)
    return stage


def test_key_that_must_be_forgotten_is_counted(stage_of: StageOf):
    stage = one_set(stage_of(limited(limit("unit"))))
    users = Shop(stage)
    assert users.statuses(1, "x-user-id: 0") == [200]
    for user in range(1, 9):
        stage.time += 0.01
        users.ask(f"x-user-id: {user}")
    assert stage.of_worker(W_RATE_KEYS_FORGOTTEN) == 1


def test_forgotten_key_among_several_limits_is_counted(stage_of: StageOf):
    stage = one_set(stage_of(limited(limit("unit"), limit("unit", rate=2.0))))
    users = Shop(stage)
    for user in range(5):
        users.ask(f"x-user-id: {user}")
    assert stage.of_worker(W_RATE_KEYS_FORGOTTEN) == 2


def test_nothing_is_left_over(stage_of: StageOf):
    stage = stage_of(limited(limit(burst=1)) | {"upstreams": [pool_spec("u")]})
    Shop(stage).statuses(3)
    stage.end_everything()
    stage.assert_nothing_left()
