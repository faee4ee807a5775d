"""Caddy in the comparison."""

from collections.abc import Mapping
from pathlib import Path

from bench.peers.base import PLAIN, ROUTES, RULES, Ports, Work, ask, find, host, prefix

_CONDITIONS = {"is": "{}", "ends": "*{}", "begins": "{}*", "has": "*{}*"}
_GUARDS = """health_uri /small
			health_interval 5s
			health_timeout 1s
			fail_duration 30s
			max_fails 5
			unhealthy_request_count 10000
			lb_retries 1
			lb_try_duration 5s
"""


class Caddy:
    name = "caddy"
    sticky = "no (weights or a hash, not both; weighted round robin)"
    adds = "request id; counts by server and code, histograms"
    cannot: Mapping[str, str] = {"mirror": "has no mirror"}
    log = "access.log"

    def program(self) -> str | None:
        return find("caddy")

    def version(self) -> str:
        return ask(r"v(\d\S*)", self.program(), "version")

    def command(self, directory: Path, ports: Ports, work: Work = PLAIN) -> list[str]:
        split = f"""reverse_proxy 127.0.0.1:{ports.stable} 127.0.0.1:{ports.canary} {{
			lb_policy weighted_round_robin 9 1
			{_GUARDS if work.guarded else ""}
			header_up X-Request-Id {{http.request.uuid}}
			transport http {{
				keepalive 1h
				keepalive_idle_conns_per_host 256
			}}
		}}"""
        rules = "".join(
            f"""	@rule{number} header {field} "{_CONDITIONS[how].format(value)}"
	handle @rule{number} {{
		reverse_proxy 127.0.0.1:{ports.canary}
	}}
"""
            for number, (field, how, value) in enumerate(RULES if work.ruled else ())
        )
        routes = "".join(
            f"""http://{host(number)}:{ports.listen} {{
	bind 127.0.0.1
	handle {prefix(number)}/* {{
		{split}
	}}
}}
"""
            for number in range(ROUTES if work.routed else 0)
        )
        log = (
            f"	log {{\n		output file {directory}/{self.log} {{\n			roll_disabled\n		}}\n	}}\n"
            if work.logged
            else ""
        )
        file = directory / "Caddyfile"
        file.write_text(
            f"""{{
	admin 127.0.0.1:{ports.admin}
	persist_config off
	auto_https off
	metrics
	storage file_system {directory}/caddy
	log {{
		level ERROR
	}}
}}
http://:{ports.listen} {{
	bind 127.0.0.1
{log}{rules}	handle {{
		{split}
	}}
}}
{routes}"""
        )
        return [str(self.program()), "run", "--config", str(file), "--adapter", "caddyfile"]
