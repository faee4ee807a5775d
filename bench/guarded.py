"""What resilience costs while nothing fails: two proxies side by side, one with it and one without, turn about."""

import statistics
from dataclasses import replace

from bench.cases import free_ports, peer_running
from bench.own import turn_about
from bench.peers import GUARDED, PLAIN, Ports, Tidegate, Work, tidegate_file
from bench.peers.tidegate import GUARDED_MORE
from bench.place import Place, Row


class Guarded(Tidegate):
    """Tidegate with health, ejection, retries and limits configured; `more` adds all else there is."""

    def __init__(self, more: str = "") -> None:
        self._more = more

    def text(self, ports: Ports, work: Work = PLAIN) -> str:
        return tidegate_file(ports, mirrored=False, work=GUARDED, guards=self._more)


def quiet_resilience(place: Place, quick: bool) -> list[Row]:
    """CPU per small GET with everything configured and nothing failing, as a ratio to the same without."""
    rows = []
    for title, more in (
        ("health, ejection, retries and limits", ""),
        ("the same, breaker, hedging, deadline, admission", GUARDED_MORE),
    ):
        other = free_ports(7)[-2:]
        guarded = replace(place.ports, listen=other[0], admin=other[1])
        with (
            peer_running(Tidegate(), place.under("unguarded"), place.ports, place.cores) as plain,
            peer_running(Guarded(more), place.under("guarded"), guarded, place.cores) as subject,
        ):
            ratios = turn_about(
                (plain, place.ports.listen), (subject, guarded.listen), place, 3 if quick else 8, 1 if quick else 3
            )
        rows.append(
            Row(
                f"{title} configured but quiet: CPU per request, beside none of it",
                f"{statistics.median(ratios):.2f} x ({min(ratios):.2f} to {max(ratios):.2f} over the rounds)",
                "" if more else "<= 1.15 x",
            )
        )
    return rows
