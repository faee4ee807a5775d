"""What came of tokens, remembered, and how much time is spent on bad ones. For workers, and for the port of flags.

A token comes with every request of its user, so all but its first cost a look into a table. What came of bad ones is kept
as well, in a table of its own, so that they push out no good ones; and there is an allowance for checks that fail: who makes up
tokens, each another one, does not get the process's time for it. Beyond the allowance tokens that are not known yet are not
checked, and are no identity; users that are known stay who they are. A single client has a part of the allowance and no more,
so that it takes several of them to have new users unchecked.
"""

from hashlib import sha256
from math import inf
from typing import Final

from proxy.core.address import client_network
from proxy.core.bearer import EXPIRED, KEY, MAX_TOKEN, TOO_LARGE, UNCHECKED, VERIFIED
from proxy.tokens import Verdict, Verifier

KEPT: Final = 8192
"""Verdicts in each half of each table. One is some 500 bytes, with three claims."""
ALLOWED: Final = 500.0
"""Checks a second that may fail, and as many at once: some 5 to 10 % of a worker."""
SHARE: Final = 64.0
"""Those of one client, of `ALLOWED`; a few clients in many, by chance, have one share together."""

_SHARES: Final = 256
_TOO_LARGE: Final = Verdict(TOO_LARGE, None, inf)
_EXPIRED: Final = Verdict(EXPIRED, None, inf)
_UNCHECKED: Final = Verdict(UNCHECKED, None, inf)


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


class Judge:
    """One verifier after another, and what came of tokens under the one of now. Without one, no token is believed.

    `lacking` says that a token named a key that is not there, since whoever asks last set it back: a set that was fetched
    may be an old one.
    """

    def __init__(self) -> None:
        self.verifier: Verifier | None = None
        self.lacking: bool = False
        self.good: Kept = Kept()
        self.bad: Kept = Kept()
        self._left: float = ALLOWED
        self._left_at: float = -inf
        self._shares: Final[list[float]] = [SHARE] * _SHARES
        self._shares_at: Final[list[float]] = [-inf] * _SHARES

    def use(self, verifier: Verifier | None) -> None:
        """Believe this one from now on. Nothing that another has said counts any more."""
        if verifier is not self.verifier:
            self.verifier = verifier
            self.good = Kept()
            self.bad = Kept()

    def judge(self, token: bytes, client: str, wall: float, now: float) -> Verdict:
        """What the token comes to; claims only where it is believed. `client` is the address of who sends it, "" where it
        speaks for many; `wall` is the time of day, `now` a monotonic clock, both in seconds."""
        if len(token) > MAX_TOKEN:
            return _TOO_LARGE
        digest = sha256(token).digest()
        verdict = self.good.get(digest)
        if verdict is not None:
            return verdict if wall < verdict.until else _EXPIRED
        verdict = self.bad.get(digest)
        if verdict is None or wall >= verdict.until:
            verdict = self._check(token, digest, client, wall, now)
        return verdict

    def _check(self, token: bytes, digest: bytes, client: str, wall: float, now: float) -> Verdict:
        """What it comes to; unchecked where there is no time for it."""
        verifier = self.verifier
        if verifier is None:
            return _UNCHECKED
        if now > self._left_at:
            self._left = min(ALLOWED, self._left + (now - self._left_at) * ALLOWED)
            self._left_at = now
        share = hash(client_network(client)) % _SHARES if client else -1
        if self._left < 1.0 or (share >= 0 and self._left_of(share, now) < 1.0):
            return _UNCHECKED
        verdict = verifier.check(token, wall)
        if verdict.outcome == VERIFIED:
            self.good.put(digest, verdict)
        else:
            self._left -= 1.0
            if share >= 0:
                self._shares[share] -= 1.0
            self.bad.put(digest, verdict)
            if verdict.outcome == KEY:
                self.lacking = True
        return verdict

    def _left_of(self, share: int, now: float) -> float:
        if now > self._shares_at[share]:
            self._shares[share] = min(SHARE, self._shares[share] + (now - self._shares_at[share]) * SHARE)
            self._shares_at[share] = now
        return self._shares[share]
