"""The brake in a worker that has no control process: a version that fails is taken out, and stays out until control has decided."""

from collections.abc import Callable

import pytest

from proxy.channel import messages
from proxy.channel.evidence import Head, read_evidence
from proxy.dataplane.evidencing import ROUND
from proxy.telemetry.counters import V_BRAKES
from tests.specs import version_spec
from tests.unit.dataplane.stage import OK, Spec, Stage, answer, get, pool_spec, shop
from tests.unit.dataplane.wires import Wire

StageOf = Callable[..., Stage]
BAD = answer(500, "Content-Length: 0")
BRAKE = {"errors": 3.0, "window": 10.0, "minimum": 20}


def rolling(*, stretch: int = 1, brake: Spec | None = BRAKE, baseline: str | None = None, **route: object) -> Spec:
    versions = [version_spec("stable", 50.0, upstream="old"), version_spec("canary", 50.0, upstream="new")]
    wish = {
        "run": "v2", "stretch": stretch, "weights": {"stable": 50.0, "canary": 50.0}, "slow": [], "events": [],
        "from": "stable", "to": "canary", "baseline": baseline, "brake": brake,
    }  # fmt: skip
    pools = [pool_spec("old", "10.0.0.1"), pool_spec("new", "10.0.0.2")]
    return shop(route={"versions": versions, "evidence": wish} | route, upstreams=pools)


class House:
    """Users of a stage, whose upstreams answer as they are told."""

    def __init__(self, stage: Stage) -> None:
        self.stage = stage
        self.client = stage.client()
        self.upstreams: dict[str, Wire] = {}
        self.answers = {"stable": OK, "canary": OK}

    def ask(self, unit: str) -> str:
        """Which version was assigned and has answered."""
        before = self.counts()
        self.client.send(get("/", f"X-User-Id: {unit}"))
        if self.stage.dialling():
            wire = self.stage.accept()
            head = wire.take()
            name = next(
                (one for one in ("canary", "baseline") if b"x-tidegate-version: " + one.encode() in head), "stable"
            )
            self.upstreams[name] = wire
            wire.send(self.answers[name])
        else:
            for name, wire in self.upstreams.items():
                if wire.take():
                    wire.send(self.answers[name])
        assert self.client.take()
        return next(name for name, count in self.counts().items() if count > before.get(name, 0))

    def counts(self) -> dict[str, int]:
        found: dict[str, int] = {}
        for (assigned, _, _), count in self.stage.codes().items():
            found[assigned] = found.get(assigned, 0) + count
        return found

    def second(self, first: int, *, users: int = 40) -> set[str]:
        """A second without control, in which so many users ask: the versions they got."""
        got = {self.ask(f"u{user}") for user in range(first, first + users)}
        self.stage.time += 1.0
        self.stage.runtime.braking.look(self.stage.plan)
        return got

    def brakes(self) -> int:
        return sum(self.stage.cells.view[version.slot + V_BRAKES] for version in self.stage.plan.routes[0].versions)


def stopped(stage: Stage) -> House:
    house = House(stage)
    house.answers["canary"] = BAD
    for second in range(4):  # the first look is where counting begins
        house.second(40 * second)
    assert house.brakes() == 1
    return house


def test_a_version_that_fails_is_taken_out_within_seconds(stage_of: StageOf, caplog: pytest.LogCaptureFixture) -> None:
    house = stopped(stage_of(rolling()))
    assert house.second(160) == {"stable"}
    assert house.brakes() == 1
    assert "canary of route shop is taken out of service" in caplog.text
    assert house.stage.plan.routes[0].plain is False


@pytest.mark.parametrize("both", [True, False])
def test_a_version_that_is_no_worse_stays(stage_of: StageOf, *, both: bool) -> None:
    house = House(stage_of(rolling()))
    if both:
        house.answers = {"stable": BAD, "canary": BAD}
    for second in range(5):
        house.second(40 * second)
    assert house.second(200) == {"stable", "canary"}
    assert house.brakes() == 0


