"""Whoever runs is told at once, and whoever comes later is told all that still holds, once."""

from proxy.control.briefing import Briefing
from proxy.control.places import Place
from proxy.control.publish import Publication
from proxy.core.backoff import Backoff
from tests.unit.control.heard import Heard

PLAN, NEXT = (Publication(generation, {}, b"") for generation in (1, 2))


def place(index, link):
    made = Place(index, Backoff(0.1, 10.0, lambda: 0.0))
    made.link = link
    return made


def newcomer(briefing):
    """What one that has just come is told."""
    link = Heard()
    briefing.tell(link)
    return link.said


def test_a_worker_is_told_nothing_of_what_there_is_not():
    assert newcomer(Briefing({})) == [("share", 0, []), ("kill_faults", False)]


def test_those_that_run_are_told_at_once_and_places_without_a_channel_are_left_out():
    first, second = Heard(), Heard()
    briefing = Briefing({0: place(0, first), 1: place(1, None), 2: place(2, second)})
    briefing.publish(PLAN)
    briefing.keep(b"legacy")
    briefing.lend(b"lists")
    briefing.give_keys(b"keys")
    briefing.send_endpoints("shop", [{"host": "1"}])
    briefing.mark("shop", ["a"], ["b"])
    briefing.kill_faults(True)
    briefing.share(2, [0, 2])
    assert first.said == second.said == [
        ("publish", PLAN),
        ("keep", b"legacy"),
        ("lend", b"lists"),
        ("give_keys", b"keys"),
        ("send_endpoints", "shop", [{"host": "1"}]),
        ("mark", "shop", (["a"], ["b"])),
        ("kill_faults", True),
        ("share", 2, [0, 2]),
    ]  # fmt: skip


def test_one_that_comes_later_is_told_the_newest_of_each_and_the_plan_after_what_it_stands_on():
    briefing = Briefing({})
    briefing.publish(PLAN)
    for legacy in (b"one", b"two"):
        briefing.keep(legacy)
        briefing.lend(legacy)
        briefing.give_keys(legacy)
    briefing.share(3, [0, 1, 2])
    briefing.kill_faults(True)
    briefing.mark("shop", ["a"], [])
    assert newcomer(briefing) == [
        ("keep", b"two"),
        ("share", 3, [0, 1, 2]),
        ("kill_faults", True),
        ("lend", b"two"),
        ("give_keys", b"two"),
        ("mark", "shop", (["a"], [])),
        ("publish", PLAN),
    ]


def test_one_that_comes_later_is_not_told_of_an_upstream_where_all_is_well_again():
    briefing = Briefing({})
    briefing.mark("shop", ["a"], [])
    briefing.mark("well", ["b"], [])
    briefing.mark("well", [], [])
    assert [said for said in newcomer(briefing) if said[0] == "mark"] == [("mark", "shop", (["a"], []))]


def test_endpoints_that_moved_are_in_the_plan_of_those_that_come_later():
    link = Heard()
    briefing = Briefing({0: place(0, link)})
    briefing.publish(PLAN)
    briefing.send_endpoints("shop", [{"host": "1"}])
    briefing.prepare(NEXT)
    assert link.said[1:] == [("send_endpoints", "shop", [{"host": "1"}])]
    assert ("publish", NEXT) in newcomer(briefing)
