"""Plans follow each other: what workers are sent of them, what names that move change, and what is kept for the next control."""

import asyncio
from types import SimpleNamespace

import pytest

from proxy.control.handover import Inventory
from proxy.control.keys import Keys
from proxy.control.legacy import Legacy
from proxy.control.plans import Plans
from proxy.control.rollouts.effective import Effect, lay_over
from proxy.core.plan import Endpoint
from proxy.telemetry.facts import Facts
from proxy.telemetry.ledger import Ledger, LedgerFullError
from tests.unit.control.heard import Heard
from tests.unit.telemetry.memory import cells_of, endpoint_spec, mirror_spec, shop_spec

NAMED = endpoint_spec("http://shop.test:80", "shop.test", 80)


def spec_of(*endpoints, weight=95.0):
    spec = shop_spec()
    spec["upstreams"][0]["endpoints"] = list(endpoints)
    spec["routes"][0]["versions"][0]["weight"] = weight
    return spec


class House:
    """Plans over counters of their own, and a resolver that knows what a test says."""

    def __init__(self, cells, monkeypatch, generation=0):
        self.addresses = {"shop.test": ["10.0.0.1"]}
        self.ledger = Ledger(cells)
        self.briefing = Heard()
        self.endpoints = Heard()
        self.facts = Facts()
        listeners = [SimpleNamespace(address="127.0.0.1:80")]
        inventory = Inventory(listeners, cells, self.ledger, Legacy(generation, b""))
        faults = SimpleNamespace(packed=lambda: {"reason": "enough"})
        monkeypatch.setattr("proxy.control.plans.look_up", self.look_up)
        spec = spec_of(NAMED) | {"listeners": [{"address": "127.0.0.1:80", "protocol": "http"}]}
        keys = Keys("cookie", "hash")
        self.effects = {}
        self.plans = Plans(
            spec, inventory, keys, faults, self.endpoints, self.briefing, self.facts,
            lambda file: lay_over(file, self.effects, lambda upstream, percent: mirror_spec(upstream)),
        )  # fmt: skip

    async def look_up(self, name):
        return self.addresses[name]

    def legacy(self):
        kept = [what[1] for what in self.briefing.said if what[0] == "keep"]
        return Legacy.unpack(kept[-1])

    def hosts(self):
        return [one["host"] for one in self.plans.spec["upstreams"][0]["endpoints"]]


@pytest.fixture
def house(monkeypatch):
    with cells_of() as cells:
        yield House(cells, monkeypatch)


def listening(spec, *addresses):
    return {**spec, "listeners": [{"address": one, "protocol": "http", "new": True} for one in addresses]}


def test_a_plan_has_places_keys_and_addresses_and_is_kept_before_it_is_sent(house):
    asyncio.run(house.plans.publish(listening(spec_of(NAMED), "127.0.0.1:80")))
    spec = house.plans.spec
    assert spec["generation"] == house.plans.generation == house.facts.generation == 1
    assert spec["secrets"] == {"cookie": ["cookie"], "unit_hash": "hash"}
    assert house.hosts() == ["10.0.0.1"]
    assert "slot" in spec["routes"][0]["versions"][0]
    assert [one.effective for one in house.facts.weights] == [95.0, 5.0]
    legacy = house.legacy()
    assert (legacy.generation, legacy.listeners) == (1, ["127.0.0.1:80"])
    assert legacy.faults_killed == {"reason": "enough"}
    assert house.briefing.names() == ["keep", "publish"]
    assert house.endpoints.said == [("bring", spec["upstreams"], spec_of(NAMED)["upstreams"])]


def test_generations_go_on_after_those_of_an_earlier_control_process(monkeypatch):
    with cells_of() as cells:
        house = House(cells, monkeypatch, generation=7)
        house.plans.bequeath()
        assert house.briefing.said == []  # nothing before the first plan
        asyncio.run(house.plans.publish(house.plans.spec))
        assert house.plans.generation == 8
        house.plans.bequeath()
        assert house.legacy().generation == 8


