"""Evidence of many workers is that of one: whatever the order, the rounds and the number of workers."""

from collections.abc import Iterable
from math import isclose

from hypothesis import given, settings
from hypothesis import strategies as st

from proxy.analysis.clusters import Clusters
from proxy.channel.evidence import evidence_payload, read_evidence
from proxy.core.evidence import FIRST, EvidenceWish, Firsts, Tally
from proxy.rollout.evidence import Evidence, clusters_of, stretches_of, versions_of
from proxy.rollout.judging import ratio_of_samples
from proxy.rollout.units import Run, Stretch
from proxy.telemetry.measures import Counts

VERSIONS = ["stable", "canary"]
WISH = {"run": "r", "stretch": 7, "weights": {"stable": 50.0, "canary": 50.0}, "slow": [0.1, 0.5]}

requests = st.lists(
    st.tuples(
        st.integers(0, 40),  # unit; its version is its last bit
        st.booleans(),  # failed
        st.sampled_from([0.01, 0.2, 0.9]),
        st.integers(0, 1000),
        st.integers(0, 2),  # worker
        st.booleans(),  # it tells what it has afterwards
    ),
    max_size=120,
)


class Worker:
    """A tally and its first events, told to a run."""

    def __init__(self, limit: int, canary: float = 50.0) -> None:
        self.firsts = Firsts("r")
        wish = WISH | {"weights": {"stable": 100.0 - canary, "canary": canary}}
        self.tally = Tally("shop", EvidenceWish(wish, VERSIONS), self.firsts, limit)

    def count(self, unit: str, version: int, at: float, *, failed: bool, seconds: float, size: int) -> None:
        news = self.tally.count(version, unit, failed, seconds, size)
        if news:
            assert self.firsts.note(unit, VERSIONS[version], news, 7, at)

    def tell(self) -> Iterable[bytes]:
        for _ in range(2):
            self.tally.turn()
            while self.tally.waiting() or self.firsts.told < len(self.firsts.records):
                head = self.tally.head() | {"first_versions": self.firsts.versions, "samples": []}
                records = bytes(self.firsts.records[self.firsts.told : self.firsts.told + 3 * FIRST.size])
                self.firsts.told += len(records)
                self.tally.changed = False
                yield evidence_payload(head, self.tally.take(4), records)


def unit_of(number: int) -> str:
    return f"{(number * 0x9E3779B97F4A7C15) % 2**64:016x}"


def shown(run: Run) -> object:
    stretch = run.units()
    sums = {} if stretch is None else stretch.sums
    return (
        run.counts,
        0 if stretch is None else stretch.level,
        {
            (version, column): one.values()
            for version, columns in sums.items()
            for column, one in columns.items()
            if one.units
        },
    )


def gathered(
    made: list[tuple[int, bool, float, int, int, bool]], workers: int, limit: int, canary: float = 50.0
) -> Run:
    run = Run("r", tracked=limit)
    run.follow(7, {"stable": 100.0 - canary, "canary": canary})
    all_workers = [Worker(limit, canary) for _ in range(workers)]
    at = 0.0
    for number, failed, seconds, size, which, tells in made:
        at += 1.0
        worker = all_workers[which % workers]
        worker.count(unit_of(number), number & 1, at, failed=failed, seconds=seconds, size=size)
        if tells:
            for payload in worker.tell():
                run.take(*read_evidence(payload))
    for worker in reversed(all_workers):
        for payload in worker.tell():
            run.take(*read_evidence(payload))
    return run


def plain(run: Run) -> object:
    counts, level, sums = shown(run)  # type: ignore[misc]
    counts = {
        stretch: {version: places for version, places in versions.items() if any(places)}
        for stretch, versions in counts.items()
    }
    return ({one: versions for one, versions in counts.items() if versions}, level, sums)


@given(requests, st.sampled_from([6, 1000]), st.sampled_from([50.0, 10.0]))
def test_many_workers_say_what_one_would(
    made: list[tuple[int, bool, float, int, int, bool]], limit: int, canary: float
) -> None:
    assert plain(gathered(made, 3, limit, canary)) == plain(gathered(made, 1, limit, canary))


def test_of_a_version_with_a_small_weight_as_many_units_are_kept_as_of_the_other() -> None:
    """One unit in a hundred of 2,000 would be 20: too few to say anything, however long one waits."""
    run, worker = Run("r", tracked=2000), Worker(2000, 1.0)
    run.follow(7, {"stable": 99.0, "canary": 1.0})
    for number in range(60_000):
        version = int(number % 100 == 0)
        worker.count(unit_of(number), version, 1.0, failed=number % 10 == 0, seconds=0.01, size=1)
    for payload in worker.tell():
        run.take(*read_evidence(payload))
    stretch = run.units()
    assert stretch is not None
    assert stretch.tracked <= 2000
    assert (stretch.level_of("canary"), stretch.units("canary")) == (0, 600)  # all of them
    assert stretch.level_of("stable") == stretch.level
    kept = stretch.units("stable")
    assert kept > 500
    assert abs((kept << stretch.level) / 59_400 - 1.0) < 0.15
    seen = versions_of({name: Counts() for name in VERSIONS}, run)
    evidence = Evidence("shop", "stable", "canary", None, 0.0, 1.0, seen, stretches_of(run), level=stretch.level)
    assert evidence.samples()["canary"] == (0, 600)
    assert abs(evidence.samples()["stable"][1] / 59_400 - 1.0) < 0.15
    ratio = ratio_of_samples({"name": "split"}, evidence, 0.0)
    assert ratio.outcome == "pass", ratio.reason


