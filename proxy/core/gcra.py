"""Rate limits: token buckets of which nothing is stored but one time, in one table that all workers share.

GCRA (ITU-T I.371, the virtual scheduling form of the token bucket): a bucket is the *theoretical arrival time* (TAT) of the
request after next, had all come evenly. A request at `now` moves it to max(TAT, now) + interval, and is admitted when
the bucket's debt, TAT - now, is then no more than burst x interval. That is a bucket of `burst` tokens which gets one every
interval. A TAT that is past is a full bucket, and a full bucket need not be remembered: an entry is idle from then on and
its place is free. So nothing has to sweep the table, and it forgets a key when the key has its whole burst again.

The table is memory that every worker maps: sets of eight entries, each a mark (62 bits of keyed BLAKE2b over the limit's
identity and the request's key) and a TAT in nanoseconds of the monotonic clock, which all processes of a machine share. In a set
of eight live entries the one nearest to idle makes room for a newcomer; it forgets the least that way, at most the debt it
had, and `charge` says so, to be counted. With 1,000,000 keys live at once in 2^21 places some .7 % of them lose their place so.

Workers read and write without locks. Loads and stores of a slot are whole, so what can go wrong is this:

- Two workers charge one bucket at the same time: both read the same TAT, and one charge is lost. So each stores its number
  beside the TAT, looks at once whether its own is still there, and charges again where another's stands that is no later. What
  gets through is a charge whose reading and writing lie around all of another's: reading, writing and looking.
- That happens when a worker is suspended between reading and writing, which are two neighbouring instructions here: when it goes on
  it takes back what the others charged meanwhile. But a TAT never goes back, so every worker remembers how far it has
  seen those of some thousand keys that it charged last, and repairs one that did: what stays lost is one token, and those
  admitted until the next request of that key comes to a worker that knew better.
- Two workers take one free place for two keys: one of them is forgotten, which costs one token. So may the first charge of
  a bucket that was idle.
- A worker charges an entry that another has just given to another key: that key then has a debt which is not its own.
  No debt counts for more than the limit's whole burst, so this ends after burst x interval at the latest.

None of it adds up: each loss is a loss once, and the next charge starts from what is there. A test with real processes holds the
total within 5 % of what one bucket admits, however the requests are spread over the workers.

The marks are keyed because clients choose what they are made of. MurmurHash has collisions for every seed; BLAKE2b has none
that can be found, and without the key (`secrets.unit_hash`) nobody can tell which keys meet in a set of eight. A client
that invents keys can still fill the table, as it can fill any; it then makes others forget debts, not owe more.
"""

from hashlib import blake2b
from math import ceil
from typing import Any, Final

from proxy.core.address import client_network
from proxy.core.request import Request

WAYS: Final = 8
"""Entries of a set."""
ENTRY_SLOTS: Final = 2
"""Slots of an entry: the mark, and behind it the TAT, so that an entry is in one line of cache and a set in two."""
SET_SLOTS: Final = ENTRY_SLOTS * WAYS
SECOND: Final = 1_000_000_000
"""Nanoseconds."""

_MARK_BITS: Final = 62  # what a compiled integer holds without an object
_MARK_MASK: Final = (1 << _MARK_BITS) - 1
_HOME_SHIFT: Final = 48
_HOMES: Final = SET_SLOTS - ENTRY_SLOTS  # an even number below the slots of a set
_OWNER_BITS: Final = 5  # beside a TAT, the number of the worker that wrote it: 58 bits of nanoseconds are nine years
_OWNERS: Final = (1 << _OWNER_BITS) - 1
_CHARGES: Final = 4
"""Times a charge is made that another worker has written over."""
_REMEMBERED: Final = 16_384  # keys; some 4 MiB
_SHORT: Final = 128  # bytes: longer keys are hashed anew each time, so that what is remembered is bounded

_ROUTE, _VERSION, _UNIT, _CLIENT, _HEADER, _QUERY, _COOKIE = range(7)
_KINDS: Final = {
    "route": _ROUTE, "version": _VERSION, "unit": _UNIT, "client_ip": _CLIENT, "header": _HEADER, "query": _QUERY,
    "cookie": _COOKIE,
}  # fmt: skip


class KeyPart:
    """One of the things that requests are told apart by. `name` is the field's, in lower case for a header."""

    def __init__(self, spec: dict[str, Any]) -> None:
        self.kind: Final[int] = _KINDS[spec["kind"]]
        name: str = spec.get("name", "")
        self.name: Final[bytes] = (name.lower() if self.kind == _HEADER else name).encode()


