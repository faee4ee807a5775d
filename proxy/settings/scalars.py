"""The small values of a configuration: durations, sizes, shares, addresses, names. Text in, checked value out.

Every parser says in one sentence what is allowed. Each type carries its JSON Schema, so that editors know it too.
"""

import ipaddress
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Any, Final, NoReturn

from pydantic import BeforeValidator, GetCoreSchemaHandler, GetJsonSchemaHandler, WithJsonSchema
from pydantic_core import PydanticCustomError, core_schema

from proxy.core.semver import SemverRange
from proxy.settings.problems import kind_of, shown

_DURATION: Final = re.compile(r"(\d{1,9}(?:\.\d{1,9})?)(ms|s|m|h)")
_SECONDS: Final = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0}
_LONGEST: Final = 3_600_000.0
_SIZE: Final = re.compile(r"(\d{1,12}(?:\.\d{1,9})?)(B|KiB|MiB|GiB)")
_BYTES: Final = {"B": 1, "KiB": 1 << 10, "MiB": 1 << 20, "GiB": 1 << 30}
_LARGEST: Final = 1 << 40
_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}")
_TOKEN: Final = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")
_FIELD_VALUE: Final = re.compile(
    r"(?:[\x21-\x7e\x80-\U0010ffff](?:[\t \x21-\x7e\x80-\U0010ffff]*[\x21-\x7e\x80-\U0010ffff])?)?"
)
_LABEL: Final = r"(?!-)[a-z0-9_-]{1,63}(?<!-)"
_HOST: Final = re.compile(rf"{_LABEL}(?:\.{_LABEL})*\.?")
MIN_SECRET: Final = 16
"""Characters of a key or token."""
_RESERVED: Final = frozenset({"none", "removed"})


def refuse(message: str) -> NoReturn:
    """Raise what pydantic collects as one error with exactly this message."""
    raise PydanticCustomError("settings", "{message}", {"message": message})


def _text(value: object, what: str) -> str:
    if not isinstance(value, str):
        refuse(
            f"must be {what}, not {kind_of(value)}" + (f" ({shown(value)})" if isinstance(value, int | float) else "")
        )
    return value


def matched(value: object, pattern: re.Pattern[str], what: str) -> re.Match[str]:
    """How `pattern` matches the whole of a text; refuses everything else as not being `what`."""
    text = _text(value, what)
    found = pattern.fullmatch(text)
    if found is None:
        refuse(f"must be {what}, not {shown(text)}")
    return found


def _quoted(value: object) -> str:
    return f" ({shown(value)})" if isinstance(value, str) else ""


def parse_duration(value: object) -> float:
    """Seconds of a duration such as `250ms`, `2s`, `5m`, `1h`; numbers may have decimals."""
    found = matched(value, _DURATION, "a duration such as `250ms`, `2s`, `5m` or `1h`")
    seconds = float(found[1]) * _SECONDS[found[2]]
    if seconds > _LONGEST:
        refuse(f"must be at most 1000h, not {shown(found[0])}")
    return round(seconds, 6)


def _parse_positive_duration(value: object) -> float:
    seconds = parse_duration(value)
    if seconds <= 0:
        refuse("must be longer than 0s")
    return seconds


def format_duration(seconds: float) -> str:
    """The shortest text that `parse_duration` reads back as `seconds` (to the microsecond)."""
    for unit, size in (("h", 3600.0), ("m", 60.0), ("s", 1.0)):
        count = round(seconds / size, 9)
        if seconds >= size and count == int(count):
            return f"{int(count)}{unit}"
    if seconds == 0:
        return "0s"
    unit, size = ("s", 1.0) if seconds >= 1 else ("ms", 0.001)
    return f"{seconds / size:.6f}".rstrip("0").rstrip(".") + unit


def parse_size(value: object) -> int:
    """Bytes of a size such as `512B`, `64KiB`, `1MiB`, `1.5GiB`."""
    found = matched(value, _SIZE, "a size such as `64KiB` or `1MiB` (units: B, KiB, MiB, GiB)")
    size = float(found[1]) * _BYTES[found[2]]
    if size > _LARGEST:
        refuse(f"must be at most 1024GiB, not {shown(found[0])}")
    if size != int(size):
        refuse(f"must be a whole number of bytes, not {shown(found[0])}")
    return int(size)


