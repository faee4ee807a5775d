"""`tidegate explain`: the decision for one request, made by the code that makes it for real, with all it looked at."""

import sys
import time
from typing import Any, Final

import click

from proxy.core.build import build_plan
from proxy.core.explanation import ABSENT, DECIDES, PASSED, TAKES_OUT
from proxy.core.unit_table import UnitList
from proxy.expressions import matchers_of
from proxy.surfaces.asking import ASKED, NothingThereError, Wish, WishError, answer, moment
from proxy.surfaces.cli.explained_flag import print_flag
from proxy.surfaces.cli.loading import config_option, load_or_exit, print_json
from proxy.surfaces.cli.traces import print_trace

Spec = dict[str, Any]

_OPTIONS: Final = {
    "url": "--url",
    "header": "-H",
    "client": "--client",
    "at": "--at",
    "claim": "--claim",
    "route": "--route",
    "flag": "--flag",
    "attribute": "--attribute",
}


@click.command("explain")
@config_option()
@click.option("--route", "route_name", metavar="NAME", help="The route. Without it, the one that takes the request.")
@click.option("--url", metavar="URL", help="The request's URL: host, path and query at once.")
@click.option("--host", metavar="HOST", help="The request's host.")
@click.option(
    "--path", "target", metavar="PATH", help="The request's path, with its query if it has one.  [default: /]"
)
@click.option("--method", default="GET", show_default=True, metavar="METHOD", help="The request's method.")
@click.option("--unit", metavar="UNIT", help="The unit. Without it, the route's unit chain looks at the request.")
@click.option(
    "-H", "--header", "headers", multiple=True, metavar="'NAME: VALUE'", help="A header field; as often as needed."
)
@click.option(
    "--client", default="127.0.0.1", show_default=True, metavar="ADDRESS", help="The address the request comes from."
)
@click.option(
    "--claim",
    "claims",
    multiple=True,
    metavar="NAME=VALUE",
    help="A claim of the request's token, as if verified; twice for a list.",
)
@click.option(
    "--flag",
    metavar="NAME",
    help="Why a flag gives what it gives: as applications ask for it, or, with a route or a request, as upstreams are told.",
)
@click.option(
    "--attribute", "attributes", multiple=True, metavar="NAME=VALUE", help="What an application says with --flag."
)
@click.option("--at", "at", metavar="TIME", help="When, as in 2026-12-01T00:00:00Z.  [default: now]")
@click.option("--json", "as_json", is_flag=True, help="Print the explanation as JSON.")
def command(
    *,
    path: str,
    route_name: str | None,
    url: str | None,
    host: str | None,
    target: str | None,
    method: str,
    unit: str | None,
    headers: tuple[str, ...],
    client: str,
    claims: tuple[str, ...],
    flag: str | None,
    attributes: tuple[str, ...],
    at: str | None,
    as_json: bool,
) -> None:
    """Why a unit gets the version it gets, or the variant of a flag.

    Exits with 1 when no route takes the request, there is no such route or flag, or the configuration has errors.

    \b
    Examples:
      tidegate explain -c config/tidegate.yaml --route shop --unit alice
      tidegate explain --url http://shop.example.com/cart -H 'x-user-id: alice' -H 'x-geo-city: Oslo'
      tidegate explain --flag new-cart --unit alice --attribute country=NO
    """
    loaded = load_or_exit(path, as_json=as_json)
    try:
        when = time.time() if at is None else moment(at)
        wish = Wish(route_name, url, host, target, method, unit, headers, client, when, claims, flag, attributes)
        lists = {name: UnitList(file.table()) for name, file in loaded.lists.items()}
        explained = answer(
            wish, build_plan(loaded.spec, lists=lists, expressions=matchers_of(loaded.spec)), loaded.spec, lists
        )
    except NothingThereError as error:
        click.echo(str(error), err=True)
        sys.exit(1)
    except WishError as error:
        if error.part:
            raise click.BadParameter(str(error), param_hint=_OPTIONS[error.part]) from None
        raise click.UsageError(str(error)) from None
    if as_json:
        print_json(explained)
    elif flag is not None:
        print_flag(explained)
    else:
        _print(explained)


