"""Copies for shadows: every outcome, every budget given back, and the exchange never the wiser."""

from collections.abc import Callable

import pytest

from proxy.telemetry.counters import (
    BUCKETS,
    M_BUFFERED,
    M_CODES,
    M_DURATION,
    M_FAILURES,
    M_IN_FLIGHT,
    M_TIMEOUTS,
    REGION_SLOTS,
)
from tests.unit.dataplane.stage import GET, OK, Spec, Stage, answer, get, mirror_spec, pool_spec, shop
from tests.unit.dataplane.wires import HIGH_WATER, Wire

StageOf = Callable[..., Stage]

MUCH = b"x" * (HIGH_WATER + 1000)


def mirrored(*, shadow: Spec | None = None, route: Spec | None = None, **parts: object) -> Spec:
    """One route on 10.0.0.1 with a shadow on 10.0.0.9 that gets everything, unless told otherwise."""
    upstreams = [pool_spec("u"), shadow or pool_spec("shadow", "10.0.0.9")]
    return shop(route={"mirror": [mirror_spec(**parts)]} | (route or {}), upstreams=upstreams)


def both(stage: Stage) -> tuple[Wire, Wire]:
    """The upstream's and the shadow's end, both opened now."""
    first, second = stage.dial(), stage.dial()
    assert (first.address, second.address) == ("10.0.0.1:80", "10.0.0.9:80")
    wires = first.accept(), second.accept()
    stage.wires += wires
    stage.settle()
    return wires


def assert_given_back(stage: Stage) -> None:
    assert stage.of_mirror(M_IN_FLIGHT) == 0
    assert stage.of_mirror(M_BUFFERED) == 0
    assert not stage.upstreams.copies
    assert stage.upstreams.shadows["shadow"].requests == 0


def test_copy_is_the_request_with_a_marker_and_its_answer_is_forgotten(stage_of: StageOf) -> None:
    stage = stage_of(mirrored())
    client = stage.client()
    client.send(get("/a?b", "X-Some: thing", "Cookie: a=b"))
    upstream, shadow = both(stage)
    original, copy = upstream.take(), shadow.take()
    assert copy.startswith(b"GET /a?b HTTP/1.1\r\nHost: shop.example.com\r\nX-Some: thing\r\nCookie: a=b\r\n")
    assert b"x-tidegate-shadow: 1\r\n" in copy
    assert b"x-tidegate-shadow" not in original
    for name in (b"x-request-id", b"traceparent"):
        assert original.partition(name)[2].partition(b"\r\n")[0] == copy.partition(name)[2].partition(b"\r\n")[0]
    shadow.send(answer(500, body=b"shadow"))
    assert client.take() == b""
    upstream.send(OK)
    assert b"shadow" not in client.take()
    assert stage.outcomes() == {"sent": 1}
    assert stage.of_mirror(M_CODES + 500) == 1
    assert sum(stage.of_mirror(M_DURATION + 1 + bucket) for bucket in range(BUCKETS)) == 1
    assert stage.codes() == {("stable", "stable", 200): 1}
    assert_given_back(stage)


def test_copies_have_connections_of_their_own_that_are_kept(stage_of: StageOf) -> None:
    stage = stage_of(mirrored(upstream="u"))
    client = stage.client()
    client.send(GET)
    upstream, shadow = stage.accept(), stage.accept()
    for _ in range(3):
        upstream.take()
        assert b"x-tidegate-shadow" in shadow.take()
        shadow.send(OK)
        upstream.send(OK)
        client.send(GET)
    assert stage.dialling() == 0


def test_copy_that_met_a_closed_pooled_connection_goes_out_once_more(stage_of: StageOf) -> None:
    stage = stage_of(mirrored())
    client = stage.client()
    client.send(GET)
    upstream, stale = both(stage)
    upstream.send(OK)
    stale.send(OK)
    client.send(GET)
    upstream.send(OK)
    stale.eof()
    stage.settle()
    fresh = stage.accept()
    assert b"x-tidegate-shadow: 1\r\n" in fresh.take()
    fresh.eof()
    stage.settle()
    assert stage.dialling() == 0, "once, and no more"
    assert stage.outcomes() == {"sent": 2}
    assert stage.of_mirror(M_FAILURES) == 1
    assert_given_back(stage)


