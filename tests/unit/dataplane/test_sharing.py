"""One limit for several workers: nobody starves beside a worker that was first, and nobody takes more than there is."""

from collections.abc import Callable

import pytest

from proxy.telemetry.counters import REGION_SLOTS, U_ACTIVE, U_PENDING
from tests.unit.dataplane.stage import GET, OK, Spec, Stage, pool_spec, shop

StageOf = Callable[..., Stage]


def limited(connections: int) -> Spec:
    return shop(upstreams=[pool_spec("u", limits={"connections": connections})])


def other_worker(stage: Stage, slot: int, value: int) -> None:
    """What the second worker has written down of the upstream."""
    offset = dict(stage.ledger.blocks("upstream"))["u",]
    stage.cells.view[REGION_SLOTS + offset + slot] = value


def test_connection_is_given_up_where_another_worker_waits_for_its_share(stage_of: StageOf) -> None:
    stage = stage_of(limited(2), workers=2)
    clients = [stage.client() for _ in range(3)]
    for client in clients:
        client.send(GET)
    first, second = stage.accept(), stage.accept()
    assert stage.dialling() == 0
    other_worker(stage, U_PENDING, 1)
    first.send(OK)
    stage.settle()
    assert first.ended == "abort"
    assert stage.dialling() == 0  # the place is the other's, though one of ours waits too
    second.send(OK)
    assert not second.ended  # within the share
    second.send(OK)
    assert [client.take().count(b"hello") for client in clients] == [1, 1, 1]


def test_idle_connection_is_given_up_where_another_worker_waits(stage_of: StageOf) -> None:
    stage = stage_of(limited(1), workers=2)
    client = stage.client()
    client.send(GET)
    upstream = stage.accept()
    upstream.send(OK)
    assert client.take().endswith(b"hello")
    stage.pool().balance()
    assert not upstream.ended
    other_worker(stage, U_PENDING, 1)
    stage.pool().balance()
    assert upstream.ended == "abort"


@pytest.mark.parametrize(("workers", "kept"), [(2, 2), (1, 3)])
def test_no_more_idle_connections_are_kept_than_the_share(workers: int, kept: int, stage_of: StageOf) -> None:
    stage = stage_of(limited(3), workers=2)
    stage.cells.share(workers, list(range(workers)))
    clients = [stage.client() for _ in range(3)]
    for client in clients:
        client.send(GET)
    for wire in [stage.accept() for _ in range(3)]:
        wire.send(OK)
    assert len(stage.pool().states[0].idle) == kept


def test_who_waits_for_another_workers_connection_gets_the_place(stage_of: StageOf) -> None:
    stage = stage_of(limited(1), workers=2)
    other_worker(stage, U_ACTIVE, 1)
    client = stage.client()
    client.send(GET)
    stage.pool().balance()
    assert stage.dialling() == 0
    other_worker(stage, U_ACTIVE, 0)
    stage.pool().balance()
    stage.accept().send(OK)
    assert client.take().endswith(b"hello")


def test_places_that_come_free_are_not_taken_beyond_the_total(stage_of: StageOf) -> None:
    stage = stage_of(limited(2), workers=2)
    first, second = stage.client(), stage.client()
    first.send(GET)
    upstream = stage.accept()
    other_worker(stage, U_ACTIVE, 1)
    second.send(GET)
    assert stage.dialling() == 0
    other_worker(stage, U_ACTIVE, 2)
    upstream.send(b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 5\r\n\r\nhello")
    assert first.take().endswith(b"hello")
    assert stage.dialling() == 0


def test_one_connection_for_two_workers_goes_round(stage_of: StageOf) -> None:
    stage = stage_of(limited(1), workers=2)
    first, second = stage.client(), stage.client()
    first.send(GET)
    upstream = stage.accept()
    second.send(GET)
    other_worker(stage, U_PENDING, 1)
    upstream.send(OK)
    assert first.take().endswith(b"hello")
    assert stage.dialling() == 0  # left to the other, though one of ours waits
    stage.pool().balance()
    assert stage.dialling() == 0
    stage.pool().balance()  # the other did not want it after all
    stage.accept().send(OK)
    assert second.take().endswith(b"hello")
