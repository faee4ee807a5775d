"""Who is kept in, kept out, or kept apart before the split, and until when."""

from typing import Annotated, Any, Final

from pydantic import model_validator

from proxy.settings.models.part import Part, option
from proxy.settings.problems import shown, suggestion
from proxy.settings.rates import Moment
from proxy.settings.scalars import Percent, Reference, Short, Text, refuse

NOBODY: Final = "none"
"""What `open` says where no ring is; no segment can be called so."""


def until_key(meaning: str) -> Any:
    """A documented field of an end by the clock."""
    return option(f"{meaning} With the zone: `2026-12-01T00:00:00Z`. Absent: no end.", None, unit="time")


class Kill(Part):
    """A kill switch, and an end to it."""

    on: bool = option("Whether it is on.", True)
    until: Moment | None = until_key("From then on it is off again.")

    @model_validator(mode="after")
    def _ends_something(self) -> "Kill":
        if not self.on and self.until is not None:
            refuse("`until` is the end of a kill that is on; this one is off")
        return self


def _expand_kill(value: Any) -> Any:
    if not isinstance(value, bool):
        refuse(f"must be `true`, `false` or `{{until: ..}}`, not {shown(value)}")
    return {"on": value}


KillSwitch = Annotated[Kill, Short(dict, _expand_kill, "boolean")]


def kill_key(meaning: str) -> Any:
    """A documented field of a kill switch."""
    return option(f"{meaning} `true`, `false`, or `{{until}}`.", makes=lambda: Kill(on=False), shown="false")


class Holdout(Part):
    """Units that every route which names it leaves alone: they get the default version, whatever the experiment."""

    percent: Percent = option("Share of the units.", unit="percent")
    salt: Text | None = option(
        "Deals its cards: change it and other units are held out.", None, shown="the holdout's name", min_length=1
    )
    until: Moment | None = until_key("From then on nobody is held out.")


class Layer(Part):
    """Units that routes share out among themselves, so that nobody is in two of their experiments."""

    salt: Text | None = option(
        "Deals its cards: change it and each part gets other units.", None, shown="the layer's name", min_length=1
    )


class LayerPart(Part):
    """The part of a layer's units on which a route experiments; parts of one layer must not overlap."""

    name: Reference = option("The layer.")
    from_: Percent = option("Where the part begins, in percent of the layer's units.", alias="from", unit="percent")
    to: Percent = option("Where it ends; what begins there belongs to the next.", unit="percent")

    @model_validator(mode="after")
    def _some(self) -> "LayerPart":
        if self.from_ >= self.to:
            refuse(f"`from` ({self.from_:g}) must be below `to` ({self.to:g})")
        return self


class Rings(Part):
    """A version for one circle of people after another."""

    version: Reference = option("The version they get.")
    order: list[Reference] = option("Segments, from the innermost ring to the outermost.", min_length=1)
    open: Text = option("The outermost ring that gets it, with all within; `none`: nobody.")
    until: Moment | None = until_key("From then on they are as if not there.")

    @model_validator(mode="after")
    def _open_one(self) -> "Rings":
        twice = next((name for place, name in enumerate(self.order) if name in self.order[:place]), None)
        if twice is not None:
            refuse(f"`{twice}` is in `order` twice")
        if self.open != NOBODY and self.open not in self.order:
            refuse(f"`open` must be a ring of `order` or `{NOBODY}`" + suggestion(self.open, self.order, "rings"))
        return self