def test_credentials_are_left_out_on_request(stage_of: StageOf) -> None:
    stage = stage_of(mirrored(strip_credentials=True))
    client = stage.client()
    client.send(get("/", "Authorization: secret", "COOKIE: a=b", "X: y"))
    upstream, shadow = both(stage)
    assert b"secret" in upstream.take()
    copy = shadow.take()
    assert b"secret" not in copy
    assert b"a=b" not in copy
    assert b"X: y\r\n" in copy


@pytest.mark.parametrize("chunked", [True, False])
def test_body_is_copied_as_it_comes(stage_of: StageOf, chunked: bool) -> None:
    stage = stage_of(mirrored())
    client = stage.client()
    if chunked:
        client.send(get("/", "Transfer-Encoding: chunked", method="POST", body=b"3\r\nabc\r\n"))
        upstream, shadow = both(stage)
        client.send(b"3\r\ndef\r\n0\r\nX-Sum: 1\r\n\r\n")
    else:
        client.send(get("/", "Content-Length: 6", method="POST", body=b"abc"))
        upstream, shadow = both(stage)
        client.send(b"def")
    assert stage.outcomes() == {"sent": 1}
    assert upstream.take().partition(b"\r\n\r\n")[2] == shadow.take().partition(b"\r\n\r\n")[2] != b""
    upstream.send(OK)
    shadow.send(OK)
    assert_given_back(stage)


# Why there is no copy.


def test_outcome_sampled_out(stage_of: StageOf) -> None:
    stage = stage_of(mirrored(percent=0.0))
    client = stage.client()
    client.send(GET)
    stage.accept().send(OK)
    assert stage.outcomes() == {"sampled_out": 1}


def test_sampling_by_unit_takes_whole_sessions(stage_of: StageOf) -> None:
    stage = stage_of(mirrored(percent=30.0, sample="unit", in_flight=10_000))
    client = stage.client()
    by_unit: dict[int, set[int]] = {}
    for turn in range(3):
        for unit in range(60):
            before = stage.outcomes().get("sampled_out", 0)
            client.send(get("/", f"X-User-Id: u{unit}"))
            if turn == 0 and unit == 0:
                upstream = stage.accept()
            while stage.dialling():
                stage.accept()
            upstream.send(OK)
            by_unit.setdefault(unit, set()).add(stage.outcomes().get("sampled_out", 0) - before)
    assert all(len(fates) == 1 for fates in by_unit.values())
    assert 5 < sum(fates == {0} for fates in by_unit.values()) < 35


def test_outcome_method(stage_of: StageOf) -> None:
    stage = stage_of(mirrored(methods=["GET"]))
    client = stage.client()
    client.send(get(method="DELETE"))
    stage.accept().send(OK)
    assert stage.outcomes() == {"dropped_method": 1}


def test_outcome_loop(stage_of: StageOf) -> None:
    stage = stage_of(mirrored())
    client = stage.client()
    client.send(get("/", "X-Tidegate-Shadow: 1"))
    upstream = stage.accept()
    assert b"shadow" not in upstream.take().lower()
    upstream.send(OK)
    assert stage.outcomes() == {"dropped_loop": 1}


def test_outcome_upgrade(stage_of: StageOf) -> None:
    stage = stage_of(mirrored())
    client = stage.client()
    client.send(get("/", "Connection: upgrade", "Upgrade: websocket"))
    assert stage.outcomes() == {"dropped_upgrade": 1}


def test_outcome_in_flight(stage_of: StageOf) -> None:
    stage = stage_of(mirrored(in_flight=2))
    clients = [stage.client() for _ in range(3)]
    for client in clients:
        client.send(GET)
    assert stage.of_mirror(M_IN_FLIGHT) == 2
    assert stage.outcomes() == {"dropped_in_flight": 1}


def test_bound_on_copies_in_flight_holds_over_all_workers(stage_of: StageOf) -> None:
    stage = stage_of(mirrored(in_flight=2), workers=2)
    place = next(offset for _, offset in stage.ledger.blocks("mirror"))
    stage.cells.view[REGION_SLOTS + place + M_IN_FLIGHT] = 2
    stage.client().send(GET)
    assert stage.outcomes() == {"dropped_in_flight": 1}


def test_outcome_body_limit_by_length(stage_of: StageOf) -> None:
    stage = stage_of(mirrored(body_limit=5))
    client = stage.client()
    client.send(get("/", "Content-Length: 6", method="POST", body=b"abcdef"))
    upstream = stage.accept()
    assert stage.dialling() == 0
    upstream.send(OK)
    assert stage.outcomes() == {"dropped_body_limit": 1}


