"""Who a request's token says it is from: tokens are verified here, and what came of each is kept.

A token comes with every request of its user, so all but its first cost a look into a table. What came of bad ones is kept
as well, in a table of its own, so that they push out no good ones; and there is an allowance for checks that fail: who makes up
tokens, each another one, does not get the worker's time for it. Beyond the allowance tokens that are not known yet are not
checked, and are no identity; users that are known stay who they are.
"""

import asyncio
import logging
from hashlib import sha256
from math import inf
from typing import Any, Final

from proxy.core.bearer import EXPIRED, MAX_TOKEN, TOKEN_OUTCOMES, TOO_LARGE, UNCHECKED, VERIFIED, TokenPolicy
from proxy.core.plan import Plan
from proxy.core.request import Request
from proxy.telemetry.counters import W_TOKENS
from proxy.tokens import Verdict, Verifier

log = logging.getLogger("tidegate.worker")

Spec = dict[str, Any]

KEPT: Final = 8192
"""Verdicts in each half of each table. One is some 500 bytes, with three claims."""
ALLOWED: Final = 500.0
"""Checks a second that may fail, and as many at once: some 5 to 10 % of a worker."""
_TOLD: Final = 60.0
"""Seconds between two lines about the same cause."""


class Kept:
    """Verdicts by digest, the least used half of them forgotten when there are too many."""

    def __init__(self, limit: int = KEPT) -> None:
        self._limit: Final = limit  # of each half
        self._young: dict[bytes, Verdict] = {}
        self._old: dict[bytes, Verdict] = {}

    def get(self, digest: bytes) -> Verdict | None:
        """What is known of the token."""
        found = self._young.get(digest)
        if found is None:
            found = self._old.get(digest)
            if found is not None:
                self.put(digest, found)
        return found

    def put(self, digest: bytes, verdict: Verdict) -> None:
        """Keep it."""
        if len(self._young) >= self._limit:
            self._old = self._young
            self._young = {}
        self._young[digest] = verdict

    def __len__(self) -> int:
        """How many are kept, some of them twice."""
        return len(self._young) + len(self._old)


class Identifying:
    """The tokens of one worker. `use` is called with each verifier; until then, and without keys, no token is believed."""

    def __init__(self, view: memoryview, base: int) -> None:
        self._slots: Final = base + W_TOKENS
        self._view: Final = view
        self._verifier: Verifier | None = None
        self._made_of: tuple[Spec, list[Spec]] | None = None
        self._keys: Final[dict[str, list[Spec]]] = {}
        self.good: Kept = Kept()
        self.bad: Kept = Kept()
        self._left: float = ALLOWED
        self._left_at: float = -inf
        self._told: Final[dict[int, float]] = {}
        self._untold: Final[dict[int, int]] = {}

    # What control says.

    async def take(self, message: Spec, plan: Plan | None) -> None:
        """A KEYS message."""
        self._keys[message["source"]] = message["keys"]
        if plan is not None and plan.tokens is not None and plan.tokens.source == message["source"]:
            self.use(plan.tokens, await self.prepare(plan.tokens))

    async def prepare(self, policy: TokenPolicy | None) -> Verifier | None:
        """The verifier for a plan's tokens, made beside the event loop: it may have to import what it needs."""
        if policy is None:
            return None
        keys = self._keys.get(policy.source, [])
        if self._made_of == (policy.spec, keys):
            return self._verifier
        return await asyncio.get_running_loop().run_in_executor(None, Verifier, policy.spec, keys)

    def use(self, policy: TokenPolicy | None, verifier: Verifier | None) -> None:
        """Believe this one from now on. Nothing that another has said counts any more."""
        if policy is None:
            self._made_of = None
            self._keys.clear()
        else:
            self._made_of = (policy.spec, self._keys.get(policy.source, []))
            for source in [one for one in self._keys if one != policy.source]:
                del self._keys[source]
        if verifier is not self._verifier:
            self._verifier = verifier
            self.good = Kept()
            self.bad = Kept()

    # What requests ask.

    def identify(self, policy: TokenPolicy, request: Request, wall: float, now: float) -> None:
        """Give the request the claims of its token, if it has one that is believed. `wall` is the time of day, `now` a
        monotonic clock, both in seconds."""
        token = policy.token(request)
        if not token:
            return
        if len(token) > MAX_TOKEN:
            self._count(TOO_LARGE, now)
            return
        digest = sha256(token).digest()
        verdict = self.good.get(digest)
        if verdict is not None and wall < verdict.until:
            request.claims = verdict.claims
            self._view[self._slots + VERIFIED] += 1
            return
        if verdict is not None:
            self._count(EXPIRED, now)
            return
        verdict = self.bad.get(digest)
        if verdict is None or wall >= verdict.until:
            verdict = self._check(token, digest, wall, now)
        if verdict is None:
            self._count(UNCHECKED, now)
        elif verdict.outcome == VERIFIED:
            request.claims = verdict.claims
            self._view[self._slots + VERIFIED] += 1
        else:
            self._count(verdict.outcome, now)

    def _check(self, token: bytes, digest: bytes, wall: float, now: float) -> Verdict | None:
        """What it comes to; None where there is no time for it."""
        verifier = self._verifier
        if verifier is None:
            return None
        if now > self._left_at:
            self._left = min(ALLOWED, self._left + (now - self._left_at) * ALLOWED)
            self._left_at = now
        if self._left < 1.0:
            return None
        verdict = verifier.check(token, wall)
        if verdict.outcome == VERIFIED:
            self.good.put(digest, verdict)
        else:
            self._left -= 1.0
            self.bad.put(digest, verdict)
        return verdict

    def _count(self, outcome: int, now: float) -> None:
        """One that is no identity: counted, and told once a minute and cause."""
        self._view[self._slots + outcome] += 1
        told = self._told.get(outcome, -inf)
        self._untold[outcome] = self._untold.get(outcome, 0) + 1
        if now - told >= _TOLD:
            self._told[outcome] = now
            more = self._untold.pop(outcome)
            log.warning(
                "tokens are not believed; their requests go on without what they say",
                extra={"cause": TOKEN_OUTCOMES[outcome], "tokens": more},
            )
