"""`tidegate explain`: the decision for one request, made by the code that makes it for real, with all it looked at."""

import sys
from typing import Any, NoReturn
from urllib.parse import urlsplit

import click

from proxy.core.address import Networks, resolve_client
from proxy.core.build import build_plan
from proxy.core.cookies import UnitCookies
from proxy.core.decide import find_unit
from proxy.core.explanation import explain
from proxy.core.http1 import parse_request
from proxy.core.plan import Plan, Route
from proxy.core.request import Request
from proxy.errors import ProtocolError
from proxy.surfaces.cli.loading import config_option, load_or_exit, print_json

Spec = dict[str, Any]


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
    as_json: bool,
) -> None:
    """Why a unit gets the version it gets.

    Exits with 1 when no route takes the request or the configuration has errors.

    \b
    Examples:
      tidegate explain -c config/tidegate.yaml --route shop --unit alice
      tidegate explain --url http://shop.example.com/cart -H 'x-user-id: alice' -H 'x-geo-city: Oslo'
    """
    if url is not None:
        if host is not None or target is not None:
            raise click.UsageError("--url says host and path already: leave --host and --path out")
        host, target = _split(url)
    loaded = load_or_exit(path, as_json=as_json)
    plan = build_plan(loaded.spec)
    named = None
    if route_name is not None:
        named = next((one for one in plan.routes if one.name == route_name), None)
        if named is None:
            _fail(f"there is no route {route_name}; routes: {', '.join(one.name for one in plan.routes)}")
    request = _request(plan, (method, target or _a_path(named)), host or _a_host(named), headers, client)
    found = plan.find(request)
    route = named or found
    if route is None:
        _fail(f"no route takes {method} {target or '/'}" + (f" for {host}" if host else "") + ": the answer is 404")
    explained = _explained(plan, route, request, unit, loaded.spec)
    if named is not None and (host is not None or target is not None) and found is not named:
        explained["notes"].append(
            f"this request goes to route {found.name}, not to {named.name}"
            if found
            else "no route takes this request: 404"
        )
    if as_json:
        print_json(explained)
    else:
        _print(explained)


def _fail(message: str) -> NoReturn:
    click.echo(message, err=True)
    sys.exit(1)


def _split(url: str) -> tuple[str, str]:
    try:
        parts = urlsplit(url if "://" in url else f"http://{url}")
    except ValueError:
        raise click.BadParameter("is not a URL", param_hint="--url") from None
    if not parts.netloc:
        raise click.BadParameter("has no host", param_hint="--url")
    return parts.netloc, (parts.path or "/") + (f"?{parts.query}" if parts.query else "")


def _a_host(route: Route | None) -> str:
    """A host the route takes, for a request that names the route and no host."""
    if route is None or not route.hosts:
        return "localhost"
    return route.hosts[0].replace("*.", "any.")


def _a_path(route: Route | None) -> str:
    """A path the route takes, for a request that names the route and no path."""
    return "/" if route is None else route.path or route.path_prefix or "/"


def _request(plan: Plan, line: tuple[str, str], host: str, headers: tuple[str, ...], client: str) -> Request:
    """The request as the data plane would have read it.

    Ends the command with a usage error when it would have been refused.
    """
    lines = [f"{line[0]} {line[1]} HTTP/1.1", f"Host: {host}"]
    for header in headers:
        name, colon, value = header.partition(":")
        if not colon:
            raise click.BadParameter(f"{header!r} is not NAME: VALUE", param_hint="-H")
        if name.strip().lower() == "host":
            lines[1] = f"Host: {value.strip()}"
        else:
            lines.append(f"{name.strip()}: {value.strip()}")
    try:
        request = parse_request("\r\n".join(lines).encode(), plan.client.max_fields, plan.client.max_target)
    except ProtocolError as error:
        raise click.UsageError(f"the proxy would refuse this request with {error.status}: {error.detail}") from None
    try:
        Networks([client])
    except ValueError:
        raise click.BadParameter(f"{client!r} is not an address", param_hint="--client") from None
    request.client = resolve_client(client, request.fields.get(b"x-forwarded-for", b""), plan.trusted)
    return request