def test_outcome_body_limit_midway(stage_of: StageOf) -> None:
    stage = stage_of(mirrored(body_limit=5))
    client = stage.client()
    client.send(get("/", "Transfer-Encoding: chunked", method="POST", body=b"3\r\nabc\r\n"))
    upstream, shadow = both(stage)
    client.send(b"3\r\ndef\r\n")
    assert shadow.ended == "abort"
    assert stage.outcomes() == {"dropped_body_limit": 1}
    assert_given_back(stage)
    client.send(b"0\r\n\r\n")
    upstream.send(OK)
    assert client.take().endswith(b"hello")
    assert stage.outcomes() == {"dropped_body_limit": 1}


def test_outcome_unreachable(stage_of: StageOf) -> None:
    stage = stage_of(mirrored())
    client = stage.client()
    client.send(GET)
    upstream = stage.accept()
    stage.refuse()
    assert stage.outcomes() == {"dropped_unreachable": 1}
    assert_given_back(stage)
    upstream.send(OK)
    assert client.take().endswith(b"hello")
    assert stage.flags() == {}


def test_outcome_unreachable_without_an_endpoint(stage_of: StageOf) -> None:
    stage = stage_of(mirrored(shadow=pool_spec("shadow") | {"endpoints": []}))
    client = stage.client()
    client.send(GET)
    stage.accept().send(OK)
    assert stage.outcomes() == {"dropped_unreachable": 1}
    assert_given_back(stage)


def test_shadow_that_refused_is_left_alone_while_it_rests(stage_of: StageOf) -> None:
    stage = stage_of(mirrored())
    client = stage.client()
    client.send(GET)
    upstream = stage.accept()
    stage.refuse()
    for _ in range(10):
        upstream.send(OK)
        client.send(GET)
    assert stage.dialling() == 0
    assert stage.outcomes() == {"dropped_unreachable": 11}
    stage.pass_time(0.3)
    upstream.send(OK)
    client.send(GET)
    assert stage.dialling() == 1
    upstream.send(OK)


def test_outcome_unreachable_when_the_connection_does_not_open_in_time(stage_of: StageOf) -> None:
    stage = stage_of(mirrored(timeout=1.0))
    client = stage.client()
    client.send(GET)
    stage.accept().send(OK)
    stage.pass_time(1.2)
    assert stage.outcomes() == {"dropped_unreachable": 1}
    assert stage.of_mirror(M_TIMEOUTS) == 1
    assert_given_back(stage)


@pytest.mark.parametrize("limits", [{"requests": 1}, {"connections": 1, "pending": 0}])
def test_outcome_connections(stage_of: StageOf, limits: Spec) -> None:
    stage = stage_of(mirrored(shadow=pool_spec("shadow", "10.0.0.9", limits=limits)))
    for _ in range(2):
        stage.client().send(GET)
    assert stage.outcomes() == {"dropped_connections": 1}


def test_outcome_connections_after_waiting_in_vain(stage_of: StageOf) -> None:
    shadow = pool_spec("shadow", "10.0.0.9", limits={"connections": 1}, timeouts={"connect": 1.0})
    stage = stage_of(mirrored(shadow=shadow))
    for _ in range(2):
        stage.client().send(GET)
    for _ in range(3):
        stage.accept()
    stage.pass_time(1.2)
    assert stage.outcomes() == {"sent": 1, "dropped_connections": 1}


def test_outcome_buffer_while_the_connection_opens(stage_of: StageOf) -> None:
    stage = stage_of(mirrored(buffer=5000))
    client = stage.client()
    client.send(get("/", "Content-Length: 20000", method="POST"))
    upstream = stage.accept()
    client.send(b"x" * 3000)
    assert 3000 < stage.of_mirror(M_BUFFERED) < 4000
    client.send(b"x" * 3000)
    assert stage.outcomes() == {"dropped_buffer": 1}
    assert_given_back(stage)
    client.send(b"x" * 14000)
    upstream.send(OK)
    assert client.take().endswith(b"hello")


def test_outcome_buffer_while_a_shadow_reads_nothing(stage_of: StageOf) -> None:
    stage = stage_of(mirrored(buffer=200_000, body_limit=10 << 20))
    client = stage.client()
    client.send(get("/", "Content-Length: 1000000", method="POST"))
    upstream, shadow = both(stage)
    shadow.stall()
    sent = 0
    while sent < 1_000_000:
        assert client.reading  # a shadow presses back on nobody
        client.send(b"x" * 50_000)
        sent += 50_000
        assert stage.of_mirror(M_BUFFERED) <= 250_000
    assert stage.outcomes() == {"dropped_buffer": 1}
    assert shadow.ended == "abort"
    assert_given_back(stage)
    upstream.send(OK)
    assert client.take().endswith(b"hello")


