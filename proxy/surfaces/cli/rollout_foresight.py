"""`tidegate rollout simulate` and `tidegate rollout plan`: what a rollout will come to, before anybody is in it."""

import re
import sys
import time
from collections.abc import Callable
from math import inf, isfinite
from pathlib import Path
from typing import Any, Final, NoReturn, TypeVar

import click

from proxy.surfaces.cli.loading import config_option, load_or_exit, print_json

Spec = dict[str, Any]
Command = TypeVar("Command", bound=Callable[..., Any])

USERS_PER_RATE: Final = 600.0
"""Seconds after which a user comes again, about, where nobody says how many users there are."""
_WATCHED: Final = 5.0  # seconds that the running proxy is watched for its rate


class _Rate(click.ParamType):
    """Requests per second: `50/s`, `3000/m`, `180000/h`, or a number."""

    name = "RATE"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        found = re.fullmatch(r"([0-9]+(?:\.[0-9]+)?)(?:/([smh]))?", str(value))
        rate = float(found[1]) / {"m": 60.0, "h": 3600.0}.get(found[2], 1.0) if found else 0.0
        if rate <= 0.0:
            self.fail(f"{value!r} is no rate such as 50/s, 3000/m or 180000/h", param, ctx)
        return rate


class _Duration(click.ParamType):
    """A duration as in the configuration, in seconds."""

    name = "DURATION"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        from pydantic_core import PydanticCustomError

        from proxy.settings.scalars import parse_duration

        try:
            return float(parse_duration(str(value)))
        except PydanticCustomError as error:
            self.fail(error.message(), param, ctx)


class _Event(click.ParamType):
    """`NAME=PERCENT` or `NAME=PERCENTxFACTOR`."""

    name = "EVENT"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[str, float, float]:
        found = re.fullmatch(r"([\w.-]+)=([0-9.]+)(?:x([0-9.]+))?", str(value))
        try:
            name, percent, factor = (found[1], float(found[2]), float(found[3] or 1.0)) if found else ("", -1.0, 1.0)
        except ValueError:
            percent = -1.0
        if not 0.0 <= percent <= 100.0:
            self.fail(f"{value!r} is no NAME=PERCENT or NAME=PERCENTxFACTOR", param, ctx)
        return name, percent / 100.0, factor


def _described(command: Command) -> Command:
    """The options that describe the traffic."""
    for option in (
        click.option("--median", type=_Duration(), default="50ms", show_default=True, help="Latency of the old version."),
        click.option(
            "--error-percent", type=click.FloatRange(0, 100), default=0.5, show_default=True,
            help="Errors of the old version's requests.",
        ),
        click.option("--users", type=click.IntRange(1), help="Who come again and again. [default: 600 for each request/s]"),
        click.option("--event", "events", type=_Event(), multiple=True, help="Share of users with it: purchase=3, purchase=3x.9."),
        click.option("--route", metavar="NAME", help="Whose rollout. [default: the only one]"),
    ):  # fmt: skip
        command = option(command)
    return config_option()(command)


@click.command("simulate")
@_described
@click.option(
    "--errors", type=click.FloatRange(0), default=1.0, show_default=True, help="Times the old version's errors."
)
@click.option("--latency", type=click.FloatRange(0.01), default=1.0, show_default=True, help="Times its latency.")
@click.option(
    "--size", type=click.FloatRange(0.01), default=1.0, show_default=True, help="Times the size of its answers."
)
@click.option("--traffic", type=_Rate(), default="50/s", show_default=True, help="Requests of the route.")
@click.option(
    "--recorded", type=click.Path(exists=True, dir_okay=False, path_type=Path), metavar="FILE",
    help="Counters in place of --errors and --traffic: `report.json` of an incident, or its `course`.",
)  # fmt: skip
@click.option("--runs", type=click.IntRange(1, 10_000), default=30, show_default=True, help="How often it is played.")
@click.option("--seed", type=int, default=1, show_default=True, help="The same seed gives the same.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def simulate_command(
    *,
    path: str,
    route: str | None,
    median: float,
    error_percent: float,
    users: int | None,
    events: tuple[tuple[str, float, float], ...],
    errors: float,
    latency: float,
    size: float,
    traffic: float,
    recorded: Path | None,
    runs: int,
    seed: int,
    as_json: bool,
) -> None:
    """Play the plan in the file against a described new version, in seconds: when would it be promoted or stopped, with which
    probability, and how many users would have been hurt?

    The machine, the gates and the early brake are the real ones; the users are made up, some coming far more often than others. People
    are assumed to approve at once, hooks to say yes, schedules to be open, and queries to find what is just allowed.

    \b
    Examples:
      tidegate rollout simulate -c config/tidegate.yaml --route shop --errors 2 --latency 1.2 --traffic 50/s
      tidegate rollout simulate --route shop --recorded reports/20261121T193000Z-shop-v2-7/report.json
    """
    from proxy.rollout.recorded import BadRecordError, read_recorded
    from proxy.rollout.simulation import Setting, simulate
    from proxy.rollout.world import Assumed

    found = _route_of(path, route, as_json=as_json)
    plan = found["rollout"]
    counted = None
    if recorded is not None:
        try:
            counted = read_recorded(recorded.read_text(errors="replace"), plan["from"], plan["to"])
        except (BadRecordError, OSError) as error:
            _fail(f"{recorded}: {error}")
        traffic = counted(0.0).rate or traffic
    assumed = Assumed(
        traffic, users or max(1, round(traffic * USERS_PER_RATE)), errors, latency, size, error_percent / 100.0, median,
        _events(plan, events),
    )  # fmt: skip
    setting = Setting(plan, _weights(found), assumed, found["name"], counted, _identity(found))
    began = time.monotonic()
    outlook = simulate(setting, runs, seed, None if as_json else _progress(runs))
    _show(setting, outlook, seed, time.monotonic() - began, as_json=as_json, recorded=recorded)