def test_a_baseline_that_fails_as_often_is_no_fault_of_the_version(stage_of: StageOf) -> None:
    """What both have is that they are fresh."""
    versions = [
        version_spec("stable", 80.0, upstream="old"),
        version_spec("canary", 10.0, upstream="new"),
        version_spec("baseline", 10.0, upstream="fresh"),
    ]
    pools = [pool_spec("old", "10.0.0.1"), pool_spec("new", "10.0.0.2"), pool_spec("fresh", "10.0.0.3")]
    spec = rolling(baseline="baseline", versions=versions, brake=BRAKE | {"minimum": 5})
    spec["routes"][0]["evidence"]["weights"] = {"stable": 80.0, "canary": 10.0, "baseline": 10.0}
    spec["upstreams"] = shop(upstreams=pools)["upstreams"]
    house = House(stage_of(spec))
    house.answers = {"stable": OK, "canary": BAD, "baseline": BAD}
    for second in range(5):
        house.second(100 * second, users=100)
    assert house.brakes() == 0
    house.answers["baseline"] = OK
    for second in range(5, 20):
        house.second(100 * second, users=100)
    assert house.brakes() == 1


def test_one_user_who_fails_is_no_degradation(stage_of: StageOf) -> None:
    house = House(stage_of(rolling()))
    user = next(f"u{number}" for number in range(50) if house.ask(f"u{number}") == "canary")
    for _ in range(5):
        house.answers["canary"] = BAD
        for _ in range(30):
            house.ask(user)
        house.answers["canary"] = OK
        house.second(100)
    assert house.brakes() == 0


def ringed(stage_of: StageOf) -> House:
    """Nobody is dealt the canary; who begins with `r` is given it by a rule."""
    versions = [version_spec("stable", 100.0, upstream="old"), version_spec("canary", 0.0, upstream="new")]
    rules = [{"label": "rules[0]", "units": [f"r{number}" for number in range(9)], "version": "canary"}]
    spec = rolling(versions=versions, rules=rules)
    spec["routes"][0]["evidence"]["weights"] = {"stable": 100.0, "canary": 0.0}
    house = House(stage_of(spec))
    house.answers["canary"] = BAD
    return house


@pytest.mark.parametrize(("clients", "brakes"), [(2, 0), (3, 1)])
def test_of_a_version_without_a_share_three_units_must_have_erred(stage_of: StageOf, clients: int, brakes: int) -> None:
    house = ringed(stage_of)
    for _ in range(4):
        for number in range(30):
            house.ask(f"r{number % clients}")
        house.second(100)
    assert house.brakes() == brakes


def test_without_a_brake_nothing_is_watched(stage_of: StageOf) -> None:
    house = House(stage_of(rolling(brake=None)))
    house.answers["canary"] = BAD
    for second in range(3):
        house.second(40 * second)
    assert house.brakes() == 0


def test_it_stays_on_through_plans_of_the_same_stretch_and_ends_with_the_next(stage_of: StageOf) -> None:
    stage = stage_of(rolling())
    house = stopped(stage)
    stage.bring(rolling() | {"generation": 2})
    assert house.second(160) == {"stable"}
    stage.bring(rolling(stretch=2) | {"generation": 3})
    house.answers["canary"] = OK
    assert house.second(200) == {"stable", "canary"}


def test_a_control_process_that_comes_back_is_told(stage_of: StageOf) -> None:
    stage = stage_of(rolling())
    stopped(stage)
    heads: list[Head] = []

    def send(kind: int, payload: bytes) -> bool:
        assert kind == messages.EVIDENCE
        heads.append(read_evidence(payload)[0])
        return True

    stage.runtime.evidencing.connected()
    stage.time += ROUND
    stage.runtime.evidencing.flush(send)
    said = heads[0]["brake"]
    assert said["version"] == "canary"
    assert said["numbers"]["errors"] >= 20
    assert "requests failed within 10 s" in said["reason"]


def test_with_control_nothing_is_kept(stage_of: StageOf) -> None:
    """What was counted before control came back is not held against a version after it has gone again."""
    stage = stage_of(rolling())
    house = House(stage)
    house.answers["canary"] = BAD
    house.second(0)
    house.stage.runtime.braking.rest()
    house.answers["canary"] = OK
    for second in range(5):
        house.second(40 + 40 * second)
    assert house.brakes() == 0
