"""A client that is slow makes nothing else look slow: no breaker opens, no endpoint is ejected, no limit moves for it."""

from collections.abc import Callable

import pytest

from proxy.core.outlier import CAUSES
from proxy.telemetry.counters import E_EJECTIONS, V_BREAKER_OPENED, V_LIMIT, V_UPSTREAM
from tests.specs import version_spec
from tests.unit.dataplane.stage import GET, Spec, Stage, answer, breaker_spec, get, pool_spec, shop
from tests.unit.dataplane.test_concurrency import ADAPTIVE, concurrency
from tests.unit.dataplane.wires import Wire

StageOf = Callable[..., Stage]

POST = get("/", "Content-Length: 5", method="POST", body=b"a")
CHUNKED = get("/", "Transfer-Encoding: chunked", method="POST", body=b"1\r\na\r\n")
LAST = answer(200, "Connection: close", body=b"hello")
BREAKER = breaker_spec(error_percent=0.0, slow={"above": 1.0, "percent": 50.0})
OUTLIER = {
    "consecutive_5xx": 5, "consecutive_gateway": 5, "interval": 10.0, "base_ejection": 30.0, "max_ejection": 300.0,
    "max_ejected_percent": 100.0, "success_rate": None,
    "latency": {"minimum_endpoints": 2, "minimum_requests": 2, "factor": 3.0},
}  # fmt: skip


def judged() -> Spec:
    return shop(
        route={"versions": [version_spec("stable", 100.0, breaker=BREAKER)]},
        upstreams=[pool_spec("u", "a", "b", outlier=OUTLIER)],
    )


def begin(stage: Stage, asks: bytes = POST) -> tuple[Wire, Wire]:
    """A client and the endpoint that has what it sent."""
    client = stage.client()
    client.send(asks)
    return client, stage.accept()


def finish(upstream: Wire, client: Wire) -> None:
    upstream.send(LAST)
    assert client.take().endswith(b"hello")


@pytest.mark.parametrize(("asks", "rest"), [(POST, b"bcde"), (CHUNKED, b"4\r\nbcde\r\n0\r\n\r\n")])
def test_time_that_a_client_takes_for_its_body_opens_no_breaker(stage_of: StageOf, asks: bytes, rest: bytes) -> None:
    stage = stage_of(judged())
    for _ in range(8):
        client, upstream = begin(stage, asks)
        stage.pass_time(3.0)
        client.send(rest)
        stage.pass_time(0.1)
        finish(upstream, client)
    assert stage.of_version(V_BREAKER_OPENED) == 0


def test_time_that_the_upstream_takes_after_the_body_does(stage_of: StageOf) -> None:
    stage = stage_of(judged())
    for _ in range(4):
        client, upstream = begin(stage)
        client.send(b"bcde")
        stage.pass_time(3.0)
        finish(upstream, client)
    assert stage.of_version(V_BREAKER_OPENED) == 1


def test_an_answer_that_does_not_wait_for_the_body_is_not_slow(stage_of: StageOf) -> None:
    stage = stage_of(judged())
    for _ in range(8):
        client, upstream = begin(stage)
        stage.pass_time(3.0)
        finish(upstream, client)
    assert stage.of_version(V_BREAKER_OPENED) == 0


@pytest.mark.parametrize("whole", [True, False])
def test_slow_bodies_to_one_endpoint_do_not_have_it_ejected(stage_of: StageOf, whole: bool) -> None:
    stage = stage_of(judged())
    for _ in range(4):
        for seconds in (0.0, 2.0):  # they take turns
            client, upstream = begin(stage)
            stage.time += seconds
            if whole:
                client.send(b"bcde")
            stage.time += 0.01
            finish(upstream, client)
    stage.pass_time(11.0)
    places = [at + E_EJECTIONS for _, at in stage.ledger.blocks("endpoint")]
    assert not any(stage.cells.view[at + cause] for at in places for cause in range(len(CAUSES)))


def test_a_limit_that_follows_the_latency_does_not_follow_slow_bodies(stage_of: StageOf) -> None:
    stage = stage_of(shop(route={"concurrency": concurrency(8, adaptive=ADAPTIVE)}))

    def round_of(count: int, seconds: float) -> None:
        for _ in range(count):
            client, upstream = begin(stage)
            stage.time += seconds
            client.send(b"bcde")
            stage.time += 0.1
            finish(upstream, client)

    round_of(60, 0.0)
    before = stage.of_version(V_LIMIT)
    assert before == 8
    round_of(20, 1.0)
    assert stage.of_version(V_LIMIT) == 8


def test_a_client_that_takes_its_time_with_an_answer_is_not_the_upstreams_time(stage_of: StageOf) -> None:
    stage = stage_of(shop())
    client, upstream = begin(stage, GET)
    stage.time += 0.01
    upstream.send(answer(200, "Content-Length: 10", body=b"hello"))
    stage.pass_time(20.0)
    upstream.send(b"hello")
    assert client.take().endswith(b"hellohello")
    assert stage.of_version(V_UPSTREAM) == pytest.approx(0.01e9)  # the sum, in nanoseconds
