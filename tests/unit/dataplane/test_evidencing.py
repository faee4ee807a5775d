"""What a worker gathers of the units of a route whose versions are compared, and what it says of them."""

from collections.abc import Callable

from proxy.channel import messages
from proxy.channel.evidence import First, Head, Unit, read_evidence
from proxy.core.hashing import UnitHasher
from proxy.dataplane.evidencing import ROUND
from proxy.telemetry.counters import V_EVIDENCE_DROPPED
from tests.specs import version_spec
from tests.unit.dataplane.stage import OK, Spec, Stage, answer, get, shop
from tests.unit.dataplane.wires import Wire

StageOf = Callable[..., Stage]
HASH = UnitHasher(b"k")
BAD = answer(500, "Content-Length: 0")


def compared(*, stretch: int = 1, run: str = "v2", slow: tuple[float, ...] = (), **parts: object) -> Spec:
    versions = [version_spec("stable", 50.0), version_spec("canary", 50.0)]
    weights = {"stable": 50.0, "canary": 50.0}
    wish = {"run": run, "stretch": stretch, "weights": weights, "slow": list(slow), "from": "stable", "to": "canary"}
    route = {
        "versions": versions,
        "evidence": wish,
        "rules": [{"label": "rules[0]", "units": ["alice"], "version": "canary"}],
    }
    return shop(route=route | parts)


class Control:
    """Takes what a worker sends, as long as it listens."""

    def __init__(self, stage: Stage) -> None:
        self.stage = stage
        self.listens = True
        self.said: list[tuple[Head, list[Unit], list[First]]] = []

    def send(self, kind: int, payload: bytes) -> bool:
        assert kind == messages.EVIDENCE
        if self.listens:
            self.said.append(read_evidence(payload))
        return self.listens

    def flush(self, *, rounds: int = 1) -> list[tuple[Head, list[Unit], list[First]]]:
        start = len(self.said)
        for _ in range(rounds):
            self.stage.time += ROUND
            self.stage.runtime.evidencing.flush(self.send)
        return self.said[start:]

    def units(self) -> dict[str, list[int]]:
        """All sums that were told, by unit hash."""
        found: dict[str, list[int]] = {}
        for _, units, _ in self.said:
            for unit, _, *sums in units:
                known = found.setdefault(f"{unit:016x}", [0] * len(sums))
                found[f"{unit:016x}"] = [a + b for a, b in zip(known, sums, strict=True)]
        return found

    def firsts(self) -> list[tuple[str, str, int]]:
        return [
            (f"{unit:016x}", head["first_versions"][version], mask)
            for head, _, firsts in self.said
            for unit, _, _, version, mask in firsts
        ]


class Users:
    """Ask one after another on one connection."""

    def __init__(self, stage: Stage) -> None:
        self.stage = stage
        self.client = stage.client()
        self.upstream: Wire | None = None

    def ask(self, unit: str, said: bytes = OK, after: float = 0.0) -> None:
        self.client.send(get("/", *((f"X-User-Id: {unit}",) if unit else ())))
        if self.upstream is None or self.upstream.ended:
            self.upstream = self.stage.accept()
        self.upstream.take()
        self.stage.time += after
        self.upstream.send(said)
        assert self.client.take()


def test_a_unit_is_summed_over_its_requests(stage_of: StageOf) -> None:
    stage = stage_of(compared(slow=(0.25, 1.0)))
    control, users = Control(stage), Users(stage)
    users.ask("u")
    users.ask("u", answer(500, body=b"oh"), after=0.5)
    users.ask("v", after=2.0)
    ((head, units, firsts),) = control.flush()
    assert head["columns"] == ["requests", "errors", "bytes", "microseconds", "slow:0.25", "slow:1.0"]
    assert (head["route"], head["run"], head["stretch"], head["level"], head["again"]) == ("shop", "v2", 1, 0, False)
    sums = {f"{unit:016x}": values for unit, _, *values in units}
    assert sums[HASH(b"u")] == [2, 1, 7, 500_000, 1, 0]
    assert sums[HASH(b"v")] == [1, 0, 5, 2_000_000, 1, 1]
    assert {(f"{unit:016x}", mask) for unit, _, _, _, mask in firsts} == {(HASH(b"u"), 0b011), (HASH(b"v"), 0b110)}
    (first, _) = head["samples"]
    assert (first[2], first[4]) == (HASH(b"u"), 500)


