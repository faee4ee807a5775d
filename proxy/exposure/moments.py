"""Since when: `1h` ago, or a point in time."""

import math
import re
from datetime import datetime
from typing import Final

_AGO: Final = re.compile(r"(\d{1,9}(?:\.\d{1,6})?)(s|m|h|d)")
_SECONDS: Final = {"s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}


class BadMomentError(ValueError):
    """What is given says no time. The message says what would."""


def parse_since(text: str, now: float) -> float:
    """Unix seconds of `30m`, `1h`, `7d` before `now`, of `2026-12-01T00:00:00Z`, or of Unix seconds. Raises BadMomentError."""
    found = _AGO.fullmatch(text)
    if found is not None:
        return max(0.0, now - float(found[1]) * _SECONDS[found[2]])
    moment = math.nan
    try:
        moment = float(text)
    except ValueError:
        try:
            at = datetime.fromisoformat(text.upper())
        except ValueError:
            pass
        else:
            moment = at.timestamp() if at.tzinfo is not None else math.nan
    if not 0.0 <= moment < 1e11:
        raise BadMomentError(
            "must be an age such as `1h` or `7d`, a time with its zone (`2026-12-01T00:00:00Z`), or Unix seconds"
        )
    return moment
