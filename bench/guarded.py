"""What resilience costs while nothing fails: two proxies side by side, one with it and one without, turn about."""

import statistics
from dataclasses import replace

from bench.cases import free_ports, peer_running
from bench.load import LoadError
from bench.own import Place, Row, turn_about
from bench.peers import Ports, Tidegate, tidegate_file

_UPSTREAM = """, health: {path: /small}, outlier: {success_rate: {}, latency: {}}, slow_start: 30s}"""
_ROUTE = """
    retry: {on: [connect_failure, reset, gateway_error], attempts: 2, per_try_timeout: 5s}
    rate_limits: [{by: unit, rate: 100000/s, burst: 100000}]
    concurrency: {limit: 1000}
"""
_MORE = """    timeout: 30s
    hedge: {percentile: 99}
    admission: {}
"""


class Guarded(Tidegate):
    """Tidegate with health, ejection, retries and limits configured; `more` adds all else there is."""

    def __init__(self, more: str = "") -> None:
        self._more = more

    def text(self, ports: Ports) -> str:
        """The file. Raises LoadError when it is no longer the plain one's shape."""
        plain = tidegate_file(ports, mirrored=False)
        made = plain
        for port in (ports.stable, ports.canary):
            made = made.replace(f"[http://127.0.0.1:{port}]}}", f"[http://127.0.0.1:{port}]{_UPSTREAM}")
        if self._more:
            made = made.replace("weight: 10}", "weight: 10, breaker: {}}")
        if made == plain:
            raise LoadError("the file of the comparison has another shape than bench/guarded.py expects")
        return made.rstrip() + _ROUTE + self._more


def quiet_resilience(place: Place, quick: bool) -> list[Row]:
    """CPU per small GET with everything configured and nothing failing, as a ratio to the same without."""
    rows = []
    for title, more in (
        ("health, ejection, retries and limits", ""),
        ("the same, breaker, hedging, deadline, admission", _MORE),
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
