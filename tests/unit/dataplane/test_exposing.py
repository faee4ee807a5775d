"""What a worker says of exposures: who is news, what is said of them, and what becomes of it when nobody listens."""

from collections.abc import Callable

import pytest

from proxy.channel import messages
from proxy.channel.exposures import RANDOMISED, ROBOT, read_exposures, sequence_of
from proxy.core.hashing import UnitHasher
from proxy.core.plan import REASONS
from proxy.dataplane.exposing import BATCH, WINDOW
from proxy.telemetry.counters import V_EXPOSURES_DROPPED, W_FAILURES
from tests.specs import version_spec
from tests.unit.dataplane.stage import OK, Spec, Stage, get, shop
from tests.unit.dataplane.wires import Wire

StageOf = Callable[..., Stage]
RULES = [
    {"label": "rules[0]", "units": ["alice"], "version": "canary"},
    {"label": "rules[1]", "where": {"segment": "beta"}, "split": {"stable": 0.0, "canary": 1.0}},
    {"label": "rules[2]", "units": ["bob"], "deny": "stable"},
]
BETA = {"name": "beta", "where": {"source": "header", "name": "x-beta", "test": "exists", "value": True}}


def recording(
    *, queue: int = 1000, raw: bool = False, weights: tuple[float, float] = (100.0, 0.0), **route: object
) -> Spec:
    versions = [version_spec("stable", weights[0]), version_spec("canary", weights[1])]
    made = {"versions": versions, "exposure": True, "rules": RULES, "default": "stable"} | route
    return shop(route=made, segments=[BETA], exposure={"queue": queue, "raw_units": raw})


class Control:
    """Takes what a worker sends, as long as it listens."""

    def __init__(self, stage: Stage) -> None:
        self.stage = stage
        self.listens = True
        self.payloads: list[bytes] = []

    def send(self, kind: int, payload: bytes) -> bool:
        assert kind == messages.EXPOSURES
        if self.listens:
            self.payloads.append(payload)
        return self.listens

    def flush(self) -> list[dict[str, object]]:
        """What a flush brings, spelled out."""
        start = len(self.payloads)
        self.stage.runtime.exposing.flush(self.send)
        return [one for payload in self.payloads[start:] for one in spelled(payload)]

    def acknowledge(self) -> None:
        self.stage.runtime.exposing.acknowledged(sequence_of(self.payloads[-1]), self.send)


def spelled(payload: bytes) -> list[dict[str, object]]:
    words, records, tail = read_exposures(payload)
    found = []
    for record in records:
        at, unit, plan, epoch, bucket, *named, reason, flags, id_size, raw_size = record
        route, version, rule, weights, salt, source, segment = (words[one] for one in named)
        found.append({
            "at": at, "unit": f"{unit:016x}", "plan": plan, "epoch": epoch, "bucket": bucket, "route": route, "version": version,
            "rule": rule, "weights": weights, "salt": salt, "source": source, "segment": segment, "reason": REASONS[reason],
            "randomised": bool(flags & RANDOMISED), "bot": bool(flags & ROBOT),
            "request": tail[:id_size], "raw": tail[id_size : id_size + raw_size],
        })  # fmt: skip
        tail = tail[id_size + raw_size :]
    return found


class Users:
    """Ask one after another on one connection."""

    def __init__(self, stage: Stage) -> None:
        self.stage = stage
        self.client = stage.client()
        self.upstream: Wire | None = None

    def ask(self, unit: str, *fields: str) -> bytes:
        self.client.send(get("/", *((f"X-User-Id: {unit}",) if unit else ()), *fields))
        said = self.client.take()
        if not said:
            if self.upstream is None or self.upstream.ended:
                self.upstream = self.stage.accept()
            self.upstream.send(OK)
            said = self.client.take()
        return said


