"""The laws of faults: who is disturbed at a low percentage is disturbed at a higher one, and the cap is never exceeded."""

from hypothesis import given
from hypothesis import strategies as st

from proxy.core.faults import FEWEST, WINDOW, Disturbed, Fault
from tests.specs import request_head

UNITS = [b"user-%d" % number for number in range(500)]
REQUEST = request_head()

percent = st.floats(0.0, 100.0)


def fault(share: float, salt: str = "shop") -> Fault:
    return Fault(
        {
            "label": "faults[0]", "kind": "abort", "delay": 0.0, "status": 503, "bytes_per_second": 1, "percent": share,
            "versions": [], "header": None, "until": 0.0, "salt": salt,
        },
        {},
    )  # fmt: skip


@given(percent, percent, st.text(max_size=8))
def test_a_unit_disturbed_at_a_percentage_is_disturbed_at_every_higher_one(one: float, other: float, salt: str) -> None:
    low, high = fault(min(one, other), salt), fault(max(one, other), salt)
    for unit in UNITS:
        assert high.holds(REQUEST, "v", unit, 0.0) or not low.holds(REQUEST, "v", unit, 0.0)


steps = st.lists(st.tuples(st.floats(0.0, 3.0), st.integers(1, 40), st.booleans()), max_size=40)


@given(percent, steps)
def test_the_share_disturbed_is_never_above_the_cap(cap: float, arrivals: list[tuple[float, int, bool]]) -> None:
    window = Disturbed()
    now = 1000.0
    came: list[tuple[int, bool]] = []
    for pause, count, wanted in arrivals:
        now += pause
        for _ in range(count):
            window.came(now)
            hit = wanted and window.take(cap)
            came.append((int(now), hit))
            within = [one for second, one in came if second > int(now) - WINDOW]
            assert (window.seen, window.disturbed) == (len(within), sum(within))
            if hit:
                assert sum(within) * 100 <= cap * max(len(within), FEWEST)