def _explained(plan: Plan, route: Route, request: Request, unit: str | None, spec: Spec) -> Spec:
    notes: list[str] = []
    if unit is not None:
        value: bytes | None = unit.encode()
        kind = "--unit"
    else:
        # Where control makes a key because the file has none, a cookie is minted as well.
        value, kind, minted = find_unit(route, request, UnitCookies(plan.cookie_keys or [b"explain only"]))
        if minted:
            notes.append(
                f"no unit came with the request: one is minted into the cookie {minted.decode()}, and its version is"
                " the luck of the draw; give --unit to ask for a certain one"
            )
    segments = {one["name"]: one["where"] for one in spec["segments"]}
    explained = explain(route, request, value, kind, segments)
    if kind == "mint_cookie" and value is None:
        explained["version"], explained["reason"] = None, "split"
    weights = {version.name: version.weight for version in route.versions}
    total = sum(weights.values())
    explained["split"] = {name: (weight / total if total else 0.0) for name, weight in weights.items()}
    explained["notes"] = notes
    return explained


def _print(explained: Spec) -> None:
    unit, version = explained["unit"], explained["version"]
    who = "a request without a unit" if unit is None else f"unit {unit}"
    if version is None and explained["unit_kind"] == "mint_cookie":
        click.echo(f"route {explained['route']}: {who}")
    elif version is None:
        click.echo(f"route {explained['route']}: {who} gets no version: all are denied (403)")
    else:
        because = f" ({explained['rule']})" if explained["rule"] else ""
        click.secho(f"route {explained['route']}: {who} gets {version}", bold=True)
        click.echo(f"  reason   {explained['reason']}{because}")
    if explained["unit_kind"]:
        click.echo(f"  unit     {'none' if unit is None else unit} from {explained['unit_kind']}")
    if explained["hash"] is not None:
        click.echo(f"  hash     {_hash(explained['hash'], explained['scores'])}")
    elif explained["bucket"] >= 0:
        click.echo(f"  bucket   {explained['bucket']} of 10000")
    click.echo("  split    " + ", ".join(f"{name} {share * 100:.4g} %" for name, share in explained["split"].items()))
    if explained["denied"]:
        click.echo(f"  denied   {', '.join(explained['denied'])}")
    if explained["preview"] is not None:
        click.echo(f"  preview  asked for {explained['preview']['asked']}: {explained['preview']['outcome']}")
    for rule in explained["rules"]:
        effect = _effect(rule)
        click.echo(f"  {rule['label']}: {'holds' if rule['matched'] else 'does not hold'} ({effect})")
        if rule.get("hash") is not None:
            click.echo(f"    {_hash(rule['hash'], rule['scores'])}")
        if "where" in rule:
            _print_trace(rule["where"], "    ")
    for note in explained["notes"]:
        click.echo(f"  note: {note}")


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
    if "deny" in rule:
        return f"deny {rule['deny']}"
    if "version" in rule:
        return f"version {rule['version']}"
    return "split " + ", ".join(f"{name} {weight:g}" for name, weight in rule["split"].items())


def _print_trace(trace: Spec, indent: str) -> None:
    mark = "yes" if trace["matched"] else "no "
    for word in ("all", "any"):
        if word in trace:
            click.echo(f"{indent}{mark} {word} of")
            for part in trace[word]:
                _print_trace(part, f"{indent}  ")
            return
    if "not" in trace:
        click.echo(f"{indent}{mark} not")
        _print_trace(trace["not"], f"{indent}  ")
    elif "segment" in trace:
        click.echo(f"{indent}{mark} segment {trace['segment']}")
        _print_trace(trace["where"], f"{indent}  ")
    else:
        source = f"{trace['source']} {trace['name']}" if "name" in trace else trace["source"]
        saw = "was not there" if trace["saw"] is None else f"was {trace['saw']!r}"
        click.echo(f"{indent}{mark} {source} {trace['test']} {trace['value']!r}: {saw}")
