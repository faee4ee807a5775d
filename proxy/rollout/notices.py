"""Tells people what a rollout does: started, step, paused, insufficient, aborted, completed.

A notice is a POST of JSON, ours or in the shape that Slack takes (Mattermost, Rocket.Chat and others take the same). Nothing waits
for it. Each URL has a queue of its own, so that a dead one delays no other; where a queue is full the oldest notice goes, for the
newest says where the rollout stands. Every loss is counted. A notice is told at most once: a control process that dies before
it was sent does not repeat it. What must not be missed is in the history (`tidegate rollout history`).
"""

import logging
from collections import Counter, deque
from collections.abc import Callable, Coroutine, Mapping, Sequence
from typing import Any, Final

from proxy.rollout.sending import Sender, SendError, as_body, origin
from proxy.rollout.telling import ABORTED, COMPLETED, INSUFFICIENT, PAUSED, headline, number_lines

log = logging.getLogger("tidegate.rollout")

Spec = dict[str, Any]

QUEUE: Final = 64
"""Notices that wait for one URL."""
QUEUES: Final = 256
"""URLs that notices wait for at the same time."""
TRIES: Final = 4
TIMEOUT: Final = 5.0
"""Seconds for one try."""

SENT: Final = "sent"
FAILED: Final = "failed"
DROPPED: Final = "dropped"
OUTCOMES: Final = (SENT, FAILED, DROPPED)

_COLOURS: Final = {ABORTED: "danger", PAUSED: "warning", INSUFFICIENT: "warning", COMPLETED: "good"}
_FIELDS: Final = 8

Spawn = Callable[[str, Coroutine[Any, Any, None]], object]


class Notices:
    """Sends notices in the background. `counts` has what became of them, by (event, outcome)."""

    def __init__(self, sender: Sender, spawn: Spawn, counts: Counter[tuple[str, str]]) -> None:
        """`spawn` runs work in the background under a name."""
        self._sender: Final = sender
        self._spawn: Final = spawn
        self._queues: Final[dict[str, deque[tuple[str, bytes]]]] = {}
        self.counts: Final = counts

    def tell(self, targets: Sequence[Spec], event: str, facts: Mapping[str, Any]) -> None:
        """Tell those of `targets` (`notify` of the plan) that want this event. Returns at once."""
        for one in targets:
            if event in one["events"]:
                shape = as_slack if one["format"] == "slack" else as_json
                self._put(one["url"], event, as_body(shape(event, facts)))

    def _put(self, url: str, event: str, body: bytes) -> None:
        queue = self._queues.get(url)
        if queue is None:
            if len(self._queues) >= QUEUES:
                self.counts[event, DROPPED] += 1
                log.error("a notice of %s was dropped: %s places are waited for", event, QUEUES)
                return
            queue = self._queues[url] = deque()
            queue.append((event, body))
            self._spawn("notices", self._drain(url, queue))
            return
        if len(queue) >= QUEUE:
            lost, _ = queue.popleft()
            self.counts[lost, DROPPED] += 1
            log.warning("a notice of %s was dropped: %s wait for the same place", lost, QUEUE)
        queue.append((event, body))

    async def _drain(self, url: str, queue: deque[tuple[str, bytes]]) -> None:
        try:
            while queue:
                event, body = queue.popleft()
                await self._deliver(url, event, body)
        finally:
            self.counts.update((event, DROPPED) for event, _ in queue)  # stopped on the way
            del self._queues[url]

    async def _deliver(self, url: str, event: str, body: bytes) -> None:
        try:
            reply = await self._sender.deliver(url, body, dict, TIMEOUT, TRIES)
            failure = "" if reply.taken else f"it answers with {reply.status}"
        except SendError as error:
            failure = str(error)
        self.counts[event, FAILED if failure else SENT] += 1
        if failure:
            log.warning("a notice of %s did not reach %s: %s", event, origin(url), failure)


def as_json(event: str, facts: Mapping[str, Any]) -> Spec:
    """Our own shape: the event, a line for people, and all that is known."""
    return {"event": event, "text": headline(event, facts), **facts}


def as_slack(event: str, facts: Mapping[str, Any]) -> Spec:
    """Slack's: a text, and an attachment with the numbers."""
    text = _escape(headline(event, facts))
    numbers = [(name, value) for name, value in number_lines(facts["numbers"], _FIELDS) if value]
    weights = ", ".join(f"{name} {weight:g}" for name, weight in facts["weights"].items())
    fields = [("weights", weights), ("by", facts["actor"]), *numbers]
    return {
        "text": text,
        "attachments": [
            {
                "color": _COLOURS.get(event, "#439fe0"),
                "fallback": text,
                "fields": [{"title": _escape(name), "value": _escape(value), "short": True} for name, value in fields],
                "ts": int(facts["at"]),
            }
        ],
    }


def _escape(words: str) -> str:
    """The three characters that mean something in Slack's text: no name of ours may mention everybody."""
    return words.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
