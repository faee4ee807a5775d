"""Which endpoint gets a request: what each policy's name promises, in numbers."""

from collections import Counter
from pathlib import Path
from typing import Any

from tests.e2e.harness.proxy import Config, Proxy, configuration
from tests.e2e.harness.services import Service
from tests.e2e.harness.traffic import Traffic
from tests.e2e.harness.wait import wait_for
from tests.e2e.resilience.configs import at_endpoint
from tests.e2e.resilience.conftest import Open

PEOPLE = 60


def balanced(upstreams: dict[str, Config], **more: Any) -> Config:
    """A route for each upstream, which goes by its name as host."""
    routes = [
        {
            "name": name,
            "match": {"host": f"{name}.test"},
            "unit": [{"header": "x-user-id"}],
            "versions": {"only": {"upstream": name}},
        }
        for name in upstreams
    ]
    return configuration(upstreams, routes, **more)


def weighted(heavy: Service, weight: int, *others: Service) -> list[Any]:
    return [{"url": heavy.url, "weight": weight}, *(one.url for one in others)]


def answered(proxy: Proxy, host: str, count: int) -> list[str]:
    """Who answers one request after another."""
    with proxy.connect() as wire:
        return [wire.get("/", f"{host}.test").body.decode() for _ in range(count)]


def homes(proxy: Proxy, host: str) -> dict[int, str]:
    """Who answers whom."""
    with proxy.connect() as wire:
        return {user: wire.get("/", f"{host}.test", f"X-User-Id: {user}").body.decode() for user in range(PEOPLE)}


def test_turns_chance_and_order(tmp_path: Path, services: Open) -> None:
    first, second, third = services("a", "b", "c")
    config = balanced(
        {
            "round-robin": {"endpoints": weighted(first, 5, second, third), "balance": "round_robin"},
            "random": {"endpoints": weighted(first, 2, second, third), "balance": "random"},
            "first": {"endpoints": weighted(first, 1, second, third), "balance": "first"},
        }
    )
    with Proxy(config, tmp_path) as proxy:
        assert "".join(answered(proxy, "round-robin", 70)) == "aabacaa" * 10
        drawn = Counter(answered(proxy, "random", 1200))
        for name, expected in (("a", 600), ("b", 300), ("c", 300)):  # five standard deviations
            assert abs(drawn[name] - expected) <= 90, drawn
        assert set(answered(proxy, "first", 20)) == {"a"}
        first.down()
        assert set(answered(proxy, "first", 20)) == {"b"}
        first.up()
        wait_for(lambda: answered(proxy, "first", 1) == ["a"], "the first of them to be asked again")


def test_users_keep_their_endpoint_and_only_those_move_whose_endpoint_goes(tmp_path: Path, services: Open) -> None:
    found = services("a", "b", "c")
    leaving = found[1]
    urls = [one.url for one in found]
    config = balanced({one: {"endpoints": urls, "balance": one} for one in ("ring_hash", "maglev")}, workers=2)
    for route in config["routes"]:
        route["match"]["host"] = f"{route['name'].replace('_', '-')}.test"
    with Proxy(config, tmp_path) as proxy:
        for upstream in ("ring_hash", "maglev"):
            host = upstream.replace("_", "-")
            before = homes(proxy, host)
            assert homes(proxy, host) == before, "whichever worker it is"
            shares = Counter(before.values())
            assert all(shares[one.name] >= PEOPLE / 3 / 4 for one in found), shares
            assert at_endpoint(proxy, upstream, leaving, "POST")["in_flight"] == 0
            wait_for(lambda host=host: leaving.name not in homes(proxy, host).values(), "all workers to be told")
            without = homes(proxy, host)
            moved = {user for user in before if without[user] != before[user]}
            assert moved == {user for user, home in before.items() if home == leaving.name}
            assert {without[user] for user in moved} == {"a", "c"}
            at_endpoint(proxy, upstream, leaving, "DELETE")
            wait_for(lambda host=host, before=before: homes(proxy, host) == before, "all workers to be told")


def test_least_request_spares_who_is_slow(tmp_path: Path, services: Open) -> None:
    slow, *others = services("slow", "second", "third")
    slow.tell(latency=0.25)
    config = balanced({"plain": {"endpoints": [one.url for one in (slow, *others)], "balance": "least_request"}})
    with Proxy(config, tmp_path) as proxy, Traffic(proxy.address, 30) as traffic:
        seen = traffic.more(600)
        assert not seen.bad()
        # By turns it would be a third, and nearly all users would be waiting for it at any moment.
        assert 0 < seen.bodies()["slow"] <= 0.2 * len(seen)


def test_a_zone_keeps_what_it_can_carry_and_spills_the_rest(tmp_path: Path, services: Open) -> None:
    near, ill, far = services("near", "ill", "far")
    config = balanced(
        {
            "shop": {
                "endpoints": [
                    {"url": near.url, "zone": "b"},
                    {"url": ill.url, "zone": "b"},
                    {"url": far.url, "zone": "a"},
                ],
                "outlier": {"consecutive_5xx": 3, "base_ejection": "60s", "max_ejected_percent": 34},
            }
        },
        zone="b",
    )
    with Proxy(config, tmp_path) as proxy:
        assert Counter(answered(proxy, "shop", 100)) == {"near": 50, "ill": 50}
        ill.tell(status=500)
        assert answered(proxy, "shop", 6).count("wrong") == 3
        # One of two is out: the zone keeps 1.4 x 50 %, give or take five standard deviations.
        served = Counter(answered(proxy, "shop", 400))
        assert set(served) == {"near", "far"}
        assert abs(served["near"] - 280) <= 46, served
        far.down()
        assert set(answered(proxy, "shop", 50)) == {"near"}, "one that is out is not asked while another can be reached"
