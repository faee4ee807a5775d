"""Which faults hold for a request, and the cap on how many requests are disturbed."""

import pytest

from proxy.core.faults import ABORT, DELAY, FEWEST, KINDS, SLOW_BODY, WINDOW, Disturbance, Disturbed, Fault, FaultPolicy
from proxy.core.match import compile_matcher
from tests.specs import request_head

NOW = 1_700_000_000.0
UNITS = [b"user-%d" % number for number in range(20_000)]


def spec(kind="abort", **parts):
    return {
        "label": "faults[0]", "kind": kind, "delay": 2.0, "status": 503, "bytes_per_second": 1024, "percent": 100.0,
        "versions": [], "header": None, "until": 0.0, "salt": "shop",
    } | parts  # fmt: skip


def holds(one, *, unit=b"alice", version="stable", wall=NOW, **request):
    return Fault(one, {}).holds(request_head(**request), version, unit, wall)


def test_fault_of_all_requests_holds():
    assert holds(spec())
    assert Fault(spec("slow_body"), {}).kind == SLOW_BODY
    assert [Fault(spec(kind), {}).kind for kind in KINDS] == [0, 1, 2, 3]


def test_fault_of_no_requests_never_holds():
    assert not any(holds(spec(percent=0.0), unit=unit) for unit in UNITS[:1000])


@pytest.mark.parametrize("percent", [0.5, 5.0, 40.0])
def test_share_of_units_is_the_percentage(percent):
    fault = Fault(spec(percent=percent), {})
    request = request_head()
    hit = sum(fault.holds(request, "stable", unit, NOW) for unit in UNITS)
    assert hit / len(UNITS) == pytest.approx(percent / 100, rel=0.3)


def test_faults_of_one_salt_are_about_the_same_units():
    request = request_head()
    small, large = Fault(spec("delay", percent=5.0), {}), Fault(spec(percent=10.0), {})
    hit = [{unit for unit in UNITS if fault.holds(request, "stable", unit, NOW)} for fault in (small, large)]
    assert hit[0] < hit[1]


def test_another_salt_deals_the_units_anew():
    request = request_head()
    first, second = Fault(spec(percent=10.0), {}), Fault(spec(percent=10.0, salt="again"), {})
    both = sum(
        first.holds(request, "stable", unit, NOW) and second.holds(request, "stable", unit, NOW) for unit in UNITS
    )
    assert both / len(UNITS) == pytest.approx(0.01, abs=0.005)


def test_fault_holds_until_its_end_and_not_at_it():
    assert holds(spec(until=NOW + 1))
    assert not holds(spec(until=NOW))
    assert not holds(spec(until=NOW - 1))


def test_fault_of_one_version_spares_the_others():
    one = spec(versions=["canary"])
    assert holds(one, version="canary")
    assert not holds(one, version="stable")


def test_fault_of_a_segment_spares_the_others():
    staff = compile_matcher({"source": "header", "name": "x-role", "test": "is", "value": "staff"}, {})
    fault = Fault(spec(where={"segment": "staff"}), {"staff": staff})
    assert fault.holds(request_head(fields={b"x-role": b"staff"}), "stable", b"alice", NOW)
    assert not fault.holds(request_head(), "stable", b"alice", NOW)


@pytest.mark.parametrize(
    ("value", "client", "expected"),
    [
        (b"abort", "10.1.1.1", True),
        (b"faults[0]", "10.1.1.1", True),
        (b"Delay, Abort", "10.1.1.1", True),
        (b"delay", "10.1.1.1", False),
        (b"faults[1]", "10.1.1.1", False),
        (b"", "10.1.1.1", False),
        (b"abort", "192.0.2.1", False),
        (None, "10.1.1.1", False),
    ],
)
def test_fault_on_request_is_for_those_who_ask_and_may(value, client, expected):
    one = spec(header={"name": "X-Tidegate-Fault", "from": ["10.0.0.0/8"]})
    fields = {} if value is None else {b"x-tidegate-fault": value}
    assert Fault(one, {}).asked
    assert holds(one, fields=fields, client=client) is expected


def test_a_delay_combines_with_the_first_of_the_others():
    policy = FaultPolicy(
        [spec("abort", label="faults[0]", versions=["canary"]), spec("delay", label="faults[1]"),
         spec("abort", label="faults[2]"), spec("delay", label="faults[3]"), spec("reset", label="faults[4]")], {},
    )  # fmt: skip
    chosen = policy.choose(request_head(), "stable", b"alice", NOW)
    assert (chosen.delay.label, chosen.other.label) == ("faults[1]", "faults[2]")
    chosen = policy.choose(request_head(), "canary", b"alice", NOW)
    assert (chosen.delay.label, chosen.other.label) == ("faults[1]", "faults[0]")
    assert not chosen.asked


def test_where_nothing_holds_nothing_is_done():
    assert FaultPolicy([], {}).choose(request_head(), "stable", b"alice", NOW) is None
    assert FaultPolicy([spec(until=1.0)], {}).choose(request_head(), "stable", b"alice", NOW) is None
    lone = FaultPolicy([spec("delay")], {}).choose(request_head(), "stable", b"alice", NOW)
    assert (lone.delay.kind, lone.other) == (DELAY, None)


def test_disturbance_is_asked_for_only_where_all_of_it_is():
    asked = Fault(spec("delay", header={"name": "x-fault", "from": ["0.0.0.0/0"]}), {})
    other = Fault(spec("abort"), {})
    assert Disturbance(asked, None).asked
    assert not Disturbance(asked, other).asked
    assert not Disturbance(None, other).asked
    assert other.kind == ABORT


@pytest.mark.parametrize("parts", [{"kind": "flood"}, {"header": {"name": "x", "from": ["nowhere"]}}])
def test_what_is_no_fault_is_refused(parts):
    with pytest.raises(ValueError):
        Fault(spec(**parts), {})


# The cap.


def disturb(window, now, percent, count=1):
    done = 0
    for _ in range(count):
        window.came(now)
        done += window.take(percent)
    return done


def test_share_stays_within_the_cap():
    assert disturb(Disturbed(), 1000.0, 10.0, 1000) == 100
    assert disturb(Disturbed(), 1000.0, 100.0, 1000) == 1000
    assert disturb(Disturbed(), 1000.0, 0.0, 1000) == 0


def test_quiet_version_is_taken_to_have_had_a_few_requests():
    assert disturb(Disturbed(), 1000.0, 10.0, 1) == 1
    assert disturb(Disturbed(), 1000.0, 10.0, FEWEST) == 2
    assert disturb(Disturbed(), 1000.0, 4.0, FEWEST) == 0


def test_what_left_the_window_is_forgotten():
    window = Disturbed()
    assert disturb(window, 1000.0, 10.0, 100) == 10
    assert disturb(window, 1000.0 + WINDOW - 1, 10.0, 10) == 1
    assert (window.seen, window.disturbed) == (110, 11)
    window.came(1000.0 + WINDOW)
    assert (window.seen, window.disturbed) == (11, 1)
    window.came(1e6)
    assert (window.seen, window.disturbed) == (1, 0)
