"""The spec of a rollout: what is frozen with its revision. Control's own; workers never see it."""

from typing import Any

from proxy.settings.check_rollout import arms_of, rings_of
from proxy.settings.models.judging import metric_spec
from proxy.settings.models.matchers import TimeWindow
from proxy.settings.models.rollout import Schedule
from proxy.settings.models.route import Route
from proxy.settings.models.top import General
from proxy.settings.rollout_steps import fast_rollback_of, metrics_of, written_out
from proxy.settings.zones import offsets_of

Spec = dict[str, Any]


def rollout_spec(route: Route, general: General) -> Spec | None:
    """This part of the route's spec; None without a rollout. Seconds, percentages of weights, fractions of chances."""
    rollout = route.rollout
    if rollout is None:
        return None
    old, new = arms_of(route)
    metrics = [metric_spec(one, new) for one in metrics_of(rollout)]
    back = rollout.rollback
    after = next((one.after for one in rollout.zones if one.zone == general.zone), 0.0)
    brake = rollout.brake
    return {
        "revision": rollout.revision,
        "kind": rollout.kind,
        "from": old,
        "to": new,
        "baseline": rollout.baseline,
        "steps": [step for _, step in written_out(rollout)],
        "rings": rings_of(route, new),
        "on_failure": rollout.on_failure,
        "on_no_data": rollout.on_no_data,
        "rollback": {
            "mode": back.mode,
            "percent": 20.0 if back.percent is None else back.percent,
            "every": 30.0 if back.every is None else back.every,
        },
        "fast_rollback": fast_rollback_of(rollout),
        "schedule": None if rollout.schedule is None else _schedule(rollout.schedule),
        "zone": (general.zone or "") if rollout.zones else "",
        "after": after,
        "zones": [{"zone": one.zone, "after": one.after} for one in rollout.zones],
        "brake": None if brake is None else {"errors": brake.errors, "window": brake.window, "minimum": brake.minimum},
        "alpha": round(rollout.alpha / 100, 12),
        "beta": round(rollout.beta / 100, 12),
        "metrics": metrics,
        "events": _events(metrics),
        "webhooks": [one.model_dump() for one in rollout.webhooks],
        "notify": [one.model_dump() for one in rollout.notify],
        "reports": rollout.reports,
    }


def _schedule(schedule: Schedule) -> Spec:
    return {
        "zone": schedule.zone,
        "allow": [_window(one, schedule.zone) for one in schedule.allow],
        "freeze": [{"from": one.from_ or 0.0, "to": one.to or 0.0} for one in schedule.freeze],
        "below_rate": schedule.below_rate or 0.0,
    }


def _window(window: TimeWindow, zone: str) -> Spec:
    zone = window.zone if "zone" in window.model_fields_set else zone
    start, end = window.hours()
    return {"zone": zone, "days": list(window.days), "from": start, "to": end, "offsets": offsets_of(zone)}


def _events(metrics: list[Spec]) -> list[Spec]:
    """The events that metrics name, each once, with the field of answers that brings it; "" where none does."""
    found: dict[str, str] = {}
    for metric in metrics:
        if metric.get("event"):
            found[metric["event"]] = metric["field"] or found.get(metric["event"], "")
    return [{"name": name, "field": field} for name, field in found.items()]
