"""Whether an answer may be stored by a shared cache, how long it is fresh, and what a request may be given (RFC 9111).

The theory in short: an answer is born with an age (what others kept it for, and what the way took), it ages while it is
kept, and it is fresh while its age is below its lifetime. A stale one may still be used where the origin, or for want of
a word from it the route, allows that: at once while it is refreshed, or when the origin fails (RFC 5861). What forbids it
is said in `Terms.strict`.

This cache is stricter than it must be in three places. Nothing is guessed: an answer without an expiry is stored only
where the route names a `default_ttl`, and then neither for nor from a request with cookies. Answers of 500 and above are
never stored: they must not replace the last good one. And a request with Authorization is given only what could have been
stored for one.
"""

from typing import Any, Final

from proxy.core.cache_control import ABSENT, CacheControl, read_answer, read_request
from proxy.core.dates import parse_date
from proxy.core.http1 import list_members

HIT, STALE, ASK = range(3)
"""Give what is stored; give it and refresh it aside; ask the upstream first."""

_HEURISTIC: Final = frozenset((200, 203, 204, 300, 301, 308, 404, 405, 410, 414))
"""May be kept without an expiry of their own (RFC 9110 section 15.1), 206 and 501 left out."""
_UNDERSTOOD: Final = _HEURISTIC | {302, 303, 307}
"""Whose meaning for a cache is known here: what `must-understand` asks for."""
_PER_REQUEST: Final = frozenset(
    (b"*", b"x-forwarded-for", b"forwarded", b"via", b"x-request-id", b"traceparent", b"tracestate")
)
"""To vary by what is another for every request is to vary by everything."""
_MAX_VARY: Final = 16
_LONG: Final = 1024
"""Bytes."""
UNIT_HASH: Final = b"x-tidegate-unit-hash"


class CachePolicy:
    """What a route asks of its cache: bytes and seconds. The windows for stale answers count where an answer names none.

    `own_cookies` are the names of cookies that this proxy mints: no page depends on them.
    """

    def __init__(self, spec: dict[str, Any], own_cookies: frozenset[bytes]) -> None:
        self.own_cookies: Final = own_cookies
        self.size: Final[int] = spec["size"]
        self.object_limit: Final[int] = spec["object_limit"]
        self.default_ttl: Final[float] = spec["default_ttl"]
        self.stale_while_revalidate: Final[float] = spec["stale_while_revalidate"]
        self.stale_if_error: Final[float] = spec["stale_if_error"]
        self.max_ttl: Final[float] = spec["max_ttl"]
        self.shared_cookies: Final[bool] = spec["shared_cookies"]


class Terms:
    """On what terms an answer may be used. Seconds; `initial_age` is its age when it came.

    `strict`: never stale without the origin's word. `always_ask`: not even fresh. `shared`: also for requests with
    Authorization. `guessed`: kept by the route's word alone, so only for requests without cookies. `withheld`
    are the fields it is stored without, `vary` the request fields it depends on.
    """

    def __init__(
        self,
        lifetime: float,
        initial_age: float,
        stale_while_revalidate: float,
        stale_if_error: float,
        strict: bool,
        always_ask: bool,
        shared: bool,
        guessed: bool,
        withheld: frozenset[bytes],
        vary: list[bytes],
    ) -> None:
        self.lifetime: Final = lifetime
        self.initial_age: Final = initial_age
        self.stale_while_revalidate: Final = stale_while_revalidate
        self.stale_if_error: Final = stale_if_error
        self.strict: Final = strict
        self.always_ask: Final = always_ask
        self.shared: Final = shared
        self.guessed: Final = guessed
        self.withheld: Final = withheld
        self.vary: Final = vary


def terms_of(
    policy: CachePolicy,
    method: bytes,
    asked: dict[bytes, bytes],
    status: int,
    fields: dict[bytes, bytes],
    wall: float,
    delay: float,
) -> Terms | str:
    """The terms of an answer that came at `wall` (seconds since the epoch), or the reason why it is not stored.

    `asked` are the request's fields, `fields` the answer's; `delay` is the time in seconds between request and answer.
    Sections 3 (storing), 3.5 (Authorization), 4.2.1 (lifetime), 4.2.3 (age) of RFC 9111.
    """
    control = read_answer(fields)
    shared = control.public or control.must_revalidate or control.s_maxage != ABSENT
    reason = _unstorable(policy, method, asked, status, fields, control, shared)
    if reason:
        return reason
    vary = sorted(set(list_members(fields.get(b"vary", b""))))
    if len(vary) > _MAX_VARY or not _PER_REQUEST.isdisjoint(vary):
        return "vary"
    date = parse_date(fields.get(b"date", b""), wall)
    if date < 0:
        date = wall
    initial_age = max(wall - date, _stated_age(fields) + delay, 0.0)
    lifetime = _stated_lifetime(fields, control, date)
    guessed = False
    if lifetime < 0:
        if policy.default_ttl <= 0 or (status not in _HEURISTIC and not control.public):
            return "no_lifetime"
        guessed = not policy.shared_cookies
        if guessed and _has_cookies(asked, policy.own_cookies):
            return "cookie"
        lifetime = policy.default_ttl
    lifetime = min(lifetime, initial_age + policy.max_ttl)
    strict = control.must_revalidate or control.proxy_revalidate or control.no_cache
    while_revalidate = _window(control.stale_while_revalidate, policy.stale_while_revalidate, control, strict)
    if_error = _window(control.stale_if_error, policy.stale_if_error, control, strict)
    usable = lifetime if not control.no_cache else 0.0
    if (
        usable + max(while_revalidate, if_error) <= initial_age
        and b"etag" not in fields
        and b"last-modified" not in fields
    ):
        return "expired"
    return Terms(
        lifetime,
        initial_age,
        while_revalidate,
        if_error,
        strict or control.s_maxage != ABSENT,
        control.no_cache,
        shared,
        guessed,
        control.withheld,
        vary,
    )


