"""Flags over the plan in force: evaluated for one request after another, and told apart by a tag when they change."""

import asyncio
import json
from collections.abc import Callable, Mapping
from hashlib import blake2b
from typing import Any, Final

from proxy.cap_files import look_into_files
from proxy.core.address import Networks
from proxy.core.build import build_flags
from proxy.core.cookies import UnitCookies
from proxy.core.flags import Evaluation, FlagSet
from proxy.core.hashing import UnitHasher
from proxy.core.request import Request
from proxy.core.unit_table import UnitList
from proxy.expressions import matchers_of
from proxy.flags.identity import Identity, KeySource, NoKeys
from proxy.flags.moments import Moments
from proxy.telemetry.facts import Facts

Spec = dict[str, Any]

TARGETING_KEY_MISSING: Final = "TARGETING_KEY_MISSING"
_COUNTERS: Final = frozenset(("slot", "codes", "codes_none"))


class FlagService:
    """What the port of flags asks. `revision` tells one state of flags, of what they need, of lists and of times from
    another."""

    def __init__(
        self,
        spec: Callable[[], Spec],
        lists: Callable[[], Mapping[str, UnitList]],
        clock: Callable[[], float],
        facts: Facts,
        keys: KeySource | None = None,
    ) -> None:
        """`spec` gives that of the plan in force, `clock` the time in Unix seconds. `keys` are those of tokens."""
        self._spec: Final = spec
        self._lists: Final = lists
        self.clock: Final = clock
        self._all_facts: Final = facts
        self.facts: Final = facts.flags
        self.revision = ""
        self.since = 0.0
        """When this revision was first seen, in Unix seconds."""
        self.trusted = Networks([])
        self.identity: Final = Identity(keys or NoKeys(), facts.flags)
        self._flags = FlagSet([], {}, {}, UnitCookies([]))
        self._built: Spec | None = None
        self._taken = -1
        self._moments = Moments({"flags": [], "routes": [], "segments": []})
        self._from, self._to = 0.0, 0.0  # the time for which the revision is what it is
        self._changed = asyncio.Event()

    def look(self) -> None:
        """Take up what has changed. Called before each question, and every second."""
        spec = self._spec()
        self.identity.look(spec["jwt"])
        taken = sum(one.taken for one in self._all_facts.lists.values())
        now = self.clock()
        if spec is self._built and taken == self._taken and self._from <= now < self._to:
            return
        if spec is not self._built:
            self._flags = build_flags(spec, self._lists(), matchers_of(spec))
            followed = [flag.route for flag in self._flags.flags.values() if flag.route is not None]
            look_into_files(followed, UnitHasher(spec["secrets"]["unit_hash"].encode()))
            self.trusted = Networks(spec["trusted_proxies"])
            self._moments = Moments(spec)
        self._built, self._taken = spec, taken
        self._from, self._to = now, self._moments.next_change(now)
        revision = _revision(spec, taken, self._moments.phase(now))
        if revision != self.revision:
            self.revision, self.since = revision, now
            changed, self._changed = self._changed, asyncio.Event()
            changed.set()

    @property
    def changed(self) -> asyncio.Event:
        """Set when the revision of now is one of before."""
        return self._changed

    def has(self, name: str) -> bool:
        """Whether there is such a flag."""
        return name in self._flags.flags

    def one(self, name: str, request: Request) -> Spec:
        """The answer for a flag that is there."""
        return self._answer(self._flags.evaluate(name, request, request.unit), request)

    def every(self, request: Request) -> list[Spec]:
        """The answers for all flags."""
        known: dict[str, Evaluation] = {}
        return [
            self._answer(self._flags.evaluate(name, request, request.unit, known), request)
            for name in self._flags.flags
        ]

    def tag(self, request: Request, flags: list[Spec]) -> str:
        """The quoted tag of a bulk answer: another for each context, each configuration, and each outcome."""
        attributes = sorted((request.attributes or {}).items())
        claims = sorted((request.claims or {}).items())
        text = repr((self.revision, request.unit, attributes, claims)).encode() + json.dumps(flags).encode()
        return f'"{blake2b(text, digest_size=16).hexdigest()}"'

    def _answer(self, found: Evaluation, request: Request) -> Spec:
        flag = found.flag
        counted = (flag.name, found.variant, "ERROR" if found.unit_missing else found.reason)
        self.facts.evaluations[counted] = self.facts.evaluations.get(counted, 0) + 1
        if found.unit_missing:
            return {
                "key": flag.name,
                "errorCode": TARGETING_KEY_MISSING,
                "errorDetails": "the flag is dealt by unit, and the context has no `targetingKey`",
            }
        metadata: Spec = {"reason": found.detail}
        if found.rule:
            metadata["rule"] = found.rule
        if found.reason == "SPLIT":
            metadata["bucket"] = found.bucket(request.unit)
        if not found.variant:
            return {"key": flag.name, "reason": found.reason, "metadata": metadata}
        return {
            "key": flag.name,
            "value": found.value,
            "variant": found.variant,
            "reason": found.reason,
            "metadata": metadata,
        }


def _revision(spec: Spec, taken: int, phase: list[bool]) -> str:
    """16 hex digits over all that flags depend on; places of counters, which a restart changes, left out."""
    followed = {flag["route"] for flag in spec["flags"]}
    routes = [_without_counters(one) for one in spec["routes"] if one["name"] in followed]
    text = json.dumps([spec["flags"], spec["segments"], routes, spec["trusted_proxies"], taken, phase])
    return blake2b(text.encode(), digest_size=8).hexdigest()


def _without_counters(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _without_counters(one) for key, one in value.items() if key not in _COUNTERS}
    return [_without_counters(one) for one in value] if isinstance(value, list) else value
