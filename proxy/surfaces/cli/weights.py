"""`tidegate weights`: the weights of a route in the file and in force, and setting them by hand. Asks the admin port."""

import time
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any
from urllib.parse import quote

import click

from proxy.surfaces.cli.at_admin import ask_or_exit, asks_admin, open_client, whoami
from proxy.surfaces.cli.loading import print_json

Spec = dict[str, Any]


@click.group("weights")
def command() -> None:
    """Weights: what the file says, what is in force, and weights set by hand."""


@command.command("show")
@click.argument("route")
@asks_admin
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def show_command(*, route: str, path: str, admin: str | None, token: str | None, as_json: bool) -> None:
    """The weights of ROUTE in the file and in force, and whose they are.

    \b
    Example:
      tidegate weights show shop
    """
    _show(ask_or_exit(open_client(path, admin, token), "GET", _path(route)), as_json=as_json)


@command.command("set")
@click.argument("route")
@click.argument("weights", nargs=-1, required=True, metavar="VERSION=WEIGHT...")
@asks_admin
@click.option("--reason", required=True, metavar="TEXT", help="Why; it is kept, and shown to others.")
@click.option("--by", metavar="NAME", help="Who. [default: who runs this]")
@click.option("--until", metavar="WHEN", help="They end by themselves: in `2h`, or at `2026-12-01T00:00:00Z`.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def set_command(
    *,
    route: str,
    weights: Sequence[str],
    path: str,
    admin: str | None,
    token: str | None,
    reason: str,
    by: str | None,
    until: str | None,
    as_json: bool,
) -> None:
    """Set weights of ROUTE by hand, over those of the file.

    On the file's scale; versions that are not named share what is left as in the file. They hold over restarts until they are taken
    back (`unset`), their time is up, or the file's weights are changed. A rollout that is under way pauses.

    \b
    Examples:
      tidegate weights set shop canary=20 --reason "a look at the new search" --until 2h
      tidegate weights set shop stable=1 canary=1 --reason "half and half"
    """
    body: Spec = {"weights": _weights(weights), "reason": reason, "by": by or whoami()}
    if until is not None:
        body["until"] = _until(until, time.time())
    _show(ask_or_exit(open_client(path, admin, token), "PUT", _path(route), body), as_json=as_json)


@command.command("unset")
@click.argument("route")
@asks_admin
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def unset_command(*, route: str, path: str, admin: str | None, token: str | None, as_json: bool) -> None:
    """Take back the weights of ROUTE that were set by hand. A rollout that they paused waits for `tidegate rollout resume`.

    \b
    Example:
      tidegate weights unset shop
    """
    _show(ask_or_exit(open_client(path, admin, token), "DELETE", _path(route)), as_json=as_json)


def _path(route: str) -> str:
    return f"/api/v1/routes/{quote(route, safe='')}/weights"


def _weights(given: Sequence[str]) -> dict[str, float]:
    found: dict[str, float] = {}
    for one in given:
        name, equals, weight = one.partition("=")
        try:
            number = float(weight)
        except ValueError:
            equals = ""
            number = 0.0
        if not equals or not name:
            raise click.UsageError(f"{one!r} is not VERSION=WEIGHT, as in canary=20")
        if name in found:
            raise click.UsageError(f"{name} is given twice")
        found[name] = number
    return found


def _until(text: str, now: float) -> float | str:
    """Unix seconds of `2h` from now; another text as it is, for the admin port to read."""
    from pydantic_core import PydanticCustomError

    from proxy.settings.rates import parse_age

    try:
        return now + parse_age(text)
    except PydanticCustomError:
        return text


def _show(value: Spec, *, as_json: bool) -> None:
    if as_json:
        print_json(value)
        return
    for name, weight in value["file"].items():
        click.echo(f"{name}  {weight:g} in the file, {value['effective'][name]:g} in force")
    hand = value["by_hand"]
    if hand is not None:
        until = "" if hand["until"] is None else f", until {_time(hand['until'])}"
        click.echo(
            f"set by hand by {hand['by']} at {_time(hand['since'])}{until}: {hand['reason'] or 'no reason given'}"
        )
        if not value["lasting"]:
            click.echo("there is no `state`: a restart of the proxy forgets them", err=True)
    if value["rollout"] is not None:
        click.echo(f"its rollout is {value['rollout']}")


def _time(at: float) -> str:
    return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%d %H:%M:%SZ")
