"""Units that choose a version for themselves."""

from typing import Any, Final

from pydantic import field_validator

from proxy.settings.models.part import Part, option
from proxy.settings.problems import shown
from proxy.settings.rates import Rate
from proxy.settings.scalars import Reference, Token, UrlPath, refuse

PLACE: Final = "/.tidegate/choice"


class Choice(Part):
    """A page where units choose a version, or leave it: `override`, after the rules that name units."""

    versions: list[Reference] = option("The versions that may be chosen.", min_length=1)
    segment: Reference | None = option("Who may choose. Absent: everybody.", None)
    path: UrlPath | None = option(
        "Where the page is; the route must take it.", None, shown=f"`{PLACE}`, under the route's `path_prefix`"
    )
    rate: Rate = option("Requests to the page, of each client address. Beyond: 429.", 1.0, unit="rate", shown="60/m")
    burst: int = option("How many of them may come at once.", 30, unit="count", ge=1, le=1_000_000)
    cookie: Token | None = option("The signed cookie with the choice.", None, shown="`tg_choice_` and the route's name")

    @field_validator("path")
    @classmethod
    def _on_this_site(cls, path: str | None) -> str | None:
        if path is not None and path.startswith("//"):
            refuse(
                f"must start with one `/`: browsers take {shown(path)}, to which they are sent back, for another site"
            )
        return path


def choice_path(choice: Choice, prefix: str | None) -> str:
    """The path of the page. `prefix` is the route's, if it has one."""
    return choice.path or (prefix or "").rstrip("/") + PLACE


def choice_cookie(choice: Choice, route: str) -> str:
    """The name of the cookie."""
    return choice.cookie or f"tg_choice_{route}"


def choice_spec(choice: Choice | None, route: str, prefix: str | None) -> dict[str, Any] | None:
    """This part of the spec; None where nobody chooses."""
    if choice is None:
        return None
    return {
        "versions": list(choice.versions),
        "segment": choice.segment,
        "path": choice_path(choice, prefix),
        "cookie": choice_cookie(choice, route),
        "rate": choice.rate,
        "burst": choice.burst,
    }
