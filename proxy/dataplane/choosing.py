"""Which endpoint of an upstream a request goes to: what is usable now, and the policy's choice among it.

What is usable is worked out when something changes (a plan, a probe, an ejection, a connect that failed) or has grown old (a rest
is over, an endpoint has become a little warmer), not for each request. In the order in which it matters:

- A drained endpoint gets nothing, whatever else is true.
- Unhealthy and ejected endpoints get nothing, unless fewer than the panic threshold are left: then health is ignored, for a few
  that carry everything fall over, too. Where *none* is left that is the last resort: a fallback version comes first.
- One that could not be reached a moment ago rests, in a panic too, for it answers nobody. As the last resort the one whose rest
  ends first is tried.
- Own zone first, as far as it has the capacity (round_robin, least_request and random; a unit's endpoint and the order
  of the file do not hang on where the proxy runs).
"""

from math import inf
from typing import Final

from proxy.core.balance import (
    FIRST,
    KINDS,
    LEAST_REQUEST,
    MAGLEV,
    RANDOM,
    RING_HASH,
    ROUND_ROBIN,
    Group,
    Member,
    kept_share,
    rendezvous,
)
from proxy.core.hash_tables import HashTable, Maglev, Ring
from proxy.core.plan import Upstream
from proxy.dataplane.endpoint_state import EndpointState
from proxy.dataplane.runtime import log

_STEPS: Final = 2000
"""Steps of building a table at a stretch: a millisecond, interpreted."""
_WARMER: Final = 64
"""In how many steps an endpoint gets its whole weight."""


