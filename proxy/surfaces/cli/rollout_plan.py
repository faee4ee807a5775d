"""`tidegate rollout plan`: how long the plan takes with this traffic, and which gates cannot decide in time."""

import sys
import time
from math import ceil, inf, isfinite
from typing import Any, Final

import click

from proxy.surfaces.cli.at_admin import ask_or_exit, open_client
from proxy.surfaces.cli.loading import print_json
from proxy.surfaces.cli.rollout_described import (
    ERROR_PERCENT,
    USERS_PER_RATE,
    Rate,
    described,
    events_of,
    route_of,
    shown_time,
    stop,
    weights_of,
)

Spec = dict[str, Any]

ENOUGH: Final = 1000
"""Requests of the old version from which on its own share of errors is counted with."""
SPARE: Final = 1.5
"""The `maximum` that is named is so many times as long as what is expected: chance makes it longer."""
_WATCHED: Final = 5.0  # seconds that the running proxy is watched for its rate


@click.command("plan")
@described
@click.option("--rate", type=Rate(), help="Requests of the route. [default: what the running proxy has now]")
@click.option("--admin", metavar="ADDRESS", help="The admin port of the running proxy, where -c does not lead to it.")
@click.option("--token", envvar="TIDEGATE_TOKEN", metavar="TOKEN", help="Its token. [default: the file's first]")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def plan_command(
    *,
    path: str,
    route: str | None,
    median: float,
    error_percent: float | None,
    users: int | None,
    events: tuple[tuple[str, float, float], ...],
    rate: float | None,
    admin: str | None,
    token: str | None,
    as_json: bool,
) -> None:
    """How long the plan in the file will take with this traffic, step by step, and which gates can never decide in time.

    Without --rate the running proxy is asked, for five seconds. Expected numbers without chance are shown to the real gates: those
    of a version that is as good as the old one. What chance does is what `simulate` shows.

    Exits with 1 where a step cannot be decided before its `maximum`.

    \b
    Examples:
      tidegate rollout plan -c config/tidegate.yaml --route shop --rate 50/s
      tidegate rollout plan --route shop
    """
    from proxy.rollout.foresight import estimate, total_of
    from proxy.rollout.world import Assumed

    found = route_of(path, route, as_json=as_json)
    plan = found["rollout"]
    source = "given"
    if rate is None:
        rate, share = _traffic_now(path, admin, token, found["name"], plan["from"])
        error_percent = share if error_percent is None else error_percent
        source = "the running proxy, now"
    error_percent = ERROR_PERCENT if error_percent is None else error_percent
    assumed = Assumed(
        rate, users or max(1, round(rate * USERS_PER_RATE)), error_share=error_percent / 100.0, median=median,
        events=events_of(plan, events),
    )  # fmt: skip
    steps = estimate(plan, weights_of(found), assumed)
    total = total_of(steps, plan)
    if as_json:
        print_json(
            {
                "route": found["name"], "revision": plan["revision"], "rate": rate, "rate_source": source,
                "users": assumed.users, "seconds": _finite(total), "fast_rollback": plan["fast_rollback"],
                "steps": [_step_values(one) for one in steps],
            }
        )  # fmt: skip
    else:
        _show_plan(found, steps, total, assumed, source)
    if not isfinite(total):
        sys.exit(1)


def _traffic_now(path: str, admin: str | None, token: str | None, route: str, old: str) -> tuple[float, float | None]:
    """Requests per second of a route of the running proxy; percent of errors of its old version, None before it had ENOUGH."""
    client = open_client(path, admin, token)

    def versions() -> list[Spec]:
        answer = ask_or_exit(client, "GET", "/api/v1/routes")
        found: list[Spec] | None = next((one["versions"] for one in answer["routes"] if one["name"] == route), None)
        if found is None:
            stop(f"the running proxy has no route {route}; --rate says how many requests to count with")
        return found

    before, began = versions(), time.monotonic()
    click.echo(f"watching route {route} for {_WATCHED:g} s", err=True)
    time.sleep(_WATCHED)
    after = versions()
    more = sum(one["requests"] for one in after) - sum(one["requests"] for one in before)
    if more <= 0:
        stop(f"route {route} has no requests now; --rate says how many to count with")
    known = next((one for one in after if one["name"] == old and one["requests"] >= ENOUGH), None)
    share = None if known is None else max(100.0 * known["errors"] / known["requests"], 100.0 / known["requests"])
    return more / (time.monotonic() - began), share


