"""Flags of a flagd file as flags of ours. What cannot be said in our words is told and left out, never changed in silence.

flagd's targeting is JsonLogic: an `if` chain becomes rules, `fractional` a split, `$evaluators` are put where they are named.
Who gets what of a split is dealt anew: the hash is ours.
"""

import re
from collections.abc import Iterator, Mapping
from typing import Any, Final

from proxy.settings.models.flags import TARGETING_KEY

Rules = list[dict[str, Any]]

_LARGE: Final = 1e300
_MAX_DEPTH: Final = 32
_COMPARED: Final = ("=", "<", "<=", ">", ">=")
_VERSION: Final = re.compile(r"v?(\d+)(?:\.(\d+))?(?:\.(\d+))?(-[0-9A-Za-z.-]+)?(?:\+.*)?")
_KNOWN: Final = (
    "what can be said here is and, or, !, ==, !=, in, starts_with, ends_with, sem_ver, and a variable >= or <= a number"
)
_NOT_OURS: Final = ("$flagd.flagKey", "$flagd.timestamp")


class CannotSayError(Exception):
    """A flag, or a part of it, for which there are no words here."""


class Imported:
    """What became of a file: `flags` as they are written in the configuration; `notes` what to know of those taken, and
    `left_out` of those that were not, both by name."""

    def __init__(self) -> None:
        self.flags: Final[dict[str, Any]] = {}
        self.notes: Final[dict[str, list[str]]] = {}
        self.left_out: Final[dict[str, str]] = {}


def import_flagd(document: Mapping[str, Any]) -> Imported:
    """The flags of a flagd document. Raises CannotSayError where it is none."""
    flags = document.get("flags")
    if not isinstance(flags, dict):
        raise CannotSayError("it has no map `flags`: it is no flagd file")
    evaluators = document.get("$evaluators")
    imported = Imported()
    for name, flag in flags.items():
        reader = _Reader(evaluators if isinstance(evaluators, dict) else {})
        try:
            imported.flags[name] = reader.flag(flag)
        except CannotSayError as error:
            imported.left_out[name] = str(error)
        else:
            if reader.notes:
                imported.notes[name] = list(dict.fromkeys(reader.notes))
    return imported


