"""Two durations of one part, of which the first must not be the longer."""

from proxy.settings.models.part import Part
from proxy.settings.problems import KeyPath, Report
from proxy.settings.scalars import format_duration


def check_order(part: Part, shorter: str, longer: str, path: KeyPath, report: Report) -> None:
    """Report where the file has `shorter` of `part` above `longer`, both keys of seconds; `path` leads to the part."""
    low, high = getattr(part, shorter), getattr(part, longer)
    if low > high:
        key = longer if longer in part.model_fields_set else shorter
        report(
            (*path, key),
            f"`{shorter}` ({format_duration(low)}) must not be longer than `{longer}` ({format_duration(high)})",
        )
