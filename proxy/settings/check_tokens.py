"""What no single key of `jwt` shows: whether its keys are there and can be used, and whether anything looks at claims."""

from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

from proxy import expressions
from proxy.settings.draft import Draft
from proxy.settings.models.tokens import Jwt
from proxy.settings.problems import WARNING, KeyPath
from proxy.settings.references import matchers_of
from proxy.tokens import MAX_DOCUMENT, available, parse_keys, usable_keys

_HERE: Final = frozenset(("localhost", "127.0.0.1", "::1"))


def read_keys(path: str | Path) -> list[dict[str, Any]]:
    """The usable keys of a file. Raises ValueError with the reason."""
    try:
        with Path(path).open("rb") as file:
            data = file.read(MAX_DOCUMENT + 1)
    except FileNotFoundError:
        raise ValueError(f"there is no file {path}") from None
    except OSError as error:
        raise ValueError(f"{path} cannot be read: {error.strerror}") from None
    try:
        return parse_keys(data)
    except ValueError as error:
        raise ValueError(f"{path} {error}") from None


def check_tokens(draft: Draft) -> None:
    """Report what is wrong with `jwt`, and with units from claims where there is none."""
    used = list(_claims(draft))
    if not draft.values.get("jwt"):
        for path in used:
            if "unit" in path or path[0] == "ofrep":  # matchers are looked after with the other segments
                draft.report(
                    path,
                    "nobody has any: claims are read from tokens whose signature is checked, and there is no `jwt`",
                )
        return
    if not used:
        draft.report(("jwt",), "nothing looks at claims, so this does nothing", WARNING)
    if draft.general is not None and draft.general.jwt is not None:
        _keys(draft, draft.general.jwt)


def _keys(draft: Draft, jwt: Jwt) -> None:
    if not available():
        draft.report(("jwt",), "wants PyJWT and cryptography: pip install 'tidegate[jwt]'", key=True)
        return
    try:
        if jwt.keys is not None:
            name = "keys"
            usable_keys(jwt.keys)
        elif jwt.jwks_file is not None:
            name = "jwks_file"
            read_keys(draft.certificates.path(jwt.jwks_file))
    except ValueError as error:
        draft.report(("jwt", name), str(error))
    if jwt.jwks_url is not None:
        parts = urlsplit(jwt.jwks_url)
        if parts.scheme == "http" and parts.hostname not in _HERE:
            message = "who can change what is sent on the way can be anybody: use https"
            draft.report(("jwt", "jwks_url"), message, WARNING)


def _read_by(expression: object) -> Mapping[str, object]:
    """What an expression reads; nothing where it cannot be checked, which is told elsewhere."""
    if isinstance(expression, str) and expressions.available():
        with suppress(expressions.ExpressionError):
            return expressions.check(expression)
    return {}


def _claims(draft: Draft) -> Iterator[KeyPath]:
    """Where something is about claims."""
    for path, matcher in matchers_of(
        draft.values.get("segments"), draft.values.get("routes"), draft.values.get("flags")
    ):
        if "claim" in matcher:
            yield (*path, "claim")
        if "claims" in _read_by(matcher.get("cel")):
            yield (*path, "cel")
    plugins = draft.values.get("plugins")
    for index, plugin in enumerate(plugins if isinstance(plugins, list) else ()):
        if isinstance(plugin, Mapping) and plugin.get("claims"):
            yield ("plugins", index, "claims")
    routes = draft.values.get("routes")
    for index, route in enumerate(routes if isinstance(routes, list) else ()):
        chain = route.get("unit") if isinstance(route, Mapping) else None
        for place, source in enumerate(chain if isinstance(chain, list) else ()):
            if isinstance(source, Mapping) and "claim" in source:
                yield ("routes", index, "unit", place, "claim")
    ofrep = draft.values.get("ofrep")
    known = ofrep.get("known") if isinstance(ofrep, Mapping) else None
    for name, one in known.items() if isinstance(known, Mapping) else ():
        if isinstance(one, Mapping) and "claim" in one:
            yield ("ofrep", "known", name, "claim")
