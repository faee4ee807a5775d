"""Sample ratios of what was recorded: first randomised assignments, by weight epoch, segment and entry path.

Counted is a unit's first record on its route, where the version was drawn by the route's weights (reason `split`), or by those of a
rule with a split of its own, which make a segment of their own. Not counted: robots, and whoever got the version by a rule, a
preview, a ring, a pin, a deny or for want of a choice. A unit counts once, in the epoch in which it came: an epoch is all the
time in which weights, salt and salt epoch were the same. What becomes of it when weights change says nothing about the draw.
"""

import json
import sqlite3
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from proxy.analysis.sample_ratio import ALARM, sample_ratio

EPOCHS_KEPT: Final = 20
"""Of each route and segment; older ones are forgotten."""

RATIO_COLUMNS: Final = "route, segment, deal, epoch, source, version, units, since, last"

ALL: Final = ""
"""As a segment: the route's own split. As a source: all of them."""

Epoch = tuple[str, str, str, int]
"""Route, segment, deal (`deal_of`), salt epoch."""
Key = tuple[str, str, str, int, str, str]
"""An epoch with source and version."""


@dataclass(frozen=True, slots=True)
class Ratio:
    """One test: `counts` of units by version against `weights`. Above ALARM, `log_bayes_factor` says that the split is not what
    was asked for."""

    route: str
    segment: str
    source: str
    weights: dict[str, float]
    epoch: int
    since: float
    counts: dict[str, int]
    log_bayes_factor: float

    @property
    def mismatch(self) -> bool:
        """Whether this is evidence enough."""
        return self.log_bayes_factor > ALARM


def deal_of(salt: str, weights: str) -> str:
    """What cards were dealt: a salt, and weights as JSON by version."""
    return f"{salt}\n{weights}"


class Ratios:
    """The counts, in memory as in the file."""

    def __init__(self, database: sqlite3.Connection) -> None:
        self._counts: Final[dict[Epoch, dict[str, dict[str, int]]]] = {}  # source -> version -> units
        self._since: Final[dict[Epoch, int]] = {}
        self._last: Final[dict[Epoch, int]] = {}
        self._alarmed: Final[set[tuple[Epoch, str]]] = set()
        self._changed: Final[dict[Key, int]] = {}
        self._tested: Final[dict[Epoch, list[Ratio]]] = {}  # as of the last time that something was counted in it
        self.current: Final[dict[tuple[str, str], Epoch]] = {}
        """By route and segment, the epoch that a unit came in last."""
        for *epoch, source, version, units, since, last in database.execute(f"SELECT {RATIO_COLUMNS} FROM ratios"):
            key = (epoch[0], epoch[1], epoch[2], epoch[3])
            self._counts.setdefault(key, {}).setdefault(source, {})[version] = units
            self._since[key] = min(since, self._since.get(key, since))
            self._last[key] = max(last, self._last.get(key, last))
        for key in sorted(self._last, key=lambda one: self._last[one]):
            self.current[key[0], key[1]] = key
        for *epoch, source in database.execute("SELECT route, segment, deal, epoch, source FROM alarms"):
            self._alarmed.add(((epoch[0], epoch[1], epoch[2], epoch[3]), source))

    def count(self, epoch: Epoch, source: str, version: str, units: int, at: int) -> None:
        """So many units came by `source` and were dealt `version`, the last at `at` microseconds since 1970."""
        sources = self._counts.get(epoch)
        if sources is None:
            sources = self._counts[epoch] = {}
            self._since[epoch] = at
        versions = sources.setdefault(source, {})
        versions[version] = versions.get(version, 0) + units
        self.current[epoch[0], epoch[1]] = epoch
        self._last[epoch] = at
        key = (*epoch, source, version)
        self._changed[key] = self._changed.get(key, 0) + units

    def save(self, database: sqlite3.Connection, now: int) -> list[Ratio]:
        """Write down what was counted since, in the transaction that is open; answers the mismatches that are new."""
        if not self._changed:
            return []
        database.executemany(
            "INSERT INTO ratios VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)"
            " ON CONFLICT DO UPDATE SET units = units + excluded.units, last = excluded.last",
            [
                (*key, units, self._since[key[0], key[1], key[2], key[3]], self._last[key[0], key[1], key[2], key[3]])
                for key, units in self._changed.items()
            ],
        )
        found = []
        for epoch in {(key[0], key[1], key[2], key[3]) for key in self._changed}:
            self._tested[epoch] = self._of(epoch)
            for ratio in self._tested[epoch]:
                if ratio.mismatch and (epoch, ratio.source) not in self._alarmed:
                    self._alarmed.add((epoch, ratio.source))
                    database.execute(
                        "INSERT OR IGNORE INTO alarms VALUES (?, ?, ?, ?, ?, ?)", (*epoch, ratio.source, now)
                    )
                    found.append(ratio)
        self._changed.clear()
        self._forget(database)
        return found

    def shown(self) -> list[Ratio]:
        """The tests of all epochs that are current: of all their units, and of each way in, where there is more than one."""
        found = []
        for epoch in self.current.values():
            if epoch not in self._tested:
                self._tested[epoch] = self._of(epoch)
            found += self._tested[epoch]
        return found

    def _of(self, epoch: Epoch) -> list[Ratio]:
        return ratios_of(epoch, self._since[epoch], self._counts[epoch])

    def _forget(self, database: sqlite3.Connection) -> None:
        by_place: dict[tuple[str, str], list[Epoch]] = {}
        for epoch in self._counts:
            by_place.setdefault((epoch[0], epoch[1]), []).append(epoch)
        for epochs in by_place.values():
            current = self.current[epochs[0][0], epochs[0][1]]
            epochs.sort(key=lambda one: (one == current, self._since[one]))
            for epoch in epochs[:-EPOCHS_KEPT]:
                del self._counts[epoch], self._since[epoch], self._last[epoch]
                self._tested.pop(epoch, None)
                for table in ("ratios", "alarms"):
                    database.execute(
                        f"DELETE FROM {table} WHERE route = ? AND segment = ? AND deal = ? AND epoch = ?",
                        epoch,
                    )


