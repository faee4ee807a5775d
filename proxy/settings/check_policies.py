"""What no single value of a route's policies shows: deadlines, retries, limits, cache and faults against the rest."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

from proxy.settings.check_order import check_order
from proxy.settings.check_route import effective_weights, unit_chain
from proxy.settings.check_upstream import endpoint_count
from proxy.settings.models.limiting import Concurrency, RateLimit
from proxy.settings.models.listen import Listener
from proxy.settings.models.retry import SAFE_METHODS, Hedge, Retry
from proxy.settings.models.route import Route
from proxy.settings.models.top import General
from proxy.settings.models.upstream import HASHED, Upstream
from proxy.settings.problems import WARNING, KeyPath, Report
from proxy.settings.scalars import format_duration, format_size

_UNSAFE: Final = frozenset({"POST", "PUT", "PATCH", "DELETE", "CONNECT"})


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What a route stands in: the upstreams and the general part that are valid, and the time (seconds since 1970)."""

    upstreams: Mapping[str, Upstream]
    general: General | None
    now: float


def check_policies(route: Route, path: KeyPath, report: Report, around: Surroundings) -> None:
    """Report what is wrong with the route's policies. The names they use are looked up elsewhere (references)."""
    _deadline(route, path, report, around)
    if route.retry is not None:
        _retry(route, route.retry, (*path, "retry"), report)
    if route.hedge is not None:
        _hedge(route, route.hedge, (*path, "hedge"), report, around)
    _breakers(route, path, report)
    _balance(route, path, report, around)
    has_unit = bool(unit_chain(route))
    for index, limit in enumerate(route.rate_limits):
        _rate_limit(limit, (*path, "rate_limits", index), report, around, has_unit=has_unit)
    if route.concurrency is not None:
        _concurrency(route, route.concurrency, (*path, "concurrency"), report)
    _cache(route, (*path, "cache"), report)
    _faults(route, path, report, around)


def _deadline(route: Route, path: KeyPath, report: Report, around: Surroundings) -> None:
    trusted = around.general is None or bool(around.general.trusted_proxies)
    if route.deadline is not None and route.timeout is None and not trusted:
        report(
            (*path, "deadline"),
            "nobody is in `trusted_proxies`, so that nobody's field is believed, and there is no `timeout` to pass on:"
            " this does nothing",
            WARNING,
        )


def _retry(route: Route, retry: Retry, path: KeyPath, report: Report) -> None:
    if retry.per_try_timeout is not None and route.timeout is not None and retry.per_try_timeout > route.timeout:
        report(
            (*path, "per_try_timeout"),
            f"is longer than the route's `timeout` ({format_duration(route.timeout)}), which ends all tries:"
            " a try that hangs leaves no time for another",
            WARNING,
        )
    check_order(retry.back_off, "base", "max", (*path, "back_off"), report)
    if retry.budget.percent == 0 and retry.budget.minimum == 0:
        report((*path, "budget"), "allows no retry at all; leave `retry` out, or give `percent` or `minimum`")


def _hedge(route: Route, hedge: Hedge, path: KeyPath, report: Report, around: Surroundings) -> None:
    check_order(hedge, "minimum_delay", "maximum_delay", path, report)
    for index, method in enumerate(hedge.methods):
        if method in _UNSAFE:
            report(
                (*path, "methods", index),
                f"`{method}` is done twice when it is hedged; safe are {', '.join(SAFE_METHODS)}",
                WARNING,
            )
    upstreams = [around.upstreams.get(version.upstream) for version in route.versions.values()]
    if all(one is not None and endpoint_count(one) == 1 for one in upstreams):
        message = "no version has more than one endpoint: a hedge asks the one that is slow already"
        report(path, message, WARNING)


def _breakers(route: Route, path: KeyPath, report: Report) -> None:
    weights = effective_weights(route)
    shared = sum(weight > 0 for weight in weights.values()) > 1
    behind = {version.fallback for version in route.versions.values()}
    default = route.default or route.active or next(iter(route.versions))
    for name, version in route.versions.items():
        breaker = version.breaker
        if breaker is None:
            continue
        here: KeyPath = (*path, "versions", name, "breaker")
        if not breaker.error_percent and breaker.slow is None and not breaker.saturation_percent:
            report(here, "nothing opens it: give `error_percent`, `slow` or `saturation_percent`")
        check_order(breaker, "open", "max_open", here, report)
        if shared and version.fallback is None and name != default and name not in behind:
            report(
                here,
                f"while it is open, the units of `{name}` get 503: there is no `fallback`"
                f" (`fallback: {default}` would serve them)",
                WARNING,
            )


