"""RFC 9111 and RFC 5861 as tables: what is stored, for how long it is fresh, and who is given what."""

from typing import Any

import pytest

from proxy.core.cache_control import CacheControl, read, read_request
from proxy.core.dates import format_date
from proxy.core.freshness import (
    ASK,
    HIT,
    STALE,
    CachePolicy,
    Terms,
    judge,
    may_have,
    serves_for_error,
    terms_of,
    useful_for,
    variant_of,
)

NOW = 1_795_000_000.0
Fields = dict[str, str]


def policy(**parts: Any) -> CachePolicy:
    return CachePolicy(
        {
            "size": 1 << 20, "object_limit": 1 << 16, "default_ttl": 0.0, "stale_while_revalidate": 0.0,
            "stale_if_error": 0.0, "max_ttl": 86400.0, "shared_cookies": False,
        } | parts,
        frozenset({b"tg"}),
    )  # fmt: skip


def at(seconds: float) -> str:
    return format_date(NOW + seconds).decode()


def encoded(fields: Fields) -> dict[bytes, bytes]:
    return {name.lower().encode(): value.encode() for name, value in fields.items()}


def terms(
    answer: Fields,
    asked: Fields | None = None,
    *,
    status: int = 200,
    method: bytes = b"GET",
    delay: float = 0.0,
    **parts: Any,
) -> Terms | str:
    return terms_of(policy(**parts), method, encoded(asked or {}), status, encoded(answer), NOW, delay)


def kept(answer: Fields, asked: Fields | None = None, **parts: Any) -> Terms:
    found = terms(answer, asked, **parts)
    assert isinstance(found, Terms), found
    return found


CC = "cache-control"
BASIC = {"authorization": "Basic x"}
SHARED = {"shared_cookies": True}
COOKIE = {"set-cookie": "a=b"}
STORED = "stored"

