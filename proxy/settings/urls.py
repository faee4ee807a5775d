"""URLs that the proxy asks by itself: hooks, notifications, Prometheus."""

import re
from typing import Annotated
from urllib.parse import urlsplit

from pydantic import BeforeValidator, WithJsonSchema

from proxy.settings.scalars import parse_plain_text, refuse


def parse_web_url(value: object) -> str:
    """An `http://` or `https://` URL with a host. What is wrong is said without repeating it: it may be a secret."""
    text = parse_plain_text(value)
    try:
        parts = urlsplit(text)
        valid = parts.scheme in {"http", "https"} and bool(parts.hostname) and (parts.port or 1) > 0
    except ValueError:
        valid = False
    if not valid or re.search(r"[\s\x00-\x20\x7f]", text):
        refuse("must be a URL that begins with `http://` or `https://`")
    if "@" in parts.netloc:
        refuse("must not have a name and password in it: this text is shown by the API")
    return text


WebUrl = Annotated[str, BeforeValidator(parse_web_url), WithJsonSchema({"type": "string", "format": "uri"})]
