"""Counters of versions that are compared: read for all at once, and copies in the place of users where there are none."""

from collections.abc import Iterator

import pytest

from proxy.control.rollouts.counted import FRESH, Counted
from proxy.telemetry.counters import M_DURATION, M_OUTCOMES, U_REQUESTS, V_DURATION, Cells
from proxy.telemetry.ledger import Ledger
from proxy.telemetry.measures import Measures
from tests.specs import upstream_spec
from tests.unit.telemetry.memory import cells_of, shop_spec


class Room:
    """Counters that a test writes, and a clock that it sets."""

    def __init__(self, cells: Cells) -> None:
        self.cells = cells
        self.ledger = Ledger(cells)
        self.spec = self.ledger.place(shop_spec())
        self.now = 0.0
        self.counted = Counted(Measures(cells, self.ledger), lambda: self.spec, lambda: self.now)

    def answer(self, version: str, count: int) -> None:
        slot = next(one["slot"] for one in self.spec["routes"][0]["versions"] if one["name"] == version)
        self.cells.view[slot + V_DURATION + 50] += count


@pytest.fixture
def room() -> Iterator[Room]:
    with cells_of() as cells:
        yield Room(cells)


def test_counters_are_read_again_when_they_are_old_or_must_be_fresh(room: Room) -> None:
    room.answer("stable", 3)
    assert room.counted.of("shop", ()).get("stable").requests == 3
    room.answer("stable", 1)
    assert room.counted.of("shop", ())["stable"].requests == 3
    assert room.counted.of("shop", (), fresh=True)["stable"].requests == 4
    room.answer("stable", 1)
    room.now += FRESH + 0.1
    assert room.counted.of("shop", ())["stable"].requests == 5


def test_a_version_that_gets_copies_has_what_came_of_them(room: Room) -> None:
    assert room.counted.of("shop", (), fresh=True)["canary"].requests == 0
    place = next(place for key, place in room.ledger.blocks("mirror") if key == ("shop", "shadow"))
    room.cells.view[place + M_OUTCOMES] += 7
    room.cells.view[place + M_DURATION + 50] += 7
    room.spec["routes"][0]["versions"][1]["upstream"] = "shadow"
    room.counted.copy_to("shop", "canary")
    assert room.counted.of("shop", (), fresh=True)["canary"].requests == 7
    room.counted.copy_to("shop", None)
    assert room.counted.of("shop", (), fresh=True)["canary"].requests == 0


def test_an_upstream_that_others_use_too_is_as_full_as_all_of_them_make_it(room: Room) -> None:
    """Another route's rollout may have the same upstream: what is left of it is not for this one alone."""
    tight = upstream_spec("u")
    tight["limits"] = tight["limits"] | {"requests": 8}
    room.spec = room.ledger.place(shop_spec(2, upstreams=[tight, upstream_spec("shadow")]))
    assert room.counted.saturation("shop") == {"stable": 0.0, "canary": 0.0}
    place = next(place for key, place in room.ledger.blocks("upstream") if key == ("u",))
    room.cells.view[place + U_REQUESTS] += 6
    assert room.counted.saturation("shop") == {"stable": 75.0, "canary": 75.0}


def test_what_the_plan_says_follows_the_plan(room: Room) -> None:
    assert room.counted.saturation("nobody") == {}
    tight = upstream_spec("u")
    tight["limits"] = tight["limits"] | {"requests": 7}
    room.spec = room.ledger.place(shop_spec(2, upstreams=[tight, upstream_spec("shadow")]))
    assert room.counted.events_of_answers("shop") == []
    room.spec["routes"][0]["evidence"] = {
        "events": [{"name": "buy", "field": "x-buy"}, {"name": "posted", "field": ""}]
    }
    assert room.counted.events_of_answers("shop") == ["buy"]
