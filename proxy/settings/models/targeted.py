"""What holds for some units or requests before the split: the rules of routes and of flags."""

from typing import Any, ClassVar, Self

from pydantic import model_validator

from proxy.settings.models.audience import until_key
from proxy.settings.models.matchers import Matcher, matcher_spec
from proxy.settings.models.part import Part, option
from proxy.settings.rates import Moment
from proxy.settings.scalars import Reference, Text, refuse


class Targeted(Part):
    """For these units or requests, one of `OUTCOMES`, which are keys of the heir."""

    OUTCOMES: ClassVar[tuple[str, ...]]

    units: list[Text] | None = option("The units it holds for.", None, min_length=1)
    segment: Reference | None = option("The segment it holds for.", None)
    when: Matcher | None = option("The matcher it holds for.", None)
    until: Moment | None = until_key("From then on the rule is as if not there.")

    @model_validator(mode="after")
    def _one_of_each(self) -> Self:
        for names in (("units", "segment", "when"), self.OUTCOMES):
            given = [name for name in names if getattr(self, name) is not None]
            if len(given) == 1:
                continue
            words = ", ".join(f"`{name}`" for name in names)
            if not given:
                refuse(f"needs one of {words}")
            refuse(f"has {' and '.join(f'`{name}`' for name in given)}, but takes one of {words}")
        return self

    def spec(self, index: int) -> dict[str, Any]:
        """Its spec (core/decide.py, core/flags.py); it is the rule at `index`."""
        spec: dict[str, Any] = {"label": f"rules[{index}]"}
        if self.units is not None:
            spec["units"] = list(self.units)
        elif self.segment is not None:
            spec["where"] = {"segment": self.segment}
        elif self.when is not None:
            spec["where"] = matcher_spec(self.when)
        for name in self.OUTCOMES:
            outcome = getattr(self, name)
            if outcome is not None:
                spec[name] = dict(outcome) if isinstance(outcome, dict) else outcome
        if self.until is not None:
            spec["until"] = self.until
        return spec
