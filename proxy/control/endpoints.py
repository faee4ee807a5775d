"""What the workers should think of endpoints: those whose checks fail, and those that somebody drained.

For each upstream there is one truth, two lists of keys. It is told whole, when it has changed; changes that come close
together are told as one.
"""

import asyncio
import logging
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from proxy.control.clock import Timers
from proxy.control.drained_endpoints import Drain, Drained
from proxy.control.health import Counts, Health, Prober
from proxy.control.probe import Contexts, check
from proxy.control.state import Store, StoreError
from proxy.control.tasks import Tasks
from proxy.core.backoff import Rng
from proxy.core.plan import Endpoint
from proxy.errors import TidegateError
from proxy.telemetry.labels import endpoint_key
from proxy.telemetry.totals import EndpointTotals

log = logging.getLogger("tidegate.health")

_GATHER: Final = 0.02  # seconds in which changes are gathered
_NAMED: Final = 20  # names that an error lists

Spec = dict[str, Any]
Truth = tuple[tuple[str, ...], tuple[str, ...]]
"""Keys of the unhealthy and of the drained endpoints of one upstream."""
Totals = Mapping[tuple[str, str], EndpointTotals]

_NOTHING: Final[Truth] = ((), ())


class UnknownEndpointError(TidegateError):
    """There is no such upstream or endpoint. The message names those there are."""


class LastEndpointError(TidegateError):
    """Nothing usable would be left of the upstream."""


class DrainedOtherwiseError(TidegateError):
    """The endpoint is drained under another name, which is the one to end."""


@dataclass(slots=True)
class Held:
    """What surviving workers hold of one upstream's endpoints: keys of the unhealthy, labels of the drained."""

    unhealthy: list[str] = field(default_factory=list)
    drained: list[str] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Standing:
    """What control knows of one endpoint: None where it is not checked, or not drained."""

    health: Health | None
    drain: Drain | None

    @property
    def usable(self) -> bool:
        """Whether it may get requests, as far as control knows."""
        return self.drain is None and (self.health is None or self.health.verdict.value != "unhealthy")


def look_after(
    store: Store,
    mark: Callable[[str, list[str], list[str]], None],
    totals: Callable[[], Totals],
    counts: Counts,
    rng: Rng,
    tasks: Tasks,
    *,
    inherit: bool,
) -> "Endpoints":
    """The control process's: real checks, on the running loop. Checks are counted in `counts`; the others as for
    `Endpoints`."""
    timers = asyncio.get_running_loop()
    contexts = Contexts()

    def prober(changed: Callable[[str], None]) -> Prober:
        return Prober(lambda target: check(target, contexts), timers, time.time, rng, tasks, changed, counts)

    return Endpoints(prober, Drained(store, time.time), mark, totals, timers, tasks, contexts, inherit=inherit)


