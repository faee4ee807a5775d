"""`tidegate rollout`: where rollouts are, what they went through and why, and what people ask of them. Asks the admin port."""

import sys
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Any, Final
from urllib.parse import quote

import click

from proxy.surfaces.cli.at_admin import ask_or_exit, asks_admin, fail, open_client, whoami
from proxy.surfaces.cli.loading import print_json
from proxy.surfaces.cli.rollout_plan import plan_command
from proxy.surfaces.cli.rollout_simulate import simulate_command

Spec = dict[str, Any]

FINE: Final = 0
FAILED: Final = 1
UNDER_WAY: Final = 3
WAITS: Final = 4
"""Exit codes of `status`; 2 is click's, for wrong usage."""

_CODES: Final = {
    "completed": FINE,
    "aborted": FAILED,
    "superseded": FAILED,
    "paused": WAITS,
    "frozen": WAITS,
    "approval": WAITS,
}
_WORST: Final = (FAILED, WAITS, UNDER_WAY, FINE)
_LOOK: Final = 1.0  # seconds between two looks
_PATIENCE: Final = 30.0  # seconds that nobody may answer while a command waits: control may be starting again

ACTIONS: Final = {
    "pause": "Stop where it is; the brake goes on watching.",
    "resume": "Go on where it was paused or frozen.",
    "approve": "Go on from a step that waits for approval.",
    "promote": "Go to the end at once: the new version gets all.",
    "skip": "Go to the next step without waiting for this one.",
    "abort": "Roll back, as `rollback` in the file says.",
    "retry": "Begin the step, or an aborted rollout, anew.",
    "freeze": "Stop where it is, and let nothing move it, the brake neither.",
}


@click.group("rollout")
def command() -> None:
    """Rollouts: where each is and why, what it went through, and what people ask of it."""


@command.command("status")
@click.argument("route", required=False)
@asks_admin
@click.option("--watch", is_flag=True, help="Go on showing it, until it is over or waits for a person.")
@click.option("--wait", is_flag=True, help="Wait until it is over or waits for a person.")
@click.option(
    "--timeout", type=click.FloatRange(min=0), metavar="SECONDS", help="Wait so long at most. [default: for ever]"
)
@click.option("--revision", metavar="REVISION", help="Of this revision: until the proxy has it, it is under way.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def status_command(
    *,
    route: str | None,
    path: str,
    admin: str | None,
    token: str | None,
    watch: bool,
    wait: bool,
    timeout: float | None,
    revision: str | None,
    as_json: bool,
) -> None:
    """Where rollouts are: that of ROUTE, or all.

    Exit codes: 0 completed, or without --wait and --watch under way; 1 aborted or superseded, or the proxy cannot be asked; 2
    wrong usage; 3 still under way when the time was up; 4 paused, frozen, or waiting for approval. Of several the worst: 1, 4, 3.

    \b
    Examples:
      tidegate rollout status
      tidegate rollout status shop --wait --timeout 3600 --revision v2.3.1
    """
    if timeout is not None and not (wait or watch):
        raise click.UsageError("--timeout is of --wait and --watch")
    if revision is not None and route is None:
        raise click.UsageError("--revision is of one rollout: name its ROUTE")
    follow = _Follow(open_client(path, admin, token), route, revision, time.monotonic)
    end = None if timeout is None else time.monotonic() + timeout
    shown: list[str] = []
    while True:
        rollouts = follow.look()
        code = _code(rollouts, revision, met=follow.met)
        lines = [_line(one) for one in rollouts]
        if watch and not as_json and lines != shown:
            shown = lines
            click.echo("\n".join(lines))
        late = end is not None and time.monotonic() >= end
        if not (wait or watch) or code != UNDER_WAY or late:
            break
        time.sleep(_LOOK if end is None else max(0.0, min(_LOOK, end - time.monotonic())))
    if as_json:
        print_json({"rollouts": rollouts})
    elif not watch:
        click.echo("\n".join(lines) if lines else "there are no rollouts")
    sys.exit(FINE if code == UNDER_WAY and not (wait or watch) else code)


class _Follow:
    """Asks again and again, over a restart of what answers."""

    def __init__(self, client: Any, route: str | None, revision: str | None, clock: Callable[[], float]) -> None:
        self._client: Final = client
        self._path: Final = "/api/v1/rollouts" if route is None else f"/api/v1/rollouts/{quote(route, safe='')}"
        self._revision: Final = revision
        self._clock: Final = clock
        self._heard: float | None = None
        self.met = revision is None
        """Whether the revision that was asked for has been seen."""

    def look(self) -> list[Spec]:
        """The rollouts. Ends the command where nobody has answered for long, or never has."""
        from proxy.surfaces.cli.admin_client import RefusedError, UnreachableError

        while True:
            try:
                value = self._client.ask("GET", self._path)
            except RefusedError as error:
                if error.status == 404 and self._revision is not None:
                    self._heard = self._clock()
                    return []  # the file with it may not have been read yet
                fail(str(error))
            except UnreachableError as error:
                if self._heard is None or self._clock() - self._heard > _PATIENCE:
                    fail(str(error))
                time.sleep(_LOOK)
                continue
            self._heard = self._clock()
            rollouts: list[Spec] = value.get("rollouts", [value])
            self.met = self.met or any(one["revision"] == self._revision for one in rollouts)
            return rollouts


