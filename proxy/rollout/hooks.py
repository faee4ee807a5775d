"""Asks and tells somebody else's program around the steps of a rollout.

A hook is called `before_start`, `before_step`, `after_step` or `after_end`. One with `veto` is asked: the rollout goes on only
after a yes, and whatever is not a yes (a no, an error, silence, after all tries) holds it. One without is told: what becomes
of that is counted and logged, and holds nothing.

Yes is a status of 2xx, unless the body is a JSON object with `"allow": false`; its `reason` is shown to people. A status that does
not say "later" (408, 425, 429, 5xx) is final. The same call has the same `id` however often it is tried, also by a control process
that was killed and started again: a receiver that acts should act once for each.
"""

import json
import logging
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from proxy.rollout.sending import Reply, Sender, SendError, as_body, shown
from proxy.rollout.signing import HEADER, sign

log = logging.getLogger("tidegate.rollout")

Spec = dict[str, Any]

BEFORE_START: Final = "before_start"
BEFORE_STEP: Final = "before_step"
AFTER_STEP: Final = "after_step"
AFTER_END: Final = "after_end"
WHEN: Final = (BEFORE_START, BEFORE_STEP, AFTER_STEP, AFTER_END)

OK: Final = "ok"
VETOED: Final = "vetoed"
FAILED: Final = "failed"
DROPPED: Final = "dropped"
OUTCOMES: Final = (OK, VETOED, FAILED, DROPPED)
"""What comes of a call: yes; a no of one that is asked; no answer, or an error; too many under way to make it."""

UNDER_WAY: Final = 256
"""Rounds of hooks under way, of all routes; a rollout has one or two at a time."""
_REASON: Final = 500
"""Characters of a reason that are kept."""


@dataclass(frozen=True, slots=True)
class Answer:
    """Whether a rollout may go on; `reason` says why not, and names the hook."""

    allowed: bool
    reason: str = ""
    outcome: str = OK


YES: Final = Answer(allowed=True)


class Hooks:
    """Calls the hooks of all rollouts. `counts` has how many calls came to what, by (when, outcome)."""

    def __init__(self, sender: Sender, now: Callable[[], float], counts: Counter[tuple[str, str]]) -> None:
        """`now`: Unix seconds, for the signatures."""
        self._sender: Final = sender
        self._now: Final = now
        self._under_way = 0
        self.counts: Final = counts

    async def ask(self, hooks: Sequence[Spec], when: str, facts: Mapping[str, Any]) -> Answer:
        """Ask those of this moment that may veto, in the order of the file, until one says no.

        `hooks` are `webhooks` of the plan with their secrets; `facts` are what they are told (telling.facts_of).
        """
        return await self._round([one for one in hooks if one["when"] == when and one["veto"]], when, facts)

    async def tell(self, hooks: Sequence[Spec], when: str, facts: Mapping[str, Any]) -> None:
        """Tell those of this moment that may not. What they say changes nothing."""
        await self._round([one for one in hooks if one["when"] == when and not one["veto"]], when, facts)

    async def _round(self, called: Sequence[Spec], when: str, facts: Mapping[str, Any]) -> Answer:
        if not called:
            return YES
        if self._under_way >= UNDER_WAY:
            self.counts[when, DROPPED] += len(called)
            log.error("%s: %s hooks were not called: %s rounds are under way", facts["route"], when, UNDER_WAY)
            return Answer(allowed=False, reason="too many hooks are under way", outcome=DROPPED)
        self._under_way += 1
        try:
            body = as_body({**facts, "event": when, "id": f"{facts['id']}/{when}"})
            for one in called:
                answer = await self._call(one, when, facts["route"], body)
                if one["veto"] and not answer.allowed:
                    return answer
            return YES
        finally:
            self._under_way -= 1

    async def _call(self, hook: Spec, when: str, route: str, body: bytes) -> Answer:
        url: str = hook["url"]
        secret: str | None = hook["secret"]

        def headers() -> dict[str, str]:
            return {HEADER: sign(secret, body, int(self._now()))} if secret else {}

        try:
            reply = await self._sender.deliver(url, body, headers, hook["timeout"], hook["retries"] + 1)
        except SendError as error:
            answer = Answer(allowed=False, reason=f"the {when} hook {shown(url)} failed: {error}", outcome=FAILED)
        else:
            answer = read_answer(reply, f"the {when} hook {shown(url)}", veto=hook["veto"])
        self.counts[when, answer.outcome] += 1
        if answer.outcome == FAILED:
            log.warning("%s: %s", route, answer.reason)
        elif answer.outcome == VETOED:
            log.info("%s: %s", route, answer.reason)
        return answer


def read_answer(reply: Reply, who: str, *, veto: bool) -> Answer:
    """What a hook's answer says. A status like 404 or 500 is a failure, 403 and 409 with a veto are a no; `who` is named."""
    said = _said(reply.body)
    if reply.taken:
        if veto and said.get("allow") is False:
            return Answer(allowed=False, reason=_because(who, said, "says no"), outcome=VETOED)
        return YES
    if veto and reply.status in {403, 409, 412, 423}:
        return Answer(allowed=False, reason=_because(who, said, f"says no with {reply.status}"), outcome=VETOED)
    return Answer(allowed=False, reason=_because(who, said, f"failed: it answers with {reply.status}"), outcome=FAILED)


def _said(body: bytes) -> Spec:
    try:
        value = json.loads(body)
    except (ValueError, RecursionError):  # nested without end
        return {}
    return value if isinstance(value, dict) else {}


def _because(who: str, said: Spec, what: str) -> str:
    """A line for people: control characters out, for it goes to terminals and logs."""
    reason = said.get("reason")
    if not isinstance(reason, str) or not reason.strip():
        return f"{who} {what}"
    plain = " ".join("".join(c if c.isprintable() else " " for c in reason[:_REASON]).split())
    return f"{who} {what}: {plain}"
