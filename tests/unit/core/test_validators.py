"""Conditional requests: what a client's copy is worth, and what a 304 of the origin changes."""

import pytest

from proxy.core.dates import format_date
from proxy.core.validators import condition_lines, entity_tags, freshened, not_modified, not_modified_lines, same_answer

NOW = 1_795_000_000.0
MODIFIED = NOW - 1000


def date(seconds: float) -> str:
    return format_date(seconds).decode()


@pytest.mark.parametrize(
    ("fields", "tag", "current"),
    [
        ({}, '"1"', False),
        ({"if-none-match": '"1"'}, '"1"', True),
        ({"if-none-match": '"2"'}, '"1"', False),
        ({"if-none-match": 'W/"1"'}, '"1"', True),
        ({"if-none-match": '"1"'}, 'W/"1"', True),
        ({"if-none-match": '"0", "1"'}, '"1"', True),
        ({"if-none-match": '"0","1","2"'}, '"1"', True),
        ({"if-none-match": '"a,b"'}, '"a,b"', True),
        ({"if-none-match": '"a", "b"'}, '"a,b"', False),
        ({"if-none-match": "*"}, '"1"', True),
        ({"if-none-match": "*"}, "", True),
        ({"if-none-match": '"1"'}, "", False),
        ({"if-none-match": "1"}, '"1"', False),
        ({"if-none-match": '"1'}, '"1"', False),
        ({"if-none-match": '"2"', "if-modified-since": date(NOW)}, '"1"', False),
        ({"if-modified-since": date(MODIFIED)}, "", True),
        ({"if-modified-since": date(MODIFIED + 1)}, "", True),
        ({"if-modified-since": date(MODIFIED - 1)}, "", False),
        ({"if-modified-since": "yesterday"}, "", False),
    ],
)
def test_whether_a_clients_copy_is_current(fields, tag, current):
    encoded = {name.encode(): value.encode() for name, value in fields.items()}
    assert not_modified(encoded, tag.encode(), MODIFIED, NOW) is current


def test_without_a_known_date_nothing_is_older():
    assert not not_modified({b"if-modified-since": date(NOW).encode()}, b"", -1.0, NOW)


def test_tags_are_found_between_their_quotes():
    assert entity_tags(b'W/"a", "b,c" , x "d') == [b'"a"', b'"b,c"']


def test_no_more_tags_are_looked_at_than_a_client_holds():
    assert len(entity_tags(b'"",' * 30_000)) == 256


def test_an_origin_is_asked_for_what_is_known():
    assert condition_lines(b'"1"', b"x") == [b'if-none-match: "1"', b"if-modified-since: x"]
    assert condition_lines(b"", b"") == []


def test_304_tells_what_changes_a_copys_use():
    lines = [b"ETag: x", b"Content-Type: y", b"Cache-Control: z", b"X-A: 1"]
    assert not_modified_lines(lines) == [b"ETag: x", b"Cache-Control: z"]


@pytest.mark.parametrize(
    ("tag", "told", "same"),
    [
        (b'"1"', b"", True), (b'"1"', b'"1"', True), (b'"1"', b'"2"', False), (b'"1"', b'W/"2"', True),
        (b'W/"1"', b'"1"', True), (b"", b'"2"', True),
    ],
)  # fmt: skip
def test_whose_304_it_is(tag, told, same):
    assert same_answer(tag, told) is same


def test_a_304_replaces_the_fields_it_names_and_leaves_the_body_alone():
    old = [b"ETag: x", b"X-A: 1", b"x-a: 2", b"content-length: 5", b"Content-Encoding: br"]
    newer = [b"X-a: 3", b"Content-Length: 0", b"content-encoding: gzip", b"X-New: 1"]
    assert freshened(old, newer) == [
        b"ETag: x", b"content-length: 5", b"Content-Encoding: br", b"X-a: 3", b"X-New: 1",
    ]  # fmt: skip
