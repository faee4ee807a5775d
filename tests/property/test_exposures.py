"""Laws of exposures: whatever workers forget, repeat or say in which order, each first assignment and each change is kept once;
and the test of a split keeps its promise about false alarms."""

import tempfile
from itertools import product
from math import comb, exp
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from proxy.analysis.sample_ratio import CONCENTRATIONS, log_bayes_factor, sample_ratio
from proxy.core.exposed import Exposed
from proxy.core.plan import OVERRIDE, SPLIT
from proxy.exposure.erasure import erase_records
from proxy.exposure.queries import Reader, Wanted
from proxy.exposure.records import Records
from proxy.exposure.schema import signed
from tests.unit.exposure.telling import Teller, unit_of

UNITS = ("u0", "u1", "u2", "u3")
ROUTES = ("shop", "cart")
GOT = st.sampled_from([("stable", SPLIT, ""), ("canary", SPLIT, ""), ("canary", OVERRIDE, "rules[0]")])
EVENT = st.one_of(
    st.tuples(st.just("ask"), st.sampled_from(ROUTES), st.sampled_from(UNITS), GOT),
    st.tuples(st.sampled_from(["worker restarts", "store restarts", "flush"])),
)


class World:
    """One worker with little memory, and a store with small segments; beside them, what should come of it."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.records = Records(path, segment_records=3)
        self.teller = Teller()
        self.worker = Exposed(2)
        self.waiting: list[bytes] = []
        self.expected: dict[tuple[str, str], list[tuple[str, int, str]]] = {}

    def ask(self, route: str, unit: str, got: tuple[str, int, str]) -> None:
        history = self.expected.setdefault((route, unit), [])
        if not history or history[-1] != got:
            history.append(got)
        seen = self.worker.of(route)
        if not seen.knows(unit, *got):
            self.waiting.append(self.teller.message((unit, *got), route=route))
            self.worker.mark(seen, unit, *got)

    def happen(self, what: str) -> None:
        if what == "worker restarts":
            self.worker = Exposed(2)
        if what in ("flush", "store restarts"):
            self.flush()
        if what == "store restarts":
            self.records.close()
            self.records = Records(self.path, segment_records=3)

    def flush(self) -> None:
        self.records.write(self.waiting, 0)
        self.waiting.clear()

    def found(self, route: str, unit: str) -> list[tuple[str, str, str]]:
        with Reader(self.path) as reader:
            rows = reader.find(Wanted(unit=unit_of(unit), route=route), 1000).records
        return [(one["version"], one["reason"], one["rule"]) for one in reversed(rows)]


def in_words(history: list[tuple[str, int, str]]) -> list[tuple[str, str, str]]:
    return [(version, "split" if reason == SPLIT else "override", rule) for version, reason, rule in history]


@given(st.lists(EVENT, max_size=40), st.sampled_from(UNITS))
@settings(max_examples=60, deadline=None)
def test_every_first_assignment_and_every_change_is_kept_once(events, erased):
    with tempfile.TemporaryDirectory() as directory:
        world = World(Path(directory, "e.db"))
        for what, *asked in events:
            if what == "ask":
                world.ask(*asked)
            else:
                world.happen(what)
        world.flush()
        for route, unit in product(ROUTES, UNITS):
            assert world.found(route, unit) == in_words(world.expected.get((route, unit), []))
        check_summary(world)
        gone = sum(len(history) for (_, unit), history in world.expected.items() if unit == erased)
        assert erase_records(world.records.database, signed(unit_of(erased))) == gone
        for route in ROUTES:
            world.expected.pop((route, erased), None)
            assert world.found(route, erased) == []
        check_summary(world)
        world.records.close()


def check_summary(world: World) -> None:
    """Sums are those of the histories, however they came about."""
    with Reader(world.path) as reader:
        found = {(one.route, one.version): (one.units, one.first_assignments, one.records) for one in reader.summary()}
    for route, version in product(ROUTES, ("stable", "canary")):
        histories = [history for (one, _), history in world.expected.items() if one == route and history]
        assert found.get((route, version), (0, 0, 0)) == (
            sum(any(got[0] == version for got in history) for history in histories),
            sum(history[0][0] == version for history in histories),
            sum(got[0] == version for history in histories for got in history),
        )


@given(st.integers(1, 30), st.floats(0.01, 0.99), st.sampled_from(CONCENTRATIONS))
def test_under_the_split_asked_for_the_factor_is_1_on_average(units, share, concentration):
    total = sum(
        comb(units, count)
        * share**count
        * (1 - share) ** (units - count)
        * exp(log_bayes_factor([count, units - count], [share, 1 - share], concentration))
        for count in range(units + 1)
    )
    assert abs(total - 1.0) < 1e-6


@given(st.lists(st.integers(0, 10_000), min_size=2, max_size=6), st.floats(0.001, 1000.0), st.data())
def test_only_the_ratios_of_weights_count(counts, scale, data):
    weights = data.draw(st.lists(st.floats(0.1, 100.0), min_size=len(counts), max_size=len(counts)))
    plain = sample_ratio(counts, weights)
    scaled = sample_ratio(counts, [weight * scale for weight in weights])
    assert abs(plain - scaled) <= 1e-6 * max(1.0, abs(plain))
