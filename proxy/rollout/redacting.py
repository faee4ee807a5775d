"""What of a rollout's plan may be shown: not the keys of webhooks, and of URLs neither passwords nor what may be one."""

from typing import Any, Final

from proxy.rollout.sending import origin, shown

REDACTED: Final = "(redacted)"

Spec = dict[str, Any]


def without_secrets(plan: Spec) -> Spec:
    """A copy of the plan to be shown. A secret that is not there stays None, so that one sees that there is none.

    The path of a notice's URL goes as well: with a chat room's, anybody may write there.
    """
    shown_plan = dict(plan)
    if "webhooks" in plan:
        shown_plan["webhooks"] = [
            {**one, "url": shown(one["url"]), "secret": REDACTED if one["secret"] else None} for one in plan["webhooks"]
        ]
    if "notify" in plan:
        shown_plan["notify"] = [{**one, "url": f"{origin(one['url'])}/{REDACTED}"} for one in plan["notify"]]
    if "metrics" in plan:
        shown_plan["metrics"] = [_metric(one) for one in plan["metrics"]]
    return shown_plan


def _metric(metric: Spec) -> Spec:
    prometheus = metric.get("prometheus")
    return {**metric, "prometheus": shown(prometheus)} if isinstance(prometheus, str) else metric
