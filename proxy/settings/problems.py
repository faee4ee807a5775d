"""What is wrong with a configuration, where, and what would be right.

A file with five mistakes gets five lines, not one: everything that looks at a configuration appends to one list of
problems and goes on. A problem knows its place (file, line, column), the path of its key, and says what is allowed.
"""

import difflib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Protocol

from proxy.errors import TidegateError

KeyPath = tuple[str | int, ...]
"""Where a value stands: ("routes", 0, "match", "host")."""

ERROR: Final = "error"
WARNING: Final = "warning"

_SHOWN_VALUE: Final = 60
_SHOWN_NAMES: Final = 12


class Report(Protocol):
    """How whatever looks at a configuration tells of a problem."""

    def __call__(self, path: KeyPath, message: str, severity: str = ERROR, *, key: bool = False) -> None:
        """The value at `path` is meant, or its `key`."""


@dataclass(frozen=True, slots=True)
class Place:
    """A position in a file; line and column count from 1. `width` is how many characters of that line are meant."""

    file: str
    line: int
    column: int
    width: int = 1

    def __str__(self) -> str:
        return f"{self.file}:{self.line}:{self.column}"


@dataclass(frozen=True, slots=True)
class Problem:
    """One mistake (`severity` error) or one thing worth knowing (warning)."""

    place: Place
    path: KeyPath
    message: str
    severity: str = ERROR

    def line(self) -> str:
        """One line: file:line:column: key path: message. Warnings say so."""
        path = f" {path_text(self.path)}:" if self.path else ""
        mark = " warning:" if self.severity == WARNING else ""
        return f"{self.place}:{mark}{path} {self.message}"

    def as_dict(self) -> dict[str, Any]:
        """For JSON. The text of the file is left out: it may hold a secret, and this goes to the log and the API."""
        return {
            "severity": self.severity,
            "file": self.place.file,
            "line": self.place.line,
            "column": self.place.column,
            "path": path_text(self.path),
            "message": self.message,
        }


class SettingsError(TidegateError):
    """The configuration cannot be used.

    `problems` are all its errors, in the order of the files; `sources` the texts of the files by name, for excerpts.
    """

    def __init__(
        self, problems: Sequence[Problem], warnings: Sequence[Problem] = (), sources: Mapping[str, str] | None = None
    ) -> None:
        super().__init__("\n".join(problem.line() for problem in problems))
        self.problems: Final = list(problems)
        self.warnings: Final = list(warnings)
        self.sources: Final = dict(sources or {})


def path_text(path: KeyPath) -> str:
    """A key path as people write it: routes[0].match.host. Keys that are not plain words are quoted."""
    text = ""
    for step in path:
        if isinstance(step, int):
            text += f"[{step}]"
            continue
        word = step if step.replace("-", "").replace("_", "").isalnum() else f"'{step}'"
        text += f".{word}" if text else word
    return text


def shown(value: object) -> str:
    """A value inside a message, cut to a length that leaves the message readable, in back quotes."""
    text = value if isinstance(value, str) else _yaml_word(value)
    text = text.encode("unicode_escape").decode()
    if len(text) > _SHOWN_VALUE:
        text = text[: _SHOWN_VALUE - 3] + "..."
    return f"`{text}`"


def _yaml_word(value: object) -> str:
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(value)


def kind_of(value: object) -> str:
    """What a value is, in the words of YAML."""
    if value is None:
        return "nothing"
    if isinstance(value, bool):
        return "true or false"
    if isinstance(value, int | float):
        return "a number"
    if isinstance(value, str):
        return "text"
    return "a list" if isinstance(value, list) else "a map"


def suggestion(word: str, allowed: Iterable[str], what: str = "allowed here") -> str:
    """The tail of a message about a word that is not known: the likely one, else what there is."""
    names = sorted(allowed)
    close = difflib.get_close_matches(word, names, n=1, cutoff=0.6)
    if close:
        return f"; did you mean `{close[0]}`?"
    if not names:
        return "; there are none"
    listed = ", ".join(f"`{name}`" for name in names[:_SHOWN_NAMES])
    more = f" and {len(names) - _SHOWN_NAMES} more" if len(names) > _SHOWN_NAMES else ""
    return f"; {what}: {listed}{more}"


def excerpt(problem: Problem, source: str | None) -> list[str]:
    """The problem's line of `source` with a mark under what is meant; nothing when the source is not at hand."""
    if source is None:
        return []
    lines = source.splitlines()
    if not 1 <= problem.place.line <= len(lines):
        return []
    text = lines[problem.place.line - 1]
    lead = "".join("\t" if char == "\t" else " " for char in text[: problem.place.column - 1])
    width = max(1, min(problem.place.width, len(text) - len(lead)))
    number = f"{problem.place.line:>5}"
    return [f"{number} | {text}", f"{' ' * len(number)} | {lead}{'^' * width}"]
