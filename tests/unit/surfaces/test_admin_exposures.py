"""Exposures on the admin port: whose, which, how many, and forgetting one."""

import json
from contextlib import contextmanager

import pytest
from jsonschema import Draft202012Validator

from proxy.exposure.queries import Reader
from proxy.exposure.schema import ExposureError, NoExposuresError
from proxy.surfaces.admin.app import make_app
from proxy.surfaces.admin.guard import READ, WRITE, Token
from proxy.surfaces.admin.openapi import document
from tests.unit.exposure.telling import NOW, Teller, store, unit_of
from tests.unit.surfaces.admin_state import stand_in
from tests.unit.surfaces.test_admin_app import ask


class Exposures:
    """A store that is asked at once, and whose hash is a plain one."""

    def __init__(self, path):
        self.path = path
        self.broken = ""
        self.erased = []

    def hash_of(self, unit):
        return unit_of(unit)

    async def ask(self, question):
        if self.broken:
            raise ExposureError(self.broken)
        with Reader(self.path) as reader:
            return question(reader)

    async def erase(self, unit):
        if self.broken:
            raise ExposureError(self.broken)
        self.erased.append(unit)
        return 2


@contextmanager
def port(tmp_path, *messages, **options):
    with stand_in() as state:
        path = tmp_path / "e.db"
        if messages:
            store(path, *messages).close()
        state.exposures = Exposures(path)
        yield state, lambda: make_app(state, **options)


def answer(application, path, method="GET", **fields):
    status, _, body = ask(application(), (method, path, fields))[0]
    return status, json.loads(body)


def follows_schema(value, name):
    described = document()
    schema = described["components"]["schemas"][name] | {"components": described["components"]}
    Draft202012Validator(schema).validate(value)


def test_records_are_found_by_unit_version_route_and_time(tmp_path):
    teller = Teller()
    messages = [
        teller.message(("alice", "canary"), ("bob", "stable")),
        teller.message(("alice", "stable"), route="cart"),
    ]
    with port(tmp_path, *messages) as (_, application):
        _, whole = answer(application, "/api/v1/exposures")
        follows_schema(whole, "Exposures")
        assert [(one["route"], one["version"]) for one in whole["exposures"]] == [
            ("cart", "stable"), ("shop", "stable"), ("shop", "canary"),
        ]  # fmt: skip
        for query, count in (
            ("unit=alice", 2), (f"unit_hash={unit_of('alice'):016x}", 2), ("unit=alice&route=shop", 1), ("version=stable", 2),
            (f"since={NOW + 1}", 2), ("unit=nobody", 0), ("since=1h", 0),
        ):  # fmt: skip
            status, found = answer(application, f"/api/v1/exposures?{query}")
            assert (status, len(found["exposures"]), found["cursor"]) == (200, count, None), query


def test_pages_are_followed_by_cursor(tmp_path):
    teller = Teller()
    with port(tmp_path, teller.message(*((f"u{number}", "stable") for number in range(7)))) as (_, application):
        found, cursor = [], ""
        while cursor is not None:
            _, page = answer(application, f"/api/v1/exposures?limit=3&cursor={cursor}")
            found += page["exposures"]
            cursor = page["cursor"]
    assert [one["at"] for one in found] == [NOW + number for number in reversed(range(7))]


def test_summary_counts_and_tests_the_split(tmp_path):
    units = [(f"u{number}", "stable") for number in range(200)]
    message = Teller().message(*units, weights='{"stable":50.0,"canary":50.0,"blue":0.0}')
    with port(tmp_path, message) as (_, application):
        status, value = answer(application, "/api/v1/exposures/summary")
        _, other = answer(application, "/api/v1/exposures/summary?route=cart")
    assert status == 200
    follows_schema(value, "ExposureSummary")
    assert [(one["version"], one["units"], one["reasons"]) for one in value["versions"]] == [
        ("stable", 200, {"split": 200})
    ]
    (ratio,) = value["sample_ratios"]
    assert ratio["mismatch"]
    assert ratio["log_bayes_factor"] > 100
    assert ratio["counts"] == {"stable": 200, "canary": 0, "blue": 0}
    assert (other["versions"], other["sample_ratios"]) == ([], [])


def test_an_infinite_factor_is_null_in_json(tmp_path):
    with port(tmp_path, Teller().message(("u", "blue"))) as (_, application):
        value = answer(application, "/api/v1/exposures/summary")[1]
    follows_schema(value, "ExposureSummary")
    assert (value["sample_ratios"][0]["log_bayes_factor"], value["sample_ratios"][0]["mismatch"]) == (None, True)


def test_where_nothing_was_recorded_there_is_nothing(tmp_path):
    with port(tmp_path) as (state, application):
        assert answer(application, "/api/v1/exposures") == (200, {"exposures": [], "cursor": None})
        summary = answer(application, "/api/v1/exposures/summary")
        with pytest.raises(NoExposuresError):
            Reader(state.exposures.path)
    assert summary == (200, {"failing": None, "versions": [], "sample_ratios": []})


def test_a_store_that_fails_says_so(tmp_path):
    with port(tmp_path) as (state, application):
        state.exposures.broken = "the disk is on fire"
        for method, path in (
            ("GET", "/api/v1/exposures"), ("GET", "/api/v1/exposures/summary"), ("DELETE", "/api/v1/exposures?unit=a"),
        ):  # fmt: skip
            status, value = answer(application, path, method)
            assert (status, value["error"]["message"]) == (503, "the disk is on fire")


@pytest.mark.parametrize(
    ("query", "words"),
    [
        ("units=alice", "unknown: units"), ("limit=0", "from 1 to 1000"), ("limit=1001", "from 1 to"), ("limit=x", "from 1 to"),
        ("since=yesterday", "must be an age"), ("cursor=x", "cursor"), ("unit=", "is empty"), ("unit_hash=12", "16 hex"),
        ("unit=a&unit_hash=0000000000000000", "give one"), ("unit=a&unit=b", "one unit at a time"),
        (f"limit=000000001{'0' * 5000}", "from 1 to"),
    ],
)  # fmt: skip
def test_questions_that_cannot_be_read_are_refused(tmp_path, query, words):
    with port(tmp_path, Teller().message(("u", "stable"))) as (_, application):
        status, value = answer(application, f"/api/v1/exposures?{query}")
    assert status == 400
    assert words in value["error"]["message"]


def test_one_unit_is_erased(tmp_path):
    with port(tmp_path) as (state, application):
        assert answer(application, "/api/v1/exposures?unit=alice", "DELETE") == (
            200,
            {"unit": f"{unit_of('alice'):016x}", "erased": 2},
        )
        assert state.exposures.erased == [unit_of("alice")]
        for query in ("", "?route=shop", "?unit=alice&route=shop", "?unit=bob&unit=carol"):
            assert answer(application, f"/api/v1/exposures{query}", "DELETE")[0] == 400
        assert len(state.exposures.erased) == 1


def test_erasing_needs_a_token_that_may_write_and_no_strangers_page(tmp_path):
    tokens = [Token("reader", frozenset({READ})), Token("writer", frozenset({WRITE}))]
    with port(tmp_path, tokens=tokens) as (_, application):
        statuses = [
            answer(application, "/api/v1/exposures?unit=a", "DELETE", Authorization=f"Bearer {one}")[0]
            for one in ("reader", "writer")
        ]
    assert statuses == [403, 200]
    with port(tmp_path) as (state, application):
        assert answer(application, "/api/v1/exposures?unit=a", "DELETE", Origin="http://evil.example")[0] == 403
        assert state.exposures.erased == []
