"""HAProxy in the comparison."""

from collections.abc import Mapping
from pathlib import Path

from bench.peers.base import PLAIN, ROUTES, RULES, Ports, Work, ask, descriptors, find, host, prefix

_CONDITIONS = {"is": "str", "ends": "end", "begins": "beg", "has": "sub"}
_NO_MIRROR = "has no mirror"


class Haproxy:
    name = "haproxy"
    sticky = "x-user-id, xxh32 (threshold)"
    adds = "request id; counts by backend and class of status"
    cannot: Mapping[str, str] = {"mirror": _NO_MIRROR}
    log = "peer.log"
    """It writes lines to its standard output, to a log daemon or into a ring, but into no file."""

    def program(self) -> str | None:
        return find("haproxy")

    def version(self) -> str:
        return ask(r"version (\d[^\s-]*)", self.program(), "-v")

    def command(self, directory: Path, ports: Ports, work: Work = PLAIN) -> list[str]:
        file = directory / "haproxy.cfg"
        # It wants two descriptors for each connection, and is told not to insist: an idle one needs but one.
        connections = min(16384, descriptors() - 2000)
        routes = ""
        if work.routed:
            lines = (f"{host(number)}{prefix(number)} route-{number}\n" for number in range(ROUTES))
            (directory / "routes.map").write_text("".join(lines))
            routes = f"""  http-request set-var(txn.route) base,map_beg({directory}/routes.map)
  http-request deny deny_status 404 if {{ path_beg /service }} !{{ var(txn.route) -m found }}
"""
        rules = "".join(
            f"  use_backend canary if {{ req.hdr({field}) -m {_CONDITIONS[how]} -- {value} }}\n"
            for field, how, value in RULES
            if work.ruled
        )
        file.write_text(
            f"""global
  nbthread {work.workers}
  maxconn {connections}
  no strict-limits
  {"log stdout format raw local0 info" if work.logged else ""}
defaults
  mode http
  option forwardfor
  {"log global" if work.logged else ""}
  {"option httplog" if work.logged else ""}
  http-reuse always
  timeout connect {"2s" if work.guarded else "5s"}
  timeout client 1h
  timeout server {"5s" if work.guarded else "1h"}
  timeout http-keep-alive 1h
frontend all
  bind 127.0.0.1:{ports.listen} backlog 4096
  maxconn {connections}
  unique-id-format %[uuid()]
  unique-id-header x-request-id
{self._guard(work)}{routes}  http-request set-var(txn.bucket) req.hdr(x-user-id),xxh32,mod(100)
{rules}  use_backend canary if {{ var(txn.bucket) -m int lt 10 }}
  default_backend stable
{self._backend("stable", ports.stable, work)}{self._backend("canary", ports.canary, work)}frontend metrics
  bind 127.0.0.1:{ports.admin}
  http-request use-service prometheus-exporter if {{ path /metrics }}
"""
        )
        return [str(self.program()), "-db", "-f", str(file)]

    def _guard(self, work: Work) -> str:
        if not work.guarded:
            return ""
        return """  stick-table type string len 64 size 1m expire 10s store http_req_rate(1s)
  http-request track-sc0 req.hdr(x-user-id)
  http-request deny deny_status 429 if { sc_http_req_rate(0) gt 100000 }
"""

    def _backend(self, name: str, port: int, work: Work) -> str:
        if not work.guarded:
            return f"backend {name}\n  server one 127.0.0.1:{port}\n"
        return f"""backend {name}
  option httpchk GET /small
  retry-on conn-failure empty-response response-timeout 502 503 504
  retries 1
  option redispatch
  server one 127.0.0.1:{port} check inter 5s observe layer7 error-limit 50 on-error mark-down slowstart 30s maxconn 10000
"""
