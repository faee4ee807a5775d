"""Sets of status codes: the forms that are taken. The forms that are not are in mistakes/."""

import pytest

from proxy.settings.statuses import parse_codes, parse_ranges


@pytest.mark.parametrize(
    ("value", "ranges"),
    [
        (200, [(200, 200)]),
        ("5xx", [(500, 599)]),
        ("200-204", [(200, 204)]),
        ("301 - 301", [(301, 301)]),
        ([503, "2xx", "404-405"], [(503, 503), (200, 299), (404, 405)]),
        ([], []),
    ],
)
def test_sets_of_status_codes(value: object, ranges: list[tuple[int, int]]) -> None:
    assert parse_ranges(value) == ranges
    assert parse_codes(value) == [code for first, last in ranges for code in range(first, last + 1)]