class Chooser:
    """The choice among the endpoints of one pool."""

    def __init__(self, upstream: Upstream) -> None:
        self.states: list[EndpointState] = []
        # The one endpoint there is to choose, where that cannot change by time alone: most upstreams have one, and it is well.
        self.only: EndpointState | None = None
        self.draws: bool = False  # whether a choice takes a draw
        self.hashed: bool = False  # whether a choice goes by the unit
        self.panic: bool = False
        self._upstream: Upstream = upstream
        self._kind: int = ROUND_ROBIN
        self._stale: bool = True
        self._until: float = inf  # when what is usable may be something else
        self._blind: bool = False  # nobody is well
        self._usable: list[EndpointState] = []
        self._members: list[Member] = []  # the same
        self._near: Group | None = None
        self._near_states: list[EndpointState] = []
        self._far: Group | None = None
        self._far_states: list[EndpointState] = []
        self._near_share: float = 1.0
        self._table: HashTable | None = None
        self._tabled: list[EndpointState] = []  # whom the places of the table mean
        self._building: HashTable | None = None
        self._to_table: list[EndpointState] = []
        self._signature: tuple[object, ...] = ()

    # What changes.

    def take(self, upstream: Upstream, states: list[EndpointState]) -> None:
        """A policy and a set of endpoints. Where tables go by them, `build` has to be called until it says True."""
        self._upstream = upstream
        self._kind = KINDS.index(upstream.balance)
        self.hashed = self._kind in (RING_HASH, MAGLEV)
        self.states = states
        slow = upstream.slow_start
        for state in states:
            state.warm_at = -inf if slow is None else state.usable_since + slow.window
        self._prepare_table()
        self.stir()

    def stir(self) -> None:
        """Something has changed: look again before the next choice."""
        self._stale = True
        self.only = None

    def start_slowly(self, state: EndpointState, now: float) -> None:
        """An endpoint is usable from now on, and was not before."""
        state.usable_since = now
        slow = self._upstream.slow_start
        if slow is not None:
            state.warm_at = now + slow.window
        self.stir()

    def _prepare_table(self) -> None:
        if not self.hashed or not self.states:
            self._table = self._building = None
            self._tabled = self._to_table = []
            self._signature = ()
            return
        by_identity = {state.identity: state for state in self.states}
        ordered = [by_identity[identity] for identity in sorted(by_identity)]
        self._tabled = [by_identity.get(state.identity, state) for state in self._tabled]
        signature = (self._kind, *((state.identity, state.weight) for state in ordered))
        if signature == self._signature:
            self._to_table = ordered if self._building is not None else []
            return
        self._signature = signature
        self._to_table = ordered
        identities = [state.identity for state in ordered]
        weights = [state.weight for state in ordered]
        self._building = Ring(identities, weights) if self._kind == RING_HASH else Maglev(identities, weights)

    def build(self) -> bool:
        """Go on building the table, for a millisecond or so; True when there is nothing to build. Until then the one before
        serves, and units whose endpoint is gone go where rendezvous hashing says."""
        building = self._building
        if building is None:
            return True
        if not building.build(_STEPS):
            return False
        self._table = building
        self._tabled = self._to_table
        self._building = None
        self._to_table = []
        return True

    # What is usable.

    def look(self, now: float) -> None:
        """Work out who is usable."""
        upstream = self._upstream
        states = self.states
        self._stale = False
        until = inf
        present = sum(1 for state in states if not state.drained)
        well = sum(1 for state in states if _well(state))
        panic = 100 * well < upstream.panic_threshold * present
        self._blind = well == 0
        if panic is not self.panic:
            self._say(panic, well, present)
        slow = upstream.slow_start
        usable: list[EndpointState] = []
        for state in states:
            barred = not (_well(state) or (panic and not state.drained))
            rests = state.down_until > now
            state.barred = barred
            state.usable = not barred and not rests
            state.share = float(state.weight)
            if state.usable:
                usable.append(state)
                if slow is not None and now < state.warm_at and self._kind != FIRST and not self.hashed:
                    state.share *= slow.share(now - state.usable_since)
                    until = min(until, state.warm_at, now + slow.window / _WARMER)
            elif not barred:
                until = min(until, state.down_until)
        self._until = until
        self._usable = usable
        self._members = [*usable]
        self.only = usable[0] if len(usable) == 1 and until == inf and not self._blind else None
        self._divide(usable)
        self.draws = len(usable) > 1 and (self._far is not None or self.hashed or self._kind in (LEAST_REQUEST, RANDOM))

    def look_again(self, now: float) -> None:
        """Look, if anything has changed since the last time."""
        if self._stale:
            self.look(now)

    def _divide(self, usable: list[EndpointState]) -> None:
        """Into those of the own zone and the others, where zones count."""
        zone = self._upstream.own_zone
        self._near_states = usable
        self._far_states = []
        self._far = None
        if zone and not self.hashed and self._kind != FIRST:
            near = [state for state in usable if state.zone == zone]
            far = [state for state in usable if state.zone != zone]
            if near and far:
                whole = sum(state.weight for state in self.states if state.zone == zone and not state.drained)
                self._near_share = kept_share(sum(state.weight for state in near), whole)
                self._near_states = near
                if self._near_share < 1.0:
                    self._far_states = far
                    self._far = Group(self._kind, [*far])
        self._near = Group(self._kind, [*self._near_states])

    def _say(self, panic: bool, well: int, present: int) -> None:
        self.panic = panic
        numbers = {"upstream": self._upstream.name, "well": well, "endpoints": present}
        if panic:
            log.warning("too few endpoints are well: health is ignored", extra=numbers)
        else:
            log.info("enough endpoints are well again: health counts", extra=numbers)

    # The choice.

    def pick(
        self, now: float, draw: float, unit: int | None, avoid: list[Member] | None, last_resort: bool
    ) -> EndpointState | None:
        """An endpoint for one request, or None where none is usable.

        `draw` in [0, 1) is looked at where `draws` is true, the hash `unit` where `hashed` is. An endpoint in `avoid` is
        chosen only if there is no other. `last_resort`: nobody else would answer.
        """
        if self._stale or now >= self._until:
            self.look(now)
        if self._blind and not last_resort:
            return None
        usable = self._usable
        if not usable:
            return self._first_to_rise() if last_resort else None
        if avoid is not None:
            others = [state for state in usable if state not in avoid]
            if 0 < len(others) < len(usable):
                members: list[Member] = [*others]
                if unit is not None and self.hashed:
                    return others[rendezvous(members, unit)]
                return others[Group(self._kind, members).pick(draw)]
        if unit is not None and self.hashed:
            table = self._table
            if table is not None:
                state = self._tabled[table.find(unit)]
                if state.usable:
                    return state
            return usable[rendezvous(self._members, unit)]
        near = self._near
        far = self._far
        if far is not None:
            share = self._near_share
            if draw >= share:
                return self._far_states[far.pick((draw - share) / (1.0 - share))]
            draw /= share  # what is left of a draw is a draw
        return None if near is None else self._near_states[near.pick(draw)]

    def _first_to_rise(self) -> EndpointState | None:
        best: EndpointState | None = None
        for state in self.states:
            if not state.barred and (best is None or state.down_until < best.down_until):
                best = state
        return best


def _well(state: EndpointState) -> bool:
    return not (state.drained or state.unhealthy or state.standing.ejected)
