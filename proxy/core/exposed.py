"""Which unit already has which version, as far as one worker remembers: only what is new is worth a record.

Units are remembered by generations: those seen lately are young; when there are as many young ones as there may be, they become
the old ones, and the old ones before them are forgotten. A unit that is asked for is young again. So the memory is bounded,
nobody who keeps coming is forgotten, and a request costs one look into a dict, where an exact order would cost a move in it.

What is forgotten here is not recorded twice: whoever keeps the records knows better (exposure/records.py).
"""

import json
import re
from typing import Any, Final

Spec = dict[str, Any]

STICKY: Final = 8
"""Index of the reason `sticky` in core/plan.REASONS, which imports this file; a test holds the two together."""

REMEMBERED: Final = 50_000
"""Units that may be young; as many more may be old. Some 10 MB a worker when full."""

_ROBOT: Final = re.compile(rb"(?i)(?<!cu)bot\b|crawl|spider|slurp|headless|monitor|uptime")


def is_robot(user_agent: bytes) -> bool:
    """Whether a user agent says that it is no person's: `bot` at a word's end (but for the phones named Cubot), crawl, spider,
    slurp, headless, monitor or uptime; in either case. None at all says nothing."""
    return _ROBOT.search(user_agent) is not None


class Assigned:
    """What a unit got, and why. Shared by all units that got the same."""

    def __init__(self, version: str, reason: int, rule: str) -> None:
        self.version: Final = version
        self.reason: Final = reason
        self.rule: Final = rule


class Room:
    """How much room is left for young units, over all routes."""

    def __init__(self, limit: int) -> None:
        self.limit: Final = limit
        self.left: int = limit


class Seen:
    """The units seen on one route, by their hashes."""

    def __init__(self, room: Room) -> None:
        self.room: Final = room
        self.young: dict[str, Assigned] = {}
        self.old: dict[str, Assigned] = {}
        self.assignments: Final[dict[tuple[str, int, str], Assigned]] = {}

    def knows(self, unit: str, version: str, reason: int, rule: str) -> bool:
        """Whether this unit was last seen with this version, for this reason.

        To keep a version is no news: reason `sticky` is as good as whatever the version was first given for.
        """
        known = self.young.get(unit)
        if known is None:
            known = self.old.get(unit)
            if known is None:
                return False
            if self.room.left > 0:
                self.room.left -= 1
                self.young[unit] = known
        return known.version == version and known.rule == rule and reason in (known.reason, STICKY)


class Exposed:
    """All routes of a worker. `limit` bounds the units that are young at once, over all routes."""

    def __init__(self, limit: int = REMEMBERED) -> None:
        self.room: Final = Room(limit)
        self.routes: Final[dict[str, Seen]] = {}

    def of(self, route: str, *, anew: bool = False) -> Seen:
        """The units of a route, remembered over plans; `anew` forgets them first."""
        seen = self.routes.get(route)
        if seen is not None and anew:
            self.room.left += len(seen.young)
            seen = None
        if seen is None:
            seen = Seen(self.room)
            self.routes[route] = seen
        return seen

    def mark(self, seen: Seen, unit: str, version: str, reason: int, rule: str) -> None:
        """Remember what a unit got. To be called when its record is sure to be kept, and not before."""
        key = (version, reason, rule)
        assigned = seen.assignments.get(key)
        if assigned is None:
            assigned = Assigned(version, reason, rule)
            seen.assignments[key] = assigned
        if unit not in seen.young:
            if self.room.left <= 0:
                self._turn()
            self.room.left -= 1
        seen.young[unit] = assigned

    def forget_unit(self, unit: str) -> None:
        """Forget one unit on all routes."""
        for seen in self.routes.values():
            if seen.young.pop(unit, None) is not None:
                self.room.left += 1
            seen.old.pop(unit, None)

    def leave(self, routes: set[str]) -> None:
        """Forget the routes that are not among these."""
        for name in [name for name in self.routes if name not in routes]:
            self.room.left += len(self.routes.pop(name).young)

    def _turn(self) -> None:
        """The young become old, and the old are forgotten."""
        for seen in self.routes.values():
            seen.old = seen.young
            seen.young = {}
            seen.assignments.clear()
        self.room.left = self.room.limit


class ExposureWords:
    """What a route's plan has to say in a record: the weights by which its units are dealt."""

    def __init__(self, spec: Spec) -> None:
        self.epoch: Final[int] = spec.get("epoch", 0)
        self.weights: Final = weights_text({one["name"]: one["weight"] for one in spec["versions"]})
        # Rules that deal by weights of their own: label -> (weights, segment).
        self.drawn: Final[dict[str, tuple[str, str]]] = {
            rule["label"]: (weights_text(rule["split"]), _segment(rule)) for rule in spec["rules"] if "split" in rule
        }


def weights_text(weights: dict[str, float]) -> str:
    """Weights as one word, the same for the same weights: JSON, in the order of the file."""
    return json.dumps({name: float(weight) for name, weight in weights.items()}, separators=(",", ":"))


def _segment(rule: Spec) -> str:
    where = rule.get("where") or {}
    named: str = where.get("segment", "")
    return named or rule["label"]
