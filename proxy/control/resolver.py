"""Names in endpoints become addresses, and are looked up again and again. A failure keeps the last good answer.

A name that has both kinds of address is used with its IPv4 ones alone: both lead to the same servers, which would get
twice their share.
"""

import asyncio
import ipaddress
import logging
import socket
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass
from typing import Any, Final

from proxy.core.backoff import Rng

log = logging.getLogger("tidegate.resolver")

INTERVAL: Final = 5.0
"""Seconds between two look-ups of a name, spread by a tenth."""
LIMIT: Final = 5.0
"""Seconds after which a look-up counts as failed."""
_AT_ONCE: Final = 16  # look-ups under way

Lookup = Callable[[str], Awaitable[list[str]]]
"""The addresses of a name. Raises OSError (socket.gaierror) when there are none."""


@dataclass(slots=True)
class Answer:
    """What is known of one name. `addresses` is the last good answer, empty before the first; `error` the last failure,
    empty after a success."""

    addresses: list[str]
    error: str = ""
    failures: int = 0


class Resolver:
    """Keeps the addresses of a set of names current."""

    def __init__(self, lookup: Lookup, rng: Rng, changed: Callable[[set[str]], None]) -> None:
        """`changed` is called with the names whose addresses are others than before."""
        self.answers: Final[dict[str, Answer]] = {}
        self._lookup: Final = lookup
        self._rng: Final = rng
        self._changed: Final = changed
        self._slots: Final = asyncio.Semaphore(_AT_ONCE)
        self._late: Final[set[asyncio.Task[bool]]] = set()

    async def want(self, names: Iterable[str], patience: float) -> None:
        """Look up exactly these names from now on; wait up to `patience` seconds for those that have no answer yet.

        What comes later is told through `changed`.
        """
        wanted = set(names)
        for name in self.answers.keys() - wanted:
            del self.answers[name]
        fresh = wanted - self.answers.keys()
        if not fresh:
            return
        for name in fresh:
            self.answers[name] = Answer([])
        first = [asyncio.create_task(self._refresh(name), name=f"first look-up of {name}") for name in fresh]
        _, late = await asyncio.wait(first, timeout=patience)
        if late:
            log.warning("%d names of endpoints take long to resolve; going on without them", len(late))
        for task in late:
            self._late.add(task)
            task.add_done_callback(self._tell_late)

    async def run(self) -> None:
        """Look all names up every INTERVAL seconds, for ever."""
        while True:
            await asyncio.sleep(INTERVAL * (0.9 + 0.2 * self._rng()))
            await self.refresh()

    async def refresh(self) -> None:
        """Look all names up now."""
        names = list(self.answers)
        moved = await asyncio.gather(*(self._refresh(name) for name in names))
        changed = {name for name, move in zip(names, moved, strict=True) if move}
        if changed:
            self._changed(changed)

    def addresses(self, name: str) -> list[str]:
        """The last good answer; empty when there was none."""
        answer = self.answers.get(name)
        return [] if answer is None else answer.addresses

    def _tell_late(self, done: asyncio.Task[bool]) -> None:
        self._late.discard(done)
        if not done.cancelled() and done.result():
            self._changed(set(self.answers))

    async def _refresh(self, name: str) -> bool:
        """Look one name up; whether its addresses have changed."""
        try:
            async with self._slots, asyncio.timeout(LIMIT):
                found = sorted(await self._lookup(name))
        except (OSError, TimeoutError) as error:
            self._failed(name, "no answer in time" if isinstance(error, TimeoutError) else error.strerror or str(error))
            return False
        answer = self.answers.get(name)
        if answer is None:  # forgotten meanwhile
            return False
        if not found:
            self._failed(name, "no addresses")
            return False
        if answer.error:
            log.info("%s resolves again", name)
        answer.error = ""
        if found == answer.addresses:
            return False
        if answer.addresses:
            log.info("%s has moved", name, extra={"fields": {"from": answer.addresses, "to": found}})
        answer.addresses = found
        return True

    def _failed(self, name: str, error: str) -> None:
        answer = self.answers.get(name)
        if answer is None:
            return
        answer.failures += 1
        if answer.error != error:  # said once for each kind of failure, not every five seconds
            kept = "the last good answer stays" if answer.addresses else "it has no endpoint until then"
            log.warning("%s does not resolve: %s; %s", name, error, kept)
        answer.error = error


async def look_up(name: str) -> list[str]:
    """The addresses that the system's resolver gives. Raises OSError."""
    found = await asyncio.get_running_loop().getaddrinfo(
        name, None, type=socket.SOCK_STREAM, flags=socket.AI_ADDRCONFIG
    )
    four = {str(one[4][0]) for one in found if one[0] == socket.AF_INET}
    return sorted(four or {str(one[4][0]) for one in found})


def names_of(upstreams: list[dict[str, Any]]) -> set[str]:
    """The names that endpoints of a spec's upstreams have in place of an address."""
    return {one["host"] for upstream in upstreams for one in upstream["endpoints"] if _is_name(one)}


def with_addresses(endpoints: list[dict[str, Any]], addresses: Callable[[str], list[str]]) -> list[dict[str, Any]]:
    """Endpoints with names replaced by one endpoint an address; without an answer there is none."""
    return [
        one if not _is_name(one) else {**one, "host": address}
        for one in endpoints
        for address in (addresses(one["host"]) if _is_name(one) else [one["host"]])
    ]


def _is_name(endpoint: dict[str, Any]) -> bool:
    if endpoint.get("unix") or not endpoint["host"]:
        return False
    try:
        ipaddress.ip_address(endpoint["host"])
    except ValueError:
        return True
    return False
