"""Starts the workers, watches them, replaces the dead, and has as many as there shall be.

The life of each place is the table in life.py; this file carries out its actions. What the workers are told is the
briefing's. Timers and processes come from outside, so that tests jump through time.
"""

import asyncio
import logging
import socket
from collections.abc import Callable, Iterable
from typing import Any, Final, Protocol

from proxy.control.briefing import Briefing
from proxy.control.clock import Timers
from proxy.control.life import TABLE, Action, Event, State
from proxy.control.link import Link
from proxy.control.places import Place, free_numbers, links, living, staying
from proxy.control.takeover import Survivor
from proxy.control.tasks import Tasks
from proxy.control.worker_process import Launcher, Process
from proxy.core.backoff import Backoff, Rng

log = logging.getLogger("tidegate.control")
worker_log = logging.getLogger("tidegate.worker")

START_LIMIT: Final = 15.0
"""Seconds from a worker's start until it serves. A plan of a thousand routes takes one."""
DRAIN_GRACE: Final = 2.0
"""Seconds beyond its limit that a draining worker has before it is killed."""
_STEADY: Final = 30.0  # seconds of service after which earlier deaths are forgotten
_CHANNEL_GRACE: Final = 1.0  # seconds between a channel's end and the process's, when it ends in order
_HEARING_OUT: Final = 3.0  # seconds at most for what lies unread in the channels when this process leaves

_LEVELS: Final = {
    "debug": logging.DEBUG,
    "info": logging.INFO,
    "warning": logging.WARNING,
    "error": logging.ERROR,
    "critical": logging.ERROR,
}


class SupervisorEvents(Protocol):
    """What the control process wants to know of its workers."""

    def started(self, index: int, pid: int) -> None:
        """A process runs in this place: a new one, or one that was taken over."""

    def died(self, index: int, cpu: float) -> None:
        """A worker's process has ended, having used `cpu` seconds; nothing writes to its region of the counters now."""

    def serving(self, index: int, generation: int, seconds: float) -> None:
        """A worker serves this plan; taking it took `seconds`."""

    def refused(self, index: int, generation: int, error: str) -> None:
        """A worker could not take this plan and goes on with the one before."""

    def left(self, index: int) -> None:
        """A worker has drained and nobody comes after it in its place."""

    def shared(self, workers: int, living: list[int]) -> None:
        """Limits are divided among `workers`, and these numbers count. Told before anybody counts in a new place."""

    def settled(self, generation: int) -> None:
        """No worker has an exchange left on an older plan."""

    def accessed(self, lines: bytes) -> None:
        """Whole lines for the access log."""

    def exposed(self, payload: bytes, done: Callable[[], None]) -> None:
        """A message of exposures; `done` is to be called once they are stored."""

    def testified(self, payload: bytes) -> None:
        """A message of evidence."""

    def lacking(self, source: str) -> None:
        """A token named a key that is not among those of this source."""


class _Listener:
    """Ties one link to the process it was made for: words of a process that was replaced mean nothing."""

    def __init__(self, supervisor: "Supervisor", place: Place, process: Process) -> None:
        self._supervisor: Final = supervisor
        self._place: Final = place
        self._process: Final = process

    @property
    def _current(self) -> bool:
        return self._place.process is self._process

    def hello(self, said: dict[str, Any]) -> None:
        if self._current:
            self._place.hello = said
            self._place.generation = said.get("generation", -1)

    def ready(self, generation: int, seconds: float) -> None:
        if self._current:
            self._supervisor.on_ready(self._place, generation, seconds)

    def failed(self, generation: int, error: str) -> None:
        if self._current:
            self._supervisor.on_failed(self._place, generation, error)

    def settled(self, generation: int) -> None:
        if self._current:
            self._supervisor.on_settled(self._place, generation)

    def logged(self, line: dict[str, Any]) -> None:
        fields = {key: value for key, value in line.items() if key not in {"level", "message", "fields"}}
        fields |= line.get("fields") or {}
        level = _LEVELS.get(str(line.get("level")), logging.INFO)
        worker_log.log(level, str(line.get("message")), extra={"fields": {"worker": self._place.index, **fields}})

    def accessed(self, lines: bytes) -> None:
        self._supervisor.events.accessed(lines)

    def exposed(self, payload: bytes, done: Callable[[], None]) -> None:
        self._supervisor.events.exposed(payload, done)

    def testified(self, payload: bytes) -> None:
        self._supervisor.events.testified(payload)

    def lacking(self, source: str) -> None:
        self._supervisor.events.lacking(source)

    def drained(self, aborted: int) -> None:
        if aborted:
            log.warning("worker %d cut off %d exchanges that outlasted the drain limit", self._place.index, aborted)

    def lost(self) -> None:
        if self._current:
            self._supervisor.on_lost(self._place, self._process)
        else:
            self._supervisor.on_silence()


