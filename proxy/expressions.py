"""Expressions in CEL, the Common Expression Language (cel.dev), as matchers: checked at load, compiled once, evaluated by C++.

For settings, which checks them, and for whoever decides: workers, `explain`, the port of flags. `cel-expr-python` comes with the
extra `cel` and is imported when an expression is configured and not before.

What an expression reads of a request is found in its checked form, a cel.expr.CheckedExpr in protobuf's encoding, of which the few
fields that matter here are read. Of a map that is only asked for names written out, only these entries are made.
"""

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import cache, lru_cache
from importlib.util import find_spec
from typing import Any, Final

from proxy.core.match import Matcher
from proxy.core.request import Request

Spec = dict[str, Any]
Reads = dict[str, list[str] | None]
"""What an expression reads, by name; of a map the entries, None for all of it."""

LONGEST: Final = 4096
"""Characters of an expression."""

TEXTS: Final = ("request.method", "request.path", "request.host", "client_ip", "unit")
MAPS: Final = ("request.headers", "request.query", "request.cookies", "attributes")
LISTS: Final = ("claims",)
SWITCHES: Final = ("trusted",)
"""The names by type: string, map(string, string), map(string, list(string)), bool."""

_PLACED: Final = re.compile(r"<input>:(\d+):(\d+): ([^\n]+)")
_STATUS: Final = re.compile(r"^[A-Z_]+: | \[[A-Z_]+\]$")


class ExpressionError(ValueError):
    """It is no expression, or not one of this kind; the message is for whoever wrote it."""


def available() -> bool:
    """Whether the package is installed."""
    return find_spec("cel_expr_python") is not None


@lru_cache(maxsize=1024)
def check(text: str) -> Reads:
    """What an expression reads. Raises ExpressionError for one that is wrong, or does not come to true or false."""
    if len(text) > LONGEST:
        raise ExpressionError(f"has {len(text)} characters; {LONGEST} are the most")
    program = _compile(text)
    result: str = program.return_type().name()
    if result != "BOOL":
        raise ExpressionError(f"must come to true or false, and comes to {result.lower()}")
    reads: Reads = {}
    _note_all(_checked(program.serialize()), reads)
    for name in reads.get("request.headers") or ():
        if name != name.lower():
            raise ExpressionError(f'names of fields are in lower case: request.headers["{name.lower()}"]')
    if "claims" in reads and reads["claims"] is None:
        raise ExpressionError('asks for claims by names that are not written out: claims.NAME or claims["NAME"]')
    return dict(sorted(reads.items()))


class Expression:
    """A compiled expression."""

    def __init__(self, text: str, reads: Mapping[str, list[str] | None]) -> None:
        """`reads` is what `check` says of it. Raises ImportError without the package, ExpressionError for what `check` refuses."""
        self.text: Final = text
        self._program: Final = _compile(text)
        self._parts: Final = [(name, _reader(name, entries)) for name, entries in reads.items()]

    def evaluate(self, request: Request) -> tuple[bool, str]:
        """Whether it holds, and what CEL says where it could not be evaluated; it does not hold then."""
        try:
            value = self._program.eval(data={name: read(request) for name, read in self._parts}).value()
        except (RuntimeError, ValueError, TypeError) as error:
            return False, _without_status(str(error))
        if value is True or value is False:
            return value, ""
        return False, _without_status(str(value))

    def matches(self, request: Request) -> bool:
        """Whether it holds."""
        return self.evaluate(request)[0]


def is_absence(trouble: str) -> bool:
    """Whether what CEL says is that an entry was asked for which is not there."""
    return trouble.startswith("Key not found")


def expressions_in(spec: Any) -> Iterator[Spec]:
    """The specs of all expressions anywhere in this part of a spec, repeated ones too."""
    if isinstance(spec, dict):
        if "cel" in spec:
            yield spec
        else:
            for one in spec.values():
                if isinstance(one, dict | list):
                    yield from expressions_in(one)
    elif isinstance(spec, list):
        for one in spec:
            if isinstance(one, dict | list):
                yield from expressions_in(one)


def compiled(specs: Iterable[Spec]) -> dict[str, Expression]:
    """The expressions of these specs by their text, each compiled once as long as it is remembered."""
    return {one["cel"]: _remembered(one["cel"]) for one in specs}


def matchers_of(spec: Spec) -> dict[str, Matcher]:
    """The matchers of all expressions of a spec by their text, for who builds a plan."""
    found = expressions_in([spec["segments"], spec["routes"], spec.get("flags", [])])
    return {text: one.matches for text, one in compiled(found).items()}


@lru_cache(maxsize=1024)
def _remembered(text: str) -> Expression:
    return Expression(text, check(text))


# Compiling.


@cache
def _environment() -> Any:
    from cel_expr_python import cel  # noqa: PLC0415 - for who configures an expression
    from cel_expr_python.ext import ext_strings  # noqa: PLC0415

    kind = cel.Type
    types = dict.fromkeys(TEXTS, kind.STRING)
    types |= dict.fromkeys(MAPS, kind.Map(kind.STRING, kind.STRING))
    types |= dict.fromkeys(LISTS, kind.Map(kind.STRING, kind.List(kind.STRING)))
    types |= dict.fromkeys(SWITCHES, kind.BOOL)
    return cel.NewEnv(variables=types, extensions=[ext_strings.ExtStrings()])


def _compile(text: str) -> Any:
    try:
        return _environment().compile(text)
    except RuntimeError as error:
        raise ExpressionError(_told(text, str(error))) from None


