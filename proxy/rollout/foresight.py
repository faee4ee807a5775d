"""How long a plan will take, and which gates can never decide in time: expected numbers, shown to the real gates.

For each step the evidence of a version that is exactly as good as the old one is put together as it would be after so many seconds,
without chance, and the gates are asked when they would first let it through. What chance does to that is what `simulate` is for.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from math import exp, inf
from typing import Any, Final

from proxy.analysis.clusters import Clusters
from proxy.analysis.sizes import seconds_to_abort
from proxy.analysis.verdict import Verdict
from proxy.rollout.evidence import SERIES, Evidence, StretchEvidence, VersionEvidence, point
from proxy.rollout.gates import Gates
from proxy.rollout.judging_points import LEAST_POINTS
from proxy.rollout.machine import begin, missing_samples
from proxy.rollout.rollout import Rollout, Samples
from proxy.rollout.weights import step_weights
from proxy.rollout.world import BYTES, REQUESTS_OF_A_VISIT, Assumed, allowed_value, latency_shares, slower_than
from proxy.telemetry.measures import Counts

Spec = dict[str, Any]

FARTHEST: Final = 30 * 86_400.0
"""Seconds that are looked ahead: what takes longer never happens."""
FINER: Final = 1.15
"""Each look ahead is so many times as far as the one before."""
_POINTS: Final = 360
WEIGHTS: Final = (1.0, 2.0, 5.0, 10.0, 20.0, 25.0, 50.0)
"""Percent: what is tried where a step is too small to be decided."""


@dataclass(frozen=True, slots=True)
class GateTime:
    """One metric in one step: seconds until a version that is well passes, and until one that is harmful fails; inf: not within
    FARTHEST, None: nobody can say. `reason` is what the gate says when it has not decided at the step's `maximum`."""

    metric: str
    passes: float
    fails: float | None
    reason: str


@dataclass(frozen=True, slots=True)
class StepTime:
    """One step. `number` from 1; `minimum`: seconds until each version has had its minimum; `seconds`: what the step takes,
    `maximum` where it is not decided until then. `decided`: whether all gates that count do in time; `needed`: the seconds that
    they and the minimum want (inf: never). `larger`: where it is not decided, the first of WEIGHTS that would be, and how soon."""

    number: int
    what: str
    hold: float
    minimum: float
    maximum: float
    seconds: float
    decided: bool
    waits: bool
    gates: tuple[GateTime, ...]
    needed: float = 0.0
    larger: tuple[float, float] | None = None


def estimate(plan: Spec, bound: dict[str, float], assumed: Assumed, route: str = "route") -> list[StepTime]:
    """Each step of the plan, where the traffic stays as it is."""
    rollout = begin(route, plan, bound, 0.0)
    return [_step(plan, rollout, index, assumed) for index in range(len(plan["steps"]))]


def total_of(steps: Sequence[StepTime], plan: Spec) -> float:
    """Seconds until all of it is promoted, if people answer at once; inf where a step is never decided."""
    return float(plan["after"]) + sum(one.seconds if one.decided else inf for one in steps)


def _step(plan: Spec, rollout: Rollout, index: int, assumed: Assumed) -> StepTime:
    step = plan["steps"][index]
    arms = (plan["from"], plan["to"], plan["baseline"])
    what = words_of(step)
    last = step["weight"] >= 100.0
    if step["approve"] or last or not (step["judged"] or step["minimum"]["requests"] or step["minimum"]["units"]):
        # The last step ends with its beginning: what follows is `fast_rollback`.
        seconds = 0.0 if last or step["approve"] else step["hold"]
        return StepTime(index + 1, what, step["hold"], 0.0, step["maximum"], seconds, True, step["approve"], ())

    def wanted(weight: float) -> tuple[float, tuple[GateTime, ...], float]:
        weights = step_weights(rollout.bound, arms, weight)
        minimum = _first(lambda at: not _missing(rollout, index, expected(plan, weights, step, assumed, at)), 1.0)
        gates = _gates(plan, weights, step, assumed) if step["judged"] else ()
        return minimum, gates, max([minimum, *(one.passes for one in gates if one.metric in counting(plan))])

    longest = max(step["maximum"], step["hold"])
    minimum, gates, needed = wanted(step["weight"])
    seconds = max(step["hold"], needed)
    decided = seconds <= longest
    larger = None
    if not decided and step["weight"] > 0.0:
        tried = ((one, max(step["hold"], wanted(one)[2])) for one in WEIGHTS if one > step["weight"])
        larger = next((one for one in tried if one[1] <= longest), None)
    return StepTime(
        index + 1,
        what,
        step["hold"],
        minimum,
        step["maximum"],
        seconds if decided else step["maximum"],
        decided,
        False,
        gates,
        needed,
        larger,
    )