class Supervisor:
    """All places, from the first start to the last drain."""

    def __init__(
        self,
        count: int,
        room: int,
        launcher: Launcher,
        timers: Timers,
        rng: Rng,
        events: SupervisorEvents,
        tasks: Tasks,
        briefing: Briefing,
    ) -> None:
        """`count`: how many workers there shall be. `room`: how many can count at once, leaving ones included.
        `briefing`: what they are told, and their places."""
        self.count = count
        self._room: Final = room
        self.events: Final = events
        self._launcher: Final = launcher
        self._timers: Final = timers
        self._rng: Final = rng
        self._tasks: Final = tasks
        self._briefing: Final = briefing
        self._limit = 0.0
        self._moved = asyncio.Event()
        self._last_words: set[Link] = set()  # channels of processes that have ended, in which something may lie unread
        self.places: Final = briefing.places

    # What the control process asks for.

    def adopt(self, survivors: Iterable[Survivor]) -> None:
        """Take places for workers that run already; one that drains leaves its own when it is done."""
        for survivor in survivors:
            place = self.places.setdefault(survivor.index, self._place(survivor.index))
            try:
                process = self._launcher.adopt(survivor.pid, lambda how, place=place: self._on_end(place, how))  # type: ignore[misc]
            except OSError:
                log.warning("worker %d ended while it was taken over", survivor.index)
                survivor.channel.close()
                continue
            place.process = process
            if survivor.draining is None:
                self._enter(place, State.SERVING)
            else:
                self._enter(place, State.DRAINING)
                self._late_in(place, survivor.draining + DRAIN_GRACE)
            place.generation = survivor.hello.get("generation", -1)
            self._connect(place, process, survivor.channel, survivor.first)
            self.events.started(place.index, process.pid)

    def start(self, limit: float) -> None:
        """Start as many processes as are missing. Where more run already than there shall be, those beyond drain; what is
        in flight in them has `limit` seconds."""
        self.resize(self.count, limit)

    def resize(self, count: int, limit: float) -> int:
        """Have `count` workers: start more, or drain those with the highest numbers, in which what is in flight has
        `limit` seconds. Answers how many there will be: fewer where the counters have no room for more now."""
        self._limit = limit
        present = staying(self.places)
        self.count = min(count, len(present) + len(free_numbers(self.places, self._room)))
        for place in present[self.count :]:
            log.info("worker %d is drained: there are fewer workers now", place.index)
            self.happen(place, Event.DRAIN)
        self._start_more(self.count - len(present))
        self._share()
        return self.count

    async def replace(self, indexes: Iterable[int], limit: float) -> None:
        """Start others in the stead of these workers, and drain these when the others serve. What is in flight in them
        has `limit` seconds. Returns when they have been told to drain; as long as the others do not serve, these do."""
        outgoing = [self.places[index] for index in indexes if self.places[index].state is not State.DRAINING]
        for place in outgoing:
            place.outgoing = True
        while outgoing:
            missing = self.count - len(staying(self.places))
            newcomers = self._start_more(missing)
            self._share()
            await self.served()
            self._limit = limit
            leaving = outgoing if len(newcomers) >= missing else outgoing[: len(newcomers)]
            for place in leaving:
                log.info("worker %d is drained: others have come", place.index)
                self.happen(place, Event.DRAIN)
            outgoing = outgoing[len(leaving) :]
            if outgoing:  # the counters have no room for all: the next come when somebody has left
                await self._until(lambda: bool(free_numbers(self.places, self._room)))

    def _start_more(self, count: int) -> list[Place]:
        """Start `count` workers under the lowest free numbers."""
        newcomers = [self._place(index) for index in free_numbers(self.places, self._room)[: max(0, count)]]
        for place in newcomers:
            self.places[place.index] = place
        for place in newcomers:
            self.happen(place, Event.DUE)
        return newcomers

    def _share(self) -> None:
        """Tell the workers, and whoever counts here, among how many the limits are divided and who runs."""
        shared = (self.count, living(self.places))
        if shared != self._briefing.shared:
            self.events.shared(*shared)
            self._briefing.share(*shared)

    async def drain(self, limit: float) -> None:
        """Have all workers finish and end; returns when they have. What is in flight has `limit` seconds."""
        self._limit = limit
        for place in self.places.values():
            self.happen(place, Event.DRAIN)
        await self.gone()

    async def gone(self) -> None:
        """Returns when no worker is left and all that they had said is heard, and none will come."""
        await self._until(
            lambda: not self._last_words and all(place.state is State.GONE for place in self.places.values())
        )

    def kill(self) -> None:
        """End all workers at once. A `drain` that waits then returns."""
        for place in self.places.values():
            self.happen(place, Event.KILL)

    def release(self) -> None:
        """Stop watching; the workers go on serving alone."""
        for place in self.places.values():
            if place.timer is not None:
                place.timer.cancel()
            place.process = None
            if place.link is not None:
                place.link.close()
        for link in self._last_words:
            link.close()

    async def let_go(self) -> None:
        """The same in good order: returns when all that the workers had said is heard, or some seconds have passed."""
        told = links(self.places)
        for place in self.places.values():
            if place.timer is not None:
                place.timer.cancel()
            place.process = None  # the end of its channel means nothing now
        for link in told:
            link.let_go()
        told.extend(self._last_words)
        end = self._timers.time() + _HEARING_OUT
        while any(link.open for link in told) and self._timers.time() < end:  # noqa: ASYNC110 - for milliseconds, once
            await asyncio.sleep(0.005)
        self.release()

    @property
    def serving(self) -> int:
        """How many workers serve a plan."""
        return sum(place.state is State.SERVING and place.generation >= 0 for place in self.places.values())

    @property
    def draining(self) -> int:
        """How many workers are leaving."""
        return sum(place.state is State.DRAINING for place in self.places.values())

    async def served(self) -> None:
        """Returns when every worker that there shall be serves."""
        await self._until(lambda: all(place.state is State.SERVING for place in staying(self.places)))

    # The table at work.

    def happen(self, place: Place, event: Event) -> None:
        """Let `event` happen to `place`: its next state and the action are the table's."""
        state, action = TABLE[place.state, event]
        if state is not place.state:
            self._enter(place, state)
        match action:
            case Action.START:
                self._start(place)
            case Action.BACK_OFF:
                delay = place.backoff.next()
                place.timer = self._timers.call_later(delay, self.happen, place, Event.DUE)
                log.info("starting worker %d again in %.1f s", place.index, delay)
            case Action.TELL_TO_DRAIN:
                if place.link is not None:
                    place.link.drain(self._limit)
                self._late_in(place, self._limit + DRAIN_GRACE)
            case Action.KILL:
                if event is Event.LATE:
                    log.error("worker %d is late (%s for too long); killing it", place.index, state.value)
                if place.process is not None:
                    place.process.kill()
            case Action.FINISH:
                self.events.left(place.index)
                self._share()
            case Action.SERVE | Action.NOTHING:
                pass
        self._moved.set()

    def _late_in(self, place: Place, seconds: float) -> None:
        place.timer = self._timers.call_later(seconds, self.happen, place, Event.LATE)

    def _enter(self, place: Place, state: State) -> None:
        if place.timer is not None:
            place.timer.cancel()
            place.timer = None
        place.state = state
        place.since = self._timers.time()

    def _start(self, place: Place) -> None:
        ours, theirs = socket.socketpair()
        ours.setblocking(False)
        place.hello = {}
        place.error = ""
        place.generation = -1
        place.settled_at = -1
        try:
            with theirs:
                process = self._launcher.launch(place.index, theirs, lambda how: self._on_end(place, how))
        except OSError as error:
            ours.close()
            log.error("worker %d cannot be started: %s", place.index, error)
            self.happen(place, Event.DIED)
            return
        place.process = process
        self._late_in(place, START_LIMIT)
        self._connect(place, process, ours, b"")
        self.events.started(place.index, process.pid)

    def _connect(self, place: Place, process: Process, channel: socket.socket, first: bytes) -> None:
        link = Link(_Listener(self, place, process), first)
        place.link = link
        self._briefing.tell(link)
        opening = self._tasks.spawn(f"link to worker {place.index}", _open(link, channel))
        opening.add_done_callback(lambda task: channel.close() if task.cancelled() else None)

    # What happens to workers.

    def on_ready(self, place: Place, generation: int, seconds: float) -> None:
        """The worker serves this plan."""
        first = place.state is State.STARTING
        place.generation = generation
        place.plan_seconds = seconds
        place.error = ""
        if first:
            kind = "compiled" if place.hello.get("compiled") else "interpreted"
            log.info("worker %d serves (process %d, %s)", place.index, place.hello.get("pid", 0), kind)
            place.settled_at = generation  # it never served an older one
        self.happen(place, Event.READY)
        self.events.serving(place.index, generation, seconds)

    def on_failed(self, place: Place, generation: int, error: str) -> None:
        """The worker could not take this plan."""
        place.error = error
        log.error("worker %d cannot take plan %d: %s; the plan before goes on", place.index, generation, error)
        self.events.refused(place.index, generation, error)

    def on_settled(self, place: Place, generation: int) -> None:
        """The worker has no exchange left on older plans."""
        place.settled_at = max(place.settled_at, generation)
        self._announce_settled()

    def on_lost(self, place: Place, process: Process) -> None:
        """The channel ended. A process that does not end with it cannot be told anything any more."""
        place.link = None
        self._timers.call_later(_CHANNEL_GRACE, self._kill_deaf, place, process)

    def _kill_deaf(self, place: Place, process: Process) -> None:
        if place.process is process and place.state is not State.GONE:
            log.error("worker %d closed its channel and lives on; killing it", place.index)
            process.kill()

    def _on_end(self, place: Place, how: str) -> None:
        process = place.process
        if process is None:
            return
        expected = place.state is State.DRAINING
        log.log(logging.INFO if expected else logging.ERROR, "worker %d (process %d) %s", place.index, process.pid, how)
        if place.state is State.SERVING and self._timers.time() - place.since >= _STEADY:
            place.backoff.reset()
        place.process = None
        place.generation = -1
        if place.link is not None:
            self._hear_out(place.link)
            place.link = None
        self.events.died(place.index, process.cpu_seconds())
        self.happen(place, Event.DIED)
        self._announce_settled()

    def _hear_out(self, link: Link) -> None:
        """A process has ended: what it said last is still read, and then its channel ends by itself."""
        if link.open:
            self._last_words.add(link)
            self._timers.call_later(_CHANNEL_GRACE, link.close)  # should somebody else hold its other end

    def on_silence(self) -> None:
        """The channel of a process that had ended before has ended, too."""
        self._last_words = {link for link in self._last_words if link.open}
        self._moved.set()

    def _announce_settled(self) -> None:
        living = [place.settled_at for place in self.places.values() if place.process is not None]
        if living and min(living) >= 0:
            self.events.settled(min(living))

    async def _until(self, true: Callable[[], bool]) -> None:
        while not true():
            self._moved.clear()
            await self._moved.wait()

    def _place(self, index: int) -> Place:
        return Place(index, Backoff(0.1, 10.0, self._rng))


async def _open(link: Link, channel: socket.socket) -> None:
    await asyncio.get_running_loop().create_unix_connection(lambda: link, sock=channel)
