"""What a million keys of a rate limit cost: `python -m bench.limits` (a minute or two; it needs no other program).

Each request has a key of its own, and no upstream answers: the limit is charged before one is asked.
"""

import socket
import sys
import time

from bench.apart import measure_apart
from bench.cases import free_ports
from bench.load import LoadError
from bench.own import scrape, workers_and_control
from bench.peers import Interpreted, Tidegate
from bench.place import Place, Row
from bench.process import Program, memory

KEYS = 1_000_000
_PIPELINED = 200
_FILE = """listen: 127.0.0.1:{listen}
admin: 127.0.0.1:{admin}
secrets: {{unit_hash: bench-of-tidegate}}
upstreams:
  nobody: {{endpoints: [http://127.0.0.1:{nobody}]}}
routes:
  - name: soon-idle
    match: {{path_prefix: /soon-idle}}
    versions: {{only: {{upstream: nobody}}}}
    rate_limits: [{{by: {{header: x-key}}, rate: 2/s, burst: 2}}]
  - name: long-live
    versions: {{only: {{upstream: nobody}}}}
    rate_limits: [{{by: {{header: x-key}}, rate: 1/h, burst: 2}}]
"""


def _ask(port: int, path: str, first: int, count: int) -> None:
    """`count` requests, each with a key of its own."""
    with socket.create_connection(("127.0.0.1", port), 30) as connection:
        for start in range(first, first + count, _PIPELINED):
            keys = range(start, min(start + _PIPELINED, first + count))
            connection.sendall(
                b"".join(
                    b"GET %b HTTP/1.1\r\nHost: bench\r\nx-key: user-%d\r\n\r\n" % (path.encode(), key) for key in keys
                )
            )
            answers = 0
            tail = b""
            while answers < len(keys):
                data = connection.recv(1 << 18)
                if not data:
                    raise LoadError("the proxy closed the connection")
                answers += (tail + data).count(b"HTTP/1.1 ") - tail.count(b"HTTP/1.1 ")
                tail = data[-8:]


def live_keys(place: Place, quick: bool, peer: Tidegate | Interpreted | None = None) -> list[Row]:
    """PSS of a worker before and after, and how many keys had to make room, for keys that go idle and for keys that do not."""
    peer = peer or Tidegate()
    directory = place.under("limits")
    command = peer.command(directory, place.ports)
    (directory / "tidegate.yaml").write_text(
        _FILE.format(listen=place.ports.listen, admin=place.ports.admin, nobody=free_ports(7)[-1])
    )
    count = KEYS // 10 if quick else KEYS
    rows = []
    with Program(command, place.cores, directory / "peer.log") as program:
        _until_up(program, place.ports.listen)
        workers, _ = workers_and_control(program)
        for _ in range(20):  # few keys, so that the table is as good as empty, and the worker warm
            _ask(place.ports.listen, "/soon-idle", 0, 100)
        before = memory(workers).pss
        for path, kind in (("/soon-idle", "that are idle after half a second"), ("/long-live", "that all stay live")):
            forgotten = sum(scrape(place.ports.admin, "tidegate_rate_keys_forgotten_total"))
            _ask(place.ports.listen, path, 0, count)
            forgotten = sum(scrape(place.ports.admin, "tidegate_rate_keys_forgotten_total")) - forgotten
            held = memory(workers).pss
            rows.append(
                Row(
                    f"{count:,} keys of a rate limit {kind}: PSS of the worker; keys that had to make room",
                    f"{held / 1e6:.1f} MB ({(held - before) / 1e6:+.1f} MB); {forgotten:,.0f}",
                    "<= 150 MB" if "live" in path else "<= 150 MB; 0",
                )
            )
    return rows


def _until_up(program: Program, port: int) -> None:
    begun = time.monotonic()
    while time.monotonic() - begun < 60:
        try:
            _ask(port, "/soon-idle", 0, 1)
        except OSError:
            time.sleep(0.02)
        else:
            return
        if died := program.died():
            raise LoadError(died)
    raise LoadError("the proxy did not come up")


def main() -> int:
    """Measure, and print."""
    return measure_apart(
        "limits", __doc__, "a tenth of the keys",
        lambda place, quick, interpreted: live_keys(place, quick, Interpreted() if interpreted else Tidegate()),
    )  # fmt: skip


if __name__ == "__main__":
    sys.exit(main())
