"""Rollouts with a journal of their own, a clock that a test moves, and plans that are noted instead of sent."""

import asyncio
from dataclasses import dataclass, field

from proxy.control.rollouts.desk import RolloutDesk
from proxy.control.rollouts.runner import Rollouts
from proxy.rollout.journal import JournalError, SqliteJournal
from proxy.rollout.states import CauseKind
from proxy.telemetry.facts import RolloutFacts
from tests.specs import plan_spec, route_spec, upstream_spec, version_spec

FILE = {"stable": 100.0, "canary": 0.0}


def step(weight, hold=60.0, **parts):
    return {
        "weight": float(weight), "ring": None, "shadow": 0.0, "approve": False, "hold": hold, "judged": False,
        "minimum": {"requests": 0, "units": 0}, "maximum": 3600.0, **parts,
    }  # fmt: skip


APPROVE = step(5, hold=0.0, approve=True)


def plan(revision="v2", steps=(1, 5, 25, 50, 100), **parts):
    """A rollout's plan as the spec has it."""
    return {
        "revision": revision, "kind": "canary", "from": "stable", "to": "canary", "baseline": None,
        "steps": [one if isinstance(one, dict) else step(one) for one in steps],
        "on_failure": "rollback", "on_no_data": "pause", "rollback": {"mode": "instant", "percent": 100.0, "every": 0.0},
        "fast_rollback": 0.0, "after": 0.0, "zone": "", "rings": False, "schedule": None, "brake": None,
        "metrics": [], "webhooks": [], "notify": [], "reports": None,
    } | parts  # fmt: skip


def shop(weights=None, rollout=None, name="shop", **parts):
    """The spec of a route, with a rollout where one is given."""
    versions = [version_spec(one, weight) for one, weight in (weights or FILE).items()]
    route = route_spec(name, versions=versions, **parts)
    return route if rollout is None else route | {"rollout": rollout}


def spec(*routes):
    return plan_spec(*routes, upstreams=[upstream_spec("u")])


@dataclass
class Verdict:
    """What a test's gates say."""

    result: str
    reason: str = "because"
    numbers: dict = field(default_factory=lambda: {"errors": 2.5})


class TestJudge:
    """Says what the test wants."""

    __test__ = False

    def __init__(self):
        self.said = None
        self.had = {}
        self.stop = None

    def verdict(self, rollout, now):
        if isinstance(self.said, Exception):
            raise self.said
        return self.said

    def samples(self, rollout):
        return self.had

    def brake(self, rollout, now):
        return self.stop


class House:
    """One control process after another over the same journal. `forces` is what is in force, by route."""

    def __init__(self, path, *routes, judge=None, people=None, closed=None):
        self.path = path
        self.now = 1_800_000_000.0
        self.elapsed = 0.0
        self.file = spec(*routes)
        self.judge, self.people, self.closed = judge, people, closed
        self.published = 0
        self.tasks = []
        self.refuses = False

    async def start(self):
        """A new control process: all that it knows is the journal and the file."""
        self.facts = RolloutFacts()
        self.journal = SqliteJournal(self.path)
        self.rollouts = Rollouts(
            self.journal, self.publish, lambda: self.now, lambda: self.elapsed, self.facts, self.spawn,
            judge=self.judge, people=self.people, closed=self.closed,
        )  # fmt: skip
        self.desk = RolloutDesk(self.rollouts, self.people)
        await self.rollouts.load()
        await self.rollouts.follow(self.file)
        self.publish()
        return self

    async def kill(self):
        """The process dies at once, whatever it was about; the next one starts."""
        for task in self.tasks:
            task.cancel()
        await asyncio.gather(*self.tasks, return_exceptions=True)
        self.tasks.clear()
        await self.journal.close()
        return await self.start()

    def publish(self):
        self.forces = {route["name"]: route for route in self.rollouts.lay(self.file)["routes"]}
        self.published += 1

    def spawn(self, name, work):
        self.tasks.append(asyncio.ensure_future(work))

    async def save(self, *routes):
        """Save a file with these routes, as the app takes it into force."""
        self.file = spec(*routes)
        self.publish()
        await self.rollouts.follow(self.file)
        self.rollouts.bring()

    async def let(self, seconds):
        """Let time pass, a look each second."""
        for _ in range(int(seconds)):
            self.now += 1.0
            self.elapsed += 1.0
            await self.rollouts.look()
            for _ in range(3):
                await asyncio.sleep(0)

    async def settled(self):
        """What was begun beside the looks has ended."""
        await asyncio.gather(*self.tasks)
        self.tasks.clear()

    async def until(self, state, route="shop", limit=7200):
        for _ in range(limit):
            if str(self.desk.of(route).state) == state:
                return self.desk.of(route)
            await self.let(1)
        raise AssertionError(f"never {state}: {self.desk.of(route)}")

    async def act(self, kind, reason="a reason", route="shop"):
        return await self.desk.act(route, CauseKind(kind), "anna", reason)

    def weights(self, route="shop"):
        """What is in force."""
        return {one["name"]: one["weight"] for one in self.forces[route]["versions"]}

    def at(self, route="shop"):
        """State, step and the weight of the version that comes in: for short comparisons."""
        rollout = self.desk.of(route)
        return str(rollout.state), rollout.step, self.weights(route)["canary"]

    async def causes(self, route="shop"):
        """The causes in the journal, the oldest first."""
        return [one.cause for one in reversed(await self.desk.history(route, 500))]

    def break_journal(self):
        """From now on it cannot be written; call what this answers to mend it."""
        append = self.journal.append

        async def refuse(*records):
            raise JournalError("state: the disk is full")

        self.journal.append = refuse

        def mend():
            self.journal.append = append

        return mend


def play(house, script):
    """Run `script` with the house started."""

    async def run():
        await house.start()
        try:
            return await script()
        finally:
            for task in house.tasks:
                task.cancel()
            await asyncio.gather(*house.tasks, return_exceptions=True)
            await house.journal.close()

    return asyncio.run(run())
