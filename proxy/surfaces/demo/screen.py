"""How the demo looks: a table of the versions, what happens now, and what to try."""

from dataclasses import dataclass

from rich.console import Group, RenderableType
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from proxy.surfaces.demo.measures import Arm, Measures


@dataclass(frozen=True, slots=True)
class Moment:
    """All that is on the screen. `since` are the requests by version when the present weights came into force."""

    measures: Measures
    since: dict[str, float]
    chapter: str
    users: int
    entered: int
    left: int
    unanswered: int
    traffic_port: int
    admin_port: int
    file: str


def _share(name: str, moment: Moment) -> float | None:
    """The version's share of the requests since the weights were last changed; None before there is one."""
    recent = {arm: max(0.0, now.requests - moment.since.get(arm, 0)) for arm, now in moment.measures.arms.items()}
    total = sum(recent.values())
    return recent[name] / total if total else None


def _milliseconds(arm: Arm, share: float) -> str:
    seconds = arm.quantile(share)
    return "-" if seconds is None else f"{seconds * 1000:.1f}"


def _rows(moment: Moment) -> list[tuple[str, ...]]:
    rows: list[tuple[str, ...]] = []
    for name, arm in moment.measures.arms.items():
        share = _share(name, moment)
        shown = "-" if share is None else f"{share:.1%}"
        rows.append(
            (
                name, f"{arm.weight:g} %", f"{arm.requests:,.0f}", shown, f"{arm.errors:,.0f}",
                _milliseconds(arm, 0.5), _milliseconds(arm, 0.99),
            )
        )  # fmt: skip
    return rows


def _copied(moment: Moment) -> str:
    copies = moment.measures.copies
    dropped = sum(count for outcome, count in copies.items() if outcome.startswith("dropped"))
    return f"{copies.get('sent', 0):,.0f} requests copied to the shadow, {dropped:,.0f} dropped"


def _moves(moment: Moment) -> str:
    return f"{moment.users} users: since the last edit {moment.entered} entered the canary, {moment.left} left it"


def commands(moment: Moment) -> list[str]:
    """What the reader may try meanwhile, in another terminal."""
    return [
        f"curl -H 'x-user-id: alice' http://127.0.0.1:{moment.traffic_port}/   # a rule gives alice the canary",
        f"curl -H 'x-user-id: bob' http://127.0.0.1:{moment.traffic_port}/   # bob's version: always the same",
        f"curl http://127.0.0.1:{moment.admin_port}/metrics   # what this table is made of",
        f"tidegate explain -c {moment.file} --route demo --unit bob   # why",
    ]


def picture(moment: Moment) -> RenderableType:
    """The whole screen for rich."""
    table = Table(expand=True, border_style="dim")
    for title in ("version", "weight", "requests", "share now", "errors", "p50 ms", "p99 ms"):
        table.add_column(title, justify="left" if title == "version" else "right")
    for row in _rows(moment):
        table.add_row(*row, style="cyan" if row[0] == "canary" else "")
    lines = Text("\n".join([_copied(moment), _moves(moment), f"{moment.unanswered} requests went unanswered"]))
    tries = Text("\n".join(commands(moment)), style="dim", overflow="fold")
    return Panel(
        Group(Text(moment.chapter, style="bold"), table, lines, Text(), Text("Try in another terminal:"), tries),
        title="tidegate demo",
        subtitle="Ctrl-C ends it",
        border_style="blue",
    )


def line(moment: Moment) -> str:
    """The moment in one line, for terminals that are none."""
    arms = "; ".join(
        f"{name} weight {weight} requests {requests} share {share} errors {errors} p50 {p50} ms p99 {p99} ms"
        for name, weight, requests, share, errors, p50, p99 in _rows(moment)
    )
    return f"{arms}; {_copied(moment)}; {_moves(moment)}; {moment.unanswered} unanswered"