STORING = [
    # (section, fields of the answer, fields of the request, status, method, parts of the policy, outcome)
    ("3 explicit max-age", {CC: "max-age=60"}, {}, 200, b"GET", {}, STORED),
    ("3 explicit s-maxage", {CC: "s-maxage=60"}, {}, 200, b"GET", {}, STORED),
    ("3 expires", {"expires": at(60)}, {}, 200, b"GET", {}, STORED),
    ("3 nothing said", {}, {}, 200, b"GET", {}, "no_lifetime"),
    ("3 only a validator", {"etag": '"1"'}, {}, 200, b"GET", {}, "no_lifetime"),
    ("3 only public", {CC: "public"}, {}, 200, b"GET", {}, "no_lifetime"),
    ("3 only last-modified: no tenth of its age is guessed", {"last-modified": at(-1000)}, {}, 200, b"GET", {}, "no_lifetime"),
    ("4.2.2 default_ttl", {}, {}, 200, b"GET", {"default_ttl": 5.0}, STORED),
    ("4.2.2 default_ttl and 404", {}, {}, 404, b"GET", {"default_ttl": 5.0}, STORED),
    ("4.2.2 default_ttl and 301", {}, {}, 301, b"GET", {"default_ttl": 5.0}, STORED),
    ("4.2.2 default_ttl and 204", {}, {}, 204, b"GET", {"default_ttl": 5.0}, STORED),
    ("4.2.2 default_ttl and 410", {}, {}, 410, b"GET", {"default_ttl": 5.0}, STORED),
    ("4.2.2 default_ttl and 302", {}, {}, 302, b"GET", {"default_ttl": 5.0}, "no_lifetime"),
    ("4.2.2 default_ttl and 403", {}, {}, 403, b"GET", {"default_ttl": 5.0}, "no_lifetime"),
    ("4.2.2 default_ttl, 302 and public", {CC: "public"}, {}, 302, b"GET", {"default_ttl": 5.0}, STORED),
    ("4.2.2 default_ttl and a cookie", {}, {"cookie": "a=b"}, 200, b"GET", {"default_ttl": 5.0}, "cookie"),
    ("4.2.2 default_ttl and a shared cookie", {}, {"cookie": "a=b"}, 200, b"GET", {"default_ttl": 5.0} | SHARED, STORED),
    ("own: default_ttl and the cookie minted here", {}, {"cookie": "tg=b"}, 200, b"GET", {"default_ttl": 5.0}, STORED),
    ("4.2.2 default_ttl and authorization", {}, BASIC, 200, b"GET", {"default_ttl": 5.0}, "authorization"),
    ("3 max-age and a cookie", {CC: "max-age=60"}, {"cookie": "a=b"}, 200, b"GET", {}, STORED),
    ("3 explicit and 302", {CC: "max-age=60"}, {}, 302, b"GET", {}, STORED),
    ("3 explicit and 307", {CC: "max-age=60"}, {}, 307, b"GET", {}, STORED),
    ("3 explicit and 403", {CC: "max-age=60"}, {}, 403, b"GET", {}, STORED),
    ("3 explicit and 404", {CC: "max-age=60"}, {}, 404, b"GET", {}, STORED),
    ("3 explicit and 418", {CC: "max-age=60"}, {}, 418, b"GET", {}, STORED),
    ("3 explicit and an unknown status", {CC: "max-age=60"}, {}, 299, b"GET", {}, STORED),
    ("3 partial content", {CC: "max-age=60"}, {}, 206, b"GET", {}, "status"),
    ("3 not modified", {CC: "max-age=60"}, {}, 304, b"GET", {}, "status"),
    ("own: 500 never replaces the last good answer", {CC: "max-age=60"}, {}, 500, b"GET", {}, "status"),
    ("own: 503", {CC: "max-age=60"}, {}, 503, b"GET", {}, "status"),
    ("own: 501", {CC: "max-age=60"}, {}, 501, b"GET", {}, "status"),
    ("3 head", {CC: "max-age=60"}, {}, 200, b"HEAD", {}, "method"),
    ("3 post", {CC: "max-age=60"}, {}, 200, b"POST", {}, "method"),
    ("3 options", {CC: "max-age=60"}, {}, 200, b"OPTIONS", {}, "method"),
    ("5.2.2.5 no-store", {CC: "no-store"}, {}, 200, b"GET", {}, "no_store"),
    ("5.2.2.5 no-store and max-age", {CC: "max-age=60, no-store"}, {}, 200, b"GET", {}, "no_store"),
    ("5.2.2.5 No-Store", {CC: "No-Store, MAX-AGE=60"}, {}, 200, b"GET", {}, "no_store"),
    ("5.2.2.5 no-store with an argument", {CC: "no-store=1, max-age=60"}, {}, 200, b"GET", {}, "no_store"),
    ("5.2.2.5 no-store in quotes is none", {CC: 'x="a, no-store", max-age=60'}, {}, 200, b"GET", {}, STORED),
    ("own: quotes that do not close", {CC: 'x="a, max-age=60'}, {}, 200, b"GET", {}, "no_store"),
    ("5.2.1.5 the request says no-store", {CC: "max-age=60"}, {CC: "no-store"}, 200, b"GET", {}, "request_no_store"),
    ("5.2.1.4 the request says no-cache", {CC: "max-age=60"}, {CC: "no-cache"}, 200, b"GET", {}, STORED),
    ("5.2.2.7 private", {CC: "private, max-age=60"}, {}, 200, b"GET", {}, "private"),
    ("5.2.2.7 private and public", {CC: "private, public, max-age=60"}, {}, 200, b"GET", {}, "private"),
    ("5.2.2.7 private and s-maxage", {CC: "private, s-maxage=60"}, {}, 200, b"GET", {}, "private"),
    ("5.2.2.7 private with field names", {CC: 'private="x-user, set-cookie", max-age=60'}, {}, 200, b"GET", {}, STORED),
    ("5.2.2.7 private with no name", {CC: 'private="", max-age=60'}, {}, 200, b"GET", {}, "private"),
    ("5.2.2.7 private with a token", {CC: "private=x-user, max-age=60"}, {}, 200, b"GET", {}, STORED),
    ("5.2.2.3 must-understand takes no-store's place", {CC: "must-understand, no-store, max-age=60"}, {}, 200, b"GET", {}, STORED),
    ("5.2.2.3 must-understand and an unknown status", {CC: "must-understand, max-age=60"}, {}, 299, b"GET", {}, "status"),
    ("5.2.2.3 must-understand, unknown, no-store", {CC: "must-understand, no-store, max-age=60"}, {}, 418, b"GET", {}, "status"),
    ("5.2.2.3 must-understand and private", {CC: "must-understand, private, max-age=60"}, {}, 200, b"GET", {}, "private"),
    ("3.5 authorization", {CC: "max-age=60"}, BASIC, 200, b"GET", {}, "authorization"),
    ("3.5 authorization and public", {CC: "max-age=60, public"}, BASIC, 200, b"GET", {}, STORED),
    ("3.5 authorization and s-maxage", {CC: "s-maxage=60"}, BASIC, 200, b"GET", {}, STORED),
    ("3.5 authorization and must-revalidate", {CC: "max-age=60, must-revalidate"}, BASIC, 200, b"GET", {}, STORED),
    ("3.5 authorization and proxy-revalidate", {CC: "max-age=60, proxy-revalidate"}, BASIC, 200, b"GET", {}, "authorization"),
    ("3.5 authorization and expires", {"expires": at(60)}, BASIC, 200, b"GET", {}, "authorization"),
    ("own: set-cookie", {CC: "max-age=60", "set-cookie": "a=b"}, {}, 200, b"GET", {}, "set_cookie"),
    ("own: set-cookie and public", {CC: "max-age=60, public", "set-cookie": "a=b"}, {}, 200, b"GET", {}, "set_cookie"),
    ("own: set-cookie and shared_cookies", {CC: "max-age=60", "set-cookie": "a=b"}, {}, 200, b"GET", SHARED, STORED),
    ("5.2.2.4 set-cookie withheld by no-cache", COOKIE | {CC: 'max-age=60, no-cache="Set-Cookie"'}, {}, 200, b"GET", {}, STORED),
    ("5.2.2.7 set-cookie withheld by private", COOKIE | {CC: 'max-age=60, private="Set-Cookie"'}, {}, 200, b"GET", {}, STORED),
    ("4.1 vary: *", {CC: "max-age=60", "vary": "*"}, {}, 200, b"GET", {}, "vary"),
    ("4.1 vary: * among others", {CC: "max-age=60", "vary": "accept, *"}, {}, 200, b"GET", {}, "vary"),
    ("4.1 vary by a field", {CC: "max-age=60", "vary": "Accept-Encoding"}, {}, 200, b"GET", {}, STORED),
    ("own: vary by what is new each time", {CC: "max-age=60", "vary": "x-request-id"}, {}, 200, b"GET", {}, "vary"),
    ("own: vary by the client's address", {CC: "max-age=60", "vary": "X-Forwarded-For"}, {}, 200, b"GET", {}, "vary"),
    ("own: vary by the scheme is in the key", {CC: "max-age=60", "vary": "X-Forwarded-Proto"}, {}, 200, b"GET", {}, STORED),
    ("own: vary by too much", {CC: "max-age=60", "vary": ",".join(f"x-{n}" for n in range(17))}, {}, 200, b"GET", {}, "vary"),
    ("5.2.2.4 no-cache with a validator", {CC: "no-cache", "etag": '"1"'}, {}, 200, b"GET", {}, STORED),
    ("5.2.2.4 no-cache with last-modified", {CC: "no-cache", "last-modified": at(-9)}, {}, 200, b"GET", {}, STORED),
    ("5.2.2.4 no-cache without a validator", {CC: "no-cache"}, {}, 200, b"GET", {}, "expired"),
    ("5.2.2.4 no-cache and max-age without a validator", {CC: "no-cache, max-age=60"}, {}, 200, b"GET", {}, "expired"),
    ("5.2.2.4 no-cache and default_ttl", {CC: "no-cache"}, {}, 200, b"GET", {"default_ttl": 9.0}, "expired"),
    ("4.2 max-age=0 without a validator", {CC: "max-age=0"}, {}, 200, b"GET", {}, "expired"),
    ("4.2 max-age=0 with a validator", {CC: "max-age=0", "etag": '"1"'}, {}, 200, b"GET", {}, STORED),
    ("5861 max-age=0 and stale-while-revalidate", {CC: "max-age=0, stale-while-revalidate=9"}, {}, 200, b"GET", {}, STORED),
    ("5861 max-age=0 and stale-if-error", {CC: "max-age=0, stale-if-error=9"}, {}, 200, b"GET", {}, STORED),
    ("5861 max-age=0 and the route's window", {CC: "max-age=0"}, {}, 200, b"GET", {"stale_if_error": 9.0}, STORED),
    ("4.2 older than its lifetime", {CC: "max-age=60", "age": "61"}, {}, 200, b"GET", {}, "expired"),
    ("4.2 expires in the past", {"expires": at(-60)}, {}, 200, b"GET", {}, "expired"),
    ("4.2 expires now", {"expires": at(0)}, {}, 200, b"GET", {}, "expired"),
    ("4.2.1 expires: 0", {"expires": "0"}, {}, 200, b"GET", {}, "expired"),
    ("4.2.1 expires: -1", {"expires": "-1"}, {}, 200, b"GET", {}, "expired"),
    ("4.2.1 expires twice", {"expires": f"{at(60)}, {at(60)}"}, {}, 200, b"GET", {}, "expired"),
    ("own: default_ttl does not overrule expires: 0", {"expires": "0"}, {}, 200, b"GET", {"default_ttl": 9.0}, "expired"),
    ("5.2 pragma in an answer means nothing", {CC: "max-age=60", "pragma": "no-cache"}, {}, 200, b"GET", {}, STORED),
    ("5.2.3 an unknown directive means nothing", {CC: "max-age=60, immutable, x=y"}, {}, 200, b"GET", {}, STORED),
    ("3.1 a request with pragma is stored all the same", {CC: "max-age=60"}, {"pragma": "no-cache"}, 200, b"GET", {}, STORED),
]  # fmt: skip


