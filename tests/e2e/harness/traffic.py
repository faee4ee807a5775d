"""Steady traffic: many users, each with a connection of its own, and a record of every single request.

All users live on one thread's event loop. A user sends a request, waits for the answer, writes down what it was, rests for
a moment and goes on; so a slow answer slows its own user only.
"""

import asyncio
import threading
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from types import TracebackType
from typing import Self

from .message import Message, announce, split_fields
from .wait import wait_for

PATIENCE = 30.0
"""Seconds for a count of requests to come together. A loaded machine sends far fewer of them than an idle one."""

BROKEN = 0
"""The status of a request that got no whole answer."""

Mark = tuple[int, float]
"""A place in a record, and when it was taken."""


@dataclass(frozen=True, slots=True)
class Seen:
    """One request as its user saw it: when it was sent (monotonic), how long until the answer was whole, and what it was."""

    at: float
    seconds: float
    user: str
    status: int
    assigned: str
    served: str
    flags: frozenset[str]
    body: str
    retry_after: str = ""

    @property
    def good(self) -> bool:
        """Whether the user got what was asked for."""
        return 200 <= self.status < 400


class Record(list[Seen]):
    """Requests, and what is asked of them."""

    def only(self, choose: Callable[[Seen], bool]) -> "Record":
        """Those that `choose` says yes to."""
        return Record(filter(choose, self))

    def last(self, count: int) -> "Record":
        """The latest so many."""
        return Record(self[-count:])

    def bad(self) -> "Record":
        """Those whose users did not get what they asked for."""
        return self.only(lambda one: not one.good)

    def of(self, version: str) -> "Record":
        """Those of the users of a version, whoever served them."""
        return self.only(lambda one: one.assigned == version)

    def statuses(self) -> Counter[int]:
        """How often which status came."""
        return Counter(one.status for one in self)

    def served(self) -> Counter[str]:
        """How often which version answered."""
        return Counter(one.served for one in self)

    def bodies(self) -> Counter[str]:
        """How often which body came."""
        return Counter(one.body for one in self)

    def share(self, choose: Callable[[Seen], bool]) -> float:
        """The share of those that `choose` says yes to; 0 of none."""
        return len(self.only(choose)) / len(self) if self else 0.0


class Traffic:
    """Users under way. `target` and `fields` are what each sends; the field X-User-Id says who it is, by `name`."""

    def __init__(
        self,
        address: tuple[str, int],
        users: int = 20,
        *fields: str,
        target: str = "/",
        name: Callable[[int], str] = "user-{}".format,
        rest: float = 0.02,
        host: str = "plain.test",
        method: str = "GET",
    ) -> None:
        self._address = address
        self._users = users
        self._target = target
        self._name = name
        self._head = "\r\n".join(["", f"Host: {host}", *fields, ""])
        self._method = method
        self._rest = rest
        self._seen = Record()
        self._loop = asyncio.new_event_loop()
        self._stopping = False
        self._failure: BaseException | None = None
        self._thread = threading.Thread(target=self._run, name="traffic", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def stop(self) -> Record:
        """Let every user finish its request; all that was seen."""
        self._stopping = True
        if self._thread.ident is not None:
            self._thread.join()
        if self._failure is not None:
            raise self._failure
        return Record(self._seen)

    @property
    def seen(self) -> Record:
        """All that was seen so far."""
        return Record(self._seen)

    def mark(self) -> Mark:
        """Now, as a place in the record."""
        return len(self._seen), time.monotonic()

    def since(self, mark: Mark) -> Record:
        """Requests that were sent after `mark` was taken (and not only answered after it)."""
        place, began = mark
        return Record(one for one in self._seen[place:] if one.at >= began)

    def more(self, count: int, choose: Callable[[Seen], bool] = lambda one: True, deadline: float = PATIENCE) -> Record:
        """Wait until `count` requests that were sent from now on and that `choose` takes are answered; those of them."""
        mark = self.mark()
        wait_for(lambda: len(self.since(mark).only(choose)) >= count, f"{count} more requests", deadline)
        return self.since(mark).only(choose)

    def until(self, reached: Callable[[Record], bool], what: str, deadline: float = PATIENCE) -> Record:
        """Wait until `reached` says yes to the requests sent from now on; those."""
        mark = self.mark()
        wait_for(lambda: reached(self.since(mark)), what, deadline)
        return self.since(mark)

    # On the thread.

    def _run(self) -> None:
        try:
            self._loop.run_until_complete(self._all())
        except BaseException as failure:  # noqa: BLE001 - it is raised where the test waits for the end
            self._failure = failure
        finally:
            self._loop.close()

    async def _all(self) -> None:
        await asyncio.gather(*(self._user(number) for number in range(self._users)))

    async def _user(self, number: int) -> None:
        user = self._name(number)
        request = f"{self._method} {self._target} HTTP/1.1{self._head}X-User-Id: {user}\r\n\r\n".encode()
        await asyncio.sleep(self._rest * number / self._users)  # not all at once
        streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None
        while not self._stopping:
            at = time.monotonic()
            answer: Message | None = None
            try:
                if streams is None:
                    streams = await asyncio.open_connection(*self._address)
                streams[1].write(request)
                answer = await _read(streams[0], self._method)
            except (OSError, EOFError):
                pass  # it goes down as broken
            self._seen.append(_seen(at, user, answer))
            if streams is not None and (answer is None or (answer.get(b"connection") or b"").lower() == b"close"):
                await _close(streams[1])
                streams = None
            await asyncio.sleep(self._rest)
        if streams is not None:
            await _close(streams[1])


async def _close(writer: asyncio.StreamWriter) -> None:
    writer.close()
    try:
        await writer.wait_closed()
    except OSError:
        return  # the peer was quicker


async def _read(reader: asyncio.StreamReader, method: str) -> Message:
    """The next final answer; raises EOFError when the connection ends first."""
    while True:
        start, *lines = (await reader.readuntil(b"\r\n\r\n"))[:-4].split(b"\r\n")
        answer = Message(start, split_fields(lines))
        if answer.status >= 200:
            break
    announce(answer, request=False, bodiless=method == "HEAD" or answer.status in {204, 304})
    if answer.framing == "length":
        answer.body = await reader.readexactly(int(answer.get(b"content-length") or b""))
    elif answer.framing == "chunked":
        pieces = []
        while size := int((await reader.readuntil(b"\r\n")).partition(b";")[0], 16):
            pieces.append(await reader.readexactly(size))
            await reader.readexactly(2)
        await reader.readuntil(b"\r\n")
        answer.body = b"".join(pieces)
    elif answer.framing == "close":
        answer.body = await reader.read()
    return answer


def _seen(at: float, user: str, answer: Message | None) -> Seen:
    seconds = time.monotonic() - at
    if answer is None:
        return Seen(at, seconds, user, BROKEN, "", "", frozenset(), "")
    assigned, served, flags = (
        (answer.get(b"x-tidegate-" + name) or b"").decode() for name in (b"version", b"served", b"flags")
    )
    return Seen(
        at,
        seconds,
        user,
        answer.status,
        assigned,
        served or assigned,
        frozenset(flags.split(",")) - {"-", ""},
        answer.body.decode(),
        (answer.get(b"retry-after") or b"").decode(),
    )
