"""Who a request's token says it is from: judged by what is known of it (proxy/verdicts.py), counted, and told."""

import asyncio
import json
import logging
from collections.abc import Callable
from math import inf
from typing import Any, Final

from proxy.channel import messages
from proxy.core.bearer import TOKEN_OUTCOMES, VERIFIED, TokenPolicy
from proxy.core.plan import Plan
from proxy.core.request import Request
from proxy.telemetry.counters import W_TOKENS
from proxy.tokens import Verifier
from proxy.verdicts import Judge

log = logging.getLogger("tidegate.worker")

Spec = dict[str, Any]

_TOLD: Final = 60.0
"""Seconds between two lines about the same cause."""


class Identifying:
    """The tokens of one worker. `use` is called with each verifier; until then, and without keys, no token is believed."""

    def __init__(self, view: memoryview, base: int) -> None:
        self._slots: Final = base + W_TOKENS
        self._view: Final = view
        self._judge: Final = Judge()
        self._made_of: tuple[Spec, list[Spec]] | None = None
        self._keys: Final[dict[str, list[Spec]]] = {}
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
            return self._judge.verifier
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
        self._judge.use(verifier)

    def flush(self, send: Callable[[int, bytes], bool]) -> None:
        """Tell control where a token named a key that is not there. Called four times a second or so."""
        if self._judge.lacking and self._made_of is not None:
            said = {"source": self._made_of[0]["source"]}
            if send(messages.LACKING, json.dumps(said).encode()):
                self._judge.lacking = False

    # What requests ask.

    def identify(self, policy: TokenPolicy, request: Request, wall: float, now: float) -> None:
        """Give the request the claims of its token, if it has one that is believed. `wall` is the time of day, `now` a
        monotonic clock, both in seconds."""
        token = policy.token(request)
        if not token:
            return
        verdict = self._judge.judge(token, request.client, wall, now)
        request.claims = verdict.claims
        if verdict.outcome == VERIFIED:
            self._view[self._slots + VERIFIED] += 1
        else:
            self._count(verdict.outcome, now)

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
