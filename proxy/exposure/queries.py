"""Questions to the store: what one unit got, who got what lately, and how many units a version has had.

A reader has a connection of its own and reads while the writer writes. Each question is a look into an index for each segment,
so that it takes milliseconds however many records there are. Records come newest first, a page at a time.
"""

import heapq
import json
import sqlite3
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from proxy.channel.exposures import RANDOMISED, ROBOT
from proxy.core.plan import REASONS
from proxy.exposure.ratios import RATIO_COLUMNS, Ratio, read_ratios
from proxy.exposure.schema import COLUMNS, FIRST, ExposureError, hash_text, open_for_reading, signed

LIMIT: Final = 1000
"""Records of a page at most."""
UNITS: Final = 1_000_000
"""Units that are counted one by one at most; of more, this many."""
_TABLES: Final = 500  # in one question: SQLite's own limit; 130 million records

Spec = dict[str, Any]
Place = tuple[int, int, int]
"""Segment, time, and number in the segment: where a page ends."""
Words = dict[int, str]
Arms = dict[int, tuple[str, str]]


class BadCursorError(ExposureError):
    """A cursor that no page gave."""


@dataclass(frozen=True, slots=True)
class Page:
    """Records, the newest first; `cursor` asks for the next page, empty after the last."""

    records: list[Spec]
    cursor: str


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which records: of a unit (its hash), of a version, of a route, not before `since` (Unix seconds)."""

    unit: int | None = None
    version: str | None = None
    route: str | None = None
    since: float = 0.0


@dataclass(slots=True)
class VersionSummary:
    """What a version has had: how many units, how many of them before any other version, when first and last, and records by
    reason. Times are Unix seconds."""

    route: str
    version: str
    units: int = 0
    first_assignments: int = 0
    records: int = 0
    robots: int = 0
    first: float = 0.0
    last: float = 0.0
    reasons: dict[str, int] | None = None


class Reader:
    """An open store, for questions. Raises ExposureError in whatever it does; one thread at a time may use it."""

    def __init__(self, path: Path) -> None:
        """Raises NoExposuresError where nothing was recorded yet."""
        self._path: Final = path
        self._database: Final = open_for_reading(path)
        self._words: Final[Words] = {}  # those that were asked for

    def close(self) -> None:
        """Let go of the file."""
        self._database.close()

    def __enter__(self) -> "Reader":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def find(self, wanted: Wanted, limit: int = 100, cursor: str = "") -> Page:
        """A page of what is wanted. Raises BadCursorError, and ExposureError."""
        limit = max(1, min(limit, LIMIT))
        after = _place(cursor)
        try:
            self._database.execute("BEGIN")  # all of a page is of one moment
            try:
                return self._find(wanted, limit, after)
            finally:
                self._database.rollback()
        except sqlite3.Error as error:
            raise ExposureError(f"{self._path}: {error}") from error

    def _find(self, wanted: Wanted, limit: int, after: Place | None) -> Page:
        arms = self._arms()
        chosen = {
            arm
            for arm, (route, version) in arms.items()
            if wanted.route in (None, route) and wanted.version in (None, version)
        }
        every = wanted.route is None and wanted.version is None
        rows: list[tuple[int, tuple[Any, ...]]] = []
        for segment in self._segments(wanted, after, chosen, every=every):
            room = limit + 1 - len(rows)
            if room <= 0:
                break
            rows += [(segment, row) for row in self._rows(segment, wanted, chosen, room, after, every=every)]
        records = [self._record(row, arms) for _, row in rows[:limit]]
        if len(rows) <= limit:
            return Page(records, "")
        segment, row = rows[limit - 1]
        return Page(records, f"{segment}.{row[0]}.{row[1]}")

    def _segments(self, wanted: Wanted, after: Place | None, chosen: set[int], *, every: bool) -> list[int]:
        """Where there may be any, the newest first."""
        if wanted.unit is not None:
            rows = self._database.execute("SELECT id FROM segments ORDER BY id DESC").fetchall()
            found = [segment for (segment,) in rows]
        else:
            rows = self._database.execute(
                "SELECT segment, arm FROM tallies WHERE last >= ? ORDER BY segment DESC", (int(wanted.since * 1e6),)
            ).fetchall()
            found = list(dict.fromkeys(segment for segment, arm in rows if every or arm in chosen))
        return [segment for segment in found if after is None or segment <= after[0]]

    def _rows(
        self, segment: int, wanted: Wanted, chosen: set[int], room: int, after: Place | None, *, every: bool
    ) -> list[tuple[Any, ...]]:
        """At most `room` records of a segment, the newest first."""
        bounds = " AND ts >= ?"
        values: list[int] = [int(wanted.since * 1e6)]
        if after is not None and segment == after[0]:
            bounds += " AND (ts, seq) < (?, ?)"
            values += after[1:]
        order = " ORDER BY ts DESC, seq DESC LIMIT ?"
        ask = self._database.execute
        if wanted.unit is not None:
            rows = ask(
                f"SELECT {COLUMNS} FROM e{segment} WHERE unit = ?{bounds} ORDER BY ts DESC, seq DESC",
                (signed(wanted.unit), *values),
            ).fetchall()
            return [row for row in rows if every or row[3] in chosen][:room]
        if every:
            return ask(f"SELECT {COLUMNS} FROM e{segment} WHERE 1{bounds}{order}", (*values, room)).fetchall()
        here = {arm for (arm,) in ask("SELECT DISTINCT arm FROM tallies WHERE segment = ?", (segment,))}
        each = [
            ask(f"SELECT {COLUMNS} FROM e{segment} WHERE arm = ?{bounds}{order}", (arm, *values, room)).fetchall()
            for arm in chosen & here
        ]
        return list(heapq.merge(*each, key=lambda row: (row[0], row[1]), reverse=True))[:room]

    def units_of(self, route: str, version: str, epoch: int, since: int) -> Iterator[int]:
        """The hashes of all units that have had a version in this salt epoch, not before `since` (microseconds since 1970); some
        of them more than once. Raises ExposureError."""
        try:
            found = self._database.execute("SELECT id FROM arms WHERE route = ? AND version = ?", (route, version))
            arms = [arm for (arm,) in found]
            segments = self._database.execute(
                "SELECT DISTINCT segment FROM tallies WHERE last >= ?", (since,)
            ).fetchall()
            for (segment,) in segments if arms else ():
                rows = self._database.execute(
                    f"SELECT DISTINCT unit FROM e{segment} WHERE arm = ? AND epoch = ? AND ts >= ?",
                    (arms[0], epoch, since),
                )
                for (unit,) in rows:
                    yield unit & (1 << 64) - 1
        except sqlite3.Error as error:
            raise ExposureError(f"{self._path}: {error}") from error

    def summary(self, route: str | None = None) -> list[VersionSummary]:
        """What each version has had, of all routes or one. Raises ExposureError."""
        found: dict[int, VersionSummary] = {}
        try:
            arms = self._arms()
            rows = self._database.execute(
                "SELECT arm, reason, sum(records), sum(units), sum(firsts), sum(robots), min(first), max(last) FROM tallies"
                " GROUP BY arm, reason HAVING sum(records) > 0"
            ).fetchall()
        except sqlite3.Error as error:
            raise ExposureError(f"{self._path}: {error}") from error
        for arm, reason, records, units, firsts, robots, first, last in rows:
            if route is not None and arms[arm][0] != route:
                continue
            one = found.get(arm)
            if one is None:
                one = found[arm] = VersionSummary(*arms[arm], first=first / 1e6, reasons={})
            one.units += units
            one.first_assignments += firsts
            one.records += records
            one.robots += robots
            one.first = min(one.first, first / 1e6)
            one.last = max(one.last, last / 1e6)
            if one.reasons is not None:
                one.reasons[REASONS[reason]] = records
        return sorted(found.values(), key=lambda one: (one.route, one.version))

    def units_since(self, route: str, since: float, most: int = UNITS) -> dict[str, int]:
        """How many units each version of a route was given to since then (Unix seconds), each counted once; no more than `most`.

        Only what was recorded since counts: a unit that has the version from before, and keeps it, is none. Raises ExposureError.
        """
        bound = int(since * 1e6)
        try:
            self._database.execute("BEGIN")
            try:
                rows = self._database.execute(
                    "SELECT DISTINCT segment, arm FROM tallies WHERE last >= ? ORDER BY segment DESC", (bound,)
                ).fetchall()
                found = {
                    version: self._units([one for one, its in rows if its == arm][:_TABLES], arm, bound, most)
                    for arm, (name, version) in self._arms().items()
                    if name == route
                }
            finally:
                self._database.rollback()
        except sqlite3.Error as error:
            raise ExposureError(f"{self._path}: {error}") from error
        return {version: count for version, count in found.items() if count}

    def _units(self, segments: list[int], arm: int, since: int, most: int) -> int:
        if not segments:
            return 0
        every = " UNION ALL ".join(f"SELECT unit FROM e{one} WHERE arm = {arm} AND ts >= {since}" for one in segments)
        count: int = self._database.execute(
            f"SELECT count(*) FROM (SELECT DISTINCT unit FROM ({every}) LIMIT ?)", (most,)
        ).fetchone()[0]
        return count

    def ratios(self) -> list[Ratio]:
        """The sample-ratio tests of what is current. Raises ExposureError."""
        try:
            return read_ratios(self._database.execute(f"SELECT {RATIO_COLUMNS} FROM ratios"))
        except sqlite3.Error as error:
            raise ExposureError(f"{self._path}: {error}") from error

    def _arms(self) -> Arms:
        rows = self._database.execute("SELECT id, route, version FROM arms")
        return {arm: (route, version) for arm, route, version in rows}

    def _record(self, row: tuple[Any, ...], arms: Arms) -> Spec:
        return as_values(row, arms, self._word(row[7]), self._word(row[11]), self._word(row[12]))

    def _word(self, number: int) -> str:
        text = self._words.get(number)
        if text is None:
            found = self._database.execute("SELECT text FROM words WHERE id = ?", (number,)).fetchone()
            text = self._words[number] = found[0] if found else ""
        return text


def as_values(row: tuple[Any, ...], arms: Arms, rule: str, weights: str, source: str) -> Spec:
    """A record as plain values, for JSON: a row of the columns, its words spelled out."""
    ts, _, unit, arm, before, reason, flags, _, plan, epoch, bucket, _, _, request, raw = row
    route, version = arms[arm]
    return {
        "at": ts / 1e6,
        "route": route,
        "unit": hash_text(unit),
        "raw": None if raw is None else raw.decode("utf-8", "backslashreplace"),
        "source": source,
        "version": version,
        "before": arms[before][1] if before is not None and before in arms else None,
        "first": bool(flags & FIRST),
        "reason": REASONS[reason],
        "rule": rule,
        "randomised": bool(flags & RANDOMISED),
        "bot": bool(flags & ROBOT),
        "bucket": bucket,
        "weights": json.loads(weights or "{}"),
        "plan": plan,
        "epoch": epoch,
        "request_id": request.hex() if isinstance(request, bytes) else request,
    }


def _place(cursor: str) -> Place | None:
    if not cursor:
        return None
    parts = cursor.split(".")
    if len(parts) != 3 or not all(part.isascii() and part.isdigit() and len(part) < 19 for part in parts):
        raise BadCursorError("the cursor is none that a page gave")
    return int(parts[0]), int(parts[1]), int(parts[2])
