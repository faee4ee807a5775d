"""What no single value of a rollout shows: its versions, steps, rings and zones against each other and the rest of the file."""

from datetime import UTC, datetime
from itertools import pairwise
from typing import Any, Final

from proxy.core.movement import moved_share
from proxy.settings.check_route import effective_weights, keeps_records
from proxy.settings.models.rollout import MOST_STEPS, Rollout
from proxy.settings.models.route import Route
from proxy.settings.models.top import General
from proxy.settings.problems import WARNING, KeyPath, Report, suggestion
from proxy.settings.rollout_steps import WHOLE, hold_of, metrics_of, steps_of, written_out
from proxy.settings.scalars import format_duration

Spec = dict[str, Any]

_NOTICEABLE: Final = 0.001
"""A share of units worth a word."""
_CHANCES: Final = {"alpha": (0.1, "1 in 100 is `1`"), "beta": (0.1, "1 in 20 is `5`")}
"""Below these percentages a fraction was meant, more often than not."""


def arms_of(route: Route) -> tuple[str, str]:
    """The names of the versions that give and take; "" for the second where it must be named, and is not."""
    rollout = route.rollout
    default = route.default or route.active or next(iter(route.versions))
    if rollout is None:
        return default, ""
    old = rollout.from_ or default
    if rollout.to is not None:
        return old, rollout.to
    left = [name for name in route.versions if name not in {old, rollout.baseline}]
    return old, left[0] if len(left) == 1 else ""


def rings_of(route: Route, version: str) -> list[str]:
    """The rings for this version, from the innermost to the outermost; none where the route has none."""
    return next((list(one.order) for one in route.rings if one.version == version), [])


def check_rollout(route: Route, path: KeyPath, report: Report, general: General | None, now: float) -> None:
    """Report what is wrong with the route's rollout. The names of versions are looked up elsewhere (references).

    `now` is the time in seconds since 1970.
    """
    rollout = route.rollout
    if rollout is None:
        return
    here: KeyPath = (*path, "rollout")
    if not _arms(route, rollout, here, report):
        return
    _units(route, here, report)
    _kept(route, here, report)
    _others(route, rollout, here, report)
    steps = written_out(rollout)
    if len(steps) > MOST_STEPS:
        report(
            (*here, "steps"), f"are more than {MOST_STEPS} steps, written out: give a larger `linear` or `exponential`"
        )
        return
    _order(route, rollout, steps, here, report)
    _rings(route, rollout, here, report)
    _times(rollout, steps, here, report)
    _zones(rollout, here, report, general)
    _schedule(rollout, here, report, now)
    _gates(rollout, here, report)
    if general is not None and general.state is None:
        report(
            here,
            "without `state` a rollout is forgotten at a restart, and the revision starts from its first step once more:"
            " give `state: sqlite:PATH`",
            WARNING,
        )


def _arms(route: Route, rollout: Rollout, here: KeyPath, report: Report) -> bool:
    """Whether it is clear which version gives and which takes."""
    old, new = arms_of(route)
    named = [name for name in (old, new, rollout.baseline) if name]
    if any(name not in route.versions for name in named):
        return False
    if not new:
        left = [name for name in route.versions if name not in {old, rollout.baseline}]
        if left:
            report(here, "needs `to`: the version that is brought in" + suggestion("", left, "there are"))
        else:
            report(here, f"`{old}` is the only version: there is nothing to bring in")
        return False
    if old == new:
        report((*here, "to"), f"`{new}` is `from`, too: a rollout goes from one version to another")
        return False
    if rollout.baseline in {old, new}:
        report(
            (*here, "baseline"),
            f"`{rollout.baseline}` is `{'from' if rollout.baseline == old else 'to'}`, too: the baseline is a version of its"
            " own, a fresh instance of the old one",
        )
        return False
    return True


def _units(route: Route, here: KeyPath, report: Report) -> None:
    if route.unit == []:
        report(here, "the route has no unit (`unit: []`), so that every request gets the default version: give `unit`")
    kill = route.versions[arms_of(route)[1]].kill
    if kill.on and kill.until is None:
        report(here, f"`{arms_of(route)[1]}` is killed: nobody gets it, whatever its weight", WARNING)


def _kept(route: Route, here: KeyPath, report: Report) -> None:
    sticky = route.stickiness
    if sticky is not None and keeps_records(route) and sticky.draining > 0 and sticky.until is None:
        report(
            here,
            f"with `{sticky.mode}` units keep `{arms_of(route)[1]}` for {format_duration(sticky.draining)} after a rollback:"
            " `drain: off` lets them go at once, `until: step` with the step",
            WARNING,
        )


