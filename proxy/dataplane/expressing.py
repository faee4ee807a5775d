"""The expressions of one worker's plans: compiled once, and what goes wrong with them counted and told.

One that cannot be evaluated does not match. How often that was is in a counter; which one and why stands in the log, once a plan
for each expression and at most for so many of them.
"""

import asyncio
import logging
from typing import Any, Final

from proxy.core.match import Matcher
from proxy.core.request import Request
from proxy.expressions import Expression, is_absence
from proxy.telemetry.counters import EXPRESSION_ABSENT, EXPRESSION_FAILED, W_EXPRESSIONS

log = logging.getLogger("tidegate.worker")

Spec = dict[str, Any]

TOLD: Final = 10
"""Expressions that are told of in the log, in the time of a plan."""


class Watched:
    """An expression as a matcher."""

    def __init__(self, expression: Expression, owner: "Expressing") -> None:
        self._expression: Final = expression
        self._owner: Final = owner

    def matches(self, request: Request) -> bool:
        """Whether it holds; what goes wrong is noted."""
        matched, trouble = self._expression.evaluate(request)
        if trouble:
            self._owner.note(self._expression.text, trouble)
        return matched


class Expressing:
    """All of them, by their text."""

    def __init__(self, view: memoryview, base: int) -> None:
        self._view: Final[memoryview] = view
        self._slots: Final[int] = base + W_EXPRESSIONS
        self._known: dict[str, Watched] = {}
        self._told: Final[set[str]] = set()

    async def bring(self, specs: list[Spec]) -> dict[str, Matcher]:
        """The matchers of a plan's expressions by text. Those that are new are compiled beside the event loop: what they need
        may have to be imported. Raises ImportError and ValueError."""
        new = [one for one in specs if one["cel"] not in self._known]
        known = {one["cel"]: self._known[one["cel"]] for one in specs if one["cel"] in self._known}
        if new:
            for made in await asyncio.get_running_loop().run_in_executor(None, _compiled, new):
                known[made.text] = Watched(made, self)
        self._known = known
        self._told.clear()
        return {text: one.matches for text, one in known.items()}

    def note(self, text: str, trouble: str) -> None:
        """An expression could not be evaluated."""
        absent = is_absence(trouble)
        self._view[self._slots + (EXPRESSION_ABSENT if absent else EXPRESSION_FAILED)] += 1
        if text not in self._told and len(self._told) < TOLD:
            self._told.add(text)
            log.log(
                logging.INFO if absent else logging.WARNING,
                "an expression could not be evaluated, so that it does not match",
                extra={"expression": text[:200], "cause": trouble},
            )


def _compiled(specs: list[Spec]) -> list[Expression]:
    return [Expression(one["cel"], one["reads"]) for one in specs]
