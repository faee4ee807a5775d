"""Load: wrk where a number counts, and threads of our own where every single request does."""

import re
import shutil
import signal
import subprocess
import threading
from types import TracebackType
from typing import Self

import pytest

from .client import connect
from .message import Ended
from .wait import wait_for


class Wrk:
    """`wrk` in the background. `finish` tells what it saw; skips the test where the program is not installed."""

    def __init__(self, url: str, *, connections: int = 16, seconds: int = 3, host: str = "plain.test") -> None:
        program = shutil.which("wrk")
        if program is None:
            pytest.skip("wrk is not installed")
        self._process = subprocess.Popen(
            [program, "-t1", f"-c{connections}", f"-d{seconds}s", "--timeout", "10s", "-H", f"Host: {host}", url],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    @property
    def running(self) -> bool:
        """Whether it still sends."""
        return self._process.poll() is None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.running:
            self._process.kill()
        self._process.wait()
        if self._process.stdout is not None:
            self._process.stdout.close()

    def stop(self) -> None:
        """Have it end early; `finish` then tells what it saw until now."""
        self._process.send_signal(signal.SIGINT)

    def finish(self) -> tuple[int, str]:
        """Wait for the end: how many requests were answered, and what went wrong (nothing: empty)."""
        assert self._process.stdout is not None
        output = self._process.stdout.read()
        self._process.wait()
        found = re.search(r"(\d+) requests in", output)
        assert found is not None, output
        wrong = [line.strip() for line in output.splitlines() if "Socket errors" in line or "Non-2xx" in line]
        return int(found[1]), "; ".join(wrong)


class Callers:
    """Threads that send one request after another on connections of their own, and remember how each one ended."""

    def __init__(self, address: tuple[str, int], count: int = 8, *fields: str, target: str = "/") -> None:
        self.address = address
        self.statuses: list[int] = []
        self.broken = 0
        """Requests that got no whole answer: one for each connection that died with a request on it."""
        self.refused = 0
        self._request = "\r\n".join([f"GET {target} HTTP/1.1", "Host: plain.test", *fields, "", ""]).encode()
        self._lock = threading.Lock()
        self._stop = threading.Event()
        self._threads = [threading.Thread(target=self._call, daemon=True) for _ in range(count)]

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def stop(self) -> None:
        """Let every thread finish its request, and end."""
        self._stop.set()
        for thread in self._threads:
            thread.join()

    def answered(self) -> int:
        """How many answers there are so far."""
        return len(self.statuses)

    def wait_more(self, count: int) -> None:
        """Wait for `count` answers more than there are now."""
        mark = self.answered()
        wait_for(lambda: self.answered() >= mark + count, f"{count} more answers")

    def _call(self) -> None:
        while not self._stop.is_set():
            try:
                wire = connect(self.address, record=False)
            except OSError:
                with self._lock:
                    self.refused += 1
                return
            with wire:
                while not self._stop.is_set():
                    try:
                        wire.send(self._request)
                        answer = wire.response()
                    except (Ended, TimeoutError):
                        with self._lock:
                            self.broken += 1
                        break
                    with self._lock:
                        self.statuses.append(answer.status)
                    if (answer.get(b"connection") or b"").lower() == b"close":
                        break
