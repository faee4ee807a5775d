"""Records into the file: what is new of a message, each unit's first and each change, and what counts in it.

Workers remember lately seen units only, each for itself, and say again what they are not sure was heard. Here it is settled: a
record is kept where the unit has none on its route yet, or its last one says another version, reason or rule. Whether it has
one, a sieve for each segment says at once for nearly all newcomers (sieve.py); for the rest, and for whoever came before, the
file is asked.

All of it runs on one thread (writer.py). After an error the whole object is thrown away and made anew from the file.
"""

import sqlite3
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from proxy.channel.exposures import RANDOMISED, ROBOT, read_exposures
from proxy.core.plan import STICKY
from proxy.exposure.ratios import Ratio, Ratios, deal_of
from proxy.exposure.schema import (
    COLUMNS,
    FIRST,
    NEW_HERE,
    drop_segment,
    make_segment,
    open_for_writing,
    signed,
    transaction,
)
from proxy.exposure.sieve import Sieve, sieve_key

SEGMENT_RECORDS: Final = 1 << 18
"""Records of a segment before the next one is begun; a transaction's more may be in it."""

_LOOKED_AT: Final = 64
"""Records of a unit on a route that a segment is asked for: enough for all versions that a unit has had, but of one that goes to
and fro with every request."""

_INSERT: Final = f"INSERT INTO e{{}} ({COLUMNS}) VALUES ({', '.join('?' * (COLUMNS.count(',') + 1))})"
_TALLY: Final = """INSERT INTO tallies VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO UPDATE SET
    records = records + excluded.records, units = units + excluded.units, firsts = firsts + excluded.firsts,
    robots = robots + excluded.robots, first = min(first, excluded.first), last = max(last, excluded.last)"""

Row = tuple[Any, ...]


@dataclass(slots=True)
class Written:
    """What became of some messages: records kept and repeated ones by route, rows as inserted, and new mismatches."""

    recorded: dict[str, int] = field(default_factory=dict)
    repeated: dict[str, int] = field(default_factory=dict)
    rows: list[Row] = field(default_factory=list)
    mismatches: list[Ratio] = field(default_factory=list)
    broken: int = 0
    """Messages that could not be read."""


Last = tuple[int, int, int, tuple[int, ...]]
"""What a unit last got on a route (arm, reason, rule), and all arms that it has had there."""


