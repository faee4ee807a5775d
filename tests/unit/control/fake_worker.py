"""A worker that speaks the channel's protocol and serves nothing but what it knows: the control process's tests run it.

It accepts on the listeners and answers every connection with one line of JSON. How it misbehaves is in FAKE_WORKER:
mute (never READY), dies (at once), refuses (FAILED for every plan), deaf (ignores DRAIN), foreign (another version).
"""

import argparse
import base64
import json
import os
import selectors
import signal
import socket
import sys
from pathlib import Path

from proxy.channel import messages
from proxy.channel.frames import FrameReader, encode, encode_json

MANNER = os.environ.get("FAKE_WORKER", "")


class FakeWorker:
    def __init__(self, options: argparse.Namespace) -> None:
        self.options = options
        self.listeners = [socket.socket(fileno=number) for number in options.listeners]
        self.channel: socket.socket | None = socket.socket(fileno=options.channel)
        self.door: socket.socket | None = None
        self.reader = FrameReader()
        self.selector = selectors.DefaultSelector()
        self.generation = -1
        self.parts: dict[str, dict] = {}
        self.received = 0
        self.spec: dict = {}
        self.endpoints: dict[str, list] = {}
        self.health: dict[str, list] = {}
        self.ledger = b""
        self.faults_killed = False
        self.done = False

    def hello(self) -> bytes:
        return encode_json(
            messages.HELLO,
            {
                "version": messages.VERSION + (MANNER == "foreign"),
                "pid": os.getpid(),
                "worker": self.options.index,
                "workers": self.options.workers,
                "generation": self.generation,
                "compiled": False,
                "faults_killed": self.faults_killed,
                "ledger": base64.b64encode(self.ledger).decode(),
                "listeners": ["{}:{}".format(*one.getsockname()[:2]) for one in self.listeners],
            },
        )

    def run(self) -> int:
        assert self.channel is not None
        self.channel.sendall(self.hello())
        self.selector.register(self.channel, selectors.EVENT_READ, self.receive)
        while not self.done:
            for key, _ in self.selector.select():
                key.data()
        return 0

    def receive(self) -> None:
        channel = self.channel
        assert channel is not None
        try:
            data = channel.recv(1 << 16)
        except ConnectionResetError:
            data = b""
        if not data:
            self.selector.unregister(channel)
            channel.close()
            self.channel = None
            self.open_door()
            return
        for kind, payload in self.reader.feed(data):
            self.take(kind, payload)

    def take(self, kind: int, payload: bytes) -> None:
        if kind == messages.LEDGER:
            self.ledger = payload
            return
        said = json.loads(payload)
        if kind == messages.PART:
            self.received += 1
            self.parts[said["digest"]] = said["spec"]
        elif kind == messages.PLAN:
            self.plan(said)
        elif kind == messages.ENDPOINTS:
            self.endpoints[said["upstream"]] = said["endpoints"]
        elif kind == messages.HEALTH:
            self.health[said["upstream"]] = [said["unhealthy"], said["drained"]]
        elif kind == messages.FAULTS:
            self.faults_killed = said["killed"]
        elif kind == messages.DRAIN and MANNER != "deaf":
            self.say(messages.DRAINED, {"aborted": 0})
            self.done = True

    def plan(self, said: dict) -> None:
        if MANNER == "mute":
            return
        if MANNER == "refuses":
            self.say(messages.FAILED, {"generation": said["generation"], "error": "not today"})
            return
        for kind in ("upstreams", "segments", "routes"):
            assert all(digest in self.parts for digest in said[kind]), "a part is missing"
        if self.generation < 0:
            for listener in self.listeners:
                self.selector.register(listener, selectors.EVENT_READ, lambda one=listener: self.answer(one))
        self.generation = said["generation"]
        self.spec = said
        self.endpoints = {self.parts[one]["name"]: self.parts[one]["endpoints"] for one in said["upstreams"]}
        self.say(messages.READY, {"generation": self.generation, "seconds": 0.001})
        self.say(messages.SETTLED, {"generation": self.generation})
        self.say(messages.LOG, {"level": "debug", "message": "took a plan", "fields": {"generation": self.generation}})
        self.say_bytes(messages.ACCESS, b'{"plan":%d}\n' % self.generation)

    def answer(self, listener: socket.socket) -> None:
        try:
            client, _ = listener.accept()
        except BlockingIOError:
            return
        routes = [self.parts[one] for one in self.spec["routes"]]
        knows = {
            "worker": self.options.index,
            "pid": os.getpid(),
            "generation": self.generation,
            "received": self.received,
            "weights": {one["name"]: [version["weight"] for version in one["versions"]] for one in routes},
            "hosts": {name: [one["host"] for one in endpoints] for name, endpoints in self.endpoints.items()},
            "health": self.health,
            "secrets": self.spec["spec"]["secrets"],
            "faults_killed": self.faults_killed,
        }
        with client:
            client.sendall(json.dumps(knows).encode())

    def say(self, kind: int, value: dict) -> None:
        self.say_bytes(kind, json.dumps(value).encode())

    def say_bytes(self, kind: int, payload: bytes) -> None:
        if self.channel is not None:
            self.channel.sendall(encode(kind, payload))

    def open_door(self) -> None:
        path = Path(self.options.run_dir) / f"worker-{self.options.index}.sock"
        path.unlink(missing_ok=True)
        self.door = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.door.bind(str(path))
        self.door.listen(1)
        self.selector.register(self.door, selectors.EVENT_READ, lambda: self.knocked(path))

    def knocked(self, path: Path) -> None:
        assert self.door is not None
        channel, _ = self.door.accept()
        self.selector.unregister(self.door)
        self.door.close()
        path.unlink()
        frame = self.hello()
        sent = socket.send_fds(channel, [frame], [self.options.counters, *(one.fileno() for one in self.listeners)])
        channel.sendall(frame[sent:])
        self.reader = FrameReader()
        self.channel = channel
        self.selector.register(channel, selectors.EVENT_READ, self.receive)


def main() -> int:
    parser = argparse.ArgumentParser()
    for name in ("index", "workers", "channel", "counters"):
        parser.add_argument(f"--{name}", type=int, required=True)
    parser.add_argument("--listeners", type=lambda text: [int(one) for one in text.split(",")], required=True)
    parser.add_argument("--run-dir", default="")
    options = parser.parse_args()
    for number in (signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    if MANNER == "dies":
        return 3
    return FakeWorker(options).run()


if __name__ == "__main__":
    sys.exit(main())