def _told(text: str, said: str) -> str:
    """CEL's words, each mistake with its place in the expression."""
    found = _PLACED.findall(said)
    if not found:
        return _without_status(said.strip())
    several = "\n" in text.strip()
    return "; ".join(
        f"{f'line {line}, ' if several else ''}character {column}: {what.removesuffix(' (in container )')}"
        for line, column, what in ((line, column, _plain(what)) for line, column, what in found)
    )


def _plain(what: str) -> str:
    return _without_status(what).replace(" (in container '')", "")


def _without_status(said: str) -> str:
    return _STATUS.sub("", said.partition("\n")[0])


# What a request has to say.

Reader = Callable[[Request], Any]


def _text(value: bytes) -> str:
    return value.decode("utf-8", "replace")


def _reader(name: str, entries: list[str] | None) -> Reader:
    simple = _SIMPLE.get(name)
    if simple is not None:
        return simple
    if name == "claims":
        wanted = [(one, one.encode()) for one in entries or ()]
        return lambda request: {
            one: [_text(value) for value in values] for one, key in wanted if (values := request.claim_values(key))
        }
    whole = _WHOLE[name]
    if entries is None:
        return lambda request: {_text(key): _text(value) for key, value in whole(request).items()}
    keys = [(one, one.encode()) for one in entries]

    def some(request: Request) -> dict[str, str]:
        there = whole(request)
        return {one: _text(there[key]) for one, key in keys if key in there}

    return some


_SIMPLE: Final[dict[str, Reader]] = {
    "request.method": lambda request: _text(request.method),
    "request.path": lambda request: _text(request.path),
    "request.host": lambda request: _text(request.host),
    "client_ip": lambda request: request.client,
    "unit": lambda request: "" if request.unit is None else _text(request.unit),
    "trusted": lambda request: request.trusted,
}
_WHOLE: Final[dict[str, Callable[[Request], dict[bytes, bytes]]]] = {
    "request.headers": lambda request: request.fields,
    "request.query": lambda request: request.arguments(),
    "request.cookies": lambda request: request.cookies(),
    "attributes": lambda request: request.attributes or {},
}

# What an expression reads (github.com/google/cel-spec, proto/cel/expr/checked.proto and syntax.proto).

_IDENT, _SELECT, _CALL, _LIST, _STRUCT, _COMPREHENSION = range(4, 10)
_CONST: Final = 3
_CONST_STRING: Final = 6
_NAMES: Final = frozenset((*TEXTS, *MAPS, *LISTS, *SWITCHES))
_WITH_ENTRIES: Final = frozenset((*MAPS, *LISTS))


def _checked(serialized: bytes) -> bytes:
    """The expression within a CheckedExpr (field 4) within an Any (field 2)."""
    return _part(_part(serialized, 2), 4)


def _note_all(expression: bytes, reads: Reads) -> None:
    """Note what an expression and those within it read."""
    for number, value in _fields(expression):
        if number == _IDENT:
            name = _part(value, 1).decode()
            if name in _NAMES:
                reads[name] = None
        elif number == _SELECT:
            _note_entry(_part(value, 1), _part(value, 2).decode(), reads)
        elif number == _CALL:
            _note_call(value, reads)
        elif number == _LIST:
            for one in _parts(value, 1):
                _note_all(one, reads)
        elif number == _STRUCT:
            for entry in _parts(value, 2):
                for one in (*_parts(entry, 3), *_parts(entry, 4)):
                    _note_all(one, reads)
        elif number == _COMPREHENSION:
            for place in (2, 4, 5, 6, 7):
                for one in _parts(value, place):
                    _note_all(one, reads)


def _note_call(call: bytes, reads: Reads) -> None:
    function = _part(call, 2).decode()
    given = _parts(call, 3)
    if function in {"_[_]", "@in"} and len(given) == 2:
        map_given, key = given if function == "_[_]" else given[::-1]
        names = [text.decode() for constant in _parts(key, _CONST) for text in _parts(constant, _CONST_STRING)]
        if names:
            _note_entry(map_given, names[0], reads)
            return
    if function == "matches" and given and not _parts(given[-1], _CONST):
        raise ExpressionError(
            "the pattern of `matches` must be written out: who may choose one can make it take seconds"
        )
    for one in (*_parts(call, 1), *given):
        _note_all(one, reads)


def _note_entry(operand: bytes, entry: str, reads: Reads) -> None:
    """Note that one entry of a map is asked for; of something that is no map of ours, what that reads."""
    names = [_part(ident, 1).decode() for ident in _parts(operand, _IDENT)]
    if not names or names[0] not in _WITH_ENTRIES:
        _note_all(operand, reads)
        return
    entries = reads.setdefault(names[0], [])
    if entries is not None and entry not in entries:
        entries.append(entry)
        entries.sort()


def _part(message: bytes, number: int) -> bytes:
    return b"".join(_parts(message, number)[-1:])


def _parts(message: bytes, number: int) -> list[bytes]:
    return [value for found, value in _fields(message) if found == number]


def _fields(message: bytes) -> Iterator[tuple[int, bytes]]:
    """The fields of a message that have a length: texts, bytes and messages. Others are passed over."""
    at = 0
    while at < len(message):
        tag, at = _varint(message, at)
        kind = tag & 7
        if kind == 2:
            size, at = _varint(message, at)
            yield tag >> 3, message[at : at + size]
            at += size
        elif kind == 0:
            _, at = _varint(message, at)
        else:
            at += 8 if kind == 1 else 4


def _varint(message: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = message[at]
        at += 1
        value |= (byte & 127) << shift
        if byte < 128:
            return value, at
        shift += 7