@given(requests)
def test_a_share_of_units_is_complete_and_bounded(made: list[tuple[int, bool, float, int, int, bool]]) -> None:
    whole, part = gathered(made, 2, 10_000, 10.0), gathered(made, 2, 6, 10.0)
    stretch, every = part.units(), whole.units()
    if stretch is None or every is None:
        assert not made
        return
    assert stretch.tracked <= 6
    for version, units in every._units.items():
        mask = (1 << stretch.level_of(version)) - 1
        kept = {unit: sums for unit, sums in units.items() if not unit & mask}
        assert kept == stretch._units.get(version, {})


@given(requests)
def test_what_one_control_process_heard_the_next_is_told(made: list[tuple[int, bool, float, int, int, bool]]) -> None:
    worker, first, second = Worker(1000), Run("r"), Run("r")
    for run in (first, second):
        run.follow(7, WISH["weights"])
    for at, (number, failed, seconds, size, _, tells) in enumerate(made):
        worker.count(unit_of(number), number & 1, float(at), failed=failed, seconds=seconds, size=size)
        if tells:
            for payload in worker.tell():
                first.take(*read_evidence(payload))
    for payload in worker.tell():
        first.take(*read_evidence(payload))
    worker.tally.tell_again()
    worker.firsts.told = 0
    for payload in worker.tell():
        second.take(*read_evidence(payload))
    assert plain(first) == plain(second)


@given(st.lists(st.tuples(st.integers(0, 5), st.integers(0, 3), st.integers(1, 5)), max_size=40))
def test_sums_are_those_of_the_units(parts: list[tuple[int, int, int]]) -> None:
    stretch = Stretch(["requests", "errors"], [])
    totals: dict[int, list[int]] = {}
    for unit, errors, more in parts:
        stretch.take(["canary"], 0, [(unit, 0, more, min(errors, more))], again=False)
        mine = totals.setdefault(unit, [0, 0])
        mine[0] += more
        mine[1] += min(errors, more)
    expected = Clusters.of([float(e) for _, e in totals.values()], [float(n) for n, _ in totals.values()])
    found = clusters_of(stretch.sums["canary"]["errors"]) if parts else Clusters()
    assert found == expected
    assert isclose(found.variance, expected.variance) or not parts


@settings(max_examples=50)
@given(st.lists(st.tuples(st.integers(0, 9), st.booleans(), st.integers(0, 5)), max_size=60))
def test_events_count_for_units_that_came_whichever_is_first(steps: list[tuple[int, bool, int]]) -> None:
    stretch = Stretch(["requests"], ["purchase"])
    came: set[int] = set()
    bought: dict[int, int] = {}
    for unit, comes, value in steps:
        if comes:
            stretch.take(["canary"], 0, [(unit, 0, 1)], again=False)
            came.add(unit)
        else:
            stretch.happen(unit, "purchase", 1, value * 1000)
            bought[unit] = bought.get(unit, 0) + value * 1000
    assert stretch.counted.get("canary", 0) == len(came)
    if came:
        sums = stretch.sums["canary"]
        assert sums["event:purchase"].values()[0] == len(came)
        assert sums["event:purchase"].affected == len(came & bought.keys())
        assert sums["value:purchase"].total == sum(value for unit, value in bought.items() if unit in came)


@settings(max_examples=50)
@given(st.integers(1, 5), st.lists(st.tuples(st.integers(0, 19), st.booleans()), max_size=80))
def test_a_flood_of_events_of_nobody_takes_no_room_from_units_that_came(
    room: int, steps: list[tuple[int, bool]]
) -> None:
    """Of those that wait the newest stay; an event of a unit that came counts whatever else is sent."""
    stretch = Stretch(["requests"], ["purchase"], pending=room)
    came: dict[int, bool] = {}
    waiting: list[int] = []
    gave_way = 0
    for unit, comes in steps:
        if comes:
            stretch.take(["canary"], 0, [(unit, 0, 1)], again=False)
            came[unit] = came.get(unit, False) or unit in waiting
            waiting = [one for one in waiting if one != unit]
        else:
            stretch.happen(unit, "purchase", 1, 0)
            if unit in came:
                came[unit] = True
            elif unit not in waiting:
                waiting.append(unit)
                gave_way += len(waiting) > room
                waiting = waiting[-room:]
    assert stretch.gave_way == gave_way
    if came:
        assert stretch.sums["canary"]["event:purchase"].affected == sum(came.values())
