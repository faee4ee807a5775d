"""What cannot be read is said in words for whoever sent it."""

import pytest

from proxy.surfaces.admin.wish import BadWishError, read_wish


def test_an_empty_body_has_neither_reason_nor_name():
    assert read_wish(" \n") == {"reason": "", "by": ""}


def test_the_words_and_what_the_path_takes_are_read():
    text = '{"reason": "a new disk", "force": 1}'
    assert read_wish(text, "until", "force") == {"reason": "a new disk", "by": "", "force": 1}


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("{", "the body must be JSON"),
        ("[]", "the body must be an object"),
        ('{"who": 1, "force": 1}', "unknown: force, who; known: reason, by, until"),
        ('{"reason": 1}', "reason must be a text of at most 500 characters"),
        ('{"by": "' + "a" * 501 + '"}', "by must be a text of at most 500 characters"),
    ],
)
def test_a_body_that_cannot_be_read_is_refused(text, why):
    with pytest.raises(BadWishError, match=f"^{why}$"):
        read_wish(text, "until")
