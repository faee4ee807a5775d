"""The demo from its first process to its last: start everything, raise the canary by editing the file, end
everything.
"""

import asyncio
import random
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import ExitStack, closing, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import aiohttp

from proxy.errors import TidegateError
from proxy.surfaces.demo.measures import Measures, read_measures
from proxy.surfaces.demo.screen import Moment
from proxy.surfaces.demo.traffic import Traffic
from proxy.surfaces.demo.upstreams import SERVICES

ROUTE: Final = "demo"
CHAPTER_SECONDS: Final = 15.0
_GLANCE: Final = 0.5

CHAPTERS: Final[tuple[tuple[float, str], ...]] = (
    (5, "The canary has 5 % of the users. The same user gets the same version, every time."),
    (25, "The file was edited: 25 %. Users enter the canary; none of those who had it lose it."),
    (50, "Edited again: 50 %. No connection was closed, no counter was reset, no request was lost."),
    (100, "Promoted: 100 %. Everybody has the canary, and stable stands by as its fallback."),
    (0, "Rolled back in one edit: only alice stays, because a rule in the file says so."),
)


class DemoError(TidegateError):
    """The demo could not be set up; the message says what to look at."""


class PortTakenError(DemoError):
    """A port that was free a moment ago is not any more."""


@dataclass(frozen=True, slots=True)
class Stage:
    """Where everything is."""

    traffic_port: int
    admin_port: int
    upstream_ports: tuple[int, ...]
    file: Path
    log: Path


def configuration(stage: Stage, canary: float) -> str:
    """The YAML with `canary` percent for the canary."""
    upstreams = "".join(
        f"  {name}: {{endpoints: [http://127.0.0.1:{port}]}}\n"
        for (name, _, _), port in zip(SERVICES, stage.upstream_ports, strict=True)
    )
    return f"""listen: 127.0.0.1:{stage.traffic_port}
admin: 127.0.0.1:{stage.admin_port}
drain: {{delay: 0s, limit: 2s}}

upstreams:
{upstreams}
routes:
  - name: {ROUTE}
    match: {{path_prefix: /}}
    unit: [{{header: x-user-id}}]
    versions:
      stable: {{upstream: stable, weight: {100 - canary:g}}}
      canary: {{upstream: canary, weight: {canary:g}, fallback: stable}}
    rules:
      - {{units: [alice], version: canary}}
    mirror:
      - {{upstream: shadow, percent: 10}}
"""


def _listening_socket() -> socket.socket:
    listener = socket.create_server(("127.0.0.1", 0))
    listener.set_inheritable(True)
    return listener


def _port(preferred: int) -> int:
    """`preferred` when nobody has it, else one that the kernel picks."""
    for port in (preferred, 0):
        with suppress(OSError), socket.create_server(("127.0.0.1", port)) as probe:
            found: int = probe.getsockname()[1]
            return found
    raise DemoError("no port of 127.0.0.1 is free")


def _end(process: subprocess.Popen[bytes]) -> None:
    """SIGTERM, and SIGKILL to one that does not end within its drain limit and a little."""
    if process.poll() is None:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(6)
        except subprocess.TimeoutExpired:
            process.kill()
    process.wait()


