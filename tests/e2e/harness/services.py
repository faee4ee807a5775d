"""Services: upstreams in a process of their own that answer well until they are told to misbehave, and count what came.

One process holds all services of a test process. To the proxy a service that is `down` looks like one that was killed:
its connections are reset and new ones refused.
"""

import json
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from .wait import wait_for

ROOT = Path(__file__).parents[3]


@dataclass(frozen=True, slots=True)
class Counts:
    """What a service has received since it last forgot. Health checks are told apart; `most_at_once` counts requests."""

    requests: int
    misbehaved: int
    health_checks: int
    accepted: int
    open: int
    at_once: int
    most_at_once: int
    methods: dict[str, int]


class Service:
    """One service. Its answers are 200 with its name for a body, until it is told otherwise."""

    def __init__(self, fleet: "Fleet", name: str, port: int) -> None:
        self.name = name
        self.port = port
        self._fleet = fleet

    @property
    def url(self) -> str:
        """As an endpoint in the configuration."""
        return f"http://127.0.0.1:{self.port}"

    def tell(self, **behaviour: Any) -> None:
        """Behave so from now on; what is not named stays.

        `share` of the requests, evenly spread, get the bad treatment: `manner` is answer (with `status` and the field
        lines `misfields`), hang, reset, close, half_head, cut_body or garbage. `latency` seconds pass before anything,
        `slow` instead for `slow_share` of the requests. Good answers have the lines `fields` and the body `body`.
        `health` is the status of /healthz; 0 leaves checks without an answer.
        """
        self._fleet.ask("tell", self.name, behaviour=behaviour)

    def well(self) -> None:
        """Answer as in the beginning."""
        self._fleet.ask("well", self.name)

    def down(self) -> None:
        """Refuse connections, and reset those there are."""
        self._fleet.ask("down", self.name)

    def up(self) -> None:
        """Listen again."""
        self._fleet.ask("up", self.name)

    def break_connections(self) -> None:
        """Reset every connection there is."""
        self._fleet.ask("break", self.name)

    def forget(self) -> None:
        """Count from zero."""
        self._fleet.ask("forget", self.name)

    def counts(self) -> Counts:
        """What it has received."""
        return Counts(**self._fleet.ask("counts", self.name))

    def heads(self) -> list[str]:
        """The heads of the last requests as they came, the latest last."""
        found: list[str] = self._fleet.ask("heads", self.name)
        return found

    def wait(self, reached: Callable[[Counts], bool], what: str, deadline: float = 10.0) -> Counts:
        """Wait until `reached` says yes to its counts; the counts then."""
        wait_for(lambda: reached(self.counts()), f"{self.name}: {what}", deadline)
        return self.counts()


class Fleet:
    """The process with the services."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.e2e.harness.service_process"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            cwd=ROOT,
            text=True,
        )
        self._open: list[str] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()
        try:
            code = self._process.wait(10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            code = self._process.wait()
        self._process.stdout.close()
        assert code == 0, "the services died; what of is on standard error"

    def open(self, *names: str) -> list[Service]:
        """Services that listen, each on a port of its own."""
        found = [Service(self, name, self.ask("open", name)) for name in names]
        self._open += names
        return found

    def close(self) -> None:
        """End all services; the process stays."""
        for name in self._open:
            self.ask("close", name)
        self._open.clear()

    def ask(self, what: str, name: str, **more: Any) -> Any:
        """One command, and its answer."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps({"do": what, "name": name, **more}) + "\n")
        self._process.stdin.flush()
        line = self._process.stdout.readline()
        assert line, f"the services died of {what} {name} {more}"
        return json.loads(line)
