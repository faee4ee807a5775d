"""What a change of a rollout comes to, in words: what begins, what counts later only, and what stops one that is under way."""

from typing import Any, Final

Spec = dict[str, Any]

_SHOWN: Final = 12
"""Steps in a line."""


def rollout_lines(old: Spec, new: Spec) -> list[str]:
    """Lines about the rollout of a route, from its spec before and after."""
    name, was, now = new["name"], old.get("rollout"), new["rollout"]
    if now is None:
        return [] if was is None else [f"route {name}: no rollout; one of revision {was['revision']} under way stops"]
    lines = []
    if was is None or was["revision"] != now["revision"]:
        before = "" if was is None else f", in the place of {was['revision']}"
        lines.append(
            f"route {name}: rollout of revision {now['revision']} begins{before}: {now['kind']} from {now['from']} to"
            f" {now['to']}, {_steps(now)}"
        )
    elif keys := [key for key in now if now[key] != was.get(key)]:
        lines.append(
            f"route {name}: the rollout's {', '.join(keys)} changed, revision {now['revision']} did not: that counts from the"
            " next revision on"
        )
    if was is not None and was["revision"] == now["revision"] and _weights(old) != _weights(new):
        lines.append(
            f"route {name}: the weights changed: a rollout of revision {now['revision']} that is under way pauses"
        )
    return lines


def _weights(route: Spec) -> dict[str, float]:
    return {one["name"]: one["weight"] for one in route["versions"]}


def _steps(plan: Spec) -> str:
    steps = plan["steps"]
    words = [_word(one, steps[index - 1] if index else None) for index, one in enumerate(steps)]
    if len(words) > _SHOWN:
        words = [*words[: _SHOWN // 2], f"... ({len(words)} steps)", *words[-2:]]
    return " -> ".join(words)


def _word(step: Spec, before: Spec | None) -> str:
    if step["approve"]:
        return "approval"
    if step["preview"]:
        return "preview"
    if step["shadow"]:
        return f"{step['shadow']:g} % copied"
    if step["ring"] is not None and (before is None or before["ring"] != step["ring"]):
        return f"ring {step['ring']}"
    return f"{step['weight']:g} %"
