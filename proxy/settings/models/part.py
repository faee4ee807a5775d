"""What every part of the model has in common: no unknown keys, no conversions, and fields that document themselves."""

from typing import Any, Final

from pydantic import BaseModel, ConfigDict, Field

from proxy.settings.scalars import format_duration, format_size, parse_duration, parse_size

LIVE: Final = "live"
RESTART: Final = "restart"

_UNSET: Final = object()


class Part(BaseModel):
    """A map of the configuration. Frozen: a plan is made from it, and nobody edits it."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, populate_by_name=False, protected_namespaces=())


def option(
    meaning: str,
    default: Any = _UNSET,
    *,
    makes: Any = None,
    unit: str = "",
    restart: bool = False,
    alias: str | None = None,
    shown: str | None = None,
    **limits: Any,
) -> Any:
    """A documented field.

    `makes` makes the default instead of `default` (a part with defaults of its own, a list). `unit` is that of the
    value as written, `restart` marks keys that a reload cannot change, `shown` is the default as people write it.
    """
    extra: dict[str, Any] = {"x-unit": unit, "x-change": RESTART if restart else LIVE}
    if shown is not None:
        extra["x-default"] = shown
    if makes is not None:
        return Field(default_factory=makes, description=meaning, alias=alias, json_schema_extra=extra, **limits)
    if default is _UNSET:
        return Field(description=meaning, alias=alias, json_schema_extra=extra, **limits)
    return Field(default=default, description=meaning, alias=alias, json_schema_extra=extra, **limits)


def duration_key(meaning: str, default: str, *, restart: bool = False) -> Any:
    """A documented field of a duration, its default as people write it."""
    seconds = parse_duration(default)
    return option(meaning, seconds, unit="duration", restart=restart, shown=format_duration(seconds))


def size_key(meaning: str, default: str, *, restart: bool = False) -> Any:
    """A documented field of a size, its default as people write it."""
    size = parse_size(default)
    return option(meaning, size, unit="size", restart=restart, shown=format_size(size))
