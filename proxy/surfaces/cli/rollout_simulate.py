"""`tidegate rollout simulate`: the plan played against a described new version, before anybody is in it."""

import os
import sys
import time
from pathlib import Path
from typing import Any

import click

from proxy.surfaces.cli.loading import print_json
from proxy.surfaces.cli.rollout_described import (
    ERROR_PERCENT,
    USERS_PER_RATE,
    Rate,
    described,
    events_of,
    identity_in,
    route_of,
    stop,
    weights_of,
)

Spec = dict[str, Any]


@click.command("simulate")
@described
@click.option(
    "--errors", type=click.FloatRange(0), default=1.0, show_default=True, help="Times the old version's errors."
)
@click.option("--latency", type=click.FloatRange(0.01), default=1.0, show_default=True, help="Times its latency.")
@click.option(
    "--size", type=click.FloatRange(0.01), default=1.0, show_default=True, help="Times the size of its answers."
)
@click.option("--traffic", type=Rate(), default="50/s", show_default=True, help="Requests of the route.")
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
    error_percent: float | None,
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

    The machine, the gates and the early brake are the real ones; the users are made up, some coming far more often than others.
    People are assumed to approve at once, hooks to say yes, schedules to be open, and queries to find what is just allowed.

    \b
    Examples:
      tidegate rollout simulate -c config/tidegate.yaml --route shop --errors 2 --latency 1.2 --traffic 50/s
      tidegate rollout simulate --route shop --recorded reports/20261121T193000Z-shop-v2-7/report.json
    """
    from proxy.rollout.recorded import BadRecordError, read_recorded
    from proxy.rollout.simulation import Setting
    from proxy.rollout.world import Assumed

    found = route_of(path, route, as_json=as_json)
    plan = found["rollout"]
    error_percent = ERROR_PERCENT if error_percent is None else error_percent
    counted = None
    if recorded is not None:
        try:
            counted = read_recorded(recorded.read_text(errors="replace"), plan["from"], plan["to"])
        except (BadRecordError, OSError) as error:
            stop(f"{recorded}: {error}")
        traffic = counted(0.0).rate or traffic
    assumed = Assumed(
        traffic, users or max(1, round(traffic * USERS_PER_RATE)), errors, latency, size, error_percent / 100.0, median,
        events_of(plan, events),
    )  # fmt: skip
    setting = Setting(plan, weights_of(found), assumed, found["name"], counted, identity_in(found))
    began = time.monotonic()
    outlook = _play(setting, runs, seed)
    _show(setting, outlook, seed, time.monotonic() - began, as_json=as_json, recorded=recorded)


def _play(setting: Any, runs: int, seed: int) -> Any:
    """All runs, on as many processors as there are: each run is the same wherever it is played."""
    from concurrent.futures import ProcessPoolExecutor

    from proxy.rollout.simulation import Outlook, simulate

    processes = min(len(os.sched_getaffinity(0)), runs)
    if processes == 1:
        return Outlook(tuple(simulate(setting, range(runs), seed)))
    with ProcessPoolExecutor(processes) as pool:
        played = pool.map(simulate, [setting] * runs, [[number] for number in range(runs)], [seed] * runs)
        plays = []
        for one in played:
            plays += one
            if sys.stderr.isatty():
                click.echo(f"\r{len(plays)} of {runs} runs{'' if len(plays) < runs else chr(10)}", nl=False, err=True)
    return Outlook(tuple(plays))


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
        spread = Spread.of(values) or Spread(0.0, 0.0, 0.0)
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


def _words(step: Spec) -> str:
    from proxy.rollout.foresight import words_of

    return words_of(step)


def _words_of(plan: Spec, number: int) -> str:
    return _words(plan["steps"][number - 1]) if 1 <= number <= len(plan["steps"]) else "before the first"
