"""When a schedule says that it opens it does, and not before; in zones that set their clocks, too."""

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from proxy.core.times import DAYS
from proxy.rollout.schedule import Schedule
from proxy.settings.zones import offsets_of

Spec = dict[str, Any]

ZONES = ("UTC", "Europe/Oslo", "America/New_York", "Asia/Kolkata", "Australia/Lord_Howe")
# Around the nights in which clocks are set, 2027.
NOW = st.one_of(st.integers(1_804_000_000, 1_812_000_000), st.integers(1_824_000_000, 1_828_000_000))
QUARTER = 900

windows = st.builds(
    lambda zone, days, start, length: {
        "zone": zone,
        "days": sorted(days, key=DAYS.index),
        "from": start * QUARTER,
        "to": (start + length) * QUARTER % 86_400 or 86_400,
        "offsets": offsets_of(zone),
    },
    st.sampled_from(ZONES),
    st.sets(st.sampled_from(DAYS), min_size=1),
    st.integers(0, 95),
    st.integers(1, 95),
)


def freezes(now: int) -> st.SearchStrategy[list[Spec]]:
    one = st.builds(
        lambda start, length: {"from": float(now + start), "to": float(now + start + length)},
        st.integers(-900_000, 900_000),
        st.integers(1, 900_000),
    )
    return st.lists(one, max_size=2)


@given(NOW, st.lists(windows, max_size=2), st.data())
def test_it_opens_when_it_says_and_not_before(now: int, allow: list[Spec], data: st.DataObject) -> None:
    schedule = Schedule({"allow": allow, "freeze": data.draw(freezes(now)), "below_rate": 0.0})
    opens = schedule.opens_at(float(now))
    assert opens is not None
    assert opens >= now
    assert schedule.is_open(opens)
    if opens > now:
        between = data.draw(st.lists(st.floats(now, opens - 1.0), max_size=30)) if opens - 1.0 > now else []
        for at in [*between, now, opens - 1.0]:
            assert not schedule.is_open(max(float(now), at))
