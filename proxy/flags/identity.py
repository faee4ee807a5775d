"""Whose token an application sends along when it asks for flags: verified as the workers verify it, by the same keys."""

import time
from collections.abc import Callable, Collection
from hashlib import sha256
from typing import Any, Final, Protocol

from proxy.core.bearer import TOKEN_OUTCOMES, TokenPolicy
from proxy.core.request import Request
from proxy.telemetry.facts import FlagFacts
from proxy.tokens import Verifier
from proxy.verdicts import Judge

Spec = dict[str, Any]


class KeySource(Protocol):
    """Where keys come from (control/token_keys.py)."""

    @property
    def keys(self) -> list[Spec]:
        """Those that count now: another list after each change."""

    def want(self) -> None:
        """A token names a key that is not among them."""


class NoKeys:
    """A source that has none."""

    keys: Final[list[Spec]] = []

    def want(self) -> None:
        """There is nowhere to look."""


class Identity:
    """What is believed of tokens on the port of flags. A token that cannot be verified is no identity, and no error."""

    def __init__(self, source: KeySource, facts: FlagFacts, ticks: Callable[[], float] = time.monotonic) -> None:
        """`ticks` is a monotonic clock, in seconds."""
        self._source: Final = source
        self._facts: Final = facts
        self._ticks: Final = ticks
        self._judge: Final = Judge()
        self._policy: TokenPolicy | None = None
        self._made_of: tuple[Spec, list[Spec]] | None = None

    def look(self, spec: Spec | None) -> None:
        """Take up what the plan's `jwt` says, and the keys of now."""
        keys = self._source.keys
        if spec is None:
            self._policy, self._made_of = None, None
            self._judge.use(None)
        elif self._made_of is None or self._made_of[0] != spec or self._made_of[1] is not keys:
            self._policy, self._made_of = TokenPolicy(spec), (spec, keys)
            self._judge.use(Verifier(spec, keys) if keys else None)

    def identify(self, request: Request, own: Collection[bytes]) -> None:
        """Give the request the claims of its token, if it has one that is believed. `request.at` must be the time. `own` are
        SHA-256 digests of what opens the port: such a token is none of a user's."""
        policy = self._policy
        token = b"" if policy is None else policy.token(request)
        if not token or sha256(token).digest() in own:
            return
        verdict = self._judge.judge(token, "", request.at, self._ticks())  # an application asks for many
        request.claims = verdict.claims
        outcome = TOKEN_OUTCOMES[verdict.outcome]
        self._facts.tokens[outcome] = self._facts.tokens.get(outcome, 0) + 1
        if self._judge.lacking:
            self._judge.lacking = False
            self._source.want()
