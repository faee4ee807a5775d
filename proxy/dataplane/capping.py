"""The caps of one worker's plans: the files of who has had a version, and each unit that is new written down before it has it.

What one worker writes, all others see at once; so they never give more units a version than its cap allows. Where a file cannot be
opened, nobody gets its version: that is said, and the plan is in force all the same.
"""

import logging
from typing import Final

from proxy.cap_files import ADMITTED, CONTENDED, KNOWN, CapFile, FileRecord
from proxy.core.caps import Cap
from proxy.core.decide import Decision, decide
from proxy.core.hashing import UnitHasher
from proxy.core.plan import Plan, Route
from proxy.core.request import Request
from proxy.telemetry.counters import CAP_ADMITTED, CAP_CONTENDED, V_CAP

log = logging.getLogger("tidegate.worker")


class Capping:
    """The files of the plan in force, by path."""

    def __init__(self, view: memoryview) -> None:
        self._view: Final[memoryview] = view
        self._files: dict[str, CapFile] = {}
        self._missing: list[Cap] = []
        self._hasher: UnitHasher = UnitHasher(b"")

    def bring(self, plan: Plan, hasher: UnitHasher) -> None:
        """Give the plan's caps their records; just before the plan is in force."""
        files: dict[str, CapFile] = {}
        self._missing = []
        self._hasher = hasher
        for route in plan.routes:
            for version in route.capped:
                cap = version.cap
                if cap is None:
                    continue
                try:
                    file = self._open(cap.file)
                except (OSError, ValueError) as error:
                    cap.record = None
                    self._missing.append(cap)
                    log.error(
                        "the units that have had a capped version are not known (%s): nobody gets it",
                        error,
                        extra={"route": route.name, "version": version.name},
                    )
                    continue
                files[cap.file] = file
                cap.record = FileRecord(file, hasher)
        self._files = files

    def look_again(self) -> None:
        """Have the files that were missing, where control could make them since. Called by the clock."""
        if not self._missing:
            return
        missing: list[Cap] = []
        for cap in self._missing:
            try:
                file = self._open(cap.file)
            except (OSError, ValueError):  # said when the plan came; control says what becomes of it
                missing.append(cap)
                continue
            if file.table.taken_up == 0:  # control has yet to enter whom the store knows
                missing.append(cap)
                continue
            self._files[cap.file] = file
            cap.record = FileRecord(file, self._hasher)
            log.info("the units that have had a capped version are known", extra={"file": cap.file})
        self._missing = missing

    def _open(self, path: str) -> CapFile:
        """The file, opened anew where it has become longer or another."""
        known = self._files.get(path)
        return known if known is not None and known.is_current() else CapFile(path)

    def settle(self, route: Route, request: Request, unit: bytes, decision: Decision) -> Decision:
        """Have the unit counted where it gets a capped version. Where somebody else took the last place, or the file is busy, the
        decision is made anew without that version."""
        closed = 0
        while True:
            version = decision.version
            if version is None or version.cap is None:
                return decision
            record = version.cap.record
            if isinstance(record, FileRecord):
                outcome = record.file.admit(int(record.hasher(unit), 16), version.cap.limit)
                if outcome == KNOWN:
                    return decision
                if outcome == ADMITTED:
                    self._view[version.slot + V_CAP + CAP_ADMITTED] += 1
                    return decision
                if outcome == CONTENDED:
                    self._view[version.slot + V_CAP + CAP_CONTENDED] += 1
            closed |= 1 << version.index
            decision = decide(route, request, unit, closed)
