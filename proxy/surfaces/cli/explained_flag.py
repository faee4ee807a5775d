"""Why a flag gives what it gives, in words."""

import json
from typing import Any

import click

from proxy.core.explanation import DECIDES
from proxy.surfaces.asking import ASKED
from proxy.surfaces.cli.traces import print_trace

Spec = dict[str, Any]


def print_flag(explained: Spec) -> None:
    """Print the explanation (core/flag_explanation)."""
    unit, variant = explained["unit"], explained["variant"]
    who = "a request without a unit" if unit is None else f"unit {unit}"
    if explained["unit_missing"]:
        click.secho(f"flag {explained['flag']}: {who} gets no draw, which is due", bold=True)
        click.echo(f"  asked    TARGETING_KEY_MISSING over OFREP; upstreams are told the default, {variant}")
    elif variant:
        click.secho(f"flag {explained['flag']}: {who} gets {variant}", bold=True)
        click.echo(f"  value    {json.dumps(explained['value'], ensure_ascii=False)}")
    else:
        click.secho(f"flag {explained['flag']}: {who} gets nothing: applications use their own default", bold=True)
    click.echo(f"  reason   {_because(explained)}")
    if explained["unit_kind"]:
        source = "" if explained["unit_kind"] == ASKED else f" from {explained['unit_kind']}"
        click.echo(f"  unit     {'none' if unit is None else unit}{source}")
    if explained["bucket"] >= 0:
        click.echo(f"  bucket   {explained['bucket']} of 10000")
    if explained["next"] is not None:
        click.echo(f"  next     {explained['next']['variant'] or 'nothing'} ({_because(explained['next'])})")
    click.echo("  path")
    traces = {one["label"]: one for one in explained["rules"]}
    for step in explained["path"]:
        _print_step(step, traces.get(step["rule"]))
    if explained["route"] is not None:
        click.echo(f"  path of route {explained['route']['route']}")
        for step in explained["route"]["path"]:
            click.echo("    " + _line(step, step["version"]))
    for note in explained["notes"]:
        click.echo(f"  note: {note}")


def _because(found: Spec) -> str:
    finer = found["detail"] if not found["rule"] else f"{found['detail']} {found['rule']}"
    return f"{found['reason']} ({finer})"


def _print_step(step: Spec, trace: Spec | None) -> None:
    click.secho(f"    {_line(step, step['variant'])}", bold=step["outcome"] == DECIDES)
    if trace is None:
        return
    if "split" in trace:
        click.echo("      gives split " + ", ".join(f"{name} {weight:g}" for name, weight in trace["split"].items()))
    else:
        click.echo(f"      gives {trace['variant']}")
    if "where" in trace:
        print_trace(trace["where"], "      ")


def _line(step: Spec, given: str | None) -> str:
    name = f"{step['kind']} {step['rule']}".rstrip()
    given = f": {given}" if given else ""
    why = f" ({step['why']})" if step["why"] else ""
    return f"{name}: {step['outcome']}{given}{why}"