def ratios_of(epoch: Epoch, since: int, sources: dict[str, dict[str, int]]) -> list[Ratio]:
    """The tests of one epoch over `sources`: source -> version -> units. Weights that cannot be read give none."""
    try:
        weights: dict[str, float] = json.loads(epoch[2].partition("\n")[2])
    except ValueError:
        return []
    whole: dict[str, int] = {}
    for versions in sources.values():
        for version, units in versions.items():
            whole[version] = whole.get(version, 0) + units
    parts = [(ALL, whole), *(sorted(sources.items()) if len(sources) > 1 else ())]
    return [_ratio(epoch, source, since, weights, counts) for source, counts in parts]


def _ratio(epoch: Epoch, source: str, since: int, weights: dict[str, float], counts: dict[str, int]) -> Ratio:
    full = {version: counts.get(version, 0) for version in dict.fromkeys((*weights, *counts))}
    factor = (
        sample_ratio(list(full.values()), [weights.get(version, 0.0) for version in full])
        if any(weights.values())
        else 0.0
    )
    return Ratio(epoch[0], epoch[1], source, weights, epoch[3], since / 1e6, full, factor)


def read_ratios(rows: Iterable[tuple[str, str, str, int, str, str, int, int, int]]) -> list[Ratio]:
    """The tests of the current epoch of each route and segment, from rows of the table `ratios` (RATIO_COLUMNS)."""
    sources: dict[Epoch, dict[str, dict[str, int]]] = {}
    since: dict[Epoch, int] = {}
    lasts: dict[Epoch, int] = {}
    for route, segment, deal, number, source, version, units, at, last in rows:
        epoch = (route, segment, deal, number)
        sources.setdefault(epoch, {}).setdefault(source, {})[version] = units
        since[epoch] = min(at, since.get(epoch, at))
        lasts[epoch] = max(last, lasts.get(epoch, last))
    newest: dict[tuple[str, str], Epoch] = {}
    for epoch in sorted(lasts, key=lambda one: lasts[one]):
        newest[epoch[0], epoch[1]] = epoch
    return [ratio for epoch in newest.values() for ratio in ratios_of(epoch, since[epoch], sources[epoch])]
