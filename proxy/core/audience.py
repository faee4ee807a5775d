"""Who is kept in, kept out, or kept apart, before anybody is dealt: kill switches, rings, holdouts, layers.

All of it is by name or by hash, so that every worker and every restart agree, and each purpose hashes for itself
(`salt NUL purpose NUL name NUL unit`): who is held out says nothing of who would have got what. What has an end
(`until`, in Unix seconds, 0 for none) is as if it were not there from that moment on.
"""

from collections.abc import Mapping
from typing import Any, Final

from proxy.core.hashing import unit_hash32
from proxy.core.match import Matcher
from proxy.core.request import Request

Spec = dict[str, Any]

_WHOLE: Final = 2**32


def is_over(until: float, at: float) -> bool:
    """Whether what ends at `until` is over at the time `at`, both in Unix seconds."""
    return until != 0.0 and at >= until


class Kill:
    """A kill switch that is on. `index` is that of the version it is about, -1 where it is about the whole route."""

    def __init__(self, label: str, until: float, index: int = -1) -> None:
        self.label: Final = label
        self.until: Final = until
        self.index: Final = index


class Rings:
    """A version for one circle of people after another, from the inside to the one that is open.

    `index` is that of the version; `open` are the rings that get it, each with its label ("rings[0].staff").
    """

    def __init__(self, spec: Spec, index: int, segments: Mapping[str, Matcher]) -> None:
        """Raises KeyError for a segment that is not there, ValueError where none of the rings is the open one."""
        order: list[str] = spec["order"]
        opened: str = spec["open"]  # "": none
        self.label: Final[str] = spec["label"]  # "rings[0]"
        self.version: Final[str] = spec["version"]
        self.index: Final = index
        self.order: Final = order
        self.until: Final[float] = spec["until"]
        if opened and opened not in order:
            raise ValueError(f"{opened} is none of the rings {', '.join(order)}")
        names = order[: order.index(opened) + 1] if opened else []
        self.open: Final[list[tuple[str, Matcher]]] = [(f"{self.label}.{name}", segments[name]) for name in names]

    def ring_of(self, request: Request) -> str:
        """The label of the innermost open ring that has the request in it; "" where none has."""
        if is_over(self.until, request.at):
            return ""
        for label, matcher in self.open:
            if matcher(request):
                return label
        return ""


class Holdout:
    """A share of the units that every route which names it leaves alone: always the same ones, and growing with it."""

    def __init__(self, spec: Spec) -> None:
        self.name: Final[str] = spec["name"]
        self.label: Final = f"holdouts.{self.name}"
        self.percent: Final[float] = spec["percent"]
        self.until: Final[float] = spec["until"]
        self._prefix: Final = f"{spec['salt']}\0holdout\0{self.name}\0".encode()
        self._threshold: Final[int] = round(self.percent / 100 * _WHOLE)

    def holds(self, unit: bytes, at: float) -> bool:
        """Whether the unit is held out. `at` is the time in Unix seconds."""
        return unit_hash32(self._prefix, unit) < self._threshold and not is_over(self.until, at)

    def position(self, unit: bytes) -> float:
        """Where the unit stands, in percent: it is held out while that is below `percent`."""
        return unit_hash32(self._prefix, unit) / _WHOLE * 100


class Layer:
    """The part of a layer's units that one route may experiment on; other routes of the layer have other parts."""

    def __init__(self, spec: Spec) -> None:
        self.name: Final[str] = spec["name"]
        self.label: Final = f"layers.{self.name}"
        self.low: Final[float] = spec["from"]  # percent
        self.high: Final[float] = spec["to"]
        self._prefix: Final = f"{spec['salt']}\0layer\0{self.name}\0".encode()
        self._from: Final[int] = round(self.low / 100 * _WHOLE)
        self._to: Final[int] = round(self.high / 100 * _WHOLE)

    def has(self, unit: bytes) -> bool:
        """Whether the unit is in the route's part."""
        return self._from <= unit_hash32(self._prefix, unit) < self._to

    def position(self, unit: bytes) -> float:
        """Where the unit stands in the layer, in percent: from 0 to 100."""
        return unit_hash32(self._prefix, unit) / _WHOLE * 100