@pytest.mark.parametrize(
    ("answer", "asked", "status", "method", "parts", "outcome"),
    [row[1:] for row in STORING],
    ids=[row[0] for row in STORING],
)
def test_what_is_stored(answer, asked, status, method, parts, outcome):
    found = terms(answer, asked, status=status, method=method, **parts)
    assert (STORED if isinstance(found, Terms) else found) == outcome


KEEP = '"1"'  # a validator, so that what is stale on arrival is stored all the same
LIFETIMES = [
    # (section, fields of the answer, parts of the policy, lifetime, age on arrival with a delay of 2 s)
    ("5.2.2.1 max-age", {CC: "max-age=60"}, {}, 60, 2),
    ("5.2.2.10 s-maxage goes before max-age", {CC: "max-age=60, s-maxage=10"}, {}, 10, 2),
    ("5.2.2.10 s-maxage goes before max-age, longer too", {CC: "s-maxage=100, max-age=60"}, {}, 100, 2),
    ("5.3 max-age goes before expires", {CC: "max-age=60", "expires": at(5)}, {}, 60, 2),
    ("5.3 s-maxage goes before expires", {CC: "s-maxage=60", "expires": at(5)}, {}, 60, 2),
    ("4.2.1 expires against date", {"expires": at(30), "date": at(-10)}, {}, 40, 10),
    ("4.2.1 expires without date", {"expires": at(30)}, {}, 30, 2),
    ("4.2.1 expires with a date that is none", {"expires": at(30), "date": "yesterday"}, {}, 30, 2),
    ("4.2.1 expires before date", {"expires": at(-30), "date": at(0)}, {}, 0, 2),
    ("4.2.1 max-age given twice: the shorter", {CC: "max-age=60, max-age=10"}, {}, 10, 2),
    ("4.2.1 max-age given twice, the other way round", {CC: "max-age=10, max-age=60"}, {}, 10, 2),
    ("4.2.1 max-age that is no number", {CC: "max-age=abc"}, {}, 0, 2),
    ("4.2.1 max-age that is negative", {CC: "max-age=-60"}, {}, 0, 2),
    ("4.2.1 max-age with a fraction", {CC: "max-age=60.5"}, {}, 0, 2),
    ("4.2.1 max-age without a value", {CC: "max-age"}, {}, 0, 2),
    ("4.2.1 max-age with a space", {CC: "max-age =60"}, {}, 0, 2),
    ("4.2.1 max-age with a space behind", {CC: "max-age= 60"}, {}, 0, 2),
    ("4.2.1 one valid and one invalid", {CC: "max-age=60, max-age=x"}, {}, 0, 2),
    ("own: no number overrules expires", {CC: "max-age=x", "expires": at(60)}, {}, 0, 2),
    ("5.2 max-age in quotes", {CC: 'max-age="60"'}, {}, 60, 2),
    ("5.2 directives in capitals", {CC: "MAX-AGE=60"}, {}, 60, 2),
    ("5.2 empty members", {CC: ", ,max-age=60,,"}, {}, 60, 2),
    ("5.2 tabs between", {CC: "public,\tmax-age=60"}, {}, 60, 2),
    ("5.2 leading zeros", {CC: "max-age=0060"}, {}, 60, 2),
    ("1.2.2 beyond 2^31", {CC: "max-age=99999999999999999999"}, {"max_ttl": 1e12}, 1 << 31, 2),
    ("own: max_ttl", {CC: "max-age=99999"}, {"max_ttl": 100.0}, 102, 2),
    ("own: max_ttl counts from arrival", {CC: "max-age=99999", "age": "500"}, {"max_ttl": 100.0}, 602, 502),
    ("own: default_ttl", {}, {"default_ttl": 9.0}, 9, 2),
    ("own: default_ttl does not count where one is named", {CC: "max-age=60"}, {"default_ttl": 9.0}, 60, 2),
    ("own: no-cache has none", {CC: "no-cache"}, {"default_ttl": 9.0}, 0, 2),
    ("4.2.3 age", {CC: "max-age=60", "age": "30"}, {}, 60, 32),
    ("4.2.3 date", {CC: "max-age=60", "date": at(-40)}, {}, 60, 40),
    ("4.2.3 the greater of the two: date", {CC: "max-age=60", "date": at(-40), "age": "10"}, {}, 60, 40),
    ("4.2.3 the greater of the two: age", {CC: "max-age=60", "date": at(-10), "age": "40"}, {}, 60, 42),
    ("4.2.3 a clock that is ahead", {CC: "max-age=60", "date": at(100)}, {}, 60, 2),
    ("5.1 age that is no number", {CC: "max-age=60", "age": "old"}, {}, 60, 2),
    ("5.1 age that is negative", {CC: "max-age=60", "age": "-5"}, {}, 60, 2),
    ("5.1 age given twice: the first", {CC: "max-age=60", "age": "7, 30"}, {}, 60, 9),
    ("5.1 age with a parameter", {CC: "max-age=60", "age": "7;x"}, {}, 60, 2),
    ("5.1 age beyond all bounds", {CC: "max-age=60", "age": "99999999999999999999"}, {}, 60, (1 << 31) + 2),
    ("5.6.7 expires in the form of RFC 850", {"expires": "Sunday, 06-Nov-94 08:49:37 GMT"}, {}, 0, 2),
    ("5.6.7 date in the form of asctime", {CC: "max-age=60", "date": "Sun Nov  6 08:49:37 1994"}, {}, 60, NOW - 784111777),
    ("5.6.7 expires in another zone is none", {"expires": at(60).replace("GMT", "EST")}, {}, 0, 2),
]  # fmt: skip


