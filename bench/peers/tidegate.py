"""Tidegate in the comparison, compiled and interpreted."""

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from bench.peers.base import PLAIN, ROOT, ROUTES, RULES, Ports, Work, ask, find, host, prefix

GUARDED_UPSTREAM: Final = ", health: {path: /small}, outlier: {success_rate: {}, latency: {}}, slow_start: 30s"
GUARDED_ROUTE: Final = """
    retry: {on: [connect_failure, reset, gateway_error], attempts: 2, per_try_timeout: 5s}
    rate_limits: [{by: unit, rate: 100000/s, burst: 100000}]
    concurrency: {limit: 1000}"""
GUARDED_MORE: Final = """
    timeout: 30s
    hedge: {percentile: 99}
    admission: {}"""
_CONDITIONS = {"is": "is", "ends": "suffix", "begins": "prefix", "has": "contains"}


class Tidegate:
    name = "tidegate"
    sticky = "x-user-id, weighted rendezvous hash"
    adds = "request id, traceparent; counts by version and code, two histograms"
    cannot: Mapping[str, str] = {}
    log = "access.log"

    def program(self) -> str | None:
        return find("tidegate")

    def version(self) -> str:
        return ask(r"tidegate (\d.*)", self.program(), "--version")  # says whether it is compiled

    def command(self, directory: Path, ports: Ports, work: Work = PLAIN) -> list[str]:
        file = directory / "tidegate.yaml"
        file.write_text(self.text(ports, work))
        return [str(self.program()), "run", "-c", str(file)]

    def text(self, ports: Ports, work: Work = PLAIN) -> str:
        """The configuration."""
        return tidegate_file(ports, work=work)


class Interpreted:
    """Tidegate from the sources of this checkout, which are never compiled: what it costs where there is no compiler."""

    name = "tidegate-interpreted"
    sticky = Tidegate.sticky
    adds = Tidegate.adds
    cannot: Mapping[str, str] = {}
    log = Tidegate.log

    def program(self) -> str | None:
        return sys.executable

    def version(self) -> str:
        return ask(r"tidegate (\d.*)", *self._start(), "--version")

    def command(self, directory: Path, ports: Ports, work: Work = PLAIN) -> list[str]:
        return [*self._start(), *Tidegate().command(directory, ports, work)[1:]]

    def _start(self) -> list[str]:
        return ["/usr/bin/env", f"PYTHONPATH={ROOT}", sys.executable, "-m", "proxy"]


def tidegate_file(
    ports: Ports, mirrored: bool = True, more_routes: str = "", work: Work = PLAIN, guards: str = GUARDED_MORE
) -> str:
    """The YAML of the comparison.

    `more_routes` is put before those that the load uses; without `mirrored` nothing is copied. `guards` is what a guarded
    route has beside retries and limits; without it, versions have no breaker either.
    """
    guarded = GUARDED_UPSTREAM if work.guarded else ""
    resilience = GUARDED_ROUTE + guards if work.guarded else ""
    breaker = ", breaker: {}" if work.guarded and guards else ""
    split = f"""unit: [{{header: x-user-id}}]
    versions:
      stable: {{upstream: stable, weight: 90}}
      canary: {{upstream: canary, weight: 10{breaker}}}{resilience}"""
    copied = [("/copied", 100), ("/some", 10)] if mirrored else []
    routes = [
        f"""  - name: {path.strip("/")}
    match: {{path_prefix: {path}}}
    {split}
    mirror: [{{upstream: shadow, percent: {percent}, in_flight: 1024}}]
"""
        for path, percent in copied
    ]
    if work.routed:
        more_routes += "".join(
            f"  - name: route-{number}\n    match: {{host: {host(number)}, path_prefix: {prefix(number)}}}\n    {split}\n"
            for number in range(ROUTES)
        )
    rules = ""
    if work.ruled:
        lines = (
            f'      - {{when: {{header: {field}, {_CONDITIONS[how]}: "{value}"}}, version: canary}}\n'
            for field, how, value in RULES
        )
        rules = "    rules:\n" + "".join(lines)
    return f"""listen: 127.0.0.1:{ports.listen}
admin: 127.0.0.1:{ports.admin}
workers: {work.workers}
drain: {{delay: 0s, limit: 1s}}
{"access_log: " + Tidegate.log if work.logged else "access_log: off"}
upstreams:
  stable: {{endpoints: [http://127.0.0.1:{ports.stable}]{guarded}}}
  canary: {{endpoints: [http://127.0.0.1:{ports.canary}]{guarded}}}
  shadow: {{endpoints: [http://127.0.0.1:{ports.shadow}]}}
routes:
{more_routes}{"".join(routes)}  - name: plain
    match: {{path_prefix: /}}
    {split}
{rules}"""
