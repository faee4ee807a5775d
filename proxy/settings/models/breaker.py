"""The circuit breaker of a version."""

from proxy.settings.models.part import Part, duration_key, option
from proxy.settings.scalars import Duration, Percent


class Slow(Part):
    """Opens it when too many answers are slow."""

    above: Duration = duration_key("An answer whose head takes longer is slow.", "1s")
    percent: Percent = option("Share of the window's answers that may be slow.", 50.0, unit="percent")


class Breaker(Part):
    """Closed: requests pass. Open: none do, and the fallback serves, or 503. Then some try whether it is well."""

    window: Duration = duration_key("What counts: the requests of this long.", "10s")
    minimum_requests: int = option("Fewer requests than this in the window open nothing.", 20, unit="count", ge=1)
    error_percent: Percent = option(
        "Share of the window's requests that may be errors; 0 is off.", 50.0, unit="percent"
    )
    slow: Slow | None = option("Open when too many answers are slow. Absent: no.", None)
    saturation_percent: Percent = option(
        "Share of the upstream's `limits.requests` that may be in flight; 0 is off.", 0.0, unit="percent"
    )
    open: Duration = duration_key("How long it stays open; doubled each time in a row.", "5s")
    max_open: Duration = duration_key("It is never open longer.", "60s")
    probes: int = option(
        "Requests that then try: with so many good answers it closes, and one bad one opens it again.",
        5,
        unit="count",
        ge=1,
        le=1000,
    )