def test_only_what_is_new_is_told_and_a_first_event_once(stage_of: StageOf) -> None:
    stage = stage_of(compared())
    control, users = Control(stage), Users(stage)
    for _ in range(3):
        users.ask("u", BAD)
        control.flush()
    assert control.units() == {HASH(b"u"): [3, 3, 0, 0]}
    assert [(unit, mask) for unit, _, mask in control.firsts()] == [(HASH(b"u"), 1)]
    assert control.flush() == []


def test_what_answers_say_that_units_did_is_counted(stage_of: StageOf) -> None:
    spec = compared(slow=(0.25,))
    wish = spec["routes"][0]["evidence"]
    wish["events"] = [
        {"name": "posted", "field": ""},
        {"name": "purchase", "field": "X-Event"},
        {"name": "visit", "field": "x-visit"},
    ]
    stage = stage_of(spec)
    control, users = Control(stage), Users(stage)
    users.ask("u", answer(200, "X-Event: 19.99", "Content-Length: 0"))
    users.ask("u", answer(200, "x-event: 5", "X-Visit: yes", "Content-Length: 0"))
    users.ask("u", answer(200, "X-Event: -3", "Content-Length: 0"))
    users.ask("u")
    ((head, ((_, _, *sums),), _),) = control.flush()
    assert head["columns"][4:] == ["slow:0.25", "event:purchase", "value:purchase", "event:visit", "value:visit"]
    assert sums[5:] == [3, 24_990, 1, 0]


def test_only_who_was_dealt_undisturbed_is_counted(stage_of: StageOf) -> None:
    stage = stage_of(compared())
    control, users = Control(stage), Users(stage)
    users.ask("alice", BAD)  # by a rule
    users.ask("", BAD)  # no unit
    assert control.flush() == []


def test_marked_samples_are_left_out(stage_of: StageOf) -> None:
    spec = compared()
    for one in spec["routes"][0]["versions"]:
        one["warm_up"] = 30.0
    cold = compared()
    for one in cold["routes"][0]["versions"]:
        one["warm_up"] = 30.0
        one["weight"] = 0.0
    stage = stage_of(cold)
    stage.bring(spec | {"generation": 2})  # both have just got their first weight
    control, users = Control(stage), Users(stage)
    users.ask("u", BAD)
    assert control.flush() == []
    stage.time += 31.0
    users.ask("u", BAD)
    control.flush()
    assert control.units() == {HASH(b"u"): [1, 1, 0, 0]}


def test_a_plan_of_the_same_stretch_goes_on_and_another_begins_anew(stage_of: StageOf) -> None:
    stage = stage_of(compared())
    control, users = Control(stage), Users(stage)
    users.ask("u", BAD)
    stage.bring(compared() | {"generation": 2})
    users.ask("u", BAD)
    ((_, units, _),) = control.flush()
    assert [one[2:4] for one in units] == [(2, 2)]
    stage.bring(compared(stretch=2) | {"generation": 3})
    users.ask("u", BAD)
    users.ask("v", BAD)
    ((head, units, firsts),) = control.flush()
    assert head["stretch"] == 2
    assert len(units) == 2
    assert [(f"{one[0]:016x}", one[2]) for one in firsts] == [
        (HASH(b"v"), 2)
    ]  # u had its first error in the stretch before
    stage.bring(compared(run="v3") | {"generation": 4})
    users.ask("u", BAD)
    ((head, _, firsts),) = control.flush()
    assert (head["run"], len(firsts)) == ("v3", 1)