def _print(explained: Spec) -> None:
    unit, version = explained["unit"], explained["version"]
    who = "a request without a unit" if unit is None else f"unit {unit}"
    if explained["drawn"]:
        click.echo(f"route {explained['route']}: {who}")
    elif version is None:
        click.echo(f"route {explained['route']}: {who} gets no version: all are denied or killed (403)")
    else:
        because = f" ({explained['rule']})" if explained["rule"] else ""
        click.secho(f"route {explained['route']}: {who} gets {version}", bold=True)
        click.echo(f"  reason   {explained['reason']}{because}")
    if explained["unit_kind"]:
        source = "" if explained["unit_kind"] == ASKED else f" from {explained['unit_kind']}"
        click.echo(f"  unit     {'none' if unit is None else unit}{source}")
    if explained["hash"] is not None:
        click.echo(f"  hash     {_hash(explained['hash'], explained['scores'])}")
    elif explained["bucket"] >= 0:
        click.echo(f"  bucket   {explained['bucket']} of 10000")
    click.echo("  split    " + ", ".join(f"{name} {share * 100:.4g} %" for name, share in explained["split"].items()))
    if explained["epoch"]:
        click.echo(f"  epoch    {explained['epoch']}")
    if explained["denied"]:
        taken = [
            f"{name} (killed)"
            if name in explained["killed"]
            else f"{name} (cap)"
            if name in explained["capped"]
            else name
            for name in explained["denied"]
        ]
        click.echo(f"  denied   {', '.join(taken)}")
    if explained["next"] is not None:
        following = explained["next"]
        because = f", {following['rule']}" if following["rule"] else ""
        click.echo(f"  next     {following['version'] or 'no version'} ({following['reason']}{because})")
    for told in explained["flags"]:
        because = f", {told['rule']}" if told["rule"] else ""
        variant = told["variant"] or ("drawn for the unit" if explained["drawn"] else "nothing")
        click.echo(f"  flag     {told['flag']}: {variant} ({told['detail']}{because})")
    click.echo("  path")
    traces = {one["label"]: one for one in (*explained["rules"], *explained["rings"])}
    for step in explained["path"]:
        _print_step(step, traces)
    for note in explained["notes"]:
        click.echo(f"  note: {note}")


def _print_step(step: Spec, traces: dict[str, Spec]) -> None:
    """One kind of decision, or one rule of it, with what it looked at."""
    name = f"{step['kind']} {step['rule']}".rstrip()
    outcome = step["outcome"] + (f" {step['version']}" if step["outcome"] == TAKES_OUT else "")
    if step["version"] and step["outcome"] not in {TAKES_OUT, PASSED}:
        outcome += f": {step['version']}"
    why = f" ({step['why']})" if step["why"] else ""
    click.secho(f"    {name}: {outcome}{why}", bold=step["outcome"] == DECIDES)
    trace = traces.get(step["rule"].partition(".")[0])
    if trace is None or step["outcome"] == ABSENT:
        return
    if "rings" in trace:
        for ring in trace["rings"]:
            click.echo(f"      ring {ring['name']} is {'open' if ring['open'] else 'closed'}")
            print_trace(ring, "        ")
        return
    if step["kind"] in {"deny", "override", "segment"}:
        click.echo(f"      gives {_effect(trace)}" if "deny" not in trace else f"      denies {trace['deny']}")
        if trace.get("hash") is not None:
            click.echo(f"      {_hash(trace['hash'], trace['scores'])}")
    if "where" in trace:
        print_trace(trace["where"], "      ")


def _hash(family: Spec, scores: list[Spec]) -> str:
    """The family, the bucket it computed, and whose buckets are which."""
    owned = []
    for score in scores:
        low, below = score["from"], score["below"]
        if below <= low:
            owned.append(f"{score['version']} none")
        elif family["whole"]:
            owned.append(f"{score['version']} {low:.0f} to {below - 1:.0f}")
        else:
            owned.append(f"{score['version']} {low:.6g} up to {below:.6g}")
    bucket = "" if family["bucket"] is None else f"bucket {family['bucket']:.10g}; "
    return f"{family['family']}: {bucket}{', '.join(owned)}"


def _effect(rule: Spec) -> str:
    if "version" in rule:
        return f"version {rule['version']}"
    return "split " + ", ".join(f"{name} {weight:g}" for name, weight in rule["split"].items())
