"""Faults on purpose: what breaks for whom, how long, and within what bounds."""

from typing import Final, Literal

from pydantic import model_validator

from proxy.settings.models.matchers import Matcher, Networks
from proxy.settings.models.part import Part, option
from proxy.settings.rates import Moment
from proxy.settings.scalars import Duration, HeaderName, Percent, Reference, Size, Text, refuse

KINDS: Final = ("delay", "abort", "reset", "slow_body")


class FaultHeader(Part):
    """Only requests that ask for it: they name its kind, or its place such as `faults[0]`, in this field."""

    name: HeaderName = option("The field.", "x-tidegate-fault")
    from_: Networks = option(
        "Client addresses that may ask.",
        makes=lambda: ["127.0.0.0/8", "::1/128"],
        alias="from",
        shown="[127.0.0.0/8, ::1]",
    )


class Fault(Part):
    """One fault: exactly one of `delay`, `abort`, `reset` and `slow_body`. Marked in logs and metrics."""

    delay: Duration | None = option("The request waits this long first (DI).", None, unit="duration")
    abort: int | None = option("The request is answered with this status (FI).", None, unit="status", ge=400, le=599)
    reset: Literal[True] | None = option("The client's connection is reset (FI).", None)
    slow_body: Size | None = option("The answer's body goes out at so many bytes a second.", None, unit="size")
    percent: Percent | None = option(
        "Share of the units it holds for; of the requests, where there is no unit.",
        None,
        unit="percent",
        shown="**required**; with `header` 100",
    )
    segment: Reference | None = option("Only requests of this segment.", None)
    when: Matcher | None = option("Only requests that this matches.", None)
    versions: list[Reference] = option("Only requests assigned to these versions. Absent: all.", makes=list)
    header: FaultHeader | None = option("Only requests that ask for it. Absent: all.", None)
    until: Moment | None = option("Its end, with the zone: `2026-12-01T00:00:00Z`. Absent: none.", None, unit="time")
    salt: Text | None = option(
        "Deals its cards: faults of one salt hit the same units, the smaller share within the larger.",
        None,
        shown="the route's salt and the fault's kind",
        min_length=1,
    )

    @model_validator(mode="after")
    def _one(self) -> "Fault":
        given = [kind for kind in KINDS if getattr(self, kind) is not None]
        words = ", ".join(f"`{kind}`" for kind in KINDS)
        if not given:
            refuse(f"needs one of {words}")
        if len(given) > 1:
            refuse(
                f"has {' and '.join(f'`{kind}`' for kind in given)}, but takes one of {words}; make two faults of it"
            )
        if self.segment is not None and self.when is not None:
            refuse("has `segment` and `when`, but takes one of them; `when: {all: [{segment: ..}, ..]}` is both")
        if self.percent is None and self.header is None:
            refuse("needs `percent` (of the units), or `header` for requests that ask for it")
        return self

    def kind(self) -> str:
        """Which of the four it is."""
        return next(kind for kind in KINDS if getattr(self, kind) is not None)


class FaultBounds(Part):
    """What holds for all faults: one switch, and how much they may disturb."""

    enabled: bool = option("`false` ends all faults at once.", True)
    max_percent: Percent = option(
        "Share of a version's requests that faults may disturb; beyond, requests pass undisturbed.",
        10.0,
        unit="percent",
    )
