"""One channel to one worker: what is sent, in which order, and what comes back.

Control never waits for a worker. One plan is under way at a time; while the worker builds it, newer plans replace each
other here, and only the last is sent. Endpoints that change meanwhile are kept by upstream, so that what waits is bounded
by the plan, however slow the worker is.
"""

import asyncio
import json
import logging
from collections.abc import Callable
from functools import partial
from typing import Any, Final, Protocol, cast

from proxy.channel import messages
from proxy.channel.exposures import sequence_of
from proxy.channel.frames import ChannelError, FrameReader, encode, encode_json
from proxy.control.publish import Publication

log = logging.getLogger("tidegate.control")

Marks = tuple[list[str], list[str]]
"""Keys of an upstream's unhealthy and drained endpoints: all of them."""


class LinkEvents(Protocol):
    """What the owner of a link is told. Called on the event loop."""

    def hello(self, said: dict[str, Any]) -> None:
        """The worker's first words (messages.HELLO)."""

    def ready(self, generation: int, seconds: float) -> None:
        """The worker serves this plan; taking it took `seconds`."""

    def failed(self, generation: int, error: str) -> None:
        """The worker could not take this plan, not even sent whole, and goes on with the one before."""

    def settled(self, generation: int) -> None:
        """No exchange on an older plan is left in the worker."""

    def logged(self, line: dict[str, Any]) -> None:
        """A line for the log."""

    def accessed(self, lines: bytes) -> None:
        """Whole lines for the access log."""

    def exposed(self, payload: bytes, done: Callable[[], None]) -> None:
        """A message of exposures (channel/exposures.py); `done` is to be called once they are stored."""

    def testified(self, payload: bytes) -> None:
        """A message of evidence (channel/evidence.py)."""

    def lacking(self, source: str) -> None:
        """A token named a key that is not among those of this source."""

    def drained(self, aborted: int) -> None:
        """Nothing is left in the worker, which exits; `aborted` exchanges were cut off."""

    def lost(self) -> None:
        """The channel is closed: the worker has ended, or closed it."""