@pytest.mark.parametrize(
    ("answer", "parts", "lifetime", "age"), [row[1:] for row in LIFETIMES], ids=[row[0] for row in LIFETIMES]
)
def test_lifetime_and_age(answer, parts, lifetime, age):
    found = kept(answer | {"etag": KEEP}, delay=2.0, **parts)
    assert (found.lifetime, found.initial_age) == (lifetime, age)


FRESHLY = {CC: "max-age=60"}
USES = [
    # (section, fields of the answer, parts of the policy, age in seconds, the request's directives, verdict)
    ("4.2 fresh", FRESHLY, {}, 59, "", HIT),
    ("4.2 as old as its lifetime is stale", FRESHLY, {}, 60, "", ASK),
    ("4.2.4 stale", FRESHLY, {}, 61, "", ASK),
    ("5.2.1.4 no-cache", FRESHLY, {}, 1, "no-cache", ASK),
    ("5.2.1.1 max-age=0", FRESHLY, {}, 1, "max-age=0", ASK),
    ("5.2.1.1 max-age above the age", FRESHLY, {}, 9, "max-age=10", HIT),
    ("5.2.1.1 max-age at the age", FRESHLY, {}, 10, "max-age=10", HIT),
    ("5.2.1.1 max-age below the age", FRESHLY, {}, 11, "max-age=10", ASK),
    ("5.2.1.1 max-age makes nothing fresh", FRESHLY, {}, 61, "max-age=100", ASK),
    ("5.2.1.1 max-age twice: the shorter", FRESHLY, {}, 11, "max-age=100, max-age=10", ASK),
    ("5.2.1.1 max-age that is no number", FRESHLY, {}, 1, "max-age=x", ASK),
    ("5.2.1.3 min-fresh with enough left", FRESHLY, {}, 50, "min-fresh=10", HIT),
    ("5.2.1.3 min-fresh with too little left", FRESHLY, {}, 51, "min-fresh=10", ASK),
    ("5.2.1.3 min-fresh twice: the longer", FRESHLY, {}, 50, "min-fresh=1, min-fresh=11", ASK),
    ("5.2.1.3 min-fresh that is no number", FRESHLY, {}, 50, "min-fresh=x", HIT),
    ("5.2.1.2 max-stale without a value", FRESHLY, {}, 9999, "max-stale", HIT),
    ("5.2.1.2 max-stale above the staleness", FRESHLY, {}, 69, "max-stale=10", HIT),
    ("5.2.1.2 max-stale at the staleness", FRESHLY, {}, 70, "max-stale=10", HIT),
    ("5.2.1.2 max-stale below the staleness", FRESHLY, {}, 71, "max-stale=10", ASK),
    ("5.2.1.2 max-stale that is no number", FRESHLY, {}, 61, "max-stale=x", ASK),
    ("5.2.1.2 max-stale and must-revalidate", {CC: "max-age=60, must-revalidate"}, {}, 61, "max-stale", ASK),
    ("5.2.1.2 max-stale and proxy-revalidate", {CC: "max-age=60, proxy-revalidate"}, {}, 61, "max-stale", ASK),
    ("5.2.2.10 max-stale and s-maxage", {CC: "s-maxage=60"}, {}, 61, "max-stale", ASK),
    ("5.2.1.2 max-stale and max-age", FRESHLY, {}, 65, "max-stale=10, max-age=62", ASK),
    ("5.2.1.2 max-stale and min-fresh", FRESHLY, {}, 61, "max-stale=10, min-fresh=1", ASK),
    ("5.2.2.2 must-revalidate while fresh", {CC: "max-age=60, must-revalidate"}, {}, 59, "", HIT),
    ("5.2.2.2 must-revalidate", {CC: "max-age=60, must-revalidate"}, {"stale_while_revalidate": 99.0}, 61, "", ASK),
    ("5.2.2.8 proxy-revalidate", {CC: "max-age=60, proxy-revalidate"}, {"stale_while_revalidate": 99.0}, 61, "", ASK),
    ("5.2.2.4 no-cache in the answer", {CC: "no-cache, max-age=60"}, {}, 1, "", ASK),
    ("5.2.2.4 no-cache in the answer and max-stale", {CC: "no-cache, max-age=60"}, {}, 1, "max-stale", ASK),
    ("5.2.2.4 no-cache with names is none", {CC: 'no-cache="x-a", max-age=60'}, {}, 1, "", HIT),
    ("5861-3 within the window", {CC: "max-age=60, stale-while-revalidate=10"}, {}, 69, "", STALE),
    ("5861-3 at the window's end", {CC: "max-age=60, stale-while-revalidate=10"}, {}, 70, "", ASK),
    ("5861-3 still fresh", {CC: "max-age=60, stale-while-revalidate=10"}, {}, 59, "", HIT),
    ("5861-3 beside s-maxage", {CC: "s-maxage=60, stale-while-revalidate=10"}, {}, 69, "", STALE),
    ("5861-3 beside must-revalidate", {CC: "max-age=60, must-revalidate, stale-while-revalidate=10"}, {}, 61, "", ASK),
    ("5861-3 no number", {CC: "max-age=60, stale-while-revalidate=x"}, {"stale_while_revalidate": 99.0}, 61, "", ASK),
    ("5861-3 the shorter of two", {CC: "max-age=60, stale-while-revalidate=99, stale-while-revalidate=1"}, {}, 62, "", ASK),
    ("own: the route's window", FRESHLY, {"stale_while_revalidate": 10.0}, 69, "", STALE),
    ("own: the route's window is over", FRESHLY, {"stale_while_revalidate": 10.0}, 70, "", ASK),
    ("own: the answer's window goes before the route's", {CC: "max-age=60, stale-while-revalidate=0"},
     {"stale_while_revalidate": 10.0}, 61, "", ASK),
    ("own: the route's window and s-maxage", {CC: "s-maxage=60"}, {"stale_while_revalidate": 10.0}, 61, "", ASK),
    ("5861-3 and no-cache", {CC: "max-age=60, stale-while-revalidate=10"}, {}, 61, "no-cache", ASK),
    ("5861-3 and max-age=0", {CC: "max-age=60, stale-while-revalidate=10"}, {}, 61, "max-age=0", ASK),
    ("5861-3 and min-fresh", {CC: "max-age=60, stale-while-revalidate=10"}, {}, 61, "min-fresh=1", ASK),
    ("5.2.1.7 only-if-cached changes nothing", FRESHLY, {}, 61, "only-if-cached", ASK),
    ("5.2.1.5 no-store may be given what is stored", FRESHLY, {}, 1, "no-store", HIT),
]  # fmt: skip


