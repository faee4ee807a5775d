"""In-memory ends of connections, and a loop that dials where the test says how it goes.

A `Wire` is the transport that a protocol under test writes to, and the test's grip on the other end at once. It is as
strict as it can be: pausing what is paused or resuming what reads is an error, for uvloop forgives it and other loops
do not, and a count that does not balance is a bug somewhere.
"""

import asyncio
from collections import deque
from collections.abc import Callable, Coroutine, Generator
from math import inf
from typing import Any

HIGH_WATER = 64 << 10


class Wire(asyncio.Transport):
    """A transport, and the far end of it."""

    def __init__(self, peer: str = "192.0.2.1", *, tls: bool = False) -> None:
        super().__init__({"peername": (peer, 40000) if peer else ""})
        self.protocol: Any = None
        self.tls = tls
        self.sent: list[bytes] = []  # what the protocol wrote, and the far end has not looked at
        self.ended: str = ""  # "close" or "abort", once the protocol has ended it
        self.eof_written = False
        self.lost = False  # the protocol has been told that the connection is over
        self.reading = True
        self.stalled = False  # the far end takes nothing
        self.unsent = 0  # bytes the far end has not taken
        self.pausing = False
        self.taking_leave = False  # the far end does not answer the end of TLS

    # What the protocol calls.

    def write(self, data: bytes) -> None:
        assert isinstance(data, bytes)
        assert not self.eof_written, "wrote after the end"
        if self.ended or self.lost:
            return
        self.sent.append(data)
        if self.stalled:
            self.unsent += len(data)
            if self.unsent > HIGH_WATER and not self.pausing:
                self.pausing = True
                self.protocol.pause_writing()

    def can_write_eof(self) -> bool:
        return not self.tls

    def write_eof(self) -> None:
        assert not self.tls
        self.eof_written = True

    def is_closing(self) -> bool:
        return bool(self.ended) or self.lost

    def close(self) -> None:
        self.ended = self.ended or "close"

    def abort(self) -> None:
        self.ended = "abort"

    def pause_reading(self) -> None:
        assert self.reading, "paused twice"
        assert not self.is_closing()
        self.reading = False

    def resume_reading(self) -> None:
        assert not self.reading, "resumed twice"
        assert not self.is_closing()
        self.reading = True

    def get_write_buffer_size(self) -> int:
        return self.unsent

    # What the far end does.

    def send(self, data: bytes) -> None:
        """Bytes arrive at the protocol."""
        assert self.reading, "the protocol does not read"
        if not self.is_closing():
            self.protocol.data_received(data)

    def eof(self) -> None:
        """The far end has no more to say."""
        if not self.is_closing() and not self.protocol.eof_received():
            self.close()

    def reset(self) -> None:
        """The far end is gone."""
        if not self.lost:
            self.lost = True
            self.protocol.connection_lost(ConnectionResetError("reset by peer"))

    def stall(self) -> None:
        """The far end takes no more."""
        self.stalled = True

    def drain(self) -> None:
        """The far end takes everything again."""
        self.stalled = False
        self.unsent = 0
        if self.pausing:
            self.pausing = False
            if not self.lost:
                self.protocol.resume_writing()

    def take(self) -> bytes:
        """What the protocol wrote since the last look."""
        data = b"".join(self.sent)
        self.sent.clear()
        return data

    def deliver_end(self) -> bool:
        """Tell the protocol that what it ended is over, as a loop does once everything is flushed."""
        if self.ended and not self.lost and (self.ended == "abort" or (self.unsent == 0 and not self.taking_leave)):
            self.lost = True
            self.protocol.connection_lost(None)
            return True
        return False


class Dial:
    """A connection being opened; the test decides what becomes of it."""

    def __init__(self, factory: Callable[[], Any], address: str) -> None:
        self.factory = factory
        self.address = address
        self.over = False
        self.task: DialTask | None = None

    def __await__(self) -> Generator["Dial", Any, Any]:
        return (yield self)

    def accept(self, *, stalled: bool = False) -> Wire:
        """The endpoint takes the connection."""
        assert self.task is not None
        wire = Wire("10.0.0.1")
        wire.stalled = stalled
        wire.protocol = self.factory()
        wire.protocol.connection_made(wire)
        self.over = True
        self.task.go_on((wire, wire.protocol))
        return wire

    def refuse(self, error: Exception | None = None) -> None:
        """It does not."""
        assert self.task is not None
        self.over = True
        self.task.fail(error or ConnectionRefusedError(111, "Connection refused"))