def _show_plan(route: Spec, steps: list[Any], total: float, assumed: Any, source: str) -> None:
    from proxy.rollout.foresight import counting

    plan = route["rollout"]
    click.echo(
        f"{route['name']} {plan['revision']}: {plan['from']} to {plan['to']}, {assumed.rate:.4g} requests/s ({source}) of"
        f" {assumed.users:,} users, {100 * assumed.error_share:.3g} % errors\n"
    )
    click.echo(
        f"{'step':<17}{'takes':>8}{'hold':>8}{'minimum':>9}  gates: when one that is well passes, a harmful one fails"
    )
    for one in steps:
        gates = "; ".join(f"{gate.metric} {shown_time(gate.passes)}, {shown_time(gate.fails)}" for gate in one.gates)
        takes = "a person" if one.waits else shown_time(one.seconds) if one.decided else "never"
        click.secho(
            f"{f'{one.number} ({one.what})':<17}{takes:>8}{shown_time(one.hold):>8}{shown_time(one.minimum):>9}  {gates}",
            fg=None if one.decided else "red",
        )
    click.echo("")
    counted = counting(plan)
    waits = " and people" if any(one.waits for one in steps) else ""
    if isfinite(total):
        click.echo(f"promoted after {shown_time(total)}{waits}, then watched for {shown_time(plan['fast_rollback'])}")
    for one in steps:
        if not one.decided:
            late = [gate for gate in one.gates if gate.passes > one.maximum and gate.metric in counted]
            if one.minimum > one.maximum:
                click.secho(f"step {one.number} ({one.what}): its `minimum` takes {shown_time(one.minimum)}", fg="red")
            for gate in late:
                often = "never passes" if gate.passes == inf else f"passes after {shown_time(gate.passes)}"
                click.secho(
                    f"step {one.number} ({one.what}): {gate.metric} {often}, and `maximum` is {shown_time(one.maximum)}:"
                    f" `on_no_data` ({plan['on_no_data']})",
                    fg="red",
                )
                click.echo(f"  then it says: {gate.reason}")
            click.echo(f"  what would decide it: {_remedies(one, late=bool(late))}")
    if plan["schedule"]:
        click.secho("the schedule was taken to be open: closed hours come on top", dim=True)


def _remedies(step: Any, *, late: bool) -> str:
    """What somebody can write so that the step is decided: the smallest weight that does, a `maximum` in whole hours."""
    found = []
    if step.larger is not None:
        found.append(f"a weight of {step.larger[0]:g} % (in {shown_time(step.larger[1])})")
    if isfinite(step.needed):
        found.append(f"`maximum: {ceil(step.needed * SPARE / 3600.0)}h`")
    if step.minimum > step.maximum:
        found.append("a smaller `minimum`")
    if late:
        found.append("`weight: watch` for that metric")
    return " or ".join(found) or "more traffic"


def _step_values(one: Any) -> Spec:
    return {
        "step": one.number, "what": one.what, "seconds": _finite(one.seconds), "hold": one.hold,
        "minimum": _finite(one.minimum), "maximum": one.maximum, "decided": one.decided, "waits_for_a_person": one.waits,
        "would_be_decided": None if one.decided else {
            "weight": one.larger[0] if one.larger else None, "seconds": one.larger[1] if one.larger else None,
            "maximum": _finite(one.needed),
        },
        "gates": [
            {"metric": gate.metric, "passes": _finite(gate.passes), "fails": _finite(gate.fails), "reason": gate.reason}
            for gate in one.gates
        ],
    }  # fmt: skip


def _finite(seconds: float | None) -> float | None:
    return seconds if seconds is not None and isfinite(seconds) else None