def _others(route: Route, rollout: Rollout, here: KeyPath, report: Report) -> None:
    """What the weights in the file make of it: nothing to give, or others that stand beside."""
    old, new = arms_of(route)
    weights = effective_weights(route)
    members = [name for name in (old, new, rollout.baseline) if name is not None]
    pool = sum(weights[name] for name in members)
    if not pool and any(weights.values()):
        report(here, f"`{old}` and `{new}` have no weight in the file, so that there is nothing to share out")
        return
    first = next((one["weight"] for _, one in written_out(rollout) if one["weight"] > 0), WHOLE)
    has = weights[new] / pool * WHOLE if pool else 0.0
    if has >= WHOLE:
        report(
            here,
            f"`{new}` has all of it in the file: a new revision takes all units back to `{old}` first;"
            f" `from: {new}` and `to: {old}` is the way on",
            WARNING,
        )
    elif has > first:
        report(
            here,
            f"`{new}` has {has:g} % in the file, and {first:g} % in the first step with a weight: its units leave it when the"
            " rollout begins",
            WARNING,
        )
    beside = [name for name in weights if name not in members and weights[name] > 0]
    if route.hash is not None and route.hash.family != "tidegate":
        _other_family(route, rollout, beside, here, report)
        return
    if not beside or not pool:
        return
    start, end = {**weights, old: pool, new: 0.0}, {**weights, old: 0.0, new: pool}
    for name in (one for one in (rollout.baseline,) if one is not None):
        start[name] = end[name] = 0.0
    passing = sum(moved_share(start, end).leaving.get(name, 0.0) for name in beside)
    if passing > _NOTICEABLE:
        report(
            here,
            f"{', '.join(f'`{name}`' for name in beside)} keeps its share, but not all of its units: over all steps"
            f" {passing * 100:.3g} % of all units leave it for `{new}`, and as many come from `{old}`",
            WARNING,
        )


def _other_family(route: Route, rollout: Rollout, beside: list[str], here: KeyPath, report: Report) -> None:
    """Other systems cut a line into ranges: only what lies at its end, or between two that change, moves units one way."""
    family = route.hash.family if route.hash is not None else ""
    names = list(route.versions)
    old, new = (names.index(one) for one in arms_of(route))
    if beside:
        report(
            here,
            f"`{family}` deals the units of {', '.join(f'`{name}`' for name in beside)} anew while the others' weights change:"
            " they come and go",
            WARNING,
        )
    elif rollout.baseline is not None and not min(old, new) < names.index(rollout.baseline) < max(old, new):
        report(
            (*here, "baseline"),
            f"`{family}` goes by the order of the versions: list `{rollout.baseline}` between `{names[old]}` and"
            f" `{names[new]}`, or units come and go between it and `{names[new]}`",
            WARNING,
        )


def _order(route: Route, rollout: Rollout, steps: list[tuple[int, Spec]], here: KeyPath, report: Report) -> None:
    """Each step against the one before."""
    written = steps_of(rollout)
    if rollout.kind == "mirror_first" and not written[0].shadow:
        report((*here, "steps", 0), "`mirror_first` begins with copies: `{shadow: 10}` as the first step")
    for (before, one), (index, other) in pairwise(steps):
        place: KeyPath = (*here, "steps", index)
        if other["weight"] < one["weight"]:
            report(
                place,
                f"the weight falls from {one['weight']:g} to {other['weight']:g}: units would leave what they have got",
            )
            return
        if one["weight"] >= WHOLE:
            report(place, "comes after 100, where `to` has all there is: nothing is left to do")
            return
        if one["approve"] and other["approve"]:
            report(place, "is an approval after an approval: one is enough")
        if (other["shadow"] or other["preview"]) and (one["weight"] > 0 or one["ring"] is not None):
            what = "shadow" if other["shadow"] else "preview"
            report(place, f"`{what}` is for the time before any user: it must stand before weights and rings")
        if before == index and one["weight"] == other["weight"]:
            report(place, f"stays at {other['weight']:g}")
    if written[-1].weight == WHOLE:
        for key in ("hold", "minimum", "maximum"):
            if getattr(written[-1], key) is not None:
                report(
                    (*here, "steps", len(written) - 1, key),
                    "does nothing where `to` has all there is: `fast_rollback` says how long it is watched then",
                    WARNING,
                )
    judged = any(one["judged"] for _, one in steps if one["weight"] < WHOLE)
    last = steps[-1][1]
    deciding = any(metric.weight != "watch" for metric in metrics_of(rollout))
    if rollout.kind == "canary" and last["weight"] >= WHOLE and deciding and not judged:
        report(
            (*here, "steps"),
            f"give `{arms_of(route)[1]}` all units before any gate is asked: `fast_rollback` alone looks at it; a smaller step"
            " before would be judged",
            WARNING,
        )
    if last["weight"] < WHOLE:
        report(
            (*here, "steps"),
            f"end at {last['weight']:g} %: the rollout is completed there, and `{arms_of(route)[0]}` keeps the rest",
            WARNING,
        )


