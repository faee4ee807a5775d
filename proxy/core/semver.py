"""Semantic versions and ranges over them (Semantic Versioning 2.0.0; ranges as npm writes them).

A version in a request may leave out minor and patch and may start with `v`: that is what clients send. A range is
comparators joined by spaces (and) and `||` (or): `>=1.2.0 <2.0.0`, `^1.2`, `~1.2.3`, `1.x`, `*`. Precedence is plain:
a pre-release lies below its release, so `<2.0.0` takes 2.0.0-rc.1; the upper ends that `^`, `~` and x-ranges imply
leave the pre-releases of the next version out.
"""

import re
from collections.abc import Callable
from typing import Final

Precedence = tuple[int, int, int, int, tuple[tuple[int, int, str], ...]]

_NUMBER: Final = r"(?:0|[1-9]\d{0,17})"
_LABELS: Final = r"[0-9A-Za-z-]+(?:\.[0-9A-Za-z-]+)*"
_VERSION: Final = re.compile(
    rf"v?({_NUMBER})(?:\.({_NUMBER})(?:\.({_NUMBER})(?:-({_LABELS}))?)?)?(?:\+{_LABELS})?", re.ASCII
)
_PART: Final = rf"(?:{_NUMBER}|[xX*])"
_COMPARATOR: Final = re.compile(
    rf"\s*(>=|<=|>|<|=|\^|~)?\s*v?({_PART})(?:\.({_PART})(?:\.({_PART})(?:-({_LABELS}))?)?)?(?:\+{_LABELS})?(?=\s|$)",
    re.ASCII,
)
_LONGEST: Final = 256

_RELEASE: Final = 1
_PRERELEASE: Final = 0


def precedence(text: str) -> Precedence | None:
    """A value that sorts as the version does (section 11), build metadata aside; None for what is no version."""
    found = _VERSION.fullmatch(text) if len(text) <= _LONGEST else None
    if found is None:
        return None
    major, minor, patch, labels = found.groups()
    return _key(int(major), int(minor or 0), int(patch or 0), labels)


def _key(major: int, minor: int, patch: int, labels: str | None) -> Precedence | None:
    if labels is None:
        return major, minor, patch, _RELEASE, ()
    identifiers: list[tuple[int, int, str]] = []
    for label in labels.split("."):
        if not label.isdecimal():
            identifiers.append((1, 0, label))
        elif label[0] == "0" and len(label) > 1:
            return None  # section 9: numeric identifiers have no leading zeros
        else:
            identifiers.append((0, int(label), ""))
    return major, minor, patch, _PRERELEASE, tuple(identifiers)


class SemverRange:
    """A range of versions. Raises ValueError for text that is not one."""

    def __init__(self, text: str) -> None:
        self.text: Final = text
        self._any_of: Final = [_conjunction(part, text) for part in text.split("||")]

    def contains(self, version: str) -> bool:
        """Whether the text is a version within the range."""
        key = precedence(version)
        return key is not None and any(all(test(key) for test in tests) for tests in self._any_of)


_Test = Callable[[Precedence], bool]


def _conjunction(part: str, text: str) -> list[_Test]:
    if not part.strip() or len(text) > _LONGEST:
        raise ValueError(f"{text!r} is not a range of versions")
    tests: list[_Test] = []
    at = 0
    part = part.strip()
    while at < len(part):
        found = _COMPARATOR.match(part, at)
        if found is None:
            raise ValueError(f"{text!r} is not a range of versions")
        tests += _comparator(found, text)
        at = found.end()
    return tests


def _comparator(found: re.Match[str], text: str) -> list[_Test]:
    sign: str = found[1] or "="
    numbers: list[int] = []
    for group in (found[2], found[3], found[4]):
        if group is None or group in "xX*":
            break
        numbers.append(int(group))
    given = len(numbers)
    labels: str | None = found[5] if given == 3 else None
    if any(group is not None and group not in "xX*" for group in (found[2], found[3], found[4])[given:]) or (
        found[5] is not None and labels is None
    ):
        raise ValueError(f"{text!r}: nothing but x can follow an x")
    major, minor, patch = (*numbers, 0, 0, 0)[:3]
    low = _key(major, minor, patch, labels)
    if low is None:
        raise ValueError(f"{text!r}: numeric identifiers have no leading zeros")
    if given == 0:
        if sign in {"<", ">"}:
            raise ValueError(f"{text!r}: no version is above or below all")
        return []
    # The first version beyond everything that the written part covers.
    beyond = _least(numbers, given - 1)
    if sign == "^":
        free = next((place for place, number in enumerate(numbers) if number), given - 1)
        return [_at_least(low), _below(_least(numbers, free))]
    if sign == "~":
        return [_at_least(low), _below(_least(numbers, min(given - 1, 1)))]
    if sign == ">=":
        return [_at_least(low)]
    if sign == "<":
        return [_below(low)]
    if given < 3:
        if sign == ">":
            return [_at_least(_least(numbers, given - 1, release=True))]
        return [_below(beyond)] if sign == "<=" else [_at_least(low), _below(beyond)]
    if sign == ">":
        return [_above(low)]
    return [_at_most(low)] if sign == "<=" else [_equal(low)]


def _least(numbers: list[int], place: int, *, release: bool = False) -> Precedence:
    """The lowest version with the number at `place` one higher: the release, or what is below its pre-releases."""
    major, minor, patch = (*numbers[:place], numbers[place] + 1, 0, 0)[:3]
    return major, minor, patch, _RELEASE if release else _PRERELEASE, ()


def _at_least(bound: Precedence) -> _Test:
    return lambda key: key >= bound


def _at_most(bound: Precedence) -> _Test:
    return lambda key: key <= bound


def _above(bound: Precedence) -> _Test:
    return lambda key: key > bound


def _below(bound: Precedence) -> _Test:
    return lambda key: key < bound


def _equal(bound: Precedence) -> _Test:
    return lambda key: key == bound