def counting(plan: Spec) -> set[str]:
    """The names of the metrics that hold a step up."""
    return {one["name"] for one in plan["metrics"] if one["weight"] != "watch"}


def _gates(plan: Spec, weights: dict[str, float], step: Spec, assumed: Assumed) -> tuple[GateTime, ...]:
    """When each metric first passes: at looks farther and farther ahead, as long as one of them has not."""
    names = [one["name"] for one in plan["metrics"]]
    found: dict[str, float] = {}
    at = 10.0
    while at < FARTHEST and len(found) < len(names):
        for verdict in _verdicts(plan, weights, step, assumed, at):
            if verdict.outcome == "pass":
                found.setdefault(verdict.metric, at)
        at *= FINER
    late = {one.metric: one for one in _verdicts(plan, weights, step, assumed, max(step["maximum"], 10.0))}
    return tuple(
        GateTime(
            one["name"], found.get(one["name"], inf), _fails(one, plan, weights, assumed), late[one["name"]].reason
        )
        for one in plan["metrics"]
    )


def _verdicts(plan: Spec, weights: dict[str, float], step: Spec, assumed: Assumed, at: float) -> tuple[Verdict, ...]:
    gates, seen = Gates(plan), expected(plan, weights, step, assumed, at)
    answers = max((one.get("intervals", 1) for one in plan["metrics"] if one.get("query")), default=1)
    for answered in range(1, answers):
        gates.judge(replace(seen, answered=float(answered)), gate=True)
    gates.resume(max(1, len(seen.points) - LEAST_POINTS + 1))  # one look a point, once there are enough
    return gates.judge(seen, gate=True).verdicts


def _fails(metric: Spec, plan: Spec, weights: dict[str, float], assumed: Assumed) -> float | None:
    """Until a version with `harmful` times the errors, or slow answers, fails (section 7 of the statistics)."""
    if metric["judge"] not in {"error_rate", "exceedance"}:
        return None
    ours = weights.get(plan["to"], 0.0)
    theirs = weights.get(plan["baseline"] or plan["from"], 0.0)
    if ours <= 0.0 or theirs <= 0.0:
        return None
    share, total = ours / (ours + theirs), sum(weights.values())
    rate = assumed.rate * (ours + theirs) / total
    bad = assumed.error_share if metric["judge"] == "error_rate" else slower_than(max(metric["above"]), assumed.median)
    worse = rate * bad * (1.0 - share + share * metric["harmful"])
    alpha = plan["alpha"] / max(1, sum(1 for one in plan["metrics"] if one["weight"] != "watch"))
    return seconds_to_abort(0.0, alpha / 2.0, share, metric["harmful"], worse, metric["tolerate"])


def expected(plan: Spec, weights: dict[str, float], step: Spec, assumed: Assumed, seconds: float) -> Evidence:
    """What the gates would see after so many seconds of a step, without chance, of a version that is as good as the old one."""
    old, new, baseline = plan["from"], plan["to"], plan["baseline"]
    total = sum(weights.values()) or 1.0
    slow = sorted({edge for one in plan["metrics"] for edge in one.get("above") or ()})
    versions: dict[str, VersionEvidence] = {}
    firsts: dict[str, list[int]] = {}
    series: dict[str, dict[str, list[float]]] = {}
    points: list[tuple[float, int, int]] = []
    for name in (old, new, baseline):
        if name is None:
            continue
        share = weights.get(name, 0.0) / total
        if name == new and step["ring"]:
            share = max(share, assumed.ring)
        if name == new and step["shadow"]:
            share = max(share, step["shadow"] / 100.0)
        requests = assumed.rate * share * seconds
        versions[name], firsts[name] = _version(assumed, slow, requests, share)
        series[name], one = _series(assumed, share, seconds)
        if name == new:
            points = one
    weighty = [weights.get(name, 0.0) > 0.0 for name in (new, baseline or old)]
    return Evidence(
        route="route", old=old, new=new, baseline=baseline, began=0.0, seconds=seconds, versions=versions,
        stretches=[StretchEvidence(weights, firsts)], slow=slow, series=series, points=points,
        answers={one["name"]: allowed_value(one) for one in plan["metrics"] if one.get("query")}, randomised=all(weighty),
    )  # fmt: skip