def test_first_request_is_recorded_with_all_there_is_to_know(stage_of: StageOf) -> None:
    stage = stage_of(recording(raw=True))
    Users(stage).ask("carol", "User-Agent: Examplebot/1.0", "X-Request-Id: r-1")
    (record,) = Control(stage).flush()
    bucket = record.pop("bucket")
    assert isinstance(bucket, int)
    assert 0 <= bucket < 10_000
    assert record == {
        "at": 1.7e9 + 1000.0, "unit": UnitHasher(b"k")(b"carol"), "plan": 1, "epoch": 0, "route": "shop", "version": "stable",
        "rule": "", "weights": '{"stable":100.0,"canary":0.0}', "salt": "shop", "source": "header",
        "segment": "", "reason": "split",
        "randomised": True, "bot": True, "request": b"r-1", "raw": b"carol",
    }  # fmt: skip


def test_only_news_is_recorded(stage_of: StageOf) -> None:
    stage = stage_of(recording())
    control, users = Control(stage), Users(stage)
    for unit in ("u", "u", "v", "u"):
        users.ask(unit)
    assert len(control.flush()) == 2
    stage.bring(recording(weights=(0.0, 100.0)) | {"generation": 2})
    for _ in range(2):
        users.ask("u")
    (moved,) = control.flush()
    assert (moved["version"], moved["plan"], moved["raw"]) == ("canary", 2, b"")
    stage.bring(recording() | {"generation": 3})
    users.ask("u")
    assert [one["version"] for one in control.flush()] == ["stable"]


@pytest.mark.parametrize(
    ("unit", "fields", "expected"),
    [
        ("alice", (), ("canary", "override", "rules[0]", False, "", '{"stable":100.0,"canary":0.0}')),
        ("carol", ("X-Beta: 1",), ("canary", "segment", "rules[1]", True, "beta", '{"stable":0.0,"canary":1.0}')),
        ("bob", (), ("stable", "", "", False, "", "")),
        ("bob", ("X-Beta: 1",), ("canary", "segment", "rules[1]", False, "", '{"stable":100.0,"canary":0.0}')),
    ],
)
def test_drawn_is_only_who_was_drawn_by_weights(
    stage_of: StageOf, unit: str, fields: tuple[str, ...], expected: tuple[str, str, str, bool, str, str]
) -> None:
    stage = stage_of(recording())
    Users(stage).ask(unit, *fields)
    (record,) = Control(stage).flush()
    if not expected[1]:  # denied the only version with a weight: whoever serves now, it was no draw
        assert (record["reason"], record["randomised"]) == ("deny", False)
        return
    names = ("version", "reason", "rule", "randomised", "segment", "weights")
    assert tuple(record[name] for name in names) == expected


def test_a_minted_unit_says_so_once(stage_of: StageOf) -> None:
    spec = recording(unit=[{"kind": "mint_cookie", "name": "tid"}], rules=[]) | {
        "secrets": {"cookie": ["a key"], "unit_hash": "k"}
    }
    stage = stage_of(spec)
    control, users = Control(stage), Users(stage)
    said = users.ask("")
    cookie = said.partition(b"set-cookie: ")[2].partition(b";")[0].decode()
    assert [one["source"] for one in control.flush()] == ["minted"]
    users.ask("", f"Cookie: {cookie}")
    assert control.flush() == []


def test_nobody_without_a_unit_and_nothing_where_it_is_off(stage_of: StageOf) -> None:
    stage = stage_of(recording())
    Users(stage).ask("")
    assert Control(stage).flush() == []
    stage = stage_of(recording(exposure=False))
    Users(stage).ask("u")
    assert Control(stage).flush() == []
    assert stage.plan.routes[0].seen is None