class RateLimit:
    """`burst` requests at once and `rate` a second, for each key that its parts make.

    `interval` and `span` are nanoseconds: for one token, and for all of a burst; the interval is rounded up, so that no more
    than the rate is admitted. `identity` tells its entries from those of all other limits. It is made of what the limit is
    (route, parts, versions, rate, burst; `twin` counts limits that are alike in all of it) and not of where it stands,
    so that editing another limit, or moving this one, leaves its buckets as they were. Editing this one starts them anew.
    """

    def __init__(self, spec: dict[str, Any], route: str, versions: dict[str, int], twin: int = 0) -> None:
        """`versions` are the indexes of the route's versions by name. Raises KeyError for one that is not there or a
        kind that is none, ValueError for a rate or burst that is not positive."""
        rate: float = spec["rate"]
        burst: int = spec["burst"]
        if not rate > 0 or burst < 1:
            raise ValueError("a rate limit wants a positive rate and a burst of one or more")
        self.label: Final[str] = spec["label"]
        self.rate: Final = rate
        self.burst: Final = burst
        self.interval: Final[int] = max(1, ceil(SECOND / rate))
        self.span: Final[int] = self.interval * burst
        self.parts: Final = [KeyPart(one) for one in spec["by"]]
        names: list[str] = spec["versions"]
        mask = 0
        for name in names:
            mask |= 1 << versions[name]
        self.mask: Final[int] = mask if names else -1
        what = repr((route, [(part.kind, part.name) for part in self.parts], sorted(names), rate, burst, twin))
        self.identity: Final[bytes] = blake2b(what.encode(), digest_size=16).digest()
        item = '"' + self.label.replace("\\", "\\\\").replace('"', '\\"') + '"'
        self.item: Final[bytes] = item.encode("ascii", "replace")
        window = max(1, -(-self.span // SECOND))
        quota = max(burst, window * SECOND // self.interval)
        self.policy: Final[bytes] = self.item + b";q=%d;w=%d" % (quota, window)
        # What `lines` said last, and of what: while nobody comes near the limit it is the same again and again.
        self._left: int = -1
        self._more: int = -1
        self._lines: bytes = b""

    def concerns(self, version: int) -> bool:
        """Whether requests of the version with this index are limited."""
        return bool(self.mask >> version & 1)

    def key(self, request: Request, unit: bytes | None, version: str) -> bytes | None:
        """What tells this request from others, with the limit's identity; None where a part of it is not there.

        Such a request is not limited by this limit: it has no key to be limited by.
        """
        parts = self.parts
        if len(parts) == 1:
            value = _value(parts[0], request, unit, version)
            return None if value is None else self.identity + value
        key = self.identity
        for part in parts:
            value = _value(part, request, unit, version)
            if value is None:
                return None
            key += b"%d:%b" % (len(value), value)  # the length keeps two values from being read as two others
        return key

    def state(self, debt: int) -> bytes:
        """What the RateLimit field says of a bucket with this debt in nanoseconds (draft-ietf-httpapi-ratelimit-headers).

        `r` is the number of requests it would admit now, `t` the whole seconds until it would admit one more.
        """
        left = self._left_of(debt)
        return b"%b;r=%d;t=%d" % (self.item, left, self._more_of(debt, left))

    def lines(self, debt: int) -> bytes:
        """Both RateLimit fields, where this limit is the only one of its route; each with CRLF."""
        left = self._left_of(debt)
        more = self._more_of(debt, left)
        if left != self._left or more != self._more:
            self._left = left
            self._more = more
            self._lines = b"ratelimit-policy: %b\r\nratelimit: %b;r=%d;t=%d\r\n" % (self.policy, self.item, left, more)
        return self._lines

    def _left_of(self, debt: int) -> int:
        return max(0, self.span - debt) // self.interval

    def _more_of(self, debt: int, left: int) -> int:
        return 0 if debt <= 0 else seconds_up(debt - self.span + (left + 1) * self.interval)


def build_limits(specs: list[dict[str, Any]], route: str, versions: dict[str, int]) -> list[RateLimit]:
    """The limits of one route; `versions` are its versions' indexes by name. Raises as RateLimit does."""
    made: list[RateLimit] = []
    for spec in specs:
        limit = RateLimit(spec, route, versions)
        twin = 0
        while any(limit.identity == other.identity for other in made):
            twin += 1
            limit = RateLimit(spec, route, versions, twin)
        made.append(limit)
    return made


def _value(part: KeyPart, request: Request, unit: bytes | None, version: str) -> bytes | None:
    kind = part.kind
    if kind == _CLIENT:
        return client_network(request.client) or None
    if kind == _UNIT:
        return unit
    if kind == _HEADER:
        return request.fields.get(part.name)
    if kind == _QUERY:
        return request.arguments().get(part.name)
    if kind == _COOKIE:
        return request.cookies().get(part.name)
    return version.encode() if kind == _VERSION else b""


def seconds_up(nanoseconds: int) -> int:
    """Whole seconds that are enough."""
    return -(-nanoseconds // SECOND)


class Bucket:
    """What this worker remembers of one key: its mark, and the TAT as this worker has written it last."""

    def __init__(self, mark: int) -> None:
        self.mark: Final = mark
        self.latest: int = 0


class RateTable:
    """The buckets of all limits, in `slots` slots of `view` from `at` on; `slots` is SET_SLOTS times a power of two.

    All times are integers: nanoseconds of the monotonic clock. Ask `find` for a place, `debt` for what its bucket owes, and
    `charge` once all limits admit the request; in between nothing else may be done with the table.
    """

    def __init__(self, view: memoryview, at: int, slots: int, secret: bytes, worker: int = 0) -> None:
        """`worker` tells this writer from the others. Raises ValueError for a number of slots that is none of the above."""
        sets = slots // SET_SLOTS
        if sets < 1 or sets * SET_SLOTS != slots or sets & (sets - 1):
            raise ValueError("a table has 2^n sets")
        self._view: Final = view
        self._at: Final = at
        self._sets: Final = sets - 1
        self._owner: Final = worker & _OWNERS
        self.secret: Final = secret
        # BLAKE2b takes 64 bytes of key at most; longer ones are hashed down first.
        key = secret if len(secret) <= 64 else blake2b(secret, digest_size=64).digest()
        self._blank: Final = blake2b(digest_size=8, key=key, person=b"tidegate rate")
        self._known: dict[bytes, Bucket] = {}

    def bucket(self, key: bytes) -> Bucket:
        """The bucket of a key."""
        known = self._known.get(key)
        if known is None:
            state = self._blank.copy()
            state.update(key)
            known = Bucket(int.from_bytes(state.digest(), "little") & _MARK_MASK)
            if len(key) <= _SHORT:
                if len(self._known) >= _REMEMBERED:
                    self._known.clear()
                self._known[key] = known
        return known

    def find(self, bucket: Bucket, now: int) -> int:
        """The place of a bucket: where it stands, or where it would: a free place, or that of the entry nearest to idle."""
        view = self._view
        mark = bucket.mark
        first = self._at + (mark & self._sets) * SET_SLOTS
        best = first + (mark >> _HOME_SHIFT & _HOMES)  # mostly it stands there, and one look is enough
        if view[best] == mark:
            return best
        soonest: int = view[best + 1]
        if soonest >> _OWNER_BITS <= now:
            soonest = -1
        for place in range(first, first + SET_SLOTS, ENTRY_SLOTS):
            if view[place] == mark:
                return place
            tat: int = view[place + 1]
            if tat < soonest:
                soonest = tat
                best = place
        return best

    def debt(self, place: int, bucket: Bucket, now: int, span: int) -> int:
        """What the bucket whose place is `place` owes at `now`: from 0, a full bucket, to `span`."""
        view = self._view
        tat = bucket.latest
        if view[place] == bucket.mark:
            stored: int = view[place + 1] >> _OWNER_BITS
            tat = max(tat, stored)
        owed = tat - now
        return 0 if owed < 0 else min(owed, span)

    def charge(self, place: int, bucket: Bucket, now: int, interval: int, span: int) -> bool:
        """Take one token. True when another bucket's debt had to be forgotten for it."""
        view = self._view
        mark = bucket.mark
        last = place + 1
        least = max(bucket.latest, now)
        forgotten = False
        if view[place] != mark:
            forgotten = view[last] >> _OWNER_BITS > now
            view[place] = mark
            view[last] = 0
        seen: int = view[last]
        tat = least
        for _ in range(_CHARGES):
            tat = min(max(seen >> _OWNER_BITS, least), now + span) + interval
            written = tat << _OWNER_BITS | self._owner
            if view[last] == seen:  # nothing may stand between this and the next line: it is where charges are lost
                view[last] = written
                seen = view[last]
                if seen == written or seen >> _OWNER_BITS > tat or view[place] != mark:
                    break
            else:
                seen = view[last]
        bucket.latest = tat
        return forgotten