class Records:
    """The open file. Raises OtherSchemaError, sqlite3.Error and OSError in whatever it does."""

    def __init__(self, path: Path, *, segment_records: int = SEGMENT_RECORDS) -> None:
        self._database: Final = open_for_writing(path)
        self._segment_records: Final = segment_records
        try:
            self._load()
        except BaseException:
            self._database.close()
            raise

    def _load(self) -> None:
        database = self._database
        self._words: dict[str, int] = dict(database.execute("SELECT text, id FROM words"))
        self._word_segments: dict[str, int] = dict(database.execute("SELECT text, segment FROM words"))
        self._arms: dict[tuple[str, str], int] = {
            (route, version): arm for arm, route, version in database.execute("SELECT id, route, version FROM arms")
        }
        self._routes: dict[str, int] = {}  # the number of the route's first arm: one that stays
        self._route_of: dict[int, int] = {}
        for (route, _), arm in sorted(self._arms.items(), key=lambda one: one[1]):
            self._route_of[arm] = self._routes.setdefault(route, arm)
        self._route_names: dict[int, str] = {arm: route for (route, _), arm in self._arms.items()}
        self.ratios = Ratios(database)
        self._sieves: dict[int, Sieve] = {}
        self._segment = 0
        self._count = 0
        self._next_seq = 0
        for segment, sealed, packed in database.execute("SELECT id, sealed, sieve FROM segments ORDER BY id"):
            self._sieves[segment] = Sieve(packed) if packed and len(packed) == Sieve.SIZE else self._sieve_of(segment)
            if not sealed:
                self._segment = segment
        if self._segment:
            self._count, highest = database.execute(f"SELECT count(*), max(seq) FROM e{self._segment}").fetchone()
            self._next_seq = 0 if highest is None else highest + 1

    def _sieve_of(self, segment: int) -> Sieve:
        sieve = Sieve()
        for unit, arm in self._database.execute(f"SELECT unit, arm FROM e{segment}"):
            sieve.add(sieve_key(unit & (1 << 64) - 1, self._route_of[arm]))
        return sieve

    def close(self) -> None:
        """Close the file."""
        self._database.close()

    # Writing.

    def write(self, payloads: Iterable[bytes], now: int) -> Written:
        """Keep what is new in these messages, in one transaction. `now` in microseconds since 1970."""
        written = Written()
        database = self._database
        with transaction(database):
            if not self._segment:
                self._begin_segment()
            fresh: dict[int, Last] = {}
            tallies: dict[tuple[int, int], list[int]] = {}
            for payload in payloads:
                try:
                    message = read_exposures(payload)
                except ValueError:
                    written.broken += 1
                    continue
                self._take(message, fresh, tallies, written)
            database.executemany(_INSERT.format(self._segment), written.rows)
            database.executemany(
                _TALLY, [(self._segment, arm, reason, *sums) for (arm, reason), sums in tallies.items()]
            )
            for (arm, _), sums in tallies.items():
                route = self._route_names[arm]
                written.recorded[route] = written.recorded.get(route, 0) + sums[0]
            self._count += len(written.rows)
            written.mismatches = self.ratios.save(database, now)
            if self._count >= self._segment_records:
                self._seal()
        return written

    def _take(
        self,
        message: tuple[list[str], list[Any], bytes],
        fresh: dict[int, Last],
        tallies: dict[tuple[int, int], list[int]],
        written: Written,
    ) -> None:
        words, records, tail = message
        numbers = [self._word(word) for word in words]  # in the file
        # By the numbers of route and version: the arm, and the route's number in keys of sieves.
        arms: dict[tuple[int, int], tuple[int, int]] = {}
        active = self._sieves[self._segment].words
        sieves = [(one, sieve.words) for one, sieve in self._sieves.items()]
        rows = written.rows
        repeated = written.repeated
        draws: dict[tuple[int, int, int, int, int, int, int], int] = {}
        at_tail = 0
        ts = 0
        for (
            at, unit, plan, epoch, bucket, route, version, rule, weights, salt, source, segment, reason, flags, id_size, raw_size,
        ) in records:  # fmt: skip
            request = tail[at_tail : at_tail + id_size]
            raw = tail[at_tail + id_size : at_tail + id_size + raw_size] if raw_size else None
            at_tail += id_size + raw_size
            pair = arms.get((route, version))
            if pair is None:
                pair = arms[route, version] = self._arm(words[route], words[version])
            arm, home = pair
            mixed, place, bits = sieve_key(unit, home)
            last = fresh.get(mixed)
            if last is None:
                maybe = [one for one, sieve in sieves if sieve[place] & bits == bits]
                if maybe:
                    last = self._last(maybe, signed(unit), home)
            if last is None:
                flags |= FIRST | NEW_HERE  # noqa: PLW2901 - the row's
                before = None
                fresh[mixed] = (arm, reason, numbers[rule], (arm,))
                if flags & RANDOMISED and not flags & ROBOT:
                    drawn = (route, segment, weights, salt, epoch, source, version)
                    draws[drawn] = draws.get(drawn, 0) + 1
            elif last[0] == arm and last[2] == numbers[rule] and (last[1] == reason or reason == STICKY):
                repeated[words[route]] = repeated.get(words[route], 0) + 1
                continue
            else:
                before = last[0]
                arms_before = last[3]
                if arm not in arms_before:
                    flags |= NEW_HERE  # noqa: PLW2901
                    arms_before = (*arms_before, arm)
                fresh[mixed] = (arm, reason, numbers[rule], arms_before)
            active[place] |= bits
            ts = int(at * 1e6)
            rows.append(
                (
                    ts, self._next_seq, signed(unit), arm, before, reason, flags, numbers[rule], plan, epoch, bucket,
                    numbers[weights], numbers[source], _packed(request), raw,
                )
            )  # fmt: skip
            self._next_seq += 1
            sums = tallies.get((arm, reason))
            if sums is None:
                sums = tallies[arm, reason] = [0, 0, 0, 0, ts, ts]
            sums[0] += 1
            sums[1] += flags >> 3 & 1
            sums[2] += flags >> 2 & 1
            sums[3] += flags & ROBOT
            if ts < sums[4]:
                sums[4] = ts
            elif ts > sums[5]:
                sums[5] = ts
        for (route, segment, weights, salt, epoch, source, version), units in draws.items():
            drawn_by = (words[route], words[segment], deal_of(words[salt], words[weights]), epoch)
            self.ratios.count(drawn_by, words[source], words[version], units, ts)

    def _last(self, segments: list[int], unit: int, home: int) -> Last | None:
        """What the file has of a unit on a route, in these segments."""
        found: tuple[int, int, int] | None = None
        arms: list[int] = []
        latest = (-1, 0, 0)
        for segment in segments:
            looked = 0
            rows = self._database.execute(
                f"SELECT ts, seq, arm, reason, rule FROM e{segment} WHERE unit = ? ORDER BY ts DESC, seq DESC", (unit,)
            )
            for ts, seq, arm, reason, rule in rows:
                if self._route_of[arm] != home:
                    continue
                looked += 1
                if looked > _LOOKED_AT:
                    break
                if arm not in arms:
                    arms.append(arm)
                if (ts, segment, seq) > latest:
                    latest = (ts, segment, seq)
                    found = arm, reason, rule
            rows.close()
        return None if found is None else (*found, tuple(arms))

    def _arm(self, route: str, version: str) -> tuple[int, int]:
        arm = self._arms.get((route, version))
        if arm is None:
            arm = (
                self._database.execute("INSERT INTO arms (route, version) VALUES (?, ?)", (route, version)).lastrowid
                or 0
            )
            self._arms[route, version] = arm
            self._route_names[arm] = route
            self._route_of[arm] = self._routes.setdefault(route, arm)
        return arm, self._route_of[arm]

    def _word(self, text: str) -> int:
        """The number of a text, which is in use in the segment that is being written."""
        number = self._words.get(text)
        if number is None:
            number = self._database.execute(
                "INSERT INTO words (text, segment) VALUES (?, ?)", (text, self._segment)
            ).lastrowid
            self._words[text] = number = number or 0
        elif self._word_segments[text] < self._segment:
            self._database.execute("UPDATE words SET segment = ? WHERE id = ?", (self._segment, number))
        self._word_segments[text] = self._segment
        return number

    def _begin_segment(self) -> None:
        highest: int = self._database.execute("SELECT coalesce(max(id), 0) FROM segments").fetchone()[0]
        self._segment = max(highest, *self._sieves, 0) + 1 if self._sieves else highest + 1
        make_segment(self._database, self._segment)
        self._sieves[self._segment] = Sieve()
        self._count = 0
        self._next_seq = 0

    def _seal(self) -> None:
        self._database.execute(
            "UPDATE segments SET sealed = 1, sieve = ? WHERE id = ?",
            (self._sieves[self._segment].packed(), self._segment),
        )
        self._begin_segment()

    # Letting go.

    def tend(self, oldest: int, max_size: int) -> int:
        """Delete what is older than `oldest` (microseconds since 1970), and the oldest segments while all takes more than
        `max_size` bytes; answers how many records that were."""
        gone = 0
        for segment in list(self._sieves):
            gone += self._delete_older(segment, oldest)
        while len(self._sieves) > 1 and self.size() > max_size:
            gone += self._drop(next(iter(self._sieves)))
        return gone

    def _delete_older(self, segment: int, oldest: int) -> int:
        database = self._database
        if database.execute(f"SELECT 1 FROM e{segment} WHERE ts < ? LIMIT 1", (oldest,)).fetchone() is None:
            return 0
        newer = database.execute(f"SELECT 1 FROM e{segment} WHERE ts >= ? LIMIT 1", (oldest,)).fetchone()
        if newer is None and segment != self._segment:
            return self._drop(segment)
        with transaction(database):
            gone: int = database.execute(f"DELETE FROM e{segment} WHERE ts < ?", (oldest,)).rowcount
            recount(database, segment)
        if segment == self._segment:
            self._count -= gone
        return gone

    def _drop(self, segment: int) -> int:
        database = self._database
        with transaction(database):
            gone: int = database.execute(f"SELECT count(*) FROM e{segment}").fetchone()[0]
            drop_segment(database, segment)
            oldest = min((one for one in self._sieves if one != segment), default=segment + 1)
            database.execute("DELETE FROM words WHERE segment < ?", (oldest,))
        del self._sieves[segment]
        for text in [text for text, last in self._word_segments.items() if last < oldest]:
            del self._words[text], self._word_segments[text]
        return gone

    # How much there is.

    def size(self) -> int:
        """Bytes in use."""
        pages, free, size = (
            self._database.execute(f"PRAGMA {name}").fetchone()[0]
            for name in ("page_count", "freelist_count", "page_size")
        )
        return int((pages - free) * size)

    def records(self) -> int:
        """How many records there are."""
        return int(self._database.execute("SELECT coalesce(sum(records), 0) FROM tallies").fetchone()[0])

    def arms(self) -> dict[int, tuple[str, str]]:
        """Route and version by the number of the arm."""
        return {arm: pair for pair, arm in self._arms.items()}

    def words(self) -> dict[int, str]:
        """Texts by their numbers."""
        return {number: text for text, number in self._words.items()}

    @property
    def database(self) -> sqlite3.Connection:
        """The connection, for who erases (erasure.py)."""
        return self._database


def recount(database: sqlite3.Connection, segment: int) -> None:
    """Tally a segment anew, in the transaction that is open."""
    database.execute("DELETE FROM tallies WHERE segment = ?", (segment,))
    database.execute(
        "INSERT INTO tallies SELECT ?, arm, reason, count(*), sum(flags >> 3 & 1), sum(flags >> 2 & 1), sum(flags & 1),"
        f" min(ts), max(ts) FROM e{segment} GROUP BY arm, reason",
        (segment,),
    )


def _packed(request: bytes) -> bytes | str:
    """A request id in half its size where it is 32 hex digits, as those that the proxy makes are; else as text."""
    if len(request) == 32 and not request.translate(None, b"0123456789abcdef"):
        return bytes.fromhex(request.decode())
    return request.decode("latin-1")