@click.command("plan")
@_described
@click.option("--rate", type=_Rate(), help="Requests of the route. [default: what the running proxy has now]")
@click.option("--admin", metavar="ADDRESS", help="The admin port of the running proxy, where -c does not lead to it.")
@click.option("--token", envvar="TIDEGATE_TOKEN", metavar="TOKEN", help="Its token. [default: the file's first]")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def plan_command(
    *,
    path: str,
    route: str | None,
    median: float,
    error_percent: float,
    users: int | None,
    events: tuple[tuple[str, float, float], ...],
    rate: float | None,
    admin: str | None,
    token: str | None,
    as_json: bool,
) -> None:
    """How long the plan in the file will take with this traffic, step by step, and which gates can never decide in time.

    Without --rate the running proxy is asked, for five seconds. Expected numbers without chance are shown to the real gates: a version
    that is as good as the old one. What chance does is what `simulate` shows.

    Exits with 1 where a step cannot be decided before its `maximum`.

    \b
    Examples:
      tidegate rollout plan -c config/tidegate.yaml --route shop --rate 50/s
      tidegate rollout plan --route shop
    """
    from proxy.rollout.foresight import estimate, total_of
    from proxy.rollout.world import Assumed

    found = _route_of(path, route, as_json=as_json)
    plan = found["rollout"]
    source = "given"
    if rate is None:
        rate, source = _rate_now(path, admin, token, found["name"]), "the running proxy, now"
    assumed = Assumed(
        rate, users or max(1, round(rate * USERS_PER_RATE)), error_share=error_percent / 100.0, median=median,
        events=_events(plan, events),
    )  # fmt: skip
    steps = estimate(plan, _weights(found), assumed)
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


# What both want to know.


def _route_of(path: str, name: str | None, *, as_json: bool) -> Spec:
    """The route of this name in the spec; the only one with a rollout where none is named."""
    spec = load_or_exit(path, as_json=as_json).spec
    routes = [one for one in spec["routes"] if one.get("rollout")]
    found = [one for one in routes if name in (None, one["name"])]
    if len(found) == 1:
        only: Spec = found[0]
        return only
    known = ", ".join(one["name"] for one in routes) or "none"
    if name is None and routes:
        raise click.UsageError(f"say which with --route: {known}")
    _fail(
        f"there is no route {name} with a rollout in {path}; with one: {known}"
        if name
        else f"no route in {path} has a rollout"
    )


def _weights(route: Spec) -> dict[str, float]:
    return {one["name"]: float(one["weight"]) for one in route["versions"]}


def _identity(route: Spec) -> str:
    from proxy.rollout.evidence import identity_of

    return identity_of([one["kind"] for one in route["unit"]])


def _events(plan: Spec, given: tuple[tuple[str, float, float], ...]) -> dict[str, tuple[float, float]]:
    """By name the share and the factor: those that metrics ask for, 5 % where nobody says."""
    events = {one["name"]: (0.05, 1.0) for one in plan["events"]}
    for name, share, factor in given:
        if name not in events:
            known = ", ".join(events) or "none"
            raise click.UsageError(f"--event {name}: no metric asks for it; they ask for: {known}")
        events[name] = (share, factor)
    return events


