"""The load: wrk with a script that varies the user, and the plain connections that verify a peer or stand idle."""

import http.client
import json
import random
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from bench.process import Program

SEED = 20260101
USER_FIELD = "x-user-id"

# The requests are made before the clock starts, so that the script costs the load generator a table look-up each.
SCRIPT = """
local requests, count, at = {}, 0, 0
function init(arguments)
  local seed, users, size = tonumber(arguments[1]), tonumber(arguments[2]), tonumber(arguments[5])
  local method, path, routes = arguments[3], arguments[4], tonumber(arguments[6])
  math.randomseed(seed)
  local body = nil
  if size > 0 then body = string.rep("x", size) end
  for i = 1, users do
    local fields, whole = {["x-user-id"] = "user-" .. math.random(1, 1000000)}, path
    for field = 7, #arguments, 2 do fields[arguments[field]] = arguments[field + 1] end
    if routes > 0 then
      local route = math.random(0, routes - 1)
      fields["Host"] = "host-" .. route .. ".example.com"
      whole = "/service/" .. route .. path
    end
    requests[i] = wrk.format(method, whole, fields, body)
  end
  count = users
end
function request()
  at = at % count + 1
  return requests[at]
end
function done(summary, latency, all)
  io.write(string.format(
    'RESULT {"requests":%d,"microseconds":%d,"bytes":%d,"connect":%d,"read":%d,"write":%d,"status":%d,"timeout":%d,' ..
    '"p50":%.1f,"p90":%.1f,"p99":%.1f,"p999":%.1f,"max":%.1f}\\n',
    summary.requests, summary.duration, summary.bytes, summary.errors.connect, summary.errors.read,
    summary.errors.write, summary.errors.status, summary.errors.timeout,
    latency:percentile(50), latency:percentile(90), latency:percentile(99), latency:percentile(99.9), latency.max))
end
"""


class LoadError(Exception):
    """The load generator could not do its work, or a peer did not answer as it should."""


@dataclass(frozen=True, slots=True)
class Load:
    """One kind of request: what wrk sends. `body` in bytes; `users` is how many different requests are made
    beforehand, spread over `routes` routes where there are many; `fields` are sent beside the user.
    """

    method: str
    path: str
    body: int = 0
    users: int = 10_000
    connections: int = 64
    routes: int = 0
    fields: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True)
class Outcome:
    """What wrk saw. Latencies in microseconds; `failed` counts answers other than 2xx and 3xx and broken
    connections.
    """

    requests: int
    seconds: float
    failed: int
    p50: float
    p90: float
    p99: float
    p999: float
    longest: float


def parse(output: str) -> Outcome:
    """The outcome from what wrk printed.

    Raises LoadError when the line that the script writes is not there.
    """
    for line in output.splitlines():
        if line.startswith("RESULT "):
            found = json.loads(line.removeprefix("RESULT "))
            failed = sum(found[kind] for kind in ("connect", "read", "write", "status", "timeout"))
            return Outcome(
                found["requests"], found["microseconds"] / 1e6, failed,
                found["p50"], found["p90"], found["p99"], found["p999"], found["max"],
            )  # fmt: skip
    raise LoadError(f"wrk gave no result: {output.strip()[-400:]}")


def start_wrk(load: Load, port: int, seconds: float, cores: set[int], directory: Path) -> Program:
    """Start wrk with one thread on `cores`; its output goes to `directory`/wrk.log."""
    script = directory / "load.lua"
    script.write_text(SCRIPT)
    whole = max(1, round(seconds))  # wrk takes whole seconds
    arguments = [
        "wrk", "-t1", f"-c{load.connections}", f"-d{whole}s", "--timeout", "10s", "-s", str(script), f"http://127.0.0.1:{port}",
        "--", str(SEED), str(load.users), load.method, load.path, str(load.body), str(load.routes),
        *(part for field in load.fields for part in field),
    ]  # fmt: skip
    return Program(arguments, cores, directory / "wrk.log")


def drive(
    load: Load, port: int, seconds: float, cores: set[int], directory: Path, halfway: Callable[[], None] | None = None
) -> Outcome:
    """Run wrk to its end and tell what it saw; `halfway` is called in the midst of it.

    Raises LoadError when wrk gives no result.
    """
    with start_wrk(load, port, seconds, cores, directory) as wrk:
        if halfway is not None:
            time.sleep(seconds / 2)
            halfway()
        try:
            wrk.wait(seconds + 30)
        except subprocess.TimeoutExpired as error:
            raise LoadError("wrk did not end") from error
        return parse(wrk.log.read_text(errors="replace"))


@contextmanager
def idle_connections(port: int, count: int) -> Iterator[None]:
    """Keep `count` connections open that have each carried one request and now stand idle.

    Raises LoadError when one of them is not answered.
    """
    sockets: list[socket.socket] = []
    try:
        for number in range(count):
            # 127.0.0.2 and on: one pair of addresses has too few ports for many tests in a row (TIME_WAIT).
            connection = socket.create_connection(("127.0.0.1", port), 10, (f"127.0.0.{2 + number % 8}", 0))
            sockets.append(connection)
            connection.sendall(f"GET /small HTTP/1.1\r\nHost: bench\r\n{USER_FIELD}: idle-{number}\r\n\r\n".encode())
            if not connection.recv(65536).startswith(b"HTTP/1.1 200"):
                raise LoadError(f"idle connection {number} was not answered with 200")
        yield
    finally:
        for connection in sockets:
            connection.close()


@dataclass(frozen=True, slots=True)
class Check:
    """What a peer does with a known set of users: the canary's share of them, and of how many the version stayed
    the same; and whether the upstream was told the client's address and a request id.
    """

    share: float
    sticky: float
    forwarded: bool
    identified: bool


def verify(port: int, users: int = 1000) -> Check:
    """Ask twice for every user, and check status, length and body of small, large and uploaded answers.

    Raises LoadError when an answer is wrong; the split is returned and not judged.
    """
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    first: dict[int, str] = {}
    same = 0
    try:
        for turn in range(2):
            order = list(range(users))
            random.Random(SEED + turn).shuffle(order)  # a round robin must not look sticky because the order repeats
            for user in order:
                connection.request("GET", "/small", headers={USER_FIELD: f"check-{user}"})
                answer = connection.getresponse()
                body = answer.read()
                version = answer.headers.get("x-version", "")
                if answer.status != 200 or body != b"hello, tide\n" or version not in ("stable", "canary"):
                    raise LoadError(f"GET /small gave {answer.status} {version!r} {body[:80]!r}")
                if turn == 0:
                    first[user] = version
                else:
                    same += first[user] == version
        connection.request("GET", "/64k", headers={USER_FIELD: "check"})
        answer = connection.getresponse()
        if answer.status != 200 or answer.read() != b"y" * 65536:
            raise LoadError(f"GET /64k gave {answer.status} or another body")
        connection.request("POST", "/upload", b"x" * 65536, headers={USER_FIELD: "check"})
        answer = connection.getresponse()
        received = answer.headers.get("x-received", "")
        answer.read()
        if answer.status != 200 or received != "65536":
            raise LoadError(f"POST /upload gave {answer.status}, and the upstream received {received!r} bytes")
        connection.request("GET", "/seen", headers={USER_FIELD: "check"})
        address, _, identity = connection.getresponse().read().decode().partition("|")
    finally:
        connection.close()
    canary = sum(version == "canary" for version in first.values())
    return Check(canary / users, same / users, bool(address), bool(identity))
