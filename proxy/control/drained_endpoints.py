"""Endpoints that somebody took out of use: which, why, who and until when. Kept in the state store, over restarts.

What is drained is named as people see it: the URL in the file, which stands for every address it resolves to, or one of
those, `URL (address)`. It is forgotten when the file no longer has the URL.
"""

from collections.abc import Callable, Collection
from dataclasses import asdict, dataclass
from typing import Any, Final

from proxy.control.state import Store, StoreError
from proxy.core.plan import Endpoint
from proxy.errors import TidegateError
from proxy.telemetry.labels import endpoint_key

LIMIT: Final = 4096
"""How many may be drained at a time."""
_STORED: Final = "drained"

Spec = dict[str, Any]


class TooManyDrainedError(TidegateError):
    """There is no room for one more."""


@dataclass(frozen=True, slots=True)
class Drain:
    """Why an endpoint gets nothing new. `since` and `until` are Unix seconds; `until` is None where somebody will have to
    end it."""

    reason: str
    by: str
    since: float
    until: float | None = None


class Drained:
    """All drains by upstream and name. What the store refuses has not happened. One change at a time."""

    def __init__(self, store: Store, clock: Callable[[], float]) -> None:
        """`clock` gives Unix seconds."""
        self._store: Final = store
        self._clock: Final = clock
        self._drains: dict[str, dict[str, Drain]] = {}

    @property
    def lasting(self) -> bool:
        """Whether drains survive this process."""
        return self._store.lasting

    async def load(self) -> None:
        """Take what the store has. Raises StoreError."""
        kept: dict[str, dict[str, Spec]] = await self._store.get(_STORED) or {}
        try:
            self._drains = {
                upstream: {name: _unpacked(one) for name, one in drains.items()} for upstream, drains in kept.items()
            }
        except (KeyError, TypeError, AttributeError) as error:
            raise StoreError(f"state: the drains kept there cannot be understood: {error!r}; remove them") from error

    def inherit(self, upstream: str, name: str) -> None:
        """Note a drain that the workers know of and the store does not: it was made by a control process that died."""
        drain = Drain("drained before the control process was replaced; why was not kept", "unknown", self._clock())
        self._drains.setdefault(upstream, {}).setdefault(name, drain)

    def of(self, upstream: str, endpoint: Spec) -> Drain | None:
        """The drain that an endpoint (of a spec, with its address) is under."""
        drains = self._drains.get(upstream)
        if not drains:
            return None
        return drains.get(endpoint_key(upstream, endpoint)[1]) or drains.get(endpoint["url"])

    def named(self, upstream: str, name: str) -> Drain | None:
        """The drain of exactly this name."""
        return self._drains.get(upstream, {}).get(name)

    def keys(self, upstream: Spec) -> list[str]:
        """Keys of the endpoints of `upstream` (a spec) that are drained."""
        name = upstream["name"]
        if name not in self._drains:
            return []
        return [Endpoint(one, 0).key for one in upstream["endpoints"] if self.of(name, one) is not None]

    async def put(self, upstream: str, name: str, drain: Drain) -> None:
        """Drain it, in place of an earlier drain. Raises StoreError, TooManyDrainedError."""
        drains = {**self._drains, upstream: {**self._drains.get(upstream, {}), name: drain}}
        if sum(len(one) for one in drains.values()) > LIMIT:
            raise TooManyDrainedError(f"{LIMIT} endpoints are drained already, and more are not remembered")
        await self._write(drains)

    async def remove(self, gone: Collection[tuple[str, str]]) -> None:
        """Drain these (upstream, name) no more. Raises StoreError."""
        kept = {
            upstream: {name: drain for name, drain in drains.items() if (upstream, name) not in gone}
            for upstream, drains in self._drains.items()
        }
        await self._write({upstream: drains for upstream, drains in kept.items() if drains})

    def over(self) -> list[tuple[str, str]]:
        """The drains whose time is up."""
        now = self._clock()
        return [
            (upstream, name)
            for upstream, drains in self._drains.items()
            for name, drain in drains.items()
            if drain.until is not None and drain.until <= now
        ]

    def strays(self, upstreams: list[Spec]) -> list[tuple[str, str]]:
        """The drains of what the specs of `upstreams`, as configured, no longer have."""
        urls = {one["name"]: [endpoint["url"] for endpoint in one["endpoints"]] for one in upstreams}
        return [
            (upstream, name)
            for upstream, drains in self._drains.items()
            for name in drains
            if not any(name == url or name.startswith(f"{url} (") for url in urls.get(upstream, ()))
        ]

    async def _write(self, drains: dict[str, dict[str, Drain]]) -> None:
        value = {upstream: {name: asdict(one) for name, one in own.items()} for upstream, own in drains.items()}
        await self._store.put(_STORED, value)
        self._drains = drains


def _unpacked(kept: Spec) -> Drain:
    """A drain as `asdict` made it, perhaps of a later version of this program, which was given up."""
    return Drain(kept["reason"], kept["by"], kept["since"], kept.get("until"))
