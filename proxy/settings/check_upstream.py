"""What no single value of an upstream shows: its probes, its ejection and its zones against each other and the rest."""

import ipaddress
from typing import Final

from proxy.settings.check_order import check_order
from proxy.settings.models.health import HTTP_ONLY, Health, Outlier
from proxy.settings.models.upstream import Upstream, split_url
from proxy.settings.problems import WARNING, KeyPath, Report
from proxy.settings.scalars import format_duration

_OWN_FIELDS: Final = frozenset({"connection", "content-length", "transfer-encoding"})


def endpoint_count(upstream: Upstream) -> int | None:
    """How many endpoints it has; None while that is for the resolver to say."""
    for endpoint in upstream.endpoints:
        _, host, _, path = split_url(endpoint.url)
        if not path and not _is_address(host):
            return None
    return len(upstream.endpoints)


def _is_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


def check_upstream_policies(upstream: Upstream, path: KeyPath, report: Report, *, has_zone: bool) -> None:
    """Report what is wrong with how endpoints are judged. `has_zone` says that the proxy knows where it stands."""
    if not has_zone:
        _zone(upstream, path, report)
    if upstream.health is not None:
        _health(upstream.health, (*path, "health"), report)
    if upstream.outlier is not None:
        _outlier(upstream, upstream.outlier, (*path, "outlier"), report)
    judged = upstream.health is not None or upstream.outlier is not None
    if "panic_threshold" in upstream.model_fields_set and not judged:
        message = "without `health` or `outlier` every endpoint counts as well, so this does nothing"
        report((*path, "panic_threshold"), message, WARNING)


def _zone(upstream: Upstream, path: KeyPath, report: Report) -> None:
    for index, endpoint in enumerate(upstream.endpoints):
        if endpoint.zone is not None:
            report(
                (*path, "endpoints", index, "zone"),
                "does nothing while the proxy does not know where it stands: give the file a `zone` at the top,"
                " such as `zone: ${ZONE}`",
                WARNING,
            )
            return


def _health(health: Health, path: KeyPath, report: Report) -> None:
    if health.kind == "tcp":
        for key in HTTP_ONLY:
            if key in health.model_fields_set:
                report(
                    (*path, key),
                    f"a `kind: tcp` probe opens a connection and no more; leave `{key}` out, or take `kind: http`",
                )
    for name in health.headers:
        if name.lower() == "host":
            report((*path, "headers", name), f"`{name}` has a key of its own: `host`, beside `headers`")
        elif name.lower() in _OWN_FIELDS:
            report((*path, "headers", name), f"`{name}` is the probe's own to set")
    if health.timeout > health.interval:
        report(
            (*path, "timeout"),
            f"is longer than `interval` ({format_duration(health.interval)}):"
            " a probe may still be waiting when the next one is due, which is then left out",
            WARNING,
        )


def _outlier(upstream: Upstream, outlier: Outlier, path: KeyPath, report: Report) -> None:
    check_order(outlier, "base_ejection", "max_ejection", path, report)
    compared = [("success_rate", outlier.success_rate), ("latency", outlier.latency)]
    if not outlier.consecutive_5xx and not outlier.consecutive_gateway and not any(one for _, one in compared):
        report(path, "everything in it is off, so that nothing is ever ejected", WARNING)
    count = endpoint_count(upstream)
    for key, one in compared:
        if one is not None and count is not None and count < one.minimum_endpoints:
            report(
                (*path, key),
                f"compares {one.minimum_endpoints} endpoints or more, and there {'is' if count == 1 else 'are'} {count}:"
                " it never will; `minimum_endpoints` says how many it takes",
                WARNING,
            )
