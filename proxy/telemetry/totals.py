"""Sums for people: how much a version has answered and how much of that failed, and which endpoints can be reached."""

from dataclasses import dataclass
from typing import Final

from proxy.errors import FLAGS
from proxy.telemetry.counters import (
    BLOCK_SLOTS,
    E_DOWN,
    E_DRAINED,
    E_EJECTED,
    E_FAILURES,
    E_IN_FLIGHT,
    E_UNHEALTHY,
    ENDPOINT_SLOTS,
    FAULT_OUTCOMES,
    U_PANIC,
    UPSTREAM_SLOTS,
    V_FAULTS,
    V_FLAGS,
    V_IN_FLIGHT,
    VERSION_SLOTS,
    Cells,
)
from proxy.telemetry.ledger import Ledger
from proxy.telemetry.snapshot import Snapshot


@dataclass(slots=True)
class VersionTotals:
    """Of one version since its series began. `served` counts the answers of other versions' requests too."""

    requests: int = 0
    served: int = 0
    errors: int = 0
    in_flight: int = 0


@dataclass(frozen=True, slots=True)
class EndpointTotals:
    """`up` is False while any worker could not connect; `failures` counts connects that failed. `ejected`, `unhealthy` and
    `drained`: how many workers hold it so."""

    up: bool
    failures: int
    in_flight: int = 0
    ejected: int = 0
    unhealthy: int = 0
    drained: int = 0


class Totals:
    """Reads them off the counters."""

    def __init__(self, cells: Cells, ledger: Ledger) -> None:
        self._cells: Final = cells
        self._ledger: Final = ledger

    def versions(self) -> dict[tuple[str, str], VersionTotals]:
        """By (route, version), for the versions in the plan."""
        snapshot = Snapshot(self._cells)
        found: dict[tuple[str, str], VersionTotals] = {}
        for (route, version), offset in self._ledger.live("version"):
            counts = snapshot.sparse(offset, VERSION_SLOTS)
            found[route, version] = VersionTotals(
                errors=sum(counts.get(V_FLAGS + flag.index, 0) for flag in FLAGS),
                in_flight=counts.get(V_IN_FLIGHT, 0),
            )
        for (route, assigned, served), offset in self._ledger.blocks("codes"):
            answers = sum(snapshot.sparse(offset, BLOCK_SLOTS["codes"]).values())
            if (route, assigned) in found:
                found[route, assigned].requests += answers
            if (route, served) in found:
                found[route, served].served += answers
        return found

    def faults(self) -> dict[tuple[str, str], dict[str, int]]:
        """By (route, version), for the versions in the plan: requests by what was put in; kinds never seen are left out."""
        snapshot = Snapshot(self._cells)
        found: dict[tuple[str, str], dict[str, int]] = {}
        for (route, version), offset in self._ledger.live("version"):
            counts = snapshot.sparse(offset + V_FAULTS, len(FAULT_OUTCOMES))
            found[route, version] = {FAULT_OUTCOMES[place]: count for place, count in sorted(counts.items())}
        return found

    def endpoints(self) -> dict[tuple[str, str], EndpointTotals]:
        """By (upstream, endpoint), for the endpoints in the plan; labels as in tidegate_endpoint_up."""
        snapshot = Snapshot(self._cells)
        found: dict[tuple[str, str], EndpointTotals] = {}
        for (upstream, endpoint), offset in self._ledger.live("endpoint"):
            counts = snapshot.sparse(offset, ENDPOINT_SLOTS)
            found[upstream, endpoint] = EndpointTotals(
                up=not counts.get(E_DOWN),
                failures=counts.get(E_FAILURES, 0),
                in_flight=counts.get(E_IN_FLIGHT, 0),
                ejected=counts.get(E_EJECTED, 0),
                unhealthy=counts.get(E_UNHEALTHY, 0),
                drained=counts.get(E_DRAINED, 0),
            )
        return found

    def panicking(self) -> set[str]:
        """The upstreams in the plan of which a worker uses all endpoints, because too few are usable."""
        snapshot = Snapshot(self._cells)
        return {
            upstream
            for (upstream,), offset in self._ledger.live("upstream")
            if snapshot.sparse(offset, UPSTREAM_SLOTS).get(U_PANIC)
        }
