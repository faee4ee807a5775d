"""Waiting for a condition instead of for a time."""

import time
from collections.abc import Callable
from typing import TypeVar

Found = TypeVar("Found")

DEADLINE = 10.0
"""Seconds. Generous, for a loaded machine: nothing waits that long unless something is broken."""

PAUSE = 0.005
"""Seconds between two looks at a condition that cannot wake us."""


def wait_for(condition: Callable[[], Found], what: str, deadline: float = DEADLINE) -> Found:
    """The first truthy value of `condition`.

    Raises AssertionError that names `what` when `deadline` seconds brought none.
    """
    end = time.monotonic() + deadline
    while True:
        found = condition()
        if found:
            return found
        assert time.monotonic() < end, f"waited {deadline:g} s in vain for {what}"
        time.sleep(PAUSE)
