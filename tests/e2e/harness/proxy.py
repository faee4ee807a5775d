"""A running `tidegate run`: started on a file, asked over its admin port, edited, signalled, and always ended."""

import copy
import http.client
import importlib.util
import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import yaml

from .client import Wire, connect
from .message import Message
from .metrics import Scrape
from .origin import Origin
from .processes import alive, command, descendants, kill
from .wait import DEADLINE, wait_for

Config = dict[str, Any]


_held: dict[int, socket.socket] = {}


def free_port() -> int:
    """A port of 127.0.0.1 where nobody listens and that the kernel gives to nobody else while this process lives.

    A socket stays bound there. It was bound without SO_REUSEADDR, so that the port really was free, and has it since:
    who binds with it may listen there, once, while port 0 and outgoing connections never get a port that is bound.
    """
    holder = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    holder.bind(("127.0.0.1", 0))
    holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    port: int = holder.getsockname()[1]
    _held[port] = holder
    return port


def give_back(port: int) -> None:
    """`port` may be anybody's again."""
    holder = _held.pop(port, None)
    if holder is not None:
        holder.close()


def upstream(origin: Origin | str, **more: Any) -> Config:
    """An upstream of one endpoint."""
    return {"endpoints": [origin if isinstance(origin, str) else origin.url], **more}


def configuration(upstreams: dict[str, Config], routes: list[Config], **more: Any) -> Config:
    """A whole configuration. Where it listens is filled in at the start; draining is made short."""
    return {
        "drain": {"delay": "0s", "limit": "2s"},
        "secrets": {"cookie": ["a cookie key for tests"], "unit_hash": "a unit key for tests"},
        "upstreams": upstreams,
        "routes": routes,
        **more,
    }


def single(origin: Origin | str, *, route: Config | None = None, policy: Config | None = None, **more: Any) -> Config:
    """One route named `main`, with one version named `only`, for every host; debug headers are on."""
    first = {
        "name": "main",
        "debug": {"from": ["127.0.0.0/8"]},
        "versions": {"only": {"upstream": "origin"}},
        **(route or {}),
    }
    return configuration({"origin": upstream(origin, **(policy or {}))}, [first], **more)


def dump(config: Config) -> str:
    """`config` as YAML."""
    return yaml.safe_dump(config, sort_keys=False)