def may_have(policy: CachePolicy, terms: Terms, fields: dict[bytes, bytes]) -> bool:
    """Whether a request with these fields may be given what was stored on these terms."""
    if not terms.shared and b"authorization" in fields:
        return False
    return not (terms.guessed and _has_cookies(fields, policy.own_cookies))


def _has_cookies(fields: dict[bytes, bytes], own: frozenset[bytes]) -> bool:
    """Whether a request brings cookies that are not this proxy's own."""
    value = fields.get(b"cookie")
    if value is None:
        return False
    return any(pair.partition(b"=")[0].strip() not in own for pair in value.split(b";"))


def _unstorable(
    policy: CachePolicy,
    method: bytes,
    asked: dict[bytes, bytes],
    status: int,
    fields: dict[bytes, bytes],
    control: CacheControl,
    shared: bool,
) -> str:
    if method != b"GET":
        return "method"
    # `must-understand` takes the place of `no-store` for who understands the status (section 5.2.2.3).
    understood = control.must_understand and status in _UNDERSTOOD
    if status < 200 or status >= 500 or status in (206, 304) or (control.must_understand and not understood):
        return "status"
    if b"cache-control" in asked and read_request(asked).no_store:
        return "request_no_store"
    if control.no_store and not understood:
        return "no_store"
    if control.private:
        return "private"
    if b"authorization" in asked and not shared:
        return "authorization"
    if b"set-cookie" in fields and not policy.shared_cookies and b"set-cookie" not in control.withheld:
        return "set_cookie"
    return ""


def _stated_age(fields: dict[bytes, bytes]) -> float:
    """Of a list of ages the first counts; what is no number is nothing (section 5.1)."""
    value = fields.get(b"age")
    if value is None:
        return 0.0
    digits = value.partition(b",")[0].strip(b" \t")
    if not digits.isdigit():
        return 0.0
    return float(min(int(digits[:11]), 1 << 31))


def _stated_lifetime(fields: dict[bytes, bytes], control: CacheControl, date: float) -> float:
    """Seconds; -1 where nothing names one."""
    if control.s_maxage != ABSENT:
        return float(control.s_maxage)
    if control.max_age != ABSENT:
        return float(control.max_age)
    expires = fields.get(b"expires")
    if expires is not None:
        return max(parse_date(expires, date) - date, 0.0)
    return 0.0 if control.no_cache else -1.0


def _window(named: int, default: float, control: CacheControl, strict: bool) -> float:
    # s-maxage has the strictness of proxy-revalidate (section 5.2.2.10), but a window named beside it is the origin's own word.
    if strict:
        return 0.0
    if named != ABSENT:
        return float(named)
    return default if control.s_maxage == ABSENT else 0.0


def judge(terms: Terms, age: float, asked: CacheControl) -> int:
    """HIT, STALE or ASK for an answer of this age (seconds) and a request that says this (section 5.2.1)."""
    if asked.no_cache or terms.always_ask or (asked.max_age != ABSENT and age > asked.max_age):
        return ASK
    left = terms.lifetime - age
    if left > 0:
        return HIT if left >= asked.min_fresh else ASK
    if asked.min_fresh > 0:
        return ASK
    if asked.max_stale != ABSENT and -left <= asked.max_stale and not terms.strict:
        return HIT
    return STALE if -left < terms.stale_while_revalidate else ASK


def serves_for_error(terms: Terms, age: float) -> bool:
    """Whether an answer of this age may stand in where the origin failed (RFC 5861 section 4)."""
    if terms.always_ask:
        return False
    return age < terms.lifetime or age - terms.lifetime < terms.stale_if_error


def useful_for(terms: Terms) -> float:
    """The age in seconds from which an answer without a validator is of no more use."""
    return terms.lifetime + max(terms.stale_while_revalidate, terms.stale_if_error)


def variant_of(vary: list[bytes], fields: dict[bytes, bytes], unit_hash: bytes) -> bytes:
    """What tells the variants of an answer apart: the values of the request fields it varies by (section 4.1).

    Space around commas does not count, but in values so long that nobody means them well; a field that is absent matches only
    its absence.
    """
    parts = []
    for name in vary:
        value = unit_hash or None if name == UNIT_HASH else fields.get(name)
        if value is None:
            parts.append(name)
        elif len(value) > _LONG:
            parts.append(name + b":" + value)
        else:
            parts.append(name + b":" + b",".join([part.strip(b" \t") for part in value.split(b",")]))
    return b"\n".join(parts)