def test_without_room_records_are_dropped_counted_and_tried_again(stage_of: StageOf) -> None:
    stage = stage_of(recording(queue=2))
    control, users = Control(stage), Users(stage)
    control.listens = False
    for unit in ("a", "b", "c", "c"):
        users.ask(unit)
    assert stage.of_version(V_EXPOSURES_DROPPED) == 2
    assert control.flush() == []
    control.listens = True
    assert len(control.flush()) == 2
    users.ask("d")
    assert stage.of_version(V_EXPOSURES_DROPPED) == 3  # sent, but not stored: they still take room
    control.acknowledge()
    users.ask("c")
    users.ask("a")
    assert [one["unit"] for one in control.flush()] == [UnitHasher(b"k")(b"c")]
    assert stage.runtime.exposing.held == 1


def test_what_was_not_stored_is_sent_again_on_a_new_channel(stage_of: StageOf) -> None:
    stage = stage_of(recording())
    control, users = Control(stage), Users(stage)
    users.ask("a")
    control.flush()
    users.ask("b")
    control.flush()
    stage.runtime.exposing.acknowledged(1, control.send)
    assert control.flush() == []
    stage.runtime.exposing.connected()
    assert [one["unit"] for one in control.flush()] == [UnitHasher(b"k")(b"b")]
    control.acknowledge()
    stage.runtime.exposing.connected()
    assert control.flush() == []
    assert stage.runtime.exposing.held == 0


def test_control_is_never_given_more_than_it_can_hold(stage_of: StageOf) -> None:
    stage = stage_of(recording(queue=1_000_000))
    control = Control(stage)
    exposing, route = stage.runtime.exposing, stage.plan.routes[0]
    fill(stage, (WINDOW + 3) * BATCH + 5)
    control.flush()
    assert len(control.payloads) == WINDOW
    assert control.flush() == []
    control.acknowledge()
    assert len(control.payloads) == WINDOW + 3
    control.acknowledge()
    assert len(control.flush()) == 5
    control.acknowledge()
    assert exposing.held == 0
    assert route.seen is not None


def fill(stage: Stage, count: int) -> None:
    """So many units, without the requests."""
    from proxy.core.decide import decide
    from tests.specs import request_head

    route = stage.plan.routes[0]
    request = request_head()
    assert route.seen is not None
    for number in range(count):
        unit = b"u%d" % number
        decision = decide(route, request, unit)
        assert decision.version is not None
        stage.runtime.exposing.record(
            route.seen, route, decision.version, decision, unit, f"{number:016x}", "header", request, b"", 1
        )


def test_a_worker_that_ends_sends_all_of_it(stage_of: StageOf) -> None:
    stage = stage_of(recording(queue=1_000_000))
    control = Control(stage)
    fill(stage, (WINDOW + 3) * BATCH + 5)
    stage.runtime.exposing.finish(control.send)
    assert sum(len(spelled(one)) for one in control.payloads) == (WINDOW + 3) * BATCH + 5


def test_an_erased_unit_is_new(stage_of: StageOf) -> None:
    stage = stage_of(recording())
    control, users = Control(stage), Users(stage)
    users.ask("a")
    control.flush()
    stage.runtime.exposing.forget(UnitHasher(b"k")(b"a"))
    users.ask("a")
    assert len(control.flush()) == 1
    assert stage.of_worker(W_FAILURES) == 0


def test_a_route_that_no_longer_records_is_forgotten(stage_of: StageOf) -> None:
    stage = stage_of(recording())
    users = Users(stage)
    users.ask("a")
    stage.bring(recording(exposure=False) | {"generation": 2})
    users.ask("b")
    stage.bring(recording() | {"generation": 3})
    users.ask("a")
    assert len(Control(stage).flush()) == 2


def test_after_a_change_one_of_several_workers_believes_nothing(stage_of: StageOf) -> None:
    stage = stage_of(recording(), workers=2)
    control, users = Control(stage), Users(stage)
    users.ask("a")
    assert len(control.flush()) == 1
    stage.bring(
        recording(weights=(0.0, 100.0)) | {"generation": 2}
    )  # here the user does not come, but at the other worker
    stage.bring(recording() | {"generation": 3})
    users.ask("a")
    assert [one["version"] for one in control.flush()] == ["stable"]