def _parse_positive_size(value: object) -> int:
    size = parse_size(value)
    if size <= 0:
        refuse("must be at least 1B")
    return size


def format_size(size: int) -> str:
    """The shortest text that `parse_size` reads back as `size` bytes."""
    for unit in ("GiB", "MiB", "KiB"):
        if size and size % _BYTES[unit] == 0:
            return f"{size // _BYTES[unit]}{unit}"
    return f"{size}B"


def parse_percent(value: object) -> float:
    """A number from 0 to 100."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        sign = isinstance(value, str) and value.endswith("%")
        hint = "; leave the sign out" if sign else ""
        refuse(f"must be a number from 0 to 100, not {kind_of(value)}{_quoted(value)}{hint}")
    if not 0 <= value <= 100:
        refuse(f"must be a number from 0 to 100, not {shown(value)}")
    return float(value)


def parse_weight(value: object) -> float:
    """A number from 0 to 1,000,000. Weights are shares of their sum."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        refuse(f"must be a number, 0 or more, not {kind_of(value)}" + _quoted(value))
    if not 0 <= value <= 1_000_000:
        refuse(f"must be a number from 0 to 1000000, not {shown(value)}")
    return float(value)


def parse_cidr(value: object) -> str:
    """A network such as `10.0.0.0/8` or `fd00::/8`, or one address; the result is in canonical form."""
    what = "an address or a network such as `10.0.0.0/8`"
    text = _text(value, what)
    try:
        return str(ipaddress.ip_network(text, strict=True))
    except ValueError:
        pass
    try:
        meant = ipaddress.ip_network(text, strict=False)
    except ValueError:
        refuse(f"must be {what}, not {shown(text)}")
    refuse(f"{shown(text)} has bits set beyond its prefix; did you mean `{meant}`?")


def parse_name(value: object) -> str:
    """The name of a route, version, upstream or segment: it becomes a header value and a label."""
    text = matched(value, _NAME, "a name of letters, digits, `.`, `_` and `-`, at most 63 long")[0]
    if text in _RESERVED:
        refuse(f"{shown(text)} is reserved: it is what metrics call requests without one")
    return text


def parse_token(value: object) -> str:
    """The name of a header field, a cookie or a method (RFC 9110 section 5.6.2)."""
    return matched(value, _TOKEN, "a field name (letters, digits and !#$%&'*+-.^_`|~)")[0]


def parse_header(value: object) -> str:
    """A header field's name, in lower case."""
    return parse_token(value).lower()


def parse_method(value: object) -> str:
    """A method, in upper case."""
    return matched(value, _TOKEN, "a method such as `GET`")[0].upper()


def parse_field_value(value: object) -> str:
    """A header field's value: no CR, LF, NUL or other control characters, no blanks around (RFC 9110 section 5.5)."""
    text = _text(value, "text; put it in quotes")
    if _FIELD_VALUE.fullmatch(text) is None:
        refuse(
            f"must be a header value, without line breaks, control characters or blanks around it, not {shown(text)}"
        )
    return text


def parse_host(value: object) -> str:
    """A host a route matches: `shop.example.com`, `*.example.com`, an address. Lower case; ports do not matter."""
    what = "a host such as `shop.example.com` or `*.example.com`"
    text = _text(value, what).lower()
    bare = text.removeprefix("*.")
    if text.startswith("[") or text.count(":") > 1:
        try:
            return f"[{ipaddress.IPv6Address(text.strip('[]'))}]"
        except ValueError:
            refuse(f"must be {what}, not {shown(text)}")
    if ":" in bare:
        refuse(f"must be {what}; the port does not matter, leave it out of {shown(text)}")
    if len(bare) > 253 or _HOST.fullmatch(bare) is None:
        refuse(f"must be {what}, not {shown(text)}")
    return text.removesuffix(".")


def parse_path(value: object) -> str:
    """A path as requests have it after decoding: it starts with a slash, has no query and no dot segments."""
    text = _text(value, "a path such as `/api`")
    if not text.startswith("/"):
        refuse(f"must start with `/`, not {shown(text)}")
    for sign in "?#":
        if sign in text:
            refuse(f"must be a path without `{sign}`, not {shown(text)}")
    if any(ord(char) <= 32 or ord(char) == 127 for char in text):
        refuse(f"must be a path without blanks or control characters, not {shown(text)}")
    return text


