"""Plugins: classes of the user's that workers ask about requests."""

import re
from typing import Annotated, Any, Final

from pydantic import BeforeValidator, WithJsonSchema, model_validator

from proxy.settings.models.part import Part, duration_key, option
from proxy.settings.problems import shown
from proxy.settings.scalars import Duration, Name, Text, parse_plain_text, refuse

_ENTRY_POINT: Final = re.compile(r"[\w.-]+|[A-Za-z_]\w*(\.[A-Za-z_]\w*)*:[A-Za-z_]\w*(\.[A-Za-z_]\w*)*")


def _parse_entry_point(value: object) -> str:
    text = parse_plain_text(value)
    if _ENTRY_POINT.fullmatch(text) is None:
        refuse(f"must be `package.module:Class`, or a name that a package announces, not {shown(text)}")
    return text


EntryPoint = Annotated[str, BeforeValidator(_parse_entry_point), WithJsonSchema({"type": "string"})]


class PluginEntry(Part):
    """A plugin. It is asked about the requests of the routes that name it."""

    name: Name = option("Its name, for routes, metrics and the log.")
    file: Text | None = option(
        "A Python file with its class, relative to the configuration's. Read again when it changes.", None, min_length=1
    )
    entry_point: EntryPoint | None = option(
        "Its class in an installed package: `package.module:Class`, or a name of the group `tidegate.plugins`. A new version of"
        " the package is taken with the next start.",
        None,
    )
    config: dict[str, Any] = option("Whatever it wants to know; handed to it as it is.", makes=dict)
    claims: list[Text] = option("The claims of verified tokens (`jwt`) that it reads.", makes=list)
    budget: Duration = duration_key(
        "The time of a hook that is not `async`, which nobody can cut off: longer is an overrun.", "5ms"
    )
    overruns: int = option(
        "So many overruns of a hook within a minute, and it is not asked any more until the next plan.",
        10,
        unit="count",
        ge=1,
        le=10_000,
    )
    timeout: Duration = duration_key("The time of an `async` hook; then it is cut off.", "50ms")
    in_flight: int = option(
        "Calls of its `async` hooks at once, over all workers; beyond, it is not asked.", 1024, unit="count", ge=1
    )

    @model_validator(mode="after")
    def _one_source(self) -> "PluginEntry":
        given = [name for name in ("file", "entry_point") if getattr(self, name) is not None]
        if len(given) != 1:
            refuse(
                "has `file` and `entry_point`, but takes one of them"
                if given
                else "needs one of `file` and `entry_point`"
            )
        return self
