"""What a hash family cannot do: weights finer than its buckets, and units that the application does not know."""

from collections.abc import Callable
from typing import Any, Final

from proxy.core.hash_families import make_family, parts_of
from proxy.core.hash_weights import MOST_FLAGD, scaled_weights, shares
from proxy.settings.check_route import effective_weights, unit_chain
from proxy.settings.models.hashing import hash_spec
from proxy.settings.models.route import Route
from proxy.settings.problems import WARNING, KeyPath

Report = Callable[..., None]
_PARTS: Final = {100: "percents", 10_000: "hundredths of a percent", 100_000: "thousandths of a percent"}


def check_hash(route: Route, path: KeyPath, report: Report) -> None:
    """Report what is wrong with the route's hash family. Tidegate's own takes any weights and any unit."""
    spec = hash_spec(route.hash, route.name if route.salt is None else route.salt)
    if spec is None:
        return
    weights = effective_weights(route)
    names = list(route.versions)
    _weights(spec, weights, (*path, "versions"), ("weight",), report)
    for index, rule in enumerate(route.rules):
        if rule.split is not None:
            # In the order of the versions: that is the order of the ranges, in rules as well.
            split = {name: rule.split[name] for name in names if name in rule.split}
            _weights(spec, split, (*path, "rules", index, "split"), (), report)
    if route.default is None and route.active is None and len(names) > 1:
        report(
            (*path, "versions"),
            f"the order of the versions is that of the buckets here, and makes `{names[0]}` the default version, too:"
            " name the one you mean in `default`",
            WARNING,
        )
    if route.epoch:
        report(
            (*path, "epoch"),
            f"does not deal anew what `{spec['family']}` deals: change what that hashes, in `hash` and there",
            WARNING,
        )
    chain = unit_chain(route)
    if not chain:
        report((*path, "hash"), "the route deals nobody (it has no unit), so this does nothing", WARNING)
    elif route.unit is None:
        report(
            (*path, "hash"),
            "the unit is a cookie that the proxy mints, and the application asks its SDK about another:"
            " give `unit`, what the application identifies its users by",
            WARNING,
        )


def _weights(spec: dict[str, Any], weights: dict[str, float], path: KeyPath, key: KeyPath, report: Report) -> None:
    family = spec["family"]
    parts = parts_of(spec)
    values = list(weights.values())
    if parts:
        for name, share in zip(weights, shares(values), strict=True):
            if (share * parts).denominator != 1:
                told = _PARTS.get(parts, f"parts of {parts}")
                message = f"`{family}` deals in whole {told}, and this is {float(share * 100):.6g} % of all"
                report((*path, name, *key), message)
        return
    if family in ("flagd-v2", "flagd-v3") and sum(scaled_weights(values)) > MOST_FLAGD:
        report(path, f"`{family}` has whole weights that add up to {MOST_FLAGD} at most, and these are finer")
        return
    dealt = make_family(spec, values)
    low = dealt.first
    for name, edge in zip(weights, dealt.edges, strict=True):
        if weights[name] > 0 and dealt.share_below(edge) <= dealt.share_below(low):
            report((*path, name, *key), f"`{family}` has no bucket as narrow as this, so that nobody gets `{name}`")
        low = edge
