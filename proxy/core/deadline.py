"""How long the whole of an exchange may take, as the route says and as a trusted peer asks, and what is left for the next hop.

The field's value is a duration: a plain number is in seconds, `ms` and `s` may follow (`2.5`, `2s`, `2500ms`). A peer can
only make the time shorter. What cannot be read is as if it were not there: a caller's mistake must not fail its requests,
and guessing at it would be worse than the route's own time.
"""

import re
from math import inf
from typing import Any, Final

Spec = dict[str, Any]

MALFORMED: Final = -1.0

_DURATION: Final = re.compile(rb"(-?)(\d{1,12}(?:\.\d{0,9})?|\.\d{1,9})(ms|s)?")


def parse_duration(value: bytes) -> float:
    """Seconds, 0 for what is negative; MALFORMED for what is no duration."""
    found = _DURATION.fullmatch(value)
    if found is None:
        return MALFORMED
    sign, number, unit = found.groups()
    if sign:
        return 0.0
    return float(number) / 1000 if unit == b"ms" else float(number)


class DeadlinePolicy:
    """In which field the time that is left comes and goes."""

    def __init__(self, spec: Spec) -> None:
        name: bytes = spec["header"].lower().encode()
        self.header: Final = name
        # Whoever sent it, it is not passed on as it came; nor is what a CGI-like upstream would take for it.
        self.dropped: Final = frozenset((name, name.replace(b"-", b"_")))
        self._start: Final = name + b": "

    def line(self, seconds: float) -> bytes:
        """The field line with what is left, in whole milliseconds, rounded down; never less than 1, for 0 says "past"."""
        return self._start + b"%dms\r\n" % max(int(seconds * 1000), 1)


def time_allowed(timeout: float, asked: float) -> float:
    """Seconds for the whole exchange, infinite for no end: the route's `timeout` (0: none), lowered by what a peer asks."""
    allowed = timeout or inf
    return asked if 0 <= asked < allowed else allowed
