"""Whom a worker has seen with what, and whom it may forget."""

import pytest

from proxy.core import exposed
from proxy.core.exposed import Exposed, ExposureWords, is_robot
from proxy.core.plan import DENY, OVERRIDE, SPLIT, STICKY
from tests.specs import route_spec


def test_sticky_is_the_reason_of_that_name():
    assert exposed.STICKY == STICKY


def test_first_assignment_is_news_until_it_is_marked():
    units = Exposed()
    shop = units.of("shop")
    assert not shop.knows("u", "canary", SPLIT, "")
    assert not shop.knows("u", "canary", SPLIT, "")  # looking marks nothing: the record may not have found room
    units.mark(shop, "u", "canary", SPLIT, "")
    assert shop.knows("u", "canary", SPLIT, "")


@pytest.mark.parametrize("change", [("stable", SPLIT, ""), ("canary", DENY, ""), ("canary", SPLIT, "rules[0]")])
def test_another_version_reason_or_rule_is_news(change):
    units = Exposed()
    shop = units.of("shop")
    units.mark(shop, "u", "canary", SPLIT, "")
    assert not shop.knows("u", *change)


def test_there_and_back_are_three_records():
    units = Exposed()
    shop = units.of("shop")
    news = []
    for version in ("a", "a", "b", "b", "a", "a"):
        known = shop.knows("u", version, SPLIT, "")
        news.append(not known)
        if not known:
            units.mark(shop, "u", version, SPLIT, "")
    assert news == [True, False, True, False, True, False]


def test_keeping_a_version_by_a_pin_is_no_news():
    units = Exposed()
    shop = units.of("shop")
    units.mark(shop, "u", "canary", SPLIT, "")
    assert shop.knows("u", "canary", STICKY, "")
    assert not shop.knows("u", "stable", STICKY, "")


def test_routes_do_not_know_each_others_units():
    units = Exposed()
    units.mark(units.of("shop"), "u", "canary", SPLIT, "")
    assert not units.of("cart").knows("u", "canary", SPLIT, "")
    assert units.of("shop") is units.of("shop")


def test_memory_is_bounded_over_all_routes():
    units = Exposed(10)
    routes = [units.of(name) for name in ("a", "b", "c")]
    for number in range(1000):
        units.mark(routes[number % 3], f"u{number}", "v", SPLIT, "")
        assert sum(len(route.young) for route in routes) <= 10
        assert sum(len(route.old) for route in routes) <= 10


def test_who_keeps_coming_is_not_forgotten_and_who_stays_away_is():
    units = Exposed(10)
    shop = units.of("shop")
    units.mark(shop, "regular", "v", SPLIT, "")
    units.mark(shop, "once", "v", SPLIT, "")
    for number in range(100):
        units.mark(shop, f"u{number}", "v", SPLIT, "")
        assert shop.knows("regular", "v", SPLIT, "")
    assert not shop.knows("once", "v", SPLIT, "")


def test_looking_again_takes_no_more_room_than_there_is():
    units = Exposed(10)
    shop = units.of("shop")
    for number in range(15):
        units.mark(shop, f"u{number}", "v", SPLIT, "")
    for number in range(15):
        shop.knows(f"u{number}", "v", SPLIT, "")
    assert len(shop.young) <= 10
    assert units.room.left == 10 - len(shop.young)


def test_a_unit_and_a_route_can_be_forgotten():
    units = Exposed(10)
    shop = units.of("shop")
    units.mark(shop, "u", "v", SPLIT, "")
    units.forget_unit("u")
    units.forget_unit("u")
    assert not shop.knows("u", "v", SPLIT, "")
    units.mark(shop, "u", "v", SPLIT, "")
    units.leave({"other"})
    assert not units.of("shop").knows("u", "v", SPLIT, "")
    assert units.room.left == 10


@pytest.mark.parametrize(
    ("agent", "robot"),
    [
        (b"Mozilla/5.0 (compatible; Googlebot/2.1; +http://www.google.com/bot.html)", True),
        (b"AdsBot-Google (+http://www.google.com/adsbot.html)", True),
        (b"Mozilla/5.0 (compatible; Yahoo! Slurp)", True),
        (b"Screaming Frog SEO Spider/19.0", True),
        (b"Mozilla/5.0 (X11; Linux x86_64) HeadlessChrome/120.0", True),
        (b"Mozilla/5.0 (Linux; Android 10; CUBOT X30) AppleWebKit/537.36", False),
        (b"Mozilla/5.0 (Windows NT 10.0; Win64; x64; rv:120.0) Gecko/20100101 Firefox/120.0", False),
        (b"Botanical Garden App/3.1", False),
        (b"curl/8.0", False),
        (b"", False),
    ],
)
def test_robots_are_those_who_say_so(agent, robot):
    assert is_robot(agent) is robot


def test_words_of_a_route_are_its_weights_and_those_of_rules_with_splits():
    rules = [
        {"label": "rules[0]", "units": ["bob"], "version": "canary"},
        {"label": "rules[1]", "where": {"segment": "beta"}, "split": {"stable": 1.0, "canary": 1.0}},
        {
            "label": "rules[2]",
            "where": {"source": "header", "name": "h", "test": "is", "value": "a"},
            "split": {"canary": 1},
        },
    ]
    words = ExposureWords(route_spec("shop", rules=rules))
    assert words.weights == '{"stable":95.0,"canary":5.0}'
    assert words.epoch == 0
    assert words.drawn == {
        "rules[1]": ('{"stable":1.0,"canary":1.0}', "beta"),
        "rules[2]": ('{"canary":1.0}', "rules[2]"),
    }
    assert OVERRIDE != SPLIT
