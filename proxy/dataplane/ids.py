"""Trace ids, made in advance: random digits are cheap by the thousand and dear by the dozen."""

from random import Random
from typing import Final

_NO_SPAN: Final = b"0" * 16
_AT_ONCE: Final = 128
"""Ids that are made together."""
_DIGITS: Final = 48
"""Of one: 32 for the trace, 16 for the span."""


class TraceIds:
    """A supply of 48 random hex digits each. They are distinct, not secret."""

    def __init__(self, rng: Random) -> None:
        self._rng: Final = rng
        self._digits: bytes = b""
        self._at: int = 0

    def take(self) -> bytes:
        """A trace id of 32 digits and a span id of 16, in one; neither is all zeros, which would be none (W3C Trace Context)."""
        at = self._at
        if at == len(self._digits):
            self._fill()
            at = 0
        self._at = at + _DIGITS
        return self._digits[at : at + _DIGITS]

    def _fill(self) -> None:
        digits = _NO_SPAN
        while digits.find(_NO_SPAN) >= 0:  # it will not happen, and must not
            digits = self._rng.randbytes(_AT_ONCE * _DIGITS // 2).hex().encode()
        self._digits = digits
