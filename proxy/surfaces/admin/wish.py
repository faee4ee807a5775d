"""The body in which a caller says what is to be done: why, who says so, and whatever the path itself takes."""

import json
import math
from datetime import datetime
from typing import Any, Final

_TEXT_LIMIT: Final = 500  # characters of a reason or a name
_WORDS: Final = ("reason", "by")


class BadWishError(Exception):
    """What the caller sent cannot be read; the message is for them."""


def read_wish(text: str, *more: str) -> dict[str, Any]:
    """The values in `text`, in which `reason` and `by` are texts and always there; `more` are the other keys it may have,
    unchecked. An empty body wishes for nothing in particular. Raises BadWishError.
    """
    try:
        value = json.loads(text) if text.strip() else {}
    except (ValueError, RecursionError):
        raise BadWishError("the body must be JSON") from None
    if not isinstance(value, dict):
        raise BadWishError("the body must be an object")
    known = (*_WORDS, *more)
    unknown = sorted(value.keys() - set(known))
    if unknown:
        raise BadWishError(f"unknown: {', '.join(unknown)}; known: {', '.join(known)}")
    for word in _WORDS:
        said = value.setdefault(word, "")
        if not isinstance(said, str) or len(said) > _TEXT_LIMIT:
            raise BadWishError(f"{word} must be a text of at most {_TEXT_LIMIT} characters")
    return value


def read_end(value: Any, now: float) -> float | None:
    """Unix seconds of what stands under `until`, None where nothing does. Raises BadWishError, also for what is past at `now`."""
    if value is None:
        return None
    until = _moment(value)
    if until <= now:
        raise BadWishError("until has passed already")
    return until


def _moment(value: Any) -> float:
    if isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value):
        return float(value)
    if isinstance(value, str):
        try:
            moment = datetime.fromisoformat(value)
        except ValueError:
            pass
        else:
            if moment.tzinfo is not None:
                return moment.timestamp()
    raise BadWishError("until must be a time with its zone, `2026-12-01T00:00:00Z`, or Unix seconds")