def _rings(route: Route, rollout: Rollout, here: KeyPath, report: Report) -> None:
    new = arms_of(route)[1]
    order = rings_of(route, new)
    at = -1
    for index, step in enumerate(steps_of(rollout)):
        if step.ring is None:
            continue
        place: KeyPath = (*here, "steps", index, "ring")
        if not order:
            report(place, f"the route has no `rings` for `{new}`")
            return
        if step.ring not in order:
            report(place, f"`{step.ring}` is no ring of `{new}`" + suggestion(step.ring, order, "rings"))
            return
        if order.index(step.ring) < at:
            report(
                place,
                f"`{step.ring}` lies within `{order[at]}`, which is open already: units would leave what they have got",
            )
        at = max(at, order.index(step.ring))


def _times(rollout: Rollout, steps: list[tuple[int, Spec]], here: KeyPath, report: Report) -> None:
    if rollout.kind == "ab":
        written = steps_of(rollout)
        if rollout.hold is None and any(one.weight and one.weight < WHOLE and one.hold is None for one in written):
            report(here, "`ab` needs `hold`: the length of the test, such as `14d`")
        return
    told: set[int] = set()
    for index, step in steps:
        if step["approve"] or not step["judged"] or index in told or step["maximum"] > step["hold"]:
            continue
        told.add(index)
        own = steps_of(rollout)[index].maximum is not None
        report(
            (*here, "steps", index, "maximum") if own else (*here, "maximum"),
            f"must be longer than the step's `hold` ({format_duration(step['hold'])}), not"
            f" {format_duration(step['maximum'])}: nothing is decided before that is over",
        )
        if not own:
            return


def _zones(rollout: Rollout, here: KeyPath, report: Report, general: General | None) -> None:
    zones = [one.zone for one in rollout.zones]
    if not zones or general is None:
        return
    if general.zone is None:
        report((*here, "zones"), "the file has no `zone`, so that nobody knows which of them this proxy stands in")
    elif general.zone not in zones:
        report(
            (*here, "zones"),
            f"this proxy's `zone` is not among them: `{general.zone}`" + suggestion(general.zone, zones, "zones"),
        )
    for place, (one, other) in enumerate(pairwise(rollout.zones)):
        if other.after < one.after:
            report(
                (*here, "zones", place + 1),
                f"`{other.zone}` begins before `{one.zone}`, which stands above it: put them in their order",
            )


def _schedule(rollout: Rollout, here: KeyPath, report: Report, now: float) -> None:
    for index, period in enumerate(rollout.schedule.freeze if rollout.schedule is not None else ()):
        place: KeyPath = (*here, "schedule", "freeze", index)
        if period.to is not None and period.to <= now:
            moment = datetime.fromtimestamp(period.to, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
            report(place, f"is over since {moment}, and can go", WARNING)
        elif period.to is None and period.from_ is not None and period.from_ <= now:
            report(place, "has begun and has no end: no step is ever taken", WARNING)


def _gates(rollout: Rollout, here: KeyPath, report: Report) -> None:
    for key, (least, meant) in _CHANCES.items():
        percent = float(getattr(rollout, key))
        if percent < least:
            report((*here, key), f"is in percent, and {percent:g} is 1 in {100 / percent:,.0f}: {meant}", WARNING)
    for place, metric in enumerate(rollout.metrics or ()):
        if metric.objective is not None and metric.objective <= 1:
            report(
                (*here, "metrics", place, "objective"),
                f"is in percent, and {metric.objective:g} is less than one request in a hundred: `99.9` allows one error in"
                " a thousand",
                WARNING,
            )
    gates = [metric for metric in metrics_of(rollout) if metric.weight != "watch"]
    if not gates:
        what = "and the brake is off: nothing" if rollout.brake is None else "so that nothing but the brake"
        report(
            (*here, "metrics"),
            f"no metric decides anything, {what} looks at the new version, and steps go by time alone",
            WARNING,
        )
    if hold_of(rollout) == 0 and not gates:
        report((*here, "hold"), "without `hold` and without gates all steps are taken at once", WARNING)


__all__ = ["arms_of", "check_rollout", "rings_of"]
