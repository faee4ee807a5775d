"""What `rollout simulate` and `rollout plan` have in common: the traffic that is described, and the route it is for."""

import re
import sys
from collections.abc import Callable
from math import isfinite
from typing import Any, Final, NoReturn, TypeVar

import click

from proxy.surfaces.cli.loading import config_option, load_or_exit

Spec = dict[str, Any]
Command = TypeVar("Command", bound=Callable[..., Any])

ERROR_PERCENT: Final = 0.5
USERS_PER_RATE: Final = 600.0
"""Seconds after which a user comes again, about, where nobody says how many users there are."""


class Rate(click.ParamType):  # type: ignore[type-arg]
    """Requests per second: `50/s`, `3000/m`, `180000/h`, or a number."""

    name = "RATE"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        found = re.fullmatch(r"([0-9]+(?:\.[0-9]+)?)(?:/([smh]))?", str(value))
        rate = float(found[1]) / {"m": 60.0, "h": 3600.0}.get(found[2], 1.0) if found else 0.0
        if rate <= 0.0:
            self.fail(f"{value!r} is no rate such as 50/s, 3000/m or 180000/h", param, ctx)
        return rate


class Duration(click.ParamType):  # type: ignore[type-arg]
    """A duration as in the configuration, in seconds."""

    name = "DURATION"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        from pydantic_core import PydanticCustomError

        from proxy.settings.scalars import parse_duration

        try:
            return float(parse_duration(str(value)))
        except PydanticCustomError as error:
            self.fail(error.message(), param, ctx)


class EventShare(click.ParamType):  # type: ignore[type-arg]
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


def described(command: Command) -> Command:
    """The options that describe the traffic."""
    for option in (
        click.option("--median", type=Duration(), default="50ms", show_default=True, help="Latency of the old version."),
        click.option(
            "--error-percent", type=click.FloatRange(0, 100),
            help="Errors of the old version's requests. [default: 0.5; of a running proxy that is watched, its own]",
        ),
        click.option("--users", type=click.IntRange(1), help="Who come again and again. [default: 600 for each request/s]"),
        click.option("--event", "events", type=EventShare(), multiple=True, help="Who has it: purchase=3, purchase=3x.9."),
        click.option("--route", metavar="NAME", help="Whose rollout. [default: the only one]"),
    ):  # fmt: skip
        command = option(command)
    return config_option()(command)


def route_of(path: str, name: str | None, *, as_json: bool) -> Spec:
    """The route of this name in the spec; the only one with a rollout where none is named."""
    spec = load_or_exit(path, as_json=as_json).spec
    routes = [one for one in spec["routes"] if one.get("rollout")]
    if not routes:
        stop(f"no route in {path} has a rollout")
    known = ", ".join(one["name"] for one in routes)
    if name is None and len(routes) > 1:
        raise click.UsageError(f"say which with --route: {known}")
    found: Spec | None = next((one for one in routes if name in (None, one["name"])), None)
    if found is None:
        stop(f"there is no route {name} with a rollout in {path}; with one: {known}")
    return found


def weights_of(route: Spec) -> dict[str, float]:
    """Of the file."""
    return {one["name"]: float(one["weight"]) for one in route["versions"]}


def identity_in(route: Spec) -> str:
    """What must be said of the route's units; empty where they are somebody."""
    from proxy.rollout.evidence import identity_of

    return identity_of([one["kind"] for one in route["unit"]])


def events_of(plan: Spec, given: tuple[tuple[str, float, float], ...]) -> dict[str, tuple[float, float]]:
    """By name the share and the factor: those that metrics ask for, 5 % where nobody says."""
    events = {one["name"]: (0.05, 1.0) for one in plan["events"]}
    for name, share, factor in given:
        if name not in events:
            known = ", ".join(events) or "none"
            raise click.UsageError(f"--event {name}: no metric asks for it; they ask for: {known}")
        events[name] = (share, factor)
    return events


def shown_time(seconds: float | None) -> str:
    """`1h30m`, `never`, or `-` where nobody can say."""
    from proxy.rollout.plots import short_time

    if seconds is None:
        return "-"
    return "never" if not isfinite(seconds) else short_time(round(seconds))


def stop(message: str) -> NoReturn:
    """Say why, and end with code 1."""
    click.secho(message, fg="red", err=True)
    sys.exit(1)
