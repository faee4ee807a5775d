"""What was really counted, as a world to play a plan in: requests and errors of the versions over time.

The file is JSON: the `course` of a report (report.json, or the list alone), points in the order of time with cumulative counts by
version. Between two points rate and error shares are what was counted; after the last it begins again.
"""

import json
from bisect import bisect_right
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Final

from proxy.rollout.track import Moment, Track
from proxy.rollout.world import Recorded

LEAST: Final = 200
"""Requests of a version before its share of errors counts as known at that time; until then it is that of all the time."""


class BadRecordError(ValueError):
    """What was given is no record; the message says what is missing."""


@dataclass(frozen=True, slots=True)
class Replay:
    """What was counted at so many seconds from the beginning; after the end it begins again."""

    ends: tuple[float, ...]
    pieces: tuple[Recorded, ...]

    def __call__(self, seconds: float) -> Recorded:
        return self.pieces[bisect_right(self.ends, seconds % self.ends[-1])]


def read_recorded(text: str, old: str, new: str) -> Replay:
    """The record in `text`. `old` and `new`: versions that must be in it.

    Raises BadRecordError.
    """
    try:
        value: Any = json.loads(text)
    except ValueError as error:
        raise BadRecordError(f"is no JSON: {error}") from None
    course = value.get("course") if isinstance(value, dict) else value
    try:
        moments = Track.of([{"percent": 0.0, "evidence": {}, **one} for one in course or ()]).moments
    except (KeyError, TypeError, ValueError) as error:
        raise BadRecordError(
            f'has no points such as {{"at": 0, "counts": {{"stable": [requests, errors]}}}} ({error!r})'
        ) from None
    if len(moments) < 2 or moments[-1].at <= moments[0].at:
        raise BadRecordError("has fewer than two points in time")
    for name in (old, new):
        if not _more(moments[0], moments[-1], name)[0]:
            known = ", ".join(sorted(moments[-1].counts)) or "none"
            raise BadRecordError(f"has no requests of version `{name}`; versions in it: {known}")
    pieces = [(after.at - moments[0].at, _between(before, after, moments)) for before, after in pairwise(moments)]
    return Replay(tuple(end for end, _ in pieces), tuple(one for _, one in pieces))


def _between(before: Moment, after: Moment, moments: list[Moment]) -> Recorded:
    requests = sum(_more(before, after, name)[0] for name in after.counts)
    errors = {}
    for name in after.counts:
        more, failed = _more(before, after, name)
        if more < LEAST:
            more, failed = _more(moments[0], moments[-1], name)
        errors[name] = failed / more if more else 0.0
    return Recorded(requests / (after.at - before.at), errors)


def _more(before: Moment, after: Moment, name: str) -> tuple[int, int]:
    was, had = before.counts.get(name, (0, 0))
    requests, errors = after.counts.get(name, (was, had))
    return max(0, requests - was), max(0, errors - had)