def test_outcome_buffer_when_others_hold_it_all(stage_of: StageOf) -> None:
    stage = stage_of(mirrored(buffer=100_000, body_limit=10 << 20))
    first, second = stage.client(), stage.client()
    first.send(get("/", "Content-Length: 1000000", method="POST"))
    _, shadow = both(stage)
    shadow.stall()
    first.send(b"x" * 100_000)
    second.send(GET)
    assert stage.outcomes() == {"dropped_buffer": 1}


def test_bytes_that_a_shadow_takes_late_are_given_back(stage_of: StageOf) -> None:
    stage = stage_of(mirrored(body_limit=10 << 20))
    client = stage.client()
    client.send(get("/", "Content-Length: 100000", method="POST"))
    upstream, shadow = both(stage)
    shadow.stall()
    client.send(b"x" * 100_000)
    upstream.send(OK)
    assert stage.of_mirror(M_BUFFERED) > 90_000
    shadow.drain()
    assert stage.of_mirror(M_BUFFERED) == 0
    shadow.send(OK)
    assert stage.outcomes() == {"sent": 1}
    assert_given_back(stage)


@pytest.mark.parametrize("how", ["reset", "eof"])
def test_outcome_aborted_with_the_client(stage_of: StageOf, how: str) -> None:
    stage = stage_of(mirrored())
    client = stage.client()
    client.send(get("/", "Content-Length: 10", method="POST", body=b"abc"))
    _, shadow = both(stage)
    getattr(client, how)()
    assert shadow.ended == "abort"
    assert stage.outcomes() == {"dropped_aborted": 1}
    assert_given_back(stage)


@pytest.mark.parametrize("whole", [True, False])
def test_outcome_aborted_when_the_answer_comes_before_the_body_is_whole(stage_of: StageOf, whole: bool) -> None:
    stage = stage_of(mirrored())
    client = stage.client()
    client.send(get("/", "Content-Length: 10", method="POST", body=b"abc"))
    upstream, shadow = both(stage)
    said = answer(403, body=b"no")
    if whole:
        upstream.send(said)
    else:
        upstream.send(said[:-1])
        upstream.send(said[-1:])
    assert stage.outcomes() == {"dropped_aborted": 1}
    assert shadow.ended == "abort"
    assert_given_back(stage)


def test_outcome_aborted_with_a_body_that_is_too_large(stage_of: StageOf) -> None:
    stage = stage_of(mirrored(route={"max_body": 5}))
    client = stage.client()
    client.send(get("/", "Transfer-Encoding: chunked", method="POST", body=b"3\r\nabc\r\n"))
    both(stage)
    client.send(b"3\r\ndef\r\n")
    assert client.take().startswith(b"HTTP/1.1 413 ")
    assert stage.outcomes() == {"dropped_aborted": 1}
    assert_given_back(stage)


def test_copy_of_a_whole_request_goes_on_without_its_client(stage_of: StageOf) -> None:
    stage = stage_of(mirrored())
    client = stage.client()
    client.send(GET)
    _, shadow = both(stage)
    client.reset()
    assert not shadow.ended
    shadow.send(OK)
    assert stage.outcomes() == {"sent": 1}
    assert stage.of_mirror(M_CODES + 200) == 1
    assert_given_back(stage)


# What shadows do.


def test_shadow_that_never_answers_is_given_up_and_nobody_waits_for_it(stage_of: StageOf) -> None:
    stage = stage_of(mirrored())
    client = stage.client()
    client.send(GET)
    upstream, shadow = both(stage)
    upstream.send(OK)
    assert client.take().endswith(b"hello")
    client.send(GET)
    upstream.send(OK)
    assert client.take().endswith(b"hello")
    stage.pass_time(5.2)
    assert shadow.ended == "abort"
    assert stage.of_mirror(M_TIMEOUTS) == 1
    assert stage.outcomes() == {"sent": 1, "dropped_unreachable": 1}
    assert_given_back(stage)