def _rate_now(path: str, admin: str | None, token: str | None, route: str) -> float:
    """Requests per second of a route of the running proxy, over some seconds."""
    from proxy.surfaces.cli.rollout import ask_or_exit, open_client

    client = open_client(path, admin, token)

    def requests() -> int:
        answer = ask_or_exit(client, "GET", "/api/v1/routes")
        found = [one for one in answer["routes"] if one["name"] == route]
        if not found:
            _fail(f"the running proxy has no route {route}; --rate says how many requests to count with")
        return sum(version["requests"] for version in found[0]["versions"])

    before, began = requests(), time.monotonic()
    click.echo(f"watching route {route} for {_WATCHED:g} s", err=True)
    time.sleep(_WATCHED)
    rate = (requests() - before) / (time.monotonic() - began)
    if rate <= 0.0:
        _fail(f"route {route} has no requests now; --rate says how many to count with")
    return rate


# What simulate shows.


def _progress(runs: int) -> Callable[[int], None] | None:
    if not sys.stderr.isatty():
        return None

    def done(number: int) -> None:
        click.echo(f"\r{number} of {runs} runs{'' if number < runs else chr(10)}", nl=False, err=True)

    return done


def _show(setting: Any, outlook: Any, seed: int, took: float, *, as_json: bool, recorded: Path | None) -> None:
    from proxy.rollout.plots import short_time
    from proxy.rollout.simulation import ENDS, PROMOTED, STOPPED, WAITING, Spread

    plan, assumed = setting.plan, setting.assumed
    if as_json:
        print_json(_values(setting, outlook, seed))
        return
    new, old = plan["to"], plan["from"]
    steps = ", ".join(_words(step) for step in plan["steps"])
    metrics = ", ".join(f"{one['name']} ({one['judge']}, {one['weight']})" for one in plan["metrics"]) or "nothing"
    click.echo(f"{setting.route} {plan['revision']}: {old} to {new} in steps {steps}")
    click.echo(f"judged by {metrics}{'; early brake' if plan['brake'] else ''}")
    if recorded is None:
        click.echo(
            f"assumed   {assumed.rate:g} requests/s of {assumed.users:,} users; {100 * assumed.error_share:g} % errors at {old},"
            f" {assumed.errors:g} times as many at {new}; latency {1000 * assumed.median:g} ms, {assumed.latency:g} times that"
        )
    else:
        click.echo(f"recorded  {recorded}; of {assumed.users:,} users, latency {assumed.latency:g} times that of {old}")
    click.echo(f"played    {len(outlook.plays)} times in {took:.1f} s, seed {seed}\n")
    said = {PROMOTED: "promoted", STOPPED: "stopped", WAITING: "waits for a person"}
    for end in ENDS:
        share, low, high = outlook.share(end)
        when = Spread.of([one.seconds for one in outlook.ended(end)])
        after = f"  after {short_time(when.median)} ({short_time(when.low)} to {short_time(when.high)})" if when else ""
        click.secho(
            f"{said[end]:<19}{100 * share:4.0f} %  ({100 * low:.0f} to {100 * high:.0f} %){after}", bold=share >= 0.5
        )
    for end, word in ((STOPPED, "stopped by"), (WAITING, "undecided")):
        by, at = outlook.counted(end)
        if by:
            click.echo(f"\n{word:<12}{', '.join(f'{name} {count}' for name, count in by.items())}")
            click.echo(
                f"{'at step':<12}{', '.join(f'{step} ({_words_of(plan, step)}) {count}' for step, count in at.items())}"
            )
            click.echo(f"{'such as':<12}{outlook.ended(end)[0].reason}")
    click.echo("")
    for word, values in (
        (f"given {new}", [one.given for one in outlook.plays]),
        ("met an error", [one.erred for one in outlook.plays]),
        ("hurt by it", [one.hurt for one in outlook.plays]),
    ):
        spread = Spread.of(values)
        click.echo(f"{word:<14}{spread.median:,.0f} users ({spread.low:,.0f} to {spread.high:,.0f})")
    for note in _notes(setting):
        click.secho(note, dim=True)


def _notes(setting: Any) -> list[str]:
    """What was assumed that may not be so."""
    plan, notes = setting.plan, []
    if setting.identity:
        notes.append(f"{setting.identity}; here a unit is one user")
    if plan["schedule"]:
        notes.append("the schedule was taken to be open: closed hours come on top")
    if any(step["shadow"] for step in plan["steps"]):
        notes.append("copies have no users, and nothing of them was played")
    if any(one.get("query") for one in plan["metrics"]):
        notes.append("queries of Prometheus were taken to find what is just allowed")
    return notes


