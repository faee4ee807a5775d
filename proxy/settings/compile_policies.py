"""The spec of a route's policies: deadlines, retries, limits, cache, faults. What is not configured is None or empty."""

from typing import Any

from proxy.settings.models.faults import Fault
from proxy.settings.models.limiting import Concurrency, RateLimit
from proxy.settings.models.matchers import matcher_spec
from proxy.settings.models.part import Part
from proxy.settings.models.retry import Retry
from proxy.settings.models.route import Route

Spec = dict[str, Any]


def policies_spec(route: Route) -> Spec:
    """The policies' part of the route's spec."""
    salt = route.name if route.salt is None else route.salt
    return {
        "timeout": route.timeout or 0.0,
        "deadline": _whole(route.deadline),
        "retry": None if route.retry is None else _retry(route.retry),
        "hedge": _whole(route.hedge),
        "rate_limits": [_rate_limit(index, one) for index, one in enumerate(route.rate_limits)],
        "concurrency": None if route.concurrency is None else _concurrency(route.concurrency, route),
        "admission": _whole(route.admission),
        "cache": _whole(route.cache),
        "faults": [_fault(index, one, salt) for index, one in enumerate(route.faults)],
    }


def _whole(part: Part | None) -> Spec | None:
    return None if part is None else part.model_dump()


def _retry(retry: Retry) -> Spec:
    return {**retry.model_dump(), "per_try_timeout": retry.per_try_timeout or 0.0}


def _rate_limit(index: int, limit: RateLimit) -> Spec:
    by = [one.given() for one in limit.by]
    return {
        "label": f"rate_limits[{index}]",
        "by": [{"kind": kind, "name": name} for kind, name in by if kind != "route"],
        "rate": limit.rate,
        "burst": limit.tokens,
        "versions": list(limit.versions),
    }


def _concurrency(concurrency: Concurrency, route: Route) -> Spec:
    first = concurrency.shed_first
    if first is None:
        first = [name for name, version in route.versions.items() if version.fallback is not None]
    return {**concurrency.model_dump(), "shed_first": list(first)}


def _fault(index: int, fault: Fault, salt: str) -> Spec:
    label = f"faults[{index}]"
    spec: Spec = {
        "label": label,
        "kind": fault.kind(),
        "delay": fault.delay or 0.0,
        "status": fault.abort or 0,
        "bytes_per_second": fault.slow_body or 0,
        "percent": 100.0 if fault.percent is None else fault.percent,
        "versions": list(fault.versions),
        "header": None if fault.header is None else {"name": fault.header.name, "from": list(fault.header.from_)},
        "until": fault.until or 0.0,
        "salt": f"{salt}/{fault.kind()}" if fault.salt is None else fault.salt,
    }
    if fault.segment is not None:
        spec["where"] = {"segment": fault.segment}
    elif fault.when is not None:
        spec["where"] = matcher_spec(fault.when)
    return spec
