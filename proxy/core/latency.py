"""How long a version has taken of late, at one percentile: what a hedge waits for before it goes.

Two log-linear histograms take turns: one fills while the one before is still counted, so that an answer is about the last
one to two half windows and nothing is ever forgotten all at once. Buckets are 1/32 of a power of two wide, so a value is
right to 3.2 %, upwards; the size is fixed, 11 KiB, whatever the load. Log-linear as in HdrHistogram (Tene); the turning as
in Dropwizard's sliding reservoirs.
"""

from math import ceil, frexp, ldexp
from typing import Final

_LOWEST: Final = 2.0**-15
"""Seconds (31 microseconds): what is quicker counts as this."""
_OCTAVES: Final = 22
"""Up to 128 s; what is slower counts as that."""
_WITHIN: Final = 32
_BUCKETS: Final = _OCTAVES * _WITHIN
_FRESH: Final = 0.25
"""Seconds for which an answer is given again: walking the buckets costs more than a request should."""

WIDTH: Final = 1.0 / _WITHIN
"""Largest share by which an answer is above the true value."""


def _bucket(seconds: float) -> int:
    mantissa, exponent = frexp(seconds / _LOWEST)  # mantissa in [0.5, 1): exponent is 1 for the first octave
    place = (exponent - 1) * _WITHIN + int((mantissa * 2.0 - 1.0) * _WITHIN)
    return min(max(place, 0), _BUCKETS - 1)


def _upper_edge(bucket: int) -> float:
    octave, within = divmod(bucket, _WITHIN)
    return ldexp(_LOWEST * (1.0 + (within + 1) / _WITHIN), octave)


class Latency:
    """Recent durations in seconds. `now` is a monotonic clock in seconds, and never runs backwards."""

    def __init__(self, percentile: float, minimum_samples: int, half_window: float = 15.0) -> None:
        """`percentile` in (0, 100]. With fewer than `minimum_samples` in the window nothing is known."""
        self._share: Final = percentile / 100.0
        self._minimum: Final = max(minimum_samples, 1)
        self._half: Final = half_window
        self._current: list[int] = [0] * _BUCKETS
        self._before: list[int] = [0] * _BUCKETS
        self._count: int = 0
        self._count_before: int = 0
        self._since: float = 0.0
        self._known: float = -1.0
        self._known_until: float = 0.0

    def measures(self, percentile: float, minimum_samples: int) -> bool:
        """Whether this is what it measures."""
        return self._share == percentile / 100.0 and self._minimum == max(minimum_samples, 1)

    def add(self, seconds: float, now: float) -> None:
        """One more duration."""
        if now - self._since >= self._half:
            self._turn(now)
        self._current[_bucket(seconds)] += 1
        self._count += 1

    def value(self, now: float) -> float:
        """The percentile of the window, negative while too little is known. At most a quarter of a second old."""
        if now < self._known_until:
            return self._known
        if now - self._since >= self._half:
            self._turn(now)
        self._known_until = now + _FRESH
        self._known = self._quantile()
        return self._known

    def _turn(self, now: float) -> None:
        if now - self._since < 2.0 * self._half:
            self._before = self._current
            self._count_before = self._count
            self._since += self._half  # on time, however late it is noticed
        else:  # a long silence: what was current is old as well
            self._before = [0] * _BUCKETS
            self._count_before = 0
            self._since = now
        self._current = [0] * _BUCKETS
        self._count = 0

    def _quantile(self) -> float:
        count = self._count + self._count_before
        if count < self._minimum:
            return -1.0
        rank = max(ceil(self._share * count), 1)
        current = self._current
        before = self._before
        for bucket in range(_BUCKETS):
            rank -= current[bucket] + before[bucket]
            if rank <= 0:
                return _upper_edge(bucket)
        return _upper_edge(_BUCKETS - 1)