class DialTask:
    """As much of an asyncio.Task as the pool and the runtime use."""

    def __init__(self, work: Coroutine[Any, Any, None], name: str, loop: "DialLoop") -> None:
        self._work = work
        self._name = name
        self._loop = loop
        self._callbacks: list[Callable[[Any], None]] = []
        self._error: BaseException | None = None
        self._cancelled = False
        self.started = False
        self.done = False

    def add_done_callback(self, callback: Callable[[Any], None]) -> None:
        self._callbacks.append(callback)

    def get_name(self) -> str:
        return self._name

    def cancelled(self) -> bool:
        return self._cancelled

    def exception(self) -> BaseException | None:
        return self._error

    def cancel(self) -> bool:
        if self.done:
            return False
        self.fail(asyncio.CancelledError())
        return True

    def go_on(self, value: Any = None) -> None:
        self.started = True
        self._step(lambda: self._work.send(value))

    def fail(self, error: BaseException) -> None:
        self._step(lambda: self._work.throw(error))

    def end(self) -> None:
        if not self.done:
            self._work.close()

    def _step(self, step: Callable[[], Any]) -> None:
        if self.done:
            return
        try:
            dial = step()
        except StopIteration:
            self._finish()
        except asyncio.CancelledError:
            self._cancelled = True
            self._finish()
        except Exception as error:  # noqa: BLE001 - a task keeps what it dies of
            self._error = error
            self._finish()
        else:
            assert isinstance(dial, Dial)
            dial.task = self
            self._loop.dials.append(dial)

    def _finish(self) -> None:
        self.done = True
        for callback in self._callbacks:
            callback(self)


class Alarm:
    """What `call_later` gives back."""

    def __init__(self, due: float, callback: Callable[[], None]) -> None:
        self.due = due
        self.callback = callback
        self.cancelled = False

    def cancel(self) -> None:
        self.cancelled = True


class DialLoop:
    """As much of an event loop as opening connections and waiting takes."""

    def __init__(self, now: Callable[[], float]) -> None:
        self.now = now
        self.alarms: list[Alarm] = []
        self.made: list[DialTask] = []
        self.tasks: deque[DialTask] = deque()
        self.dials: deque[Dial] = deque()

    def create_task(self, work: Coroutine[Any, Any, None], *, name: str) -> DialTask:
        task = DialTask(work, name, self)
        self.made.append(task)
        self.tasks.append(task)
        return task

    def create_connection(self, factory: Callable[[], Any], host: str, port: int, **_: Any) -> Dial:
        return Dial(factory, f"{host}:{port}")

    def create_unix_connection(self, factory: Callable[[], Any], path: str, **_: Any) -> Dial:
        return Dial(factory, path)

    def call_later(self, seconds: float, callback: Callable[..., None], *given: Any) -> Alarm:
        alarm = Alarm(self.now() + seconds, lambda: callback(*given))
        self.alarms.append(alarm)
        return alarm

    def next_alarm(self) -> float:
        """When the next is due; infinite when none is."""
        self.alarms = [alarm for alarm in self.alarms if not alarm.cancelled]
        return min((alarm.due for alarm in self.alarms), default=inf)

    def ring(self) -> None:
        """Call what is due, in order; it may ask for more."""
        while self.next_alarm() <= self.now():
            alarm = min(self.alarms, key=lambda one: one.due)
            self.alarms.remove(alarm)
            alarm.callback()

    def close(self) -> None:
        """Nothing that was under way goes on."""
        for task in self.made:
            task.end()

    def run(self) -> bool:
        """Start the tasks that were made; whether there were any."""
        any_started = False
        while self.tasks:
            task = self.tasks.popleft()
            if not task.done:
                any_started = True
                task.go_on()
        return any_started