def test_a_listener_that_the_file_names_no_more_goes_on_as_it_was(house):
    asyncio.run(house.plans.publish(listening(spec_of(NAMED), "127.0.0.1:81")))
    assert house.plans.spec["listeners"] == [{"address": "127.0.0.1:80", "protocol": "http"}]
    asyncio.run(house.plans.publish(listening(spec_of(NAMED), "127.0.0.1:80")))
    assert house.plans.spec["listeners"] == [{"address": "127.0.0.1:80", "protocol": "http", "new": True}]


def test_a_plan_without_room_in_the_counters_changes_nothing(house, monkeypatch):
    asyncio.run(house.plans.publish(house.plans.spec))
    before = house.plans.spec
    house.briefing.taken()
    monkeypatch.setattr(house.ledger, "place", full)
    with pytest.raises(LedgerFullError):
        asyncio.run(house.plans.publish(spec_of(NAMED, weight=5.0)))
    assert house.plans.spec is before
    assert house.facts.generation == 1
    assert house.briefing.said == []


def full(*_):
    raise LedgerFullError("no room")


def test_what_is_laid_over_the_file_is_sent_again_without_looking_up_anything(house, monkeypatch):
    asyncio.run(house.plans.publish(listening(spec_of(NAMED), "127.0.0.1:80")))
    before = house.plans.spec
    house.briefing.taken()
    monkeypatch.setattr(house.plans.resolver, "want", full)
    house.effects["shop"] = Effect({"stable": 95.0, "canary": 5.0}, {"stable": 75.0, "canary": 25.0})
    house.plans.republish()
    after = house.plans.spec
    assert [(one.file, one.effective) for one in house.facts.weights] == [(95.0, 75.0), (5.0, 25.0)]
    assert after["generation"] == house.plans.generation == house.facts.generation == 2
    assert after["upstreams"] == before["upstreams"]
    changed = [one | {"weight": 0} for one in after["routes"][0]["versions"]]
    assert changed == [one | {"weight": 0} for one in before["routes"][0]["versions"]]  # slots and all
    assert house.briefing.names() == ["keep", "publish"]
    house.effects.clear()
    house.plans.republish()
    assert [(one.file, one.effective) for one in house.facts.weights] == [(95.0, 95.0), (5.0, 5.0)]


def test_a_file_with_other_weights_wins_with_its_very_plan(house):
    house.effects["shop"] = Effect({"stable": 95.0, "canary": 5.0}, {"stable": 75.0, "canary": 25.0})
    asyncio.run(house.plans.publish(listening(spec_of(NAMED), "127.0.0.1:80")))
    assert [one.effective for one in house.facts.weights] == [75.0, 25.0]
    asyncio.run(house.plans.publish(listening(spec_of(NAMED, weight=90.0), "127.0.0.1:80")))
    assert [(one.file, one.effective) for one in house.facts.weights] == [(90.0, 90.0), (5.0, 5.0)]


def test_names_that_move_are_told_at_once_and_are_part_of_later_plans(house):
    async def play():
        await house.plans.publish(listening(spec_of(endpoint_spec(), NAMED), "127.0.0.1:80"))
        house.briefing.taken()
        house.addresses = {"shop.test": ["10.0.0.2", "10.0.0.3"]}
        await house.plans.resolver.refresh()

    asyncio.run(play())
    assert house.hosts() == ["127.0.0.1", "10.0.0.2", "10.0.0.3"]
    assert ("send_endpoints", "u", house.plans.spec["upstreams"][0]["endpoints"]) in house.briefing.said
    assert house.briefing.names() == ["keep", "send_endpoints", "prepare"]
    assert len({Endpoint(one, 0).key for one in house.plans.spec["upstreams"][0]["endpoints"]}) == 3
    assert house.endpoints.said[-1][1] == house.plans.spec["upstreams"]


def test_names_that_move_without_room_in_the_counters_stay_where_they_were(house, monkeypatch, caplog):
    async def play():
        await house.plans.publish(house.plans.spec)
        house.briefing.taken()
        house.addresses = {"shop.test": ["10.0.0.2"]}
        monkeypatch.setattr(house.ledger, "place_endpoints", full)
        await house.plans.resolver.refresh()

    asyncio.run(play())
    assert house.hosts() == ["10.0.0.1"]
    assert "no room; the endpoints of u stay as they were" in caplog.text
    assert house.briefing.names() == ["prepare"]
