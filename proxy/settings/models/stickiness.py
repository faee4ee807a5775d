"""Whether units keep the version they were dealt, and how long."""

from typing import Annotated, Any, Final, Literal

from pydantic import BeforeValidator, WithJsonSchema, model_validator

from proxy.settings.models.part import Part, option
from proxy.settings.problems import shown, suggestion
from proxy.settings.rates import Age, parse_age
from proxy.settings.scalars import Token, refuse

MODES: Final = ("hash", "pinned", "new_sessions")
_MAX_AGES: Final = {"pinned": 7 * 86_400.0, "new_sessions": 86_400.0}


def _parse_drain(value: object) -> float:
    """Seconds of an age, or 0 for `off`."""
    return 0.0 if value == "off" else parse_age(value)


Drain = Annotated[
    float,
    BeforeValidator(_parse_drain),
    WithJsonSchema(
        {"type": "string", "pattern": r"^(off|[0-9]+(\.[0-9]+)?(ms|s|m|h|d)|.*\$\{.*)$", "examples": ["1h"]}
    ),
]


class Stickiness(Part):
    """What a unit's version rests on when the weights change."""

    mode: Literal["hash", "pinned", "new_sessions"] = option(
        "`hash`: on the weights alone, and as few move as can be. `pinned`: on what the unit got, for `max_age`."
        " `new_sessions`: on what its session got; the weights are for sessions that begin.",
    )
    cookie: Token | None = option("The signed cookie that says so.", None, shown="`tg_kept_` and the route's name")
    max_age: Age | None = option(
        "`pinned`: so long after it was given a record ends. `new_sessions`: so long after the session was last heard of.",
        None,
        unit="age",
        shown="`7d` with `pinned`, `1d` with `new_sessions`",
    )
    drain: Drain | None = option(
        "A version without a weight keeps its units so long after it gave them a record or, with `new_sessions`, last"
        " prolonged it. `off`: it lets them go at once.",
        None,
        unit="age",
        shown="`max_age`",
    )

    until: Literal["step"] | None = option(
        "`step`: with `pinned`, and a rollout on the route: a record ends with the step in which it was given, after `max_age`"
        " at the latest.",
        None,
        shown="`max_age` alone",
    )

    @model_validator(mode="after")
    def _fits(self) -> "Stickiness":
        given = [name for name in ("cookie", "max_age", "drain", "until") if getattr(self, name) is not None]
        if self.mode == "hash":
            if given:
                refuse(f"`{given[0]}` is about records, and `hash` has none")
        elif self.until is not None and self.mode != "pinned":
            refuse(f"`until: step` is for `pinned`: with `{self.mode}` a record goes on as long as its session")
        elif self.draining > self.age:
            refuse("`drain` is longer than `max_age`, with which a record ends in any case")
        return self

    @property
    def age(self) -> float:
        """Seconds after which a record ends."""
        return _MAX_AGES.get(self.mode, 0.0) if self.max_age is None else self.max_age

    @property
    def draining(self) -> float:
        """Seconds after which a record of a version without a weight ends."""
        return self.age if self.drain is None else self.drain


def expand_stickiness(value: Any) -> Any:
    """A mode by its name alone."""
    if value not in MODES:
        refuse(
            f"must be `hash`, `pinned`, `new_sessions` or a map with `mode`, not {shown(value)}"
            + suggestion(str(value), MODES, "modes")
        )
    return {"mode": value}


def cookie_name(stickiness: Stickiness, route: str) -> str:
    """The name of the cookie with the records of a route."""
    return stickiness.cookie or f"tg_kept_{route}"


def stickiness_spec(stickiness: Stickiness | None, route: str) -> dict[str, Any] | None:
    """This part of the spec; None where the weights alone decide."""
    if stickiness is None or stickiness.mode == "hash":
        return None
    return {
        "mode": stickiness.mode,
        "cookie": cookie_name(stickiness, route),
        "max_age": stickiness.age,
        "drain": stickiness.draining,
        "until": stickiness.until or "",
        "step": 0,
    }