class Endpoints:
    """The endpoints of the plan in force."""

    def __init__(
        self,
        prober: Callable[[Callable[[str], None]], Prober],
        drained: Drained,
        mark: Callable[[str, list[str], list[str]], None],
        totals: Callable[[], Totals],
        timers: Timers,
        tasks: Tasks,
        contexts: Contexts | None = None,
        *,
        inherit: bool = False,
    ) -> None:
        """`prober` makes the prober, given what to call with the name of an upstream whose verdicts have changed; `mark`
        tells the workers; `totals` reads what they have counted by (upstream, endpoint label). `inherit`: workers of an earlier
        control process serve on, and what they hold of endpoints is what the first plan begins with."""
        self._prober: Final = prober(self._changed)
        self._drained: Final = drained
        self._mark: Final = mark
        self._totals: Final = totals
        self._timers: Final = timers
        self._tasks: Final = tasks
        self._contexts: Final = contexts
        self._inherit = inherit
        self._lock: Final = asyncio.Lock()
        self._upstreams: dict[str, Spec] = {}  # as placed: names resolved
        self._configured: dict[str, Spec] = {}
        self._told: dict[str, Truth | None] = {}
        self._pending: set[str] = set()

    async def load(self) -> None:
        """Take what the store has. Raises StoreError."""
        await self._drained.load()

    # The plan.

    def bring(self, upstreams: list[Spec], configured: list[Spec]) -> None:
        """Look after the endpoints of `upstreams`, placed specs; `configured` are the file's, before names were resolved."""
        self._upstreams = {one["name"]: one for one in upstreams}
        self._configured = {one["name"]: one for one in configured}
        if self._inherit:
            self._inherit = False
            self._take_over(upstreams)
        else:
            self._prober.bring(upstreams)
        if self._contexts is not None:
            self._contexts.keep(self._prober.tls())
        for name in self._told.keys() - self._upstreams.keys():
            self._mark(name, [], [])
            del self._told[name]
        for name in self._upstreams:
            self._tell(name)
        strays = self._drained.strays(configured)
        if strays:
            self._tasks.spawn("forget drains", self._end(strays, "no longer in the configuration"))

    def tick(self) -> None:
        """End the drains whose time is up. Called about once a second."""
        over = self._drained.over()
        if over and not self._lock.locked():
            self._tasks.spawn("end drains", self._end(over, "its time is up"))

    def close(self) -> None:
        """Check no more."""
        self._prober.close()

    def of(self, upstream: str, endpoint: Spec) -> Standing:
        """What is known of an endpoint of `upstream`, as its spec has it."""
        return Standing(self._prober.of(upstream, endpoint), self._drained.of(upstream, endpoint))

    def _take_over(self, upstreams: list[Spec]) -> None:
        marks = _marks(upstreams, self._totals())
        for name, held in marks.items():
            self._told[name] = None  # whatever it is: it will be told
            if not self._drained.lasting:
                for label in held.drained:
                    self._drained.inherit(name, label)
        self._prober.bring(upstreams, {name: held.unhealthy for name, held in marks.items()})

    # Draining.

    async def drain(
        self, upstream: str, name: str, reason: str, by: str, until: float | None = None, *, force: bool = False
    ) -> list[Spec]:
        """Give the endpoint `name` of `upstream` (a URL of the file, or one of its addresses, `URL (address)`) nothing new.

        `until` is Unix seconds. The endpoints concerned, as their specs. Raises UnknownEndpointError, LastEndpointError
        unless `force`, TooManyDrainedError, StoreError.
        """
        async with self._lock:
            spec = self._find(upstream, name)
            concerned = _concerned(spec, name)
            if not force:
                self._keep_one(spec, concerned, name)
            await self._drained.put(upstream, name, Drain(reason, by, time.time(), until))
        log.info("%s of %s is drained by %s: %s", name, upstream, by, reason or "no reason given")
        self._tell(upstream)
        return concerned

    async def undrain(self, upstream: str, name: str, by: str) -> list[Spec]:
        """Use the endpoint `name` again; the endpoints concerned. Nothing happens to one that is not drained.

        Raises UnknownEndpointError, DrainedOtherwiseError, StoreError.
        """
        async with self._lock:
            spec = self._find(upstream, name)
            concerned = _concerned(spec, name)
            if self._drained.named(upstream, name) is None:
                for endpoint in concerned:
                    if self._drained.of(upstream, endpoint) is not None:
                        raise DrainedOtherwiseError(
                            f"{name} is drained through {_other(spec, endpoint, name)}; end that"
                        )
                return concerned
            await self._drained.remove([(upstream, name)])
        log.info("%s of %s is used again, says %s", name, upstream, by)
        self._tell(upstream)
        return concerned

    def _find(self, upstream: str, name: str) -> Spec:
        """The placed spec of `upstream`, which has an endpoint `name`. Raises UnknownEndpointError."""
        spec = self._upstreams.get(upstream)
        if spec is None:
            raise UnknownEndpointError(f"there is no upstream {upstream}; there are: {_listed(self._upstreams)}")
        configured = self._configured.get(upstream, spec)
        names = [endpoint_key(upstream, one)[1] for one in spec["endpoints"]]
        names += [one["url"] for one in configured["endpoints"]]
        if name not in names and self._drained.named(upstream, name) is None:
            raise UnknownEndpointError(f"{upstream} has no endpoint {name}; it has: {_listed(dict.fromkeys(names))}")
        return spec

    def _keep_one(self, spec: Spec, concerned: list[Spec], name: str) -> None:
        """Raises LastEndpointError where nothing usable would be left."""
        upstream = spec["name"]
        if concerned and all(self._drained.of(upstream, one) is not None for one in concerned):
            return  # it changes nothing but the reason
        totals = self._totals()
        for one in spec["endpoints"]:
            counted = totals.get((upstream, endpoint_key(upstream, one)[1]))
            if one not in concerned and self.of(upstream, one).usable and not (counted and counted.ejected):
                return
        raise LastEndpointError(
            f"{upstream} would have no usable endpoint left without {name};"
            ' `"force": true` drains it all the same, and its requests then fail or fall back'
        )

    async def _end(self, drains: list[tuple[str, str]], why: str) -> None:
        async with self._lock:
            try:
                await self._drained.remove(drains)
            except StoreError as error:
                log.error("drains cannot be ended: %s", error)
                return
        for upstream, name in drains:
            log.info("%s of %s is drained no more: %s", name, upstream, why)
            if upstream in self._upstreams:
                self._tell(upstream)

    # Telling.

    def _changed(self, upstream: str) -> None:
        if not self._pending:
            self._timers.call_later(_GATHER, self._tell_pending)
        self._pending.add(upstream)

    def _tell_pending(self) -> None:
        pending, self._pending = self._pending, set()
        for upstream in pending & self._upstreams.keys():
            self._tell(upstream)

    def _tell(self, upstream: str) -> None:
        spec = self._upstreams[upstream]
        truth = (tuple(self._prober.unhealthy(upstream)), tuple(self._drained.keys(spec)))
        if self._told.get(upstream, _NOTHING) != truth:
            self._told[upstream] = truth
            self._mark(upstream, list(truth[0]), list(truth[1]))


def _concerned(spec: Spec, name: str) -> list[Spec]:
    """The endpoints of `spec` that `name` stands for."""
    return [one for one in spec["endpoints"] if name in (one["url"], endpoint_key(spec["name"], one)[1])]


def _other(spec: Spec, endpoint: Spec, name: str) -> str:
    label = endpoint_key(spec["name"], endpoint)[1]
    return str(endpoint["url"]) if name == label else label


def _listed(names: Iterable[str]) -> str:
    every = list(names)
    more = f" and {len(every) - _NAMED} more" if len(every) > _NAMED else ""
    return ", ".join(every[:_NAMED]) + more


def _marks(upstreams: list[Spec], totals: Totals) -> dict[str, Held]:
    """By upstream, what workers hold of its endpoints, where they hold anything."""
    found: dict[str, Held] = {}
    for upstream in upstreams:
        for endpoint in upstream["endpoints"]:
            place = endpoint_key(upstream["name"], endpoint)
            counted = totals.get((place[0], place[1]))
            if counted is None or not (counted.unhealthy or counted.drained):
                continue
            marks = found.setdefault(upstream["name"], Held())
            if counted.unhealthy:
                marks.unhealthy.append(Endpoint(endpoint, 0).key)
            if counted.drained:
                marks.drained.append(place[1])
    return found