def parse_regex(value: object) -> str:
    """A regular expression of Python's `re`."""
    text = _text(value, "a regular expression")
    try:
        re.compile(text.encode())
    except (re.error, OverflowError, RecursionError) as error:
        refuse(f"is not a regular expression: {error}")
    return text


def parse_semver(value: object) -> str:
    """A range of semantic versions, as in `>=1.2.0 <2.0.0` or `^1.2`."""
    what = "a range of versions such as `>=1.2.0 <2.0.0` or `^1.2`"
    text = _text(value, what)
    try:
        SemverRange(text)
    except ValueError:
        refuse(f"must be {what}, not {shown(text)}")
    return text


def parse_number(value: object) -> int | float:
    """A number, as written."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        refuse(f"must be a number, not {kind_of(value)}" + _quoted(value))
    return value


def parse_secret(value: object) -> str:
    """A key or token. What is wrong is said without repeating it."""
    if not isinstance(value, str):
        refuse(f"must be text in quotes, not {kind_of(value)}")
    if not MIN_SECRET <= len(value) <= 4096:
        refuse(f"must be {MIN_SECRET} to 4096 characters long; this one has {len(value)}")
    if not value.isprintable():
        refuse("must not hold control characters")
    return value


def parse_plain_text(value: object) -> str:
    """Text that is compared with what requests carry. A number must be quoted: YAML would lose its zeros."""
    if isinstance(value, int | float) and not isinstance(value, bool):
        refuse(f'must be text; put {shown(value)} in quotes: "{value}"')
    return _text(value, "text")


@dataclass(frozen=True, slots=True)
class Address:
    """A parsed address: `kind` is tcp, unix or fd; `host` and `port` of tcp, `path` of unix, `descriptor` of fd."""

    kind: str
    host: str = ""
    port: int = 0
    path: str = ""
    descriptor: int = -1

    @property
    def loopback(self) -> bool:
        """Whether only this machine can reach it."""
        if self.kind != "tcp":
            return True
        return self.host == "localhost" or ipaddress.ip_address(self.host).is_loopback


def split_address(text: str) -> Address:
    """An address as `Listen` and `admin` have it, taken apart.

    Raises ValueError, whose text says what is allowed.
    """
    if text.startswith("unix:"):
        path = text[5:]
        if not path.startswith("/"):
            raise ValueError("a unix address is `unix:` and an absolute path")
        if len(path.encode()) > 107:
            raise ValueError("a unix socket's path is at most 107 bytes long")
        return Address("unix", path=path)
    if text.startswith("fd:"):
        if not text[3:].isdecimal() or int(text[3:]) < 3:
            raise ValueError("a passed socket is `fd:` and its number, 3 or more")
        return Address("fd", descriptor=int(text[3:]))
    host, colon, port = text.rpartition(":")
    if not colon or not port.isdecimal() or not port.isascii():
        raise ValueError("an address is written host:port, as in `0.0.0.0:8080` or `[::]:8080`")
    if int(port) > 65535:
        raise ValueError("a port is a number up to 65535")
    if host.startswith("[") and host.endswith("]"):
        host = str(ipaddress.IPv6Address(host[1:-1]))
    elif host != "localhost":
        host = str(ipaddress.IPv4Address(host))
    return Address("tcp", host=host, port=int(port))


def parse_address(value: object) -> str:
    """A listening address: `0.0.0.0:8080`, `[::]:8080`, `unix:/path` or `fd:3`."""
    what = "an address such as `0.0.0.0:8080`, `[::]:8080`, `unix:/run/tidegate.sock` or `fd:3`"
    if isinstance(value, int) and not isinstance(value, bool):
        refuse(f"must be {what}; did you mean `0.0.0.0:{value}`?")
    text = _text(value, what)
    try:
        split_address(text)
    except ValueError:
        refuse(f"must be {what}, not {shown(text)}")
    return text


# An environment reference may stand wherever text may, so a schema that knows patterns must let it pass.
_REFERENCE: Final = {"type": "string", "pattern": r"\$\{[A-Za-z_]"}


def _schema(**schema: Any) -> WithJsonSchema:
    return WithJsonSchema({"anyOf": [schema, _REFERENCE]})


_DURATION_SCHEMA: Final = _schema(
    type="string", pattern=r"^[0-9]{1,9}(\.[0-9]{1,9})?(ms|s|m|h)$", examples=["250ms", "2s", "5m", "1h"]
)
_SIZE_SCHEMA: Final = _schema(
    type="string", pattern=r"^[0-9]{1,12}(\.[0-9]{1,9})?(B|KiB|MiB|GiB)$", examples=["64KiB", "1MiB"]
)
_TOKEN_SCHEMA: Final = _schema(type="string", pattern=r"^[!#$%&'*+.^_`|~0-9A-Za-z-]+$")

Duration = Annotated[float, BeforeValidator(_parse_positive_duration), _DURATION_SCHEMA]
"""Longer than nothing."""
Delay = Annotated[float, BeforeValidator(parse_duration), _DURATION_SCHEMA]
"""A duration that may be 0s."""
Size = Annotated[int, BeforeValidator(_parse_positive_size), _SIZE_SCHEMA]
Percent = Annotated[float, BeforeValidator(parse_percent), _schema(type="number", minimum=0, maximum=100)]
Weight = Annotated[float, BeforeValidator(parse_weight), _schema(type="number", minimum=0, maximum=1_000_000)]
Cidr = Annotated[str, BeforeValidator(parse_cidr), _schema(type="string", examples=["10.0.0.0/8", "::1"])]
Name = Annotated[
    str,
    BeforeValidator(parse_name),
    WithJsonSchema({"type": "string", "pattern": r"^[A-Za-z0-9][A-Za-z0-9._-]{0,62}$"}),
]
Zone = Annotated[str, BeforeValidator(parse_name), _schema(type="string", pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,62}$")]
"""Where something stands; often from the environment."""
Reference = Annotated[str, BeforeValidator(parse_plain_text), WithJsonSchema({"type": "string"})]
"""The name of something defined elsewhere in the configuration."""
HeaderName = Annotated[str, BeforeValidator(parse_header), _TOKEN_SCHEMA]
Token = Annotated[str, BeforeValidator(parse_token), _TOKEN_SCHEMA]
Method = Annotated[str, BeforeValidator(parse_method), _TOKEN_SCHEMA]
FieldValue = Annotated[str, BeforeValidator(parse_field_value), WithJsonSchema({"type": "string"})]
Host = Annotated[
    str, BeforeValidator(parse_host), _schema(type="string", examples=["shop.example.com", "*.example.com"])
]
UrlPath = Annotated[str, BeforeValidator(parse_path), _schema(type="string", pattern="^/")]
Regex = Annotated[str, BeforeValidator(parse_regex), WithJsonSchema({"type": "string", "format": "regex"})]
Semver = Annotated[str, BeforeValidator(parse_semver), WithJsonSchema({"type": "string"})]
Number = Annotated[float, BeforeValidator(parse_number), WithJsonSchema({"type": "number"})]
Secret = Annotated[str, BeforeValidator(parse_secret), WithJsonSchema({"type": "string"})]
Text = Annotated[str, BeforeValidator(parse_plain_text), WithJsonSchema({"type": "string"})]
Listen = Annotated[
    str, BeforeValidator(parse_address), _schema(type="string", pattern=r"^(unix:/.+|fd:[0-9]+|.+:[0-9]{1,5})$")
]


@dataclass(frozen=True, slots=True)
class Short:
    """Marks a field that also takes a short form: what is not already of type `full` goes through `expand` first.

    `schema` describes the short form.
    """

    full: type
    expand: Callable[[Any], Any]
    schema: str | tuple[str, ...]

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> core_schema.CoreSchema:
        return core_schema.no_info_before_validator_function(self._open, handler(source))

    def __get_pydantic_json_schema__(
        self, schema: core_schema.CoreSchema, handler: GetJsonSchemaHandler
    ) -> dict[str, Any]:
        short = self.schema if isinstance(self.schema, str) else list(self.schema)
        return {"anyOf": [{"type": short}, handler(schema)]}

    def _open(self, value: Any) -> Any:
        return value if value is None or isinstance(value, self.full) else self.expand(value)


def one_or_many(value: Any) -> list[Any]:
    """The list that a single value stands for."""
    return [value]
