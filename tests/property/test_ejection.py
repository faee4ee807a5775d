"""Laws of outlier ejection, whatever is reported and whenever: the cap holds, ejections end, and are never longer than they may."""

from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from proxy.core.outlier import NONE, Detector, OutlierPolicy, Standing

seconds = st.floats(0.0, 60.0)
policies = st.fixed_dictionaries(
    {
        "consecutive_5xx": st.integers(0, 4),
        "consecutive_gateway": st.integers(0, 4),
        "interval": st.floats(0.5, 30.0),
        "base_ejection": st.floats(0.5, 60.0),
        "max_ejection": st.floats(0.5, 300.0),
        "max_ejected_percent": st.floats(0.0, 100.0),
        "success_rate": st.none()
        | st.fixed_dictionaries(
            {
                "minimum_endpoints": st.integers(1, 5),
                "minimum_requests": st.integers(1, 10),
                "stdev_factor": st.floats(0.0, 3.0),
            }
        ),
        "latency": st.none()
        | st.fixed_dictionaries(
            {
                "minimum_endpoints": st.integers(1, 5),
                "minimum_requests": st.integers(1, 10),
                "factor": st.floats(1.0, 5.0),
            }
        ),
    }
)


class Ejections(RuleBasedStateMachine):
    """The detector as dataplane/ejecting.py drives it."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 100.0
        self.began: dict[int, float] = {}

    @initialize(count=st.integers(1, 15), spec=policies)
    def start(self, count: int, spec: dict[str, Any]) -> None:
        self.standings = [Standing() for _ in range(count)]
        self.detector = Detector(OutlierPolicy(spec))

    def eject(self, standing: Standing) -> None:
        if self.detector.eject(standing, self.standings, self.now):
            self.began[id(standing)] = self.now

    def look(self) -> None:
        for place in self.detector.ended(self.standings, self.now):
            self.detector.release(self.standings[place], self.now)
        if self.now >= self.detector.ends:
            for place, _, _, _ in self.detector.judge(self.standings, self.now):
                self.eject(self.standings[place])

    @rule(place=st.integers(0, 14), status=st.sampled_from([200, 404, 500, 502, 503, 504]), took=st.floats(-1.0, 20.0))
    def answer(self, place: int, status: int, took: float) -> None:
        standing = self.standings[place % len(self.standings)]
        if self.detector.report(standing, status, took, self.now) != NONE:
            self.eject(standing)

    @rule(passed=seconds)
    def wait(self, passed: float) -> None:
        until = self.now + passed
        while self.detector.due(self.standings) <= until:
            self.now = max(self.now, self.detector.due(self.standings))
            self.look()
        self.now = until

    @rule(spec=policies)
    def change_policy(self, spec: dict[str, Any]) -> None:
        self.detector.policy = OutlierPolicy(spec)
        self.look()

    @rule(left=st.integers(1, 15))
    def leave(self, left: int) -> None:
        self.standings = self.standings[:left]
        self.look()

    @invariant()
    def cap_holds(self) -> None:
        if hasattr(self, "detector"):
            ejected = sum(one.ejected for one in self.standings)
            assert ejected <= self.detector.policy.allowed(len(self.standings))
            assert ejected <= max(1, len(self.standings) * self.detector.policy.max_ejected_percent / 100)

    @invariant()
    def ejections_end(self) -> None:
        if hasattr(self, "detector"):
            for one in self.standings:
                if one.ejected:
                    assert one.ends > self.now - 1e-6
                    assert one.ends - self.began[id(one)] <= 300.0  # of any policy drawn
                    assert self.detector.due(self.standings) <= one.ends


TestEjections = Ejections.TestCase


@given(policies, st.integers(1, 1000))
def test_ejection_never_shrinks_and_is_capped(spec: dict[str, Any], times: int) -> None:
    policy = OutlierPolicy(spec)
    assert policy.base_ejection <= policy.ejection(times) <= policy.ejection(times + 1)
    assert policy.ejection(times) <= max(policy.base_ejection, policy.max_ejection)
