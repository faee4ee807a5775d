"""Tokens: whose claims are believed, and where they come."""

import re
from typing import Annotated, Any, Final
from urllib.parse import urlsplit

from pydantic import BeforeValidator, WithJsonSchema, model_validator

from proxy.settings.models.part import Part, duration_key, option
from proxy.settings.problems import shown
from proxy.settings.scalars import (
    Delay,
    Duration,
    HeaderName,
    Short,
    Text,
    Token,
    one_or_many,
    parse_plain_text,
    refuse,
)
from proxy.tokens import ALGORITHMS

_SHARED: Final = re.compile(r"HS\d+")
_DEFAULT: Final = ("RS256", "ES256", "EdDSA")


def _parse_algorithm(value: object) -> str:
    text = parse_plain_text(value)
    if text.lower() == "none":
        refuse("`none` is no signature: anybody could be anybody")
    if _SHARED.fullmatch(text):
        refuse(f"`{text}` wants a secret that whoever verifies could sign with; allow one with a public key")
    if text not in ALGORITHMS:
        refuse(f"must be one of {', '.join(ALGORITHMS)}, not {shown(text)}")
    return text


def _parse_url(value: object) -> str:
    text = parse_plain_text(value)
    try:
        parts = urlsplit(text)
        valid = parts.scheme in {"http", "https"} and bool(parts.hostname) and (parts.port or 1) > 0
    except ValueError:
        valid = False
    if not valid or re.search(r"\s", text):
        refuse(f"must be a URL such as `https://login.example.com/jwks.json`, not {shown(text)}")
    if "@" in parts.netloc:
        refuse("must not have a name and password in it: what is asked for is public")
    return text


Algorithm = Annotated[str, BeforeValidator(_parse_algorithm), WithJsonSchema({"enum": list(ALGORITHMS)})]
Url = Annotated[str, BeforeValidator(_parse_url), WithJsonSchema({"type": "string", "format": "uri"})]


class Jwt(Part):
    """Which tokens (JWT) are believed. A request with any other goes on as if it had none."""

    jwks_file: Text | None = option(
        "A file with the public keys, a key set as in RFC 7517, relative to the configuration's. Read again when it changes.",
        None,
        min_length=1,
    )
    jwks_url: Url | None = option("Where the public keys are fetched from. No more than 256 KiB.", None)
    keys: list[dict[str, Any]] | None = option("The public keys themselves, as in RFC 7517.", None, min_length=1)
    refresh: Duration = duration_key("How often `jwks_url` is fetched, a tenth sooner or later.", "5m")
    algorithms: list[Algorithm] = option(
        "Those that are allowed, of " + ", ".join(ALGORITHMS) + ".",
        makes=lambda: list(_DEFAULT),
        shown="[RS256, ES256, EdDSA]",
        min_length=1,
    )
    issuer: Annotated[list[Text], Short(list, one_or_many, "string")] = option(
        "Who must have issued it (`iss`): a text or a list of them. Absent: not looked at.", makes=list
    )
    audience: Annotated[list[Text], Short(list, one_or_many, "string")] = option(
        "Whom it must be for (`aud`): a text or a list of them. Absent: not looked at, and tokens that the same issuer made"
        " for others count too.",
        makes=list,
    )
    header: HeaderName | None = option(
        "The field it comes in, after `Bearer` or, in any other field than `authorization`, alone.",
        None,
        shown="authorization",
    )
    cookie: Token | None = option("The cookie it comes in, instead of a field.", None)
    leeway: Delay = duration_key("How far the clocks of issuer and proxy may be apart.", "30s")

    @model_validator(mode="after")
    def _one_source(self) -> "Jwt":
        sources = [name for name in ("jwks_file", "jwks_url", "keys") if getattr(self, name) is not None]
        if len(sources) != 1:
            given = f"has {' and '.join(f'`{name}`' for name in sources)}, but takes" if sources else "needs"
            refuse(f"{given} one of `jwks_file`, `jwks_url` and `keys`")
        if self.header is not None and self.cookie is not None:
            refuse("has `header` and `cookie`, but takes one of them")
        return self
