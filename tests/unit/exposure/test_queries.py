"""Questions: whose, which, since when, and page after page."""

import pytest

from proxy.core.plan import OVERRIDE
from proxy.exposure.queries import BadCursorError, Reader, Wanted
from proxy.exposure.schema import NoExposuresError
from tests.unit.exposure.telling import NOW, Teller, store, unit_of


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    """100 units of two routes; every fifth gets the canary, every tenth of them moves back. Segments of 16 records."""
    file = tmp_path_factory.mktemp("exposures") / "e.db"
    teller = Teller()
    records = store(file, segment_records=16)
    for number in range(100):
        version = "canary" if number % 5 == 0 else "stable"
        records.write([teller.message((f"u{number}", version), route="cart" if number % 2 else "shop")], 0)
    for number in range(0, 100, 10):
        records.write([teller.message((f"u{number}", "stable", OVERRIDE, "rules[0]"))], 0)
    records.close()
    return file


def ask(path, limit=1000, cursor="", **wanted):
    with Reader(path) as reader:
        return reader.find(Wanted(**wanted), limit, cursor)


def test_of_a_unit(path):
    found = ask(path, unit=unit_of("u10")).records
    assert [(one["version"], one["before"], one["rule"]) for one in found] == [
        ("stable", "canary", "rules[0]"),
        ("canary", None, ""),
    ]
    assert ask(path, unit=unit_of("u10"), route="cart").records == []
    assert [one["version"] for one in ask(path, unit=unit_of("u10"), version="canary").records] == ["canary"]


def test_of_nobody_known(path):
    assert ask(path, unit=unit_of("nobody")).records == []
    assert ask(path, version="blue").records == []


def test_of_a_version_over_routes_and_of_one_route(path):
    assert len(ask(path, version="canary").records) == 20
    found = ask(path, version="canary", route="cart").records
    assert len(found) == 10
    assert [one["at"] for one in found] == sorted((one["at"] for one in found), reverse=True)
    assert {one["route"] for one in found} == {"cart"}


def test_since(path):
    assert len(ask(path, since=NOW + 100).records) == 10
    assert len(ask(path, since=NOW + 95, version="canary").records) == 1
    assert ask(path, since=NOW + 1000).records == []


def test_units_of_a_route_since_then_each_counted_once(path):
    with Reader(path) as reader:
        assert reader.units_since("shop", 0.0) == {"stable": 50, "canary": 10}
        assert reader.units_since("cart", 0.0) == {"stable": 40, "canary": 10}
        assert reader.units_since("shop", NOW + 100) == {"stable": 10}
        assert reader.units_since("shop", NOW + 90) == {"stable": 14, "canary": 1}
        assert reader.units_since("shop", NOW + 1000) == {}
        assert reader.units_since("nobody", 0.0) == {}
        assert reader.units_since("shop", 0.0, most=7) == {"stable": 7, "canary": 7}


@pytest.mark.parametrize(
    "wanted", [{}, {"version": "canary"}, {"version": "stable"}, {"route": "shop"}, {"since": NOW + 20}]
)
@pytest.mark.parametrize("size", [1, 7, 50])
def test_pages_are_the_whole_in_order(path, wanted, size):
    whole = ask(path, **wanted).records
    pages = []
    cursor = ""
    while True:
        page = ask(path, size, cursor, **wanted)
        assert len(page.records) <= size
        pages += page.records
        cursor = page.cursor
        if not cursor:
            break
    assert pages == whole
    assert len({(one["unit"], one["at"]) for one in pages}) == len(pages)


@pytest.mark.parametrize("cursor", ["1", "a.b.c", "1.2", "1.2.3.4", "-1.2.3", "9" * 30 + ".1.1"])
def test_a_cursor_that_no_page_gave_is_refused(path, cursor):
    with pytest.raises(BadCursorError):
        ask(path, cursor=cursor)


def test_summary_counts_units_not_records(path):
    with Reader(path) as reader:
        found = {(one.route, one.version): one for one in reader.summary()}
        only = reader.summary("cart")
    assert {key: (one.units, one.first_assignments, one.records) for key, one in found.items()} == {
        ("shop", "stable"): (50, 40, 50),
        ("shop", "canary"): (10, 10, 10),
        ("cart", "stable"): (40, 40, 40),
        ("cart", "canary"): (10, 10, 10),
    }
    assert found["shop", "stable"].reasons == {"override": 10, "split": 40}
    assert (found["shop", "canary"].first, found["shop", "canary"].last) == (NOW, NOW + 90)
    assert {one.route for one in only} == {"cart"}


def test_a_unit_that_returns_is_one_unit(tmp_path):
    teller = Teller()
    store(tmp_path / "e.db", *(teller.message(("u", one)) for one in "aba")).close()
    with Reader(tmp_path / "e.db") as reader:
        assert {one.version: (one.units, one.records) for one in reader.summary()} == {"a": (1, 2), "b": (1, 1)}


def test_where_nothing_was_recorded_it_says_so(tmp_path):
    with pytest.raises(NoExposuresError, match="no such file"):
        Reader(tmp_path / "none.db")