@pytest.mark.parametrize(
    ("answer", "parts", "age", "asked", "verdict"), [row[1:] for row in USES], ids=[row[0] for row in USES]
)
def test_who_is_given_what(answer, parts, age, asked, verdict):
    assert judge(kept(answer | {"etag": KEEP}, **parts), age, read(asked.encode())) == verdict


ERRORS = [
    ("still fresh", FRESHLY, {}, 59, True),
    ("stale and no window", FRESHLY, {}, 61, False),
    ("5861-4 within the window", {CC: "max-age=60, stale-if-error=10"}, {}, 69, True),
    ("5861-4 at the window's end", {CC: "max-age=60, stale-if-error=10"}, {}, 70, False),
    ("5861-4 beside s-maxage", {CC: "s-maxage=60, stale-if-error=10"}, {}, 69, True),
    ("5.2.2.2 must-revalidate", {CC: "max-age=60, must-revalidate, stale-if-error=10"}, {}, 61, False),
    ("5.2.2.8 proxy-revalidate", {CC: "max-age=60, proxy-revalidate"}, {"stale_if_error": 99.0}, 61, False),
    ("5.2.2.4 no-cache", {CC: "no-cache, stale-if-error=10"}, {}, 1, False),
    ("the route's window", FRESHLY, {"stale_if_error": 10.0}, 69, True),
    ("the route's window is over", FRESHLY, {"stale_if_error": 10.0}, 70, False),
    ("the route's window and s-maxage", {CC: "s-maxage=60"}, {"stale_if_error": 10.0}, 61, False),
    ("the answer's window goes before the route's", {CC: "max-age=60, stale-if-error=0"}, {"stale_if_error": 10.0}, 61, False),
    ("stale-while-revalidate is no window for failures", {CC: "max-age=60, stale-while-revalidate=99"}, {}, 61, False),
]  # fmt: skip