def _version(
    assumed: Assumed, slow: Sequence[float], requests: float, share: float
) -> tuple[VersionEvidence, list[int]]:
    """Units come in visits, and come again: after many visits all there are have been there."""
    each = REQUESTS_OF_A_VISIT
    population = max(1.0, assumed.users * share)
    units = population * (1.0 - exp(-requests / each / population))
    per_unit = requests / units if units > 0.0 else 0.0
    sums = {"requests": _sums(units, per_unit, per_unit * units, units)}
    chances = {"errors": assumed.error_share, **{f"slow:{edge!r}": slower_than(edge, assumed.median) for edge in slow}}
    firsts = []
    for column, chance in chances.items():
        affected = units * (1.0 - exp(-per_unit * chance))
        sums[column] = _sums(units, per_unit, requests * chance, affected)
        firsts.append(round(affected))
    sums["bytes"] = _sums(units, per_unit, requests * BYTES, units)
    sums["microseconds"] = _sums(units, per_unit, requests * assumed.median * 1e6, units)
    for name, (likely, _) in assumed.events.items():
        sums[f"event:{name}"] = _sums(units, 1.0, units * likely, units * likely)
        sums[f"value:{name}"] = _sums(units, 1.0, units * likely * 1000.0, units * likely)
    durations = tuple(round(requests * one) for one in latency_shares(assumed.median))
    counts = Counts(
        round(requests),
        round(requests * assumed.error_share),
        0,
        int(requests * BYTES),
        0,
        requests * assumed.median,
        durations,
    )
    return VersionEvidence(counts, round(units), sums, round(units)), firsts


def _sums(units: float, per_unit: float, total: float, affected: float) -> Clusters:
    """Sums over units that come about equally often, of something that keeps to `affected` of them."""
    weight = units * per_unit
    mine = total / affected if affected > 0.0 else 0.0
    return Clusters(
        round(units), total, weight, affected * mine * mine * 1.2, total * per_unit, units * per_unit * per_unit * 2.0,
        round(affected),
    )  # fmt: skip


def _series(
    assumed: Assumed, share: float, seconds: float
) -> tuple[dict[str, list[float]], list[tuple[float, int, int]]]:
    """Points as they would be, all alike but for a hair: a rank test wants something to rank."""
    count = min(_POINTS, int(seconds // 10.0))
    requests = assumed.rate * share * 10.0
    durations = tuple(round(1000.0 * requests * one) for one in latency_shares(assumed.median))
    value = point(
        Counts(round(requests), 0, 0, int(requests * BYTES), 0, requests * assumed.median, durations, 1), 10.0
    )
    value["error_percent"] = 100.0 * assumed.error_share
    series = {name: [value.get(name, 0.0) * (1.0 + 1e-6 * (number % 7)) for number in range(count)] for name in SERIES}
    points = [(10.0 * number, round(requests), round(requests * assumed.error_share)) for number in range(count)]
    return series, points


def _missing(rollout: Rollout, index: int, evidence: Evidence) -> str:
    samples = {name: Samples(*two) for name, two in evidence.samples().items()}
    return missing_samples(replace(rollout, step=index), samples)


def _first(holds: Callable[[float], bool], start: float) -> float:
    """The first of the looks ahead at which something holds; inf for none."""
    at = start
    while at < FARTHEST:
        if holds(at):
            return at
        at *= FINER
    return inf


def words_of(step: Spec) -> str:
    """A step in two words: `5 %`, `ring beta`."""
    if step["approve"]:
        return "approval"
    if step["preview"]:
        return "preview"
    if step["shadow"]:
        return f"{step['shadow']:g} % copied"
    if step["ring"] and not step["weight"]:
        return f"ring {step['ring']}"
    return f"{step['weight']:g} %"