def test_shadow_that_answers_for_ever_is_cut_off_at_its_limit(stage_of: StageOf) -> None:
    stage = stage_of(mirrored(response_limit=100_000))
    client = stage.client()
    client.send(GET)
    upstream, shadow = both(stage)
    shadow.send(answer(200, "Content-Length: 1000000000"))
    sent = 0
    while not shadow.ended:
        shadow.send(b"x" * 65536)
        sent += 65536
    assert sent < 200_000
    assert stage.outcomes() == {"sent": 1}
    assert stage.of_mirror(M_CODES + 200) == 1
    assert_given_back(stage)
    upstream.send(OK)
    assert client.take().endswith(b"hello")


@pytest.mark.parametrize(
    "said",
    [
        b"nonsense\r\n\r\n",
        b"HTTP/1.1 101 Switching\r\n\r\n",
        b"HTTP/1.1 100 Continue\r\n\r\n" * 50,
        answer(200, "Transfer-Encoding: chunked", body=b"zz\r\n"),
    ],
)
def test_shadow_that_speaks_badly_is_a_failure_of_the_copy_only(stage_of: StageOf, said: bytes) -> None:
    stage = stage_of(mirrored())
    client = stage.client()
    client.send(GET)
    upstream, shadow = both(stage)
    shadow.send(said)
    assert shadow.ended == "abort"
    assert stage.of_mirror(M_FAILURES) == 1
    assert stage.outcomes() == {"sent": 1}
    assert_given_back(stage)
    upstream.send(OK)
    assert client.take().endswith(b"hello")


@pytest.mark.parametrize("how", ["eof", "reset"])
@pytest.mark.parametrize("half", [True, False])
def test_shadow_that_breaks_off_is_a_failure_of_the_copy_only(stage_of: StageOf, how: str, half: bool) -> None:
    stage = stage_of(mirrored())
    client = stage.client()
    client.send(get("/", "Content-Length: 6", method="POST", body=b"abc" if half else b"abcdef"))
    upstream, shadow = both(stage)
    getattr(shadow, how)()
    assert stage.of_mirror(M_FAILURES) == 1
    assert stage.outcomes() == ({"dropped_aborted": 1} if half else {"sent": 1})
    assert_given_back(stage)
    if half:
        client.send(b"def")
    assert upstream.take().endswith(b"abcdef")
    upstream.send(OK)
    assert client.take().endswith(b"hello")


def test_each_mirror_of_a_route_has_an_outcome_of_its_own(stage_of: StageOf) -> None:
    mirrors = [mirror_spec("s1"), mirror_spec("s2", methods=["GET"]), mirror_spec("s3", percent=0.0)]
    upstreams = [pool_spec("u"), *(pool_spec(name, f"10.0.1.{n}") for n, name in enumerate(("s1", "s2", "s3")))]
    stage = stage_of(shop(route={"mirror": mirrors}, upstreams=upstreams))
    client = stage.client()
    client.send(get(method="PUT"))
    stage.accept()
    shadow = stage.accept()
    assert b"x-tidegate-shadow" in shadow.take()
    assert stage.outcomes() == {"sent": 1, "dropped_method": 1, "sampled_out": 1}


def test_request_that_nobody_takes_is_not_copied(stage_of: StageOf) -> None:
    upstreams = [pool_spec("u") | {"endpoints": []}, pool_spec("shadow", "10.0.0.9")]
    stage = stage_of(shop(route={"mirror": [mirror_spec()]}, upstreams=upstreams))
    client = stage.client()
    client.send(GET)
    assert client.take().startswith(b"HTTP/1.1 503 ")
    assert stage.outcomes() == {}
    assert stage.dialling() == 0


def test_plan_without_the_shadow_lets_copies_under_way_finish(stage_of: StageOf) -> None:
    stage = stage_of(mirrored())
    client = stage.client()
    client.send(GET)
    upstream, shadow = both(stage)
    pool = stage.upstreams.shadows["shadow"]
    stage.bring(shop(generation=2))
    assert not shadow.ended
    shadow.send(OK)
    assert shadow.ended
    assert pool.empty
    upstream.send(OK)
    assert client.take().endswith(b"hello")
    assert stage.of_mirror(M_IN_FLIGHT) == 0


def test_request_without_upstream_body_of_a_copy_that_was_dropped_still_counts_once(stage_of: StageOf) -> None:
    stage = stage_of(mirrored())
    client = stage.client()
    client.send(get("/", "Content-Length: 0", method="POST"))
    upstream, shadow = both(stage)
    assert b"Content-Length: 0\r\n" in shadow.take()
    shadow.send(OK)
    upstream.send(OK)
    assert stage.outcomes() == {"sent": 1}
    stage.end_everything()
    stage.assert_nothing_left()