class _Reader:
    """Reads one flag."""

    def __init__(self, evaluators: Mapping[str, Any]) -> None:
        self._evaluators: Final = evaluators
        self.notes: Final[list[str]] = []
        self._variants: dict[str, Any] = {}

    def flag(self, flag: Any) -> dict[str, Any]:
        """The flag in our words."""
        if not isinstance(flag, dict) or not isinstance(flag.get("variants"), dict) or not flag["variants"]:
            raise CannotSayError("it has no variants")
        self._variants = flag["variants"]
        default = flag.get("defaultVariant")
        if not isinstance(default, str) or default not in self._variants:
            raise CannotSayError(
                f"it has no defaultVariant that is one of its variants ({', '.join(map(str, self._variants))})"
            )
        made: dict[str, Any] = {"variants": dict(self._variants), "default": default, "off": default}
        if flag.get("state", "ENABLED") != "ENABLED":
            made["on"] = False
            self.notes.append(
                "is disabled: flagd has applications use their own default, and here it gives its variant `off`"
            )
        targeting = flag.get("targeting")
        if targeting:
            rules, rest = self._chain(targeting, None, 0)
            if rules:
                made["rules"] = rules
            if isinstance(rest, dict):
                made["split"] = rest
            elif rest is not None:
                made["default"] = rest
        return made

    def _chain(self, value: Any, condition: dict[str, Any] | None, depth: int) -> tuple[Rules, Any]:
        """The rules that a value comes to under a condition, and what is left where none of them holds: a variant, a
        split, or None for the default."""
        _bounded(depth)
        if not (isinstance(value, dict) and len(value) == 1 and "if" in value):
            return [], self._outcome(value)
        parts = value["if"]
        if not isinstance(parts, list) or len(parts) < 2:
            raise CannotSayError("an `if` wants a condition and a variant")
        rules: Rules = []
        for index in range(0, len(parts) - 1, 2):
            here = _both(condition, self._condition(parts[index], depth + 1))
            inner, rest = self._chain(parts[index + 1], here, depth + 1)
            rules += [*inner, self._rule(here, rest)]
        if len(parts) % 2 == 0:
            return rules, None
        inner, rest = self._chain(parts[-1], condition, depth + 1)
        return rules + inner, rest

    def _rule(self, condition: dict[str, Any], outcome: Any) -> dict[str, Any]:
        if outcome is None:
            raise CannotSayError("a rule of it has applications use the default, past the rules that follow")
        return {"when": condition, "split" if isinstance(outcome, dict) else "variant": outcome}

    def _outcome(self, value: Any) -> Any:
        if value is None:
            return None
        if isinstance(value, dict) and len(value) == 1 and "fractional" in value:
            return self._split(value["fractional"])
        name = str(value).lower() if isinstance(value, bool) else value
        if not isinstance(name, str) or name not in self._variants:
            raise CannotSayError(f"{_short(value)} is none of its variants ({', '.join(map(str, self._variants))})")
        return name

    def _split(self, parts: Any) -> dict[str, float]:
        parts = list(parts) if isinstance(parts, list) else []
        if parts and not isinstance(parts[0], list):
            by = parts.pop(0)
            whole = {"cat": [{"var": "$flagd.flagKey"}, {"var": TARGETING_KEY}]}
            if by not in (whole, {"var": TARGETING_KEY}, {"var": [TARGETING_KEY]}):
                raise CannotSayError("it deals by something else than the targeting key")
        split: dict[str, float] = {}
        for part in parts:
            if not isinstance(part, list) or not 1 <= len(part) <= 2:
                raise CannotSayError("a part of its `fractional` is not [variant, weight]")
            name, weight = self._outcome(part[0]), part[1] if len(part) == 2 else 1
            if not isinstance(name, str) or isinstance(weight, bool) or not isinstance(weight, int | float):
                raise CannotSayError("its `fractional` has computed parts")
            split[name] = split.get(name, 0) + max(0, weight)
        if not any(split.values()):
            raise CannotSayError("its `fractional` has no weights")
        self.notes.append("is dealt anew, by the hash of Tidegate: the shares stay, and units change variants")
        return split

    # Conditions.

    def _condition(self, value: Any, depth: int) -> dict[str, Any]:
        _bounded(depth)
        if not isinstance(value, dict) or len(value) != 1:
            raise CannotSayError(f"its targeting has {_short(value)} where a condition must stand")
        ((word, arguments),) = value.items()
        if word == "$ref":
            if not isinstance(arguments, str) or arguments not in self._evaluators:
                raise CannotSayError(
                    f"its targeting names {_short(arguments)}, and `$evaluators` has none of that name"
                )
            return self._condition(self._evaluators[arguments], depth + 1)
        many = arguments if isinstance(arguments, list) else [arguments]
        if word in ("and", "or") and many:
            return {"all" if word == "and" else "any": [self._condition(one, depth + 1) for one in many]}
        if word == "!" and len(many) == 1:
            return {"not": self._condition(many[0], depth + 1)}
        return self._test(word, many)

    def _test(self, word: str, many: list[Any]) -> dict[str, Any]:
        if word == "sem_ver" and len(many) == 3 and many[1] in (*_COMPARED, "!=", "^", "~"):
            found = {"attribute": _variable(many[0]), "semver": _range(many[1], _text(many[2]))}
            return {"not": found} if many[1] == "!=" else found
        if len(many) != 2:
            raise CannotSayError(f"its targeting has `{word}` with {len(many)} arguments; {_KNOWN}")
        one, other = many
        if word in ("==", "===", "!=", "!=="):
            if not _is_variable(one):
                one, other = other, one
            found = _among(_variable(one), [other])
            return {"not": found} if word.startswith("!") else found
        if word == "in":
            if _is_variable(one) and isinstance(other, list):
                return _among(_variable(one), other)
            return {"attribute": _variable(other), "contains": _text(one)}
        if word in ("starts_with", "ends_with"):
            return {"attribute": _variable(one), "prefix" if word == "starts_with" else "suffix": _text(other)}
        if (
            word in (">=", "<=")
            and _is_variable(one)
            and isinstance(other, int | float)
            and not isinstance(other, bool)
        ):
            return {"attribute": _variable(one), "between": [other, _LARGE] if word == ">=" else [-_LARGE, other]}
        raise CannotSayError(f"its targeting has {_short({word: many})}; {_KNOWN}")


def _bounded(depth: int) -> None:
    if depth > _MAX_DEPTH:
        raise CannotSayError("it is nested too deeply")


def _both(one: dict[str, Any] | None, other: dict[str, Any]) -> dict[str, Any]:
    return other if one is None else {"all": [one, other]}


def _among(name: str, values: list[Any]) -> dict[str, Any]:
    texts = [_text(value) for value in values]
    if not texts:
        raise CannotSayError("its targeting compares with an empty list")
    return {"units": texts} if name == TARGETING_KEY else {"attribute": name, "in": texts}


def _is_variable(value: Any) -> bool:
    return isinstance(value, dict) and len(value) == 1 and "var" in value


def _variable(value: Any) -> str:
    name = value["var"] if _is_variable(value) else None
    if isinstance(name, list) and len(name) == 1:
        name = name[0]
    if not isinstance(name, str) or not name or name in _NOT_OURS:
        raise CannotSayError(f"its targeting has {_short(value)} where the name of an attribute must stand")
    return name


def _range(word: str, text: str) -> str:
    """A range as we write it: `^` is the same major version and `~` the same minor one, whatever stands behind."""
    found = _VERSION.fullmatch(text)
    if found is None:
        raise CannotSayError(f"its targeting has {_short(text)} where a version such as 1.2.3 must stand")
    major, minor, patch = (int(one or 0) for one in found.groups()[:3])
    if word == "^":
        return f">={major}.0.0 <{major + 1}.0.0"
    if word == "~":
        return f">={major}.{minor}.0 <{major}.{minor + 1}.0"
    return f"{'=' if word == '!=' else word}{major}.{minor}.{patch}{found[4] or ''}"


def _text(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, str | int | float):
        return str(value)
    raise CannotSayError(f"its targeting has {_short(value)} where a text must stand")


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


def notes_of(imported: Imported) -> Iterator[str]:
    """A line for everything that is worth knowing."""
    for name, notes in imported.notes.items():
        yield from (f"{name} {note}" for note in notes)
    for name, why in imported.left_out.items():
        yield f"{name} is left out: {why}"