def _values(setting: Any, outlook: Any, seed: int) -> Spec:
    from proxy.rollout.simulation import ENDS, Spread

    assumed = setting.assumed
    ends = {}
    for end in ENDS:
        share, low, high = outlook.share(end)
        by, at = outlook.counted(end)
        ends[end] = {
            "share": share, "low": low, "high": high, "by": by, "steps": at,
            "seconds": _spread(Spread.of([one.seconds for one in outlook.ended(end)])),
        }  # fmt: skip
    users = {
        name: _spread(Spread.of([getattr(one, name) for one in outlook.plays])) for name in ("given", "erred", "hurt")
    }
    return {
        "route": setting.route, "revision": setting.plan["revision"], "runs": len(outlook.plays), "seed": seed,
        "assumed": {
            "rate": assumed.rate, "users": assumed.users, "errors": assumed.errors, "latency": assumed.latency,
            "size": assumed.size, "error_share": assumed.error_share, "median": assumed.median,
            "recorded": setting.recorded is not None,
        },
        "ends": ends, "users": users, "notes": _notes(setting),
    }  # fmt: skip


def _spread(spread: Any) -> Spec | None:
    return None if spread is None else {"median": spread.median, "low": spread.low, "high": spread.high}


# What plan shows.


def _show_plan(route: Spec, steps: list[Any], total: float, assumed: Any, source: str) -> None:
    plan = route["rollout"]
    click.echo(
        f"{route['name']} {plan['revision']}: {plan['from']} to {plan['to']}, {assumed.rate:.4g} requests/s ({source}) of"
        f" {assumed.users:,} users, {100 * assumed.error_share:g} % errors\n"
    )
    click.echo(
        f"{'step':<17}{'takes':>8}{'hold':>8}{'minimum':>9}  gates: when one that is well passes, a harmful one fails"
    )
    for one in steps:
        gates = "; ".join(f"{gate.metric} {_after(gate.passes)}, {_after(gate.fails)}" for gate in one.gates)
        takes = "a person" if one.waits else _after(one.seconds) if one.decided else "never"
        click.secho(
            f"{f'{one.number} ({one.what})':<17}{takes:>8}{_after(one.hold):>8}{_after(one.minimum):>9}  {gates}",
            fg=None if one.decided else "red",
        )
    click.echo("")
    waits = " and people" if any(one.waits for one in steps) else ""
    if isfinite(total):
        click.echo(f"promoted after {_after(total)}{waits}, then watched for {_after(plan['fast_rollback'])}")
    for one in steps:
        if not one.decided:
            late = [gate for gate in one.gates if gate.passes > one.maximum]
            if one.minimum > one.maximum:
                click.secho(f"step {one.number} ({one.what}): its `minimum` takes {_after(one.minimum)}", fg="red")
            for gate in late:
                often = "never passes" if gate.passes == inf else f"passes after {_after(gate.passes)}"
                click.secho(
                    f"step {one.number} ({one.what}): {gate.metric} {often}, and `maximum` is {_after(one.maximum)}: `on_no_data`"
                    f" ({plan['on_no_data']})",
                    fg="red",
                )
                click.echo(f"  then it says: {gate.reason}")
            click.echo("  a larger first weight, a longer `maximum`, or `weight: watch` for that metric decides it")
    if plan["schedule"]:
        click.secho("the schedule was taken to be open: closed hours come on top", dim=True)


def _step_values(one: Any) -> Spec:
    return {
        "step": one.number, "what": one.what, "seconds": _finite(one.seconds), "hold": one.hold,
        "minimum": _finite(one.minimum), "maximum": one.maximum, "decided": one.decided, "waits_for_a_person": one.waits,
        "gates": [
            {"metric": gate.metric, "passes": _finite(gate.passes), "fails": _finite(gate.fails), "reason": gate.reason}
            for gate in one.gates
        ],
    }  # fmt: skip


def _finite(seconds: float | None) -> float | None:
    return seconds if seconds is not None and isfinite(seconds) else None


def _after(seconds: float | None) -> str:
    from proxy.rollout.plots import short_time

    if seconds is None:
        return "-"
    return "never" if not isfinite(seconds) else short_time(round(seconds))


def _words(step: Spec) -> str:
    from proxy.rollout.foresight import words_of

    return words_of(step)


def _words_of(plan: Spec, number: int) -> str:
    return _words(plan["steps"][number - 1]) if 1 <= number <= len(plan["steps"]) else "before the first"


def _fail(message: str) -> NoReturn:
    click.secho(message, fg="red", err=True)
    sys.exit(1)