@pytest.mark.parametrize(
    ("answer", "parts", "age", "serves"), [row[1:] for row in ERRORS], ids=[row[0] for row in ERRORS]
)
def test_what_stands_in_for_a_failure(answer, parts, age, serves):
    assert serves_for_error(kept(answer | {"etag": KEEP}, **parts), age) is serves


@pytest.mark.parametrize(
    ("answer", "parts", "asked", "may"),
    [
        (FRESHLY, {}, {}, True),
        (FRESHLY, {}, {"cookie": "a=b"}, True),
        (FRESHLY, {}, BASIC, False),
        ({CC: "max-age=60, public"}, {}, BASIC, True),
        ({CC: "s-maxage=60"}, {}, BASIC, True),
        ({}, {"default_ttl": 9.0}, {}, True),
        ({}, {"default_ttl": 9.0}, {"cookie": "a=b"}, False),
        ({}, {"default_ttl": 9.0}, {"cookie": "tg=b"}, True),
        ({}, {"default_ttl": 9.0}, {"cookie": "tg=b; a=b"}, False),
        ({}, {"default_ttl": 9.0, "shared_cookies": True}, {"cookie": "a=b"}, True),
    ],
)
def test_who_may_have_what_is_stored(answer, parts, asked, may):
    assert may_have(policy(**parts), kept(answer, **parts), encoded(asked)) is may