def test_a_request_of_the_stretch_before_is_counted_there(stage_of: StageOf) -> None:
    stage = stage_of(compared())
    control = Control(stage)
    client = stage.client()
    client.send(get("/", "X-User-Id: u"))
    upstream = stage.accept()
    stage.bring(compared(stretch=2) | {"generation": 2})
    upstream.send(BAD)
    assert client.take()
    told = control.flush()
    assert [(head["stretch"], len(units)) for head, units, _ in told if units] == [(1, 1)]
    assert [first[2] for _, _, firsts in told for first in firsts] == [1]


def test_without_control_it_waits_and_a_new_one_is_told_all_of_it(stage_of: StageOf) -> None:
    stage = stage_of(compared())
    control, users = Control(stage), Users(stage)
    users.ask("u", BAD)
    control.flush()
    control.listens = False
    users.ask("u")
    users.ask("v", BAD)
    control.flush(rounds=3)
    users.ask("w")
    successor = Control(stage)
    stage.runtime.evidencing.connected()
    told = successor.flush(rounds=3)
    assert told[0][0]["again"] is True
    assert told[-1][0]["again"] is False
    assert successor.units() == {HASH(b"u"): [2, 1, 5, 0], HASH(b"v"): [1, 1, 0, 0], HASH(b"w"): [1, 0, 5, 0]}
    assert sorted(unit for unit, _, _ in successor.firsts()) == sorted([HASH(b"u"), HASH(b"v")])
    assert told[0][0]["samples"]


def test_control_that_is_behind_gets_it_later(stage_of: StageOf) -> None:
    stage = stage_of(compared())
    control, users = Control(stage), Users(stage)
    users.ask("u", BAD)
    control.listens = False
    control.flush()
    users.ask("u")
    control.listens = True
    control.flush(rounds=3)
    assert control.units() == {HASH(b"u"): [2, 1, 5, 0]}
    assert len(control.firsts()) == 1


def test_a_worker_that_ends_tells_the_rest(stage_of: StageOf) -> None:
    stage = stage_of(compared())
    control, users = Control(stage), Users(stage)
    users.ask("u")
    control.flush()
    users.ask("u")
    users.ask("v", BAD)
    stage.runtime.evidencing.finish(control.send)
    assert control.units() == {HASH(b"u"): [2, 0, 10, 0], HASH(b"v"): [1, 1, 0, 0]}
    assert len(control.firsts()) == 1


def test_first_events_without_room_are_dropped_and_counted(stage_of: StageOf) -> None:
    stage = stage_of(compared())
    tally = stage.plan.routes[0].evidence
    assert tally is not None
    tally.firsts.limit = 1  # 50,000 units would take long
    control, users = Control(stage), Users(stage)
    for unit in ("u", "v", "w"):
        users.ask(unit, BAD)
    control.flush()
    assert len(control.firsts()) == 1
    assert len(control.units()) == 3
    assert sum(stage.cells.view[version.slot + V_EVIDENCE_DROPPED] for version in stage.plan.routes[0].versions) == 2


def test_a_route_that_compares_nothing_has_none(stage_of: StageOf) -> None:
    stage = stage_of(shop())
    users, control = Users(stage), Control(stage)
    users.ask("u", BAD)
    assert stage.plan.routes[0].evidence is None
    assert control.flush() == []


def test_who_fails_without_being_dealt_the_version_is_named_for_the_brake(stage_of: StageOf) -> None:
    """Where the version has no weight, so that nobody was dealt it."""
    spec = compared()
    spec["routes"][0]["evidence"]["weights"] = {"stable": 100.0, "canary": 0.0}
    stage = stage_of(spec)
    control, users = Control(stage), Users(stage)
    users.ask("alice")
    assert control.flush() == []  # by a rule, and well
    users.ask("alice", BAD)
    ((head, units, firsts),) = control.flush()
    assert (head["called"], units, firsts) == ({"canary": [HASH(b"alice")]}, [], [])
    users.ask("alice", BAD)
    assert control.flush() == []  # nothing new
    stage.runtime.evidencing.connected()
    assert control.flush()[0][0]["called"] == {"canary": [HASH(b"alice")]}