class Proxy:
    """One proxy and its processes. Use as a context manager: leaving ends it and looks for stack traces in its log."""

    def __init__(
        self,
        config: Config,
        directory: Path,
        *,
        pass_fds: tuple[int, ...] = (),
        file: Path | None = None,
        python_path: Path | None = None,
    ) -> None:
        """`python_path` comes before all others, for a `sitecustomize` of a test's."""
        self.directory = directory
        self.file = file or directory / "tidegate.yaml"
        self.config = copy.deepcopy(config)
        self._own_ports = (free_port(), free_port())
        self.port, self.admin_port = self._own_ports
        self.config.setdefault("listen", f"127.0.0.1:{self.port}")
        self.config.setdefault("admin", f"127.0.0.1:{self.admin_port}")
        (directory / "run").mkdir(mode=0o700, exist_ok=True)
        self.config.setdefault("run_dir", str(directory / "run"))
        self.log_file = directory / "proxy.log"
        self.output_file = directory / "proxy.out"
        self.known: set[int] = set()
        self.tracebacks_expected = False
        self._pass_fds = pass_fds
        self._python_path = [] if python_path is None else [str(python_path)]
        self.process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.end()
        for port in self._own_ports:
            give_back(port)
        if kind is not None:
            print(f"--- {self.file}\n{dump(self.config)}\n--- log\n{self.log()[-20_000:]}")
        elif not self.tracebacks_expected:
            assert "Traceback" not in self.log(), self.log()

    # Its life.

    def launch(self) -> None:
        """Start the program without waiting for anything."""
        if not self.file.exists():
            self.file.write_text(dump(self.config))
        found = importlib.util.find_spec("proxy")
        assert found is not None
        assert found.origin is not None
        places = [*self._python_path, str(Path(found.origin).parent.parent)]
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(places), "PYTHONUNBUFFERED": "1"}
        with self.log_file.open("ab") as errors, self.output_file.open("ab") as output:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "proxy", "run", "-c", str(self.file)],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=errors,
                cwd=self.directory,
                env=environment,
                pass_fds=self._pass_fds,
            )

    def start(self) -> None:
        """Start it, and wait until it is ready. Raises AssertionError with its log when it is not."""
        self.launch()
        try:
            wait_for(self._ready_or_dead, "readiness", 20.0)
        except BaseException:
            self.end()
            print(self.log())
            raise

    def _ready_or_dead(self) -> bool:
        assert self.process is not None
        code = self.process.poll()
        assert code is None, f"it ended with {code}:\n{self.log()}"
        # What cannot start is started again and again; the first time says enough.
        assert "Traceback" not in self.log(), self.log()
        return self.ready()

    def ready(self) -> bool:
        """Whether /readyz says yes."""
        try:
            return self.admin("/readyz")[0] == 200
        except OSError:
            return False

    @property
    def pid(self) -> int:
        """The process that was started and that signals go to."""
        assert self.process is not None
        return self.process.pid

    def workers(self) -> list[int]:
        """Pids of the workers, by index."""
        found = [pid for pid in descendants(self.pid) if "proxy.dataplane.worker" in command(pid) and alive(pid)]
        self.known.update(found)
        return sorted(found, key=lambda pid: command(pid).partition("--index ")[2].split(" ")[0])

    def control(self) -> int:
        """Pid of the control process: the started one, or its child where that only watches."""
        workers = set(self.workers())
        others = [pid for pid in descendants(self.pid) if pid not in workers and alive(pid)]
        self.known.update(others)
        return others[0] if others else self.pid

    def signal(self, number: signal.Signals) -> None:
        """Signal the started process."""
        assert self.process is not None
        self.process.send_signal(number)

    def wait_ended(self, deadline: float = DEADLINE) -> int:
        """Wait for the end; the exit code."""
        assert self.process is not None
        return self.process.wait(deadline)

    def end(self) -> None:
        """Make sure that nothing of it is left."""
        if self.process is None:
            return
        if self.process.poll() is None:
            self.known.update(descendants(self.process.pid))
            self.process.terminate()
            try:
                self.process.wait(15)
            except subprocess.TimeoutExpired:
                self.known.update(descendants(self.process.pid))
                self.process.kill()
                self.process.wait()
        for pid in self.known:
            if alive(pid) and str(self.directory) in command(pid):
                kill(pid)

    def log(self) -> str:
        """All it has written to standard error so far."""
        return self.log_file.read_text(errors="replace") if self.log_file.exists() else ""

    def output(self) -> str:
        """All it has written to standard output so far."""
        return self.output_file.read_text(errors="replace") if self.output_file.exists() else ""

    def wait_log(self, text: str, deadline: float = DEADLINE) -> None:
        """Wait for `text` in the log."""
        wait_for(lambda: text in self.log(), f"{text!r} in the log", deadline)

    # Requests.

    @property
    def address(self) -> tuple[str, int]:
        """Where it takes requests."""
        return ("127.0.0.1", self.port)

    def connect(self, source: str = "127.0.0.1", *, record: bool = True, receive_buffer: int = 0) -> Wire:
        """A raw connection to it, from the loopback address `source`."""
        return connect(self.address, source, record=record, receive_buffer=receive_buffer)

    def get(
        self, target: str = "/", host: str = "plain.test", *fields: str, method: str = "GET", body: bytes = b""
    ) -> Message:
        """One request on a connection of its own."""
        with self.connect() as wire:
            return wire.get(target, host, *fields, method=method, body=body)

    def admin(self, path: str) -> tuple[int, bytes]:
        """GET from the admin port: status and body."""
        connection = http.client.HTTPConnection("127.0.0.1", self.admin_port, timeout=DEADLINE)
        try:
            connection.request("GET", path)
            answer = connection.getresponse()
            return answer.status, answer.read()
        except http.client.HTTPException as error:
            raise OSError(str(error)) from error
        finally:
            connection.close()

    def api(self, path: str) -> Any:
        """JSON from the admin API."""
        status, body = self.admin(path)
        assert status == 200, (status, body)
        return json.loads(body)

    def change(self, method: str, path: str, body: Any = None) -> Any:
        """Change something through the admin API; what it answers."""
        connection = http.client.HTTPConnection("127.0.0.1", self.admin_port, timeout=DEADLINE)
        try:
            connection.request(
                method, path, None if body is None else json.dumps(body), {"Content-Type": "application/json"}
            )
            answer = connection.getresponse()
            said = json.loads(answer.read())
            assert answer.status == 200, said
            return said
        finally:
            connection.close()

    def metrics(self) -> Scrape:
        """What /metrics says now."""
        status, body = self.admin("/metrics")
        assert status == 200, (status, body)
        return Scrape(body.decode())

    def wait_metric(self, expected: float, name: str, **labels: str) -> None:
        """Wait until the samples of `name` with `labels` sum up to `expected`."""
        seen: list[float] = []

        def reached() -> bool:
            seen.append(self.metrics().value(name, **labels))
            return seen[-1] == expected

        try:
            wait_for(reached, "a metric")
        except AssertionError:
            raise AssertionError(f"{name}{labels} is {seen[-1]:g}, not {expected:g}") from None

    def fails(self, status: int, flag: str, *, method: str = "GET", body: bytes = b"") -> Message:
        """One request that must fail this way, as client and counter see it. The route has to show debug fields."""
        before = self.metrics().value("tidegate_errors_total", flag=flag)
        got = self.get(method=method, body=body)
        assert (got.status, got.get(b"x-tidegate-flags")) == (status, flag.encode())
        self.wait_metric(before + 1, "tidegate_errors_total", flag=flag)
        return got

    # Its file.

    def generation(self) -> int:
        """The number of the plan that serves."""
        return int(self.metrics().value("tidegate_config_generation"))

    def save(self, text: str) -> None:
        """Save `text` in place, as an editor does that keeps the file."""
        self.file.write_text(text)

    def replace(self, text: str) -> None:
        """Save `text` by renaming a new file over the old one."""
        fresh = self.file.with_name(f".{self.file.name}.new")
        fresh.write_text(text)
        fresh.rename(self.file)

    def edit(self, change: Callable[[Config], None], *, how: Callable[[str], None] | None = None) -> None:
        """Change the configuration and wait until the new plan serves in all workers."""
        before = self.generation()
        change(self.config)
        (how or self.save)(dump(self.config))
        wait_for(lambda: self.generation() > before, "a new generation")
        self.wait_in_force()

    def wait_in_force(self) -> None:
        """Wait until all workers serve the plan that was published last."""

        def reached() -> bool:
            shown = self.api("/api/v1/config")
            return bool(shown["generation"] == shown["in_force"])

        wait_for(reached, "all workers")