@pytest.mark.parametrize(
    ("vary", "asked", "variant"),
    [
        ([], {"accept": "a"}, b""),
        (["accept"], {"accept": "a"}, b"accept:a"),
        (["accept"], {}, b"accept"),
        (["accept"], {"accept": ""}, b"accept:"),
        (["accept"], {"accept": "a,  b"}, b"accept:a,b"),
        (["accept"], {"accept": "a, " * 500}, b"accept:" + b"a, " * 500),
        (["accept", "accept-language"], {"accept": "a"}, b"accept:a\naccept-language"),
        (["x-tidegate-unit-hash"], {"x-tidegate-unit-hash": "forged"}, b"x-tidegate-unit-hash:h"),
    ],
)
def test_variants(vary, asked, variant):
    assert variant_of([name.encode() for name in vary], encoded(asked), b"h") == variant


def test_the_names_of_vary_have_one_order_and_one_spelling():
    assert kept({CC: "max-age=60", "vary": "B, a,, b"}).vary == [b"a", b"b"]


def test_usefulness_ends_with_the_longest_window():
    assert useful_for(kept({CC: "max-age=60, stale-if-error=10, stale-while-revalidate=5"})) == 70


@pytest.mark.parametrize(
    ("fields", "no_cache"),
    [
        ({}, False),
        ({"pragma": "no-cache"}, True),
        ({"pragma": "No-Cache, x"}, True),
        ({"pragma": "no-cache", CC: "max-age=5"}, False),
        ({CC: "no-cache"}, True),
        ({CC: "no-cache=x"}, False),
    ],
)
def test_what_requests_say(fields, no_cache):
    assert read_request(encoded(fields)).no_cache is no_cache


def test_fields_withheld_are_those_named():
    control = CacheControl(b'private="X-A , x-b", no-cache="x-c\\"", max-age=1')
    assert control.withheld == {b"x-a", b"x-b", b'x-c"'}
    assert not control.private
    assert not control.no_cache


def test_a_comma_in_a_quoted_string_divides_nothing():
    control = CacheControl(b'x="a\\", no-store, b", max-age=7')
    assert (control.no_store, control.max_age) == (False, 7)


def test_what_is_longer_than_anybodys_is_not_read():
    assert CacheControl(b'max-age=7, x="' + b"," * 5000 + b'"').no_store
    assert not CacheControl(b'max-age=7, x="' + b"," * 4000 + b'"').no_store


def test_what_was_read_is_remembered_within_bounds():
    assert read(b"max-age=5") is read(b"max-age=5")
    for number in range(2000):
        read(b"max-age=%d" % number)
    assert read(b"max-age=1999").max_age == 1999


def test_the_table_is_long_enough():
    assert len(STORING) + len(LIFETIMES) + len(USES) + len(ERRORS) >= 120
