"""The cache under load: who is served from it, and whose page it is."""

from pathlib import Path

from tests.e2e.harness.proxy import Proxy
from tests.e2e.harness.traffic import Record, Seen, Traffic
from tests.e2e.resilience.configs import USERS, two_versions
from tests.e2e.resilience.conftest import Open


def of_its_own(one: Seen) -> bool:
    """Whether the page is that of the version the user belongs to."""
    return one.body == one.assigned


def never_the_canarys_page(seen: Record) -> bool:
    """Whether no user of stable has seen a page of the canary."""
    return set(seen.of("stable").bodies()) == {"stable"}


def test_stale_answers_while_every_upstream_is_dead(tmp_path: Path, services: Open) -> None:
    stable, canary = both = services("stable", "canary")
    for one in both:
        one.tell(fields=["Cache-Control: max-age=0", f'ETag: "{one.name}"'])
    config = two_versions(stable, canary, weight=50, route={"cache": {"stale_if_error": "5m"}})
    with Proxy(config, tmp_path) as proxy, Traffic(proxy.address, USERS) as traffic:
        calm = traffic.more(5 * USERS)
        assert not calm.bad()
        assert all(map(of_its_own, calm))
        assert not any("ST" in one.flags for one in calm)
        for one in both:
            one.down()
        mark = traffic.mark()
        traffic.more(10 * USERS)
        dead = traffic.since(mark)
        assert not dead.bad(), "what was under way may be answered from what is stored, too"
        odd = [one for one in dead if not of_its_own(one)]
        assert not odd, (len(odd), len(dead), odd[:4])
        stale = dead.only(lambda one: "ST" in one.flags)
        assert len(stale) >= len(dead) - USERS
        for one in both:
            one.up()
        fresh = traffic.until(
            lambda seen: {one.served for one in seen[-USERS:] if not one.flags} == {"stable", "canary"}, "fresh answers"
        )
        assert not fresh.bad()
        alive = traffic.more(5 * USERS)
        assert not any("ST" in one.flags for one in alive)
        assert all(map(of_its_own, alive))
        seen = traffic.stop()
        assert never_the_canarys_page(seen)
        counted = proxy.metrics().by("tidegate_cache_total", "outcome")
        assert counted["stale"] >= len(stale)


def test_canary_that_answers_500_is_covered_by_its_own_pages(tmp_path: Path, services: Open) -> None:
    stable, canary = both = services("stable", "canary")
    for one in both:
        one.tell(fields=["Cache-Control: max-age=0"])
    config = two_versions(stable, canary, weight=50, route={"cache": {"stale_if_error": "5m"}})
    with Proxy(config, tmp_path) as proxy, Traffic(proxy.address, USERS) as traffic:
        traffic.more(5 * USERS)
        canary.tell(status=500)
        mark = traffic.mark()
        traffic.more(5 * USERS, lambda one: one.assigned == "canary" and "ST" in one.flags)
        seen = traffic.since(mark)
        assert not seen.bad()
        assert all(map(of_its_own, seen))
        assert not any("ST" in one.flags for one in seen.of("stable"))
        # The answers that were replaced count against the canary all the same: nobody is to take it for well.
        assert proxy.metrics().value("tidegate_errors_total", version="canary") > 0
        assert never_the_canarys_page(traffic.stop())


def test_fresh_answers_spare_the_upstream(tmp_path: Path, services: Open) -> None:
    stable, canary = both = services("stable", "canary")
    for one in both:
        one.tell(fields=["Cache-Control: max-age=300"])
    workers = 2
    config = two_versions(stable, canary, weight=50, route={"cache": {}}, workers=workers)
    with Proxy(config, tmp_path) as proxy, Traffic(proxy.address, USERS) as traffic:
        traffic.more(20 * USERS)
        seen = traffic.stop()
        assert not seen.bad()
        assert all(map(of_its_own, seen))
        assert never_the_canarys_page(seen)
        # Each worker asks for itself; until the first answer is stored, each user may have asked once.
        assert stable.counts().requests + canary.counts().requests <= workers * USERS
        counted = proxy.metrics().by("tidegate_cache_total", "outcome")
        assert counted["hit"] >= len(seen) - workers * USERS