def _code(rollouts: Sequence[Spec], revision: str | None, *, met: bool) -> int:
    """The exit code of what there is now. `met`: the revision has been seen, so that another one has taken its place."""
    if revision is not None and all(one["revision"] != revision for one in rollouts):
        return FAILED if met else UNDER_WAY
    codes = {_CODES.get(one["state"], UNDER_WAY) for one in rollouts}
    return next((code for code in _WORST if code in codes), FINE)


def _line(one: Spec) -> str:
    """`shop  v2.3.1  progressing, step 3 of 5, canary 25 %; waits for the end of the hold, in 4m`."""
    at = f", step {one['step']} of {len(one['steps'])}" if one["step"] else ""
    effective = one["weights"]["effective"]
    total = sum(effective.values())
    share = effective.get(one["to"], 0.0) / total * 100 if total else 0.0
    pieces = [f"{one['state']}{at}, {one['to']} {share:g} %"]
    if one["ring"]:
        pieces.append(f"ring {one['ring']}")
    if one["shadow"]:
        pieces.append(f"{one['shadow']:g} % copied")
    if one["by_hand"]:
        pieces.append(f"weights by hand ({one['by_hand']['by']})")
    words = ", ".join(pieces)
    quiet = one["state"] in {"pending", "progressing", "approval", "reverting", "watching"}
    why = f"; waits for {one['waits_for']}" if quiet and one["waits_for"] else f"; {one['reason']} ({one['actor']})"
    return f"{one['route']}  {one['revision']}  {words}{why}"


@command.command("history")
@click.argument("route")
@asks_admin
@click.option("--limit", type=click.IntRange(1, 500), default=50, show_default=True, help="At most so many.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def history_command(*, route: str, path: str, admin: str | None, token: str | None, limit: int, as_json: bool) -> None:
    """What the rollouts of ROUTE went through, the newest first: when, from what to what, by whom and why.

    \b
    Example:
      tidegate rollout history shop
    """
    where = f"/api/v1/rollouts/{quote(route, safe='')}/history?limit={limit}"
    value = ask_or_exit(open_client(path, admin, token), "GET", where)
    if as_json:
        print_json(value)
        return
    for one in value["transitions"]:
        at = datetime.fromtimestamp(one["at"], UTC).strftime("%Y-%m-%d %H:%M:%SZ")
        way = f"{one['before']} -> {one['after']}" if one["before"] else one["after"]
        step = f", step {one['step']}" if one["step"] else ""
        click.echo(
            f"{at}  {one['revision']}  {way}{step}, {one['percent']:g} %  {one['cause']} by {one['actor']}: {one['reason']}"
        )


@command.command("explain")
@click.argument("route")
@asks_admin
def explain_command(*, route: str, path: str, admin: str | None, token: str | None) -> None:
    """Where the rollout of ROUTE is, why, what it waits for, and what may be asked of it; with the numbers.

    \b
    Example:
      tidegate rollout explain shop
    """
    from proxy.rollout.telling import number_lines

    value = ask_or_exit(open_client(path, admin, token), "GET", f"/api/v1/rollouts/{quote(route, safe='')}")
    click.echo("\n".join(value["explanation"]))
    weights = value["weights"]
    for name, weight in weights["file"].items():
        effective = weights["effective"].get(name, weight)
        click.echo(f"  {name}: {weight:g} in the file, {effective:g} in force")
    verdict = value["verdict"]
    if verdict is not None:
        click.echo(f"The gates say {verdict['result']}: {verdict['reason']}")
    for name, number in number_lines(verdict["numbers"] if verdict else value["numbers"]):
        click.echo(f"  {name}: {number}")
    for name, samples in value["samples"].items():
        click.echo(f"  {name} has had {samples['requests']} requests, {samples['units']} units in this step")


def _action(name: str, meaning: str) -> click.Command:
    @command.command(
        name, help=f"{meaning}\n\n\b\nExample:\n  tidegate rollout {name} ROUTE --reason 'why'", short_help=meaning
    )
    @click.argument("route")
    @asks_admin
    @click.option("--reason", required=True, metavar="TEXT", help="Why; it is kept, and told to others.")
    @click.option("--by", metavar="NAME", help="Who. [default: who runs this]")
    def act(*, route: str, path: str, admin: str | None, token: str | None, reason: str, by: str | None) -> None:
        client = open_client(path, admin, token)
        where = f"/api/v1/rollouts/{quote(route, safe='')}/{name}"
        click.echo(_line(ask_or_exit(client, "POST", where, {"reason": reason, "by": by or whoami()})))

    return act


for _name, _meaning in ACTIONS.items():
    _action(_name, _meaning)

command.add_command(simulate_command)
command.add_command(plan_command)