class Play:
    """A demo that runs. `show` is called with every glance at the metrics, `tell` with each new chapter."""

    def __init__(
        self, stage: Stage, proxy: subprocess.Popen[bytes], show: Callable[[Moment], None], tell: Callable[[str], None]
    ) -> None:
        self._stage: Final = stage
        self._proxy: Final = proxy
        self._show: Final = show
        self._tell: Final = tell
        self._traffic: Final = Traffic(stage.traffic_port, random.Random(1))  # noqa: S311 - which user comes next is no secret
        self._chapter = CHAPTERS[0][1]
        self._since: dict[str, float] = {}

    async def run(self, duration: float | None) -> None:
        """Play for `duration` seconds, or until SIGINT or SIGTERM.

        Raises DemoError when the proxy does not come up or goes away.
        """
        ended = asyncio.Event()
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, ended.set)
        async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=5)) as session:
            await self._until_ready(session)
            self._tell(self._chapter)
            flow = asyncio.ensure_future(self._traffic.flow())
            try:
                with suppress(TimeoutError):
                    async with asyncio.timeout(duration):
                        await self._chapters(session, ended, duration)
                self._show(self._moment(await self._measures(session)))
            finally:
                flow.cancel()
                with suppress(asyncio.CancelledError):
                    await flow

    async def _until_ready(self, session: aiohttp.ClientSession) -> None:
        patience = time.monotonic() + 20
        while time.monotonic() < patience:
            self._still_there()
            with suppress(aiohttp.ClientError, TimeoutError):
                if await self._ours(session):
                    async with session.get(f"http://127.0.0.1:{self._stage.admin_port}/readyz") as answer:
                        if answer.status == 200:
                            return
            await asyncio.sleep(0.05)
        raise DemoError(f"the proxy did not become ready; its log: {self._stage.log.read_text()[-2000:]}")

    async def _ours(self, session: aiohttp.ClientSession) -> bool:
        """Whether it is our proxy that answers: another one may have taken the port in the meantime."""
        async with session.get(f"http://127.0.0.1:{self._stage.admin_port}/api/v1/config") as answer:
            return answer.status == 200 and (await answer.json())["file"] == str(self._stage.file)

    def _still_there(self) -> None:
        if self._proxy.poll() is not None:
            log = self._stage.log.read_text(errors="replace")[-2000:]
            if "in use" in log:  # said of the traffic port, or of the admin port
                raise PortTakenError(f"ports {self._stage.traffic_port} and {self._stage.admin_port}: one was taken")
            raise DemoError(f"the proxy ended with exit code {self._proxy.returncode}; its log: {log}")

    async def _chapters(self, session: aiohttp.ClientSession, ended: asyncio.Event, duration: float | None) -> None:
        """Chapter after chapter, beginning again after the last; a short duration still sees the first four."""
        length = CHAPTER_SECONDS if duration is None else min(CHAPTER_SECONDS, duration / 4)
        number, turn = 0, time.monotonic() + length
        while not ended.is_set():
            self._still_there()
            measures = await self._measures(session)
            if time.monotonic() >= turn:
                number, turn = number + 1, turn + length
                measures = await self._edit(session, *CHAPTERS[number % len(CHAPTERS)])
            self._show(self._moment(measures))
            with suppress(TimeoutError):
                await asyncio.wait_for(ended.wait(), _GLANCE)

    async def _edit(self, session: aiohttp.ClientSession, canary: float, chapter: str) -> Measures:
        """Save the file with the new weight and wait until the proxy has taken it."""
        before = (await self._measures(session)).generation
        # Renamed into place, as editors and configuration tools do; the proxy never sees half a file.
        fresh = self._stage.file.with_suffix(".new")
        fresh.write_text(configuration(self._stage, canary))
        self._traffic.begin_chapter()
        fresh.replace(self._stage.file)
        patience = time.monotonic() + 10
        while (measures := await self._measures(session)).generation == before:
            self._still_there()
            if time.monotonic() > patience:
                raise DemoError(
                    f"the proxy did not take the edited file; its log: {self._stage.log.read_text()[-2000:]}"
                )
            await asyncio.sleep(0.05)
        self._since = {name: arm.requests for name, arm in measures.arms.items()}
        self._chapter = chapter
        self._tell(chapter)
        return measures

    async def _measures(self, session: aiohttp.ClientSession) -> Measures:
        try:
            async with session.get(f"http://127.0.0.1:{self._stage.admin_port}/metrics") as answer:
                return read_measures(await answer.text(), ROUTE)
        except (aiohttp.ClientError, ValueError) as error:
            self._still_there()
            raise DemoError(f"/metrics could not be read: {error}") from error

    def _moment(self, measures: Measures) -> Moment:
        traffic = self._traffic
        return Moment(
            measures, self._since, self._chapter, len(traffic.served), traffic.entered, traffic.left,
            traffic.unanswered, self._stage.traffic_port, self._stage.admin_port, str(self._stage.file),
        )  # fmt: skip


def play(duration: float | None, show: Callable[[Moment], None], tell: Callable[[str], None]) -> None:
    """The whole demo. Every process it starts has ended and its directory is gone when this returns, however it does.

    Raises DemoError when the proxy does not come up or goes away.
    """
    for traffic, admin in ((8080, 9901), (0, 0), (0, 0)):
        try:
            return _play(_port(traffic), _port(admin), duration, show, tell)
        except PortTakenError:  # somebody was quicker between our look and the proxy's: look again, elsewhere
            continue
    raise DemoError("no port of 127.0.0.1 stays free")


def _play(
    traffic_port: int,
    admin_port: int,
    duration: float | None,
    show: Callable[[Moment], None],
    tell: Callable[[str], None],
) -> None:
    with ExitStack() as stack:
        directory = Path(tempfile.mkdtemp(prefix="tidegate-demo-"))
        stack.callback(shutil.rmtree, directory, ignore_errors=True)
        listeners = [stack.enter_context(closing(_listening_socket())) for _ in SERVICES]
        stage = Stage(
            traffic_port,
            admin_port,
            tuple(listener.getsockname()[1] for listener in listeners),
            directory / "config" / "tidegate.yaml",
            directory / "tidegate.log",  # not beside the file: that folder is watched
        )
        stage.file.parent.mkdir()
        stage.file.write_text(configuration(stage, CHAPTERS[0][0]))
        descriptors = [listener.fileno() for listener in listeners]
        # In sessions of their own: Ctrl-C is the demo's, which then ends them in order.
        upstreams = subprocess.Popen(  # noqa: S603 - our own interpreter
            [sys.executable, "-m", "proxy.surfaces.demo.upstreams", *map(str, descriptors)],
            stdin=subprocess.PIPE,
            pass_fds=descriptors,
            start_new_session=True,
        )
        stack.callback(_end, upstreams)
        if upstreams.stdin is not None:
            stack.callback(upstreams.stdin.close)
        with stage.log.open("wb") as log:
            proxy = subprocess.Popen(  # noqa: S603 - our own interpreter
                [sys.executable, "-m", "proxy", "run", "-c", str(stage.file)],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        stack.callback(_end, proxy)
        asyncio.run(Play(stage, proxy, show, tell).run(duration))