def _balance(route: Route, path: KeyPath, report: Report, around: Surroundings) -> None:
    if unit_chain(route):
        return
    for name, version in route.versions.items():
        upstream = around.upstreams.get(version.upstream)
        if upstream is not None and upstream.balance in HASHED:
            report(
                (*path, "versions", name, "upstream"),
                f"`{version.upstream}` balances by the unit (`{upstream.balance}`), and the route has none:"
                " its requests go anywhere; give `unit`",
                WARNING,
            )


def _rate_limit(limit: RateLimit, path: KeyPath, report: Report, around: Surroundings, *, has_unit: bool) -> None:
    by = [one.given() for one in limit.by]
    listeners = [] if around.general is None else around.general.listen
    if ("client_ip", "") in by and listeners and all(_without_addresses(one) for one in listeners):
        report(
            (*path, "by"),
            "clients of a unix socket have no address, so that this limits nobody:"
            " set `proxy_protocol` there, or count by a header that the proxy in front sets",
            WARNING,
        )
    if ("unit", "") in by and not has_unit:
        report((*path, "by"), "the route has no unit, so that this limits nobody: give `unit`, or count by `client_ip`")
    if ("route", "") in by and len(by) > 1:
        report((*path, "by"), "`route` stands for all requests together, and beside others it says nothing")
    for kind, name in {one for one in by if by.count(one) > 1}:
        report((*path, "by"), f"`{kind}{': ' if name else ''}{name}` is there twice")


def _without_addresses(listener: Listener) -> bool:
    return listener.address.startswith("unix:") and not listener.proxy_protocol


def _concurrency(route: Route, concurrency: Concurrency, path: KeyPath, report: Report) -> None:
    adaptive = concurrency.adaptive
    if adaptive is not None:
        if adaptive.minimum > adaptive.maximum:
            report(
                (*path, "adaptive"), f"`minimum` ({adaptive.minimum}) must not be above `maximum` ({adaptive.maximum})"
            )
        elif not adaptive.minimum <= concurrency.limit <= adaptive.maximum:
            report(
                (*path, "limit"),
                f"is where `adaptive` starts, from its `minimum` to its `maximum` ({adaptive.minimum} to"
                f" {adaptive.maximum}), not {concurrency.limit}",
            )
    if concurrency.shed_first is not None and set(concurrency.shed_first) >= set(route.versions):
        report((*path, "shed_first"), "names all versions, so that there is none to keep room for", WARNING)
    if route.timeout is not None and concurrency.queue and concurrency.queue_timeout >= route.timeout:
        report(
            (*path, "queue_timeout"),
            f"is not shorter than the route's `timeout` ({format_duration(route.timeout)}):"
            " who has waited that long has no time left for an answer",
            WARNING,
        )


def _cache(route: Route, path: KeyPath, report: Report) -> None:
    cache = route.cache
    if cache is None:
        return
    if cache.object_limit > cache.size:
        report(
            path,
            f"`object_limit` ({format_size(cache.object_limit)}) must not be larger than"
            f" `size` ({format_size(cache.size)})",
        )
    check_order(cache, "default_ttl", "max_ttl", path, report)


def _faults(route: Route, path: KeyPath, report: Report, around: Surroundings) -> None:
    bound = 100.0 if around.general is None else around.general.faults.max_percent
    for index, fault in enumerate(route.faults):
        here: KeyPath = (*path, "faults", index)
        if fault.until is not None and fault.until <= around.now:
            ended = datetime.fromtimestamp(fault.until, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
            report((*here, "until"), f"this fault is over since {ended} and does nothing any more", WARNING)
        narrowed = fault.segment is not None or fault.when is not None or fault.header is not None
        if fault.percent is not None and fault.percent > bound and not narrowed:
            report(
                (*here, "percent"),
                f"no more than {bound:g} % of a version's requests are disturbed: that is the bound `faults.max_percent`",
                WARNING,
            )
