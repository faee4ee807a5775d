"""The first gate: requests beyond a rate are answered 429, and every answer says how much is left."""

from typing import Final

from proxy.core.gcra import SECOND, Bucket, RateLimit, RateTable, seconds_up
from proxy.core.plan import Plan
from proxy.dataplane.passage import Passage
from proxy.dataplane.runtime import Runtime
from proxy.errors import RL
from proxy.telemetry.counters import (
    LIMITED_RATE,
    REGION_SLOTS,
    SHARED_AT,
    SHARED_SLOTS,
    V_LIMITED,
    W_RATE_KEYS_FORGOTTEN,
)


def within_rates(passage: Passage) -> bool:
    """Whether every rate limit admits the request: then each is charged. What one of them refuses is charged to none."""
    limits = passage.route.rate_limits
    if not limits:
        return True
    runtime = passage.runtime
    version = passage.version
    if len(limits) == 1:  # as nearly everywhere: nothing has to be kept between asking and charging
        wait = charge(passage, limits[0])
    else:
        table = _table(passage)
        now = int(runtime.now() * SECOND)
        asked: list[_Asked] = []
        wait = 0
        for limit in limits:
            key = limit.key(passage.request, passage.unit, version.name) if limit.concerns(version.index) else None
            if key is not None:
                bucket = table.bucket(key)
                debt = table.debt(table.find(bucket, now), bucket, now, limit.span)
                wait = max(wait, debt + limit.interval - limit.span)
                asked.append(_Asked(limit, bucket, debt))
        if not asked:
            return True
        if wait <= 0:
            for one in asked:
                limit = one.limit
                one.debt += limit.interval
                place = table.find(one.bucket, now)  # again: a charge of the limit before may have taken the place
                if table.charge(place, one.bucket, now, limit.interval, limit.span):
                    runtime.view[runtime.base + W_RATE_KEYS_FORGOTTEN] += 1
        passage.added += b"ratelimit-policy: %b\r\nratelimit: %b\r\n" % (
            b", ".join([one.limit.policy for one in asked]),
            b", ".join([one.limit.state(one.debt) for one in asked]),
        )
    if wait <= 0:
        return True
    runtime.view[version.slot + V_LIMITED + LIMITED_RATE] += 1
    passage.refuse(RL, added=b"retry-after: %d\r\n" % seconds_up(wait))
    return False


def charge(passage: Passage, limit: RateLimit) -> int:
    """Charge one limit, where it admits the request. Nanoseconds until it would, none or less where it does now."""
    runtime = passage.runtime
    version = passage.version
    key = limit.key(passage.request, passage.unit, version.name) if limit.concerns(version.index) else None
    if key is None:
        return 0
    table = _table(passage)
    now = int(runtime.now() * SECOND)
    bucket = table.bucket(key)
    place = table.find(bucket, now)
    debt = table.debt(place, bucket, now, limit.span)
    wait = debt + limit.interval - limit.span
    if wait <= 0:
        debt += limit.interval
        if table.charge(place, bucket, now, limit.interval, limit.span):
            runtime.view[runtime.base + W_RATE_KEYS_FORGOTTEN] += 1
    passage.added += limit.lines(debt)
    return wait


def _table(passage: Passage) -> RateTable:
    table = passage.runtime.rates
    if table is None or table.secret != passage.plan.unit_hash_key:
        return _open_table(passage.runtime, passage.plan)
    return table


class _Asked:
    """One of several limits, and what its bucket for this request owes."""

    def __init__(self, limit: RateLimit, bucket: Bucket, debt: int) -> None:
        self.limit: Final = limit
        self.bucket: Final = bucket
        self.debt: int = debt


def _open_table(runtime: Runtime, plan: Plan) -> RateTable:
    """The worker's view of the table; a new key (`secrets.unit_hash`) makes all of its entries strangers, which go idle."""
    cells = runtime.cells
    table = RateTable(cells.view, SHARED_AT, SHARED_SLOTS, plan.unit_hash_key, cells.base // REGION_SLOTS)
    runtime.rates = table
    return table