class Link(asyncio.Protocol):
    """The control process's end of a channel."""

    def __init__(self, events: LinkEvents, first: bytes = b"") -> None:
        """`first` is what was read of the channel before it was handed to the event loop."""
        self._events: Final = events
        self._first = first
        self._reader: Final = FrameReader()
        self._transport: asyncio.Transport | None = None
        self._greeted = False
        self._paused = False
        self._silent = False  # nothing more is said, whatever comes up
        self._wanted: Publication | None = None  # the newest plan that is not yet sent
        self._under_way: Publication | None = None  # sent, not yet answered
        self._known: set[str] = set()  # digests of the plan sent last: the worker has these parts
        self._omitted = False  # whether the plan under way relied on parts sent earlier
        self._ledger = b""
        self._ledger_due = False
        self._lists = b""
        self._lists_due = False
        self._token_keys = b""
        self._token_keys_due = False
        self._endpoints: Final[dict[str, list[dict[str, Any]]]] = {}
        self._faults_killed = False
        self._believes_killed = False  # what the worker was told of it, by this control process or another
        self._stored = 0  # the last message of exposures that is, where the worker does not know it
        self._erased: Final[list[str]] = []
        self._drain: float | None = None
        self._share: dict[str, Any] | None = None
        self._marks: Final[dict[str, Marks]] = {}  # by upstream, not yet sent

    # What the owner asks for.

    def publish(self, publication: Publication) -> None:
        """Bring the worker to this plan as soon as it can take it. Endpoints told earlier are part of it."""
        self._wanted = publication
        self._endpoints.clear()
        self._send()

    def keep(self, ledger: bytes) -> None:
        """Have the worker keep `ledger` for a control process that takes over. Sent before any plan that follows."""
        self._ledger = ledger
        self._ledger_due = True
        self._send()

    def lend(self, lists: bytes) -> None:
        """Give the worker these lists of units (a whole frame, messages.UNITS). Sent before any plan that follows."""
        self._lists = lists
        self._lists_due = True
        self._send()

    def give_keys(self, keys: bytes) -> None:
        """Give the worker these keys of tokens (a whole frame, messages.KEYS). Sent before any plan that follows."""
        self._token_keys = keys
        self._token_keys_due = True
        self._send()

    def send_endpoints(self, upstream: str, endpoints: list[dict[str, Any]]) -> None:
        """Replace the endpoints of one upstream within the plan."""
        self._endpoints[upstream] = endpoints
        self._send()

    def share(self, workers: int, living: list[int]) -> None:
        """Divide the limits among `workers`; the numbers `living` run. Sent before any plan that follows."""
        self._share = {"workers": workers, "living": living}
        self._send()

    def mark(self, upstream: str, marks: Marks) -> None:
        """Tell which endpoints of `upstream` are unhealthy and drained. Sent before any plan that follows."""
        self._marks[upstream] = marks
        self._send()

    def kill_faults(self, killed: bool) -> None:
        """Tell whether faults are switched off. Sent before any plan that follows."""
        self._faults_killed = killed
        self._send()

    def forget(self, unit: str) -> None:
        """Tell that a unit (its hash) was erased from the exposures."""
        self._erased.append(unit)
        self._send()

    def _acknowledge(self, sequence: int) -> None:
        self._stored = sequence
        self._send()

    def drain(self, limit: float) -> None:
        """Tell the worker to leave; what is in flight has `limit` seconds."""
        self._drain = limit
        self._send()

    def let_go(self) -> None:
        """Say no more, and hear what the worker had sent until it closes the channel. It goes on serving."""
        self._silent = True
        if self._transport is not None:
            self._transport.write_eof()

    @property
    def open(self) -> bool:
        """Whether the worker may still say something."""
        return self._transport is not None

    def close(self) -> None:
        """Close the channel. A worker that was not told to drain goes on serving."""
        if self._transport is not None:
            self._transport.close()

    # What the event loop calls.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)  # uvloop's is none by inheritance
        first, self._first = self._first, b""
        self.data_received(first)  # now, for what follows may be there before whoever opened the connection goes on
        self._send()

    def data_received(self, data: bytes) -> None:
        try:
            for kind, payload in self._reader.feed(data):
                self._take(kind, payload)
        except (ChannelError, ValueError, KeyError, TypeError) as error:
            log.error("a worker's channel is out of step (%s); closing it", error)
            self.close()

    def pause_writing(self) -> None:
        self._paused = True

    def resume_writing(self) -> None:
        self._paused = False
        self._send()

    def connection_lost(self, _error: Exception | None) -> None:
        self._transport = None
        self._events.lost()

    # Sending.

    def _send(self) -> None:
        transport = self._transport
        if transport is None or not self._greeted or self._paused or self._silent:
            return
        if self._drain is not None:
            transport.write(encode_json(messages.DRAIN, {"limit": self._drain}))
            self._drain = None
        if self._share is not None:
            transport.write(encode_json(messages.SHARE, self._share))
            self._share = None
        if self._ledger_due:
            self._ledger_due = False
            transport.write(encode(messages.LEDGER, self._ledger))
        if self._believes_killed is not self._faults_killed:
            self._believes_killed = self._faults_killed
            transport.write(encode_json(messages.FAULTS, {"killed": self._faults_killed}))
        if self._stored:
            transport.write(encode_json(messages.STORED, {"sequence": self._stored}))
            self._stored = 0
        for unit in self._erased:
            transport.write(encode_json(messages.FORGET, {"unit": unit}))
        self._erased.clear()
        if self._lists_due:
            self._lists_due = False
            transport.write(self._lists)
        if self._token_keys_due:
            self._token_keys_due = False
            transport.write(self._token_keys)
        for upstream, (unhealthy, drained) in self._marks.items():
            said = {"upstream": upstream, "unhealthy": unhealthy, "drained": drained}
            transport.write(encode_json(messages.HEALTH, said))
        self._marks.clear()
        if self._under_way is not None:
            return
        if self._wanted is not None:
            plan, self._wanted = self._wanted, None
            missing = [frame for digest, frame in plan.parts.items() if digest not in self._known]
            self._omitted = len(missing) < len(plan.parts)
            self._known = set(plan.parts)
            self._under_way = plan
            transport.write(b"".join((*missing, plan.plan)))
            return
        for upstream, endpoints in self._endpoints.items():
            transport.write(encode_json(messages.ENDPOINTS, {"upstream": upstream, "endpoints": endpoints}))
        self._endpoints.clear()

    # Receiving.

    def _take(self, kind: int, payload: bytes) -> None:
        if kind == messages.ACCESS:
            self._events.accessed(payload)
            return
        if kind == messages.EXPOSURES:
            self._events.exposed(payload, partial(self._acknowledge, sequence_of(payload)))
            return
        if kind == messages.EVIDENCE:
            self._events.testified(payload)
            return
        said: dict[str, Any] = json.loads(payload)
        if kind == messages.LOG:
            self._events.logged(said)
        elif kind == messages.HELLO:
            self._greeted = True
            self._believes_killed = bool(said.get("faults_killed", False))
            self._events.hello(said)
            self._send()
        elif kind == messages.READY:
            self._events.ready(said["generation"], said["seconds"])
            self._answered(said["generation"])
        elif kind == messages.FAILED:
            self._failed(said["generation"], said["error"])
        elif kind == messages.SETTLED:
            self._events.settled(said["generation"])
        elif kind == messages.LACKING:
            self._events.lacking(said["source"])
        elif kind == messages.DRAINED:
            self._events.drained(said["aborted"])
        else:
            log.warning("a worker sent a message of unknown kind %d; ignored", kind)

    def _answered(self, generation: int) -> None:
        if self._under_way is not None and self._under_way.generation == generation:
            self._under_way = None
            self._send()

    def _failed(self, generation: int, error: str) -> None:
        plan = self._under_way
        if plan is None or plan.generation != generation:
            return
        self._under_way = None
        self._known = set()  # what it kept of that plan is anyone's guess
        self._lists_due = bool(self._lists)
        if self._omitted and self._wanted is None:
            log.warning("a worker could not take plan %d (%s); sending it whole", generation, error)
            self._wanted = plan
        elif self._wanted is None:
            self._events.failed(generation, error)
        self._send()
