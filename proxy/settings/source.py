"""YAML files to plain values, with the place of every one of them kept.

The file is composed to nodes (by libyaml where PyYAML has it) and the values are built from the nodes here, because a
configuration wants what a YAML loader does not give: a key given twice is an error, `on` and `off` are words and not
truth values, `0123` is no octal number, `${NAME}` reads the environment inside values, and a handful of aliases cannot
grow into gigabytes. Places are not stored for each value: the nodes are kept and walked when a message needs one.
"""

import importlib
import io
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import yaml
from yaml.composer import Composer
from yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode
from yaml.parser import Parser
from yaml.reader import Reader, ReaderError
from yaml.scanner import Scanner

from proxy.settings.problems import KeyPath, Place, Problem, shown

MAX_BYTES: Final = 32 << 20
"""Of one file: a hundred times what a thousand routes take."""
MAX_DEPTH: Final = 40
MAX_VALUES: Final = 500_000
"""Of one file, aliases expanded."""

_PLAIN: Final = "plain"
_TEXT: Final = "tag:yaml.org,2002:str"
_MAP: Final = "tag:yaml.org,2002:map"
_SEQ: Final = "tag:yaml.org,2002:seq"

# The core schema of YAML 1.2, without octal and hexadecimal numbers.
_INT: Final = re.compile(r"[-+]?(?:0|[1-9][0-9]{0,17})")
_FLOAT: Final = re.compile(r"[-+]?(?:(?:0|[1-9][0-9]{0,17})(?:\.[0-9]*)?|\.[0-9]+)(?:[eE][-+]?[0-9]{1,3})?")
_WORDS: Final[dict[str, bool | None]] = {
    "": None, "~": None, "null": None, "Null": None, "NULL": None,
    "true": True, "True": True, "TRUE": True, "false": False, "False": False, "FALSE": False,
}  # fmt: skip
_REFERENCE: Final = re.compile(r"\$\$\{|\$\{([^}]*)(\}?)")
_NAME: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


class _PlainResolver:
    """Tells plain scalars from quoted ones and leaves their meaning to us."""

    depth = 0

    def descend_resolver(self, *_: object) -> None:
        """Called when a node begins. libyaml's composer recurses in C, where depth without a bound ends the process."""
        self.depth += 1
        if self.depth > MAX_DEPTH * 2:
            raise RecursionError

    def ascend_resolver(self) -> None:
        """Called when a node ends."""
        self.depth -= 1

    def check_resolver_prefix(self, *_: object) -> bool:
        """Nothing here depends on the path."""
        return False

    def resolve(self, kind: type[Node], value: Any, implicit: Any) -> str:
        """The tag of a node that carries none of its own."""
        if kind is ScalarNode:
            return _PLAIN if implicit[0] else _TEXT
        return _MAP if kind is MappingNode else _SEQ


class _PythonComposer(_PlainResolver, Reader, Scanner, Parser, Composer):
    """Where PyYAML was built without libyaml: the same nodes, ten times slower."""

    def __init__(self, stream: Any) -> None:
        Reader.__init__(self, stream)
        Scanner.__init__(self)
        Parser.__init__(self)
        Composer.__init__(self)


def _composer() -> Callable[[Any], Any]:
    if not yaml.__with_libyaml__:
        return _PythonComposer
    cyaml: Any = importlib.import_module("yaml.cyaml")
    return type("_FastComposer", (_PlainResolver, cyaml.CParser), {})


_COMPOSER: Final = _composer()


class _Named(io.StringIO):
    """A text whose nodes know the file they come from: PyYAML puts `name` into every mark."""

    def __init__(self, text: str, name: str) -> None:
        super().__init__(text)
        self.name: Final = name


def _compose(text: str, name: str) -> Node | None:
    """The root node of the one document in `text`; None when there is nothing in it."""
    root: Node | None = _COMPOSER(_Named(text, name)).get_single_node()
    return root


@dataclass(slots=True)
class Document:
    """One file, parsed. `values` is what it says; `root` the nodes behind it, each of which
    knows its file (None: the file cannot be used at all)."""

    file: str
    text: str
    values: dict[str, Any] = field(default_factory=dict)
    root: MappingNode | None = None
    problems: list[Problem] = field(default_factory=list)


def parse_document(file: str, data: bytes, environ: Mapping[str, str]) -> Document:
    """The document in `data`. Whatever is wrong with it is in its `problems`; nothing is raised."""
    start = Place(file, 1, 1)
    if len(data) > MAX_BYTES:
        return Document(file, "", problems=[Problem(start, (), f"the file is larger than {MAX_BYTES >> 20} MiB")])
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data[: error.start].count(b"\n") + 1
        return Document(file, "", problems=[Problem(Place(file, line, 1), (), "the file is not UTF-8 text")])
    document = Document(file, text)
    try:
        root = _compose(text, file)
    except (yaml.YAMLError, RecursionError) as error:
        document.problems.append(_syntax_problem(file, text, error))
        return document
    if root is None or (isinstance(root, ScalarNode) and root.tag == _PLAIN and root.value in _WORDS):
        document.problems.append(Problem(start, (), "the file is empty"))
    elif not isinstance(root, MappingNode):
        document.problems.append(Problem(place_of(root), (), "the file must be a map of keys, such as `listen: ...`"))
    else:
        builder = _Builder(environ, document.problems)
        document.values = builder.mapping(root, (), 0)
        document.root = None if builder.exhausted else root
    return document


def _syntax_problem(file: str, text: str, error: Exception) -> Problem:
    if isinstance(error, yaml.MarkedYAMLError):
        mark = error.problem_mark or error.context_mark
        place = Place(file, mark.line + 1, mark.column + 1) if mark else Place(file, 1, 1)
        message = f"not valid YAML: {error.problem or error.context}"
        if error.problem and "cannot start any token" in error.problem and _at(text, place) == "\t":
            message += "; indent with blanks, not with tabs"
        if error.problem and "but found another document" in error.problem:
            message = "the file holds more than one document (`---`); a configuration is one"
        return Problem(place, (), message)
    if isinstance(error, ReaderError):
        before = text[: error.position]
        place = Place(file, before.count("\n") + 1, len(before) - before.rfind("\n"))
        return Problem(place, (), "not valid YAML: a control character")
    return Problem(Place(file, 1, 1), (), "not valid YAML: nested too deeply")


def _at(text: str, place: Place) -> str:
    lines = text.splitlines()
    if place.line > len(lines):
        return ""
    return lines[place.line - 1][place.column - 1 : place.column]


def place_of(node: Node) -> Place:
    """Where a node stands."""
    start, end = node.start_mark, node.end_mark
    width = end.column - start.column if isinstance(node, ScalarNode) and end.line == start.line else 1
    return Place(str(start.name), start.line + 1, start.column + 1, max(1, width))


class _Builder:
    """Builds values from nodes, collecting what is wrong. One for each file: the budget is the file's."""

    def __init__(self, environ: Mapping[str, str], problems: list[Problem]) -> None:
        self._environ: Final = environ
        self._problems: Final = problems
        self._left = MAX_VALUES

    @property
    def exhausted(self) -> bool:
        """Whether the file was too large or too deep to be built whole."""
        return self._left <= 0

    def _problem(self, node: Node, path: KeyPath, message: str) -> None:
        self._problems.append(Problem(place_of(node), path, message))

    def value(self, node: Node, path: KeyPath, depth: int) -> Any:
        """The value of any node."""
        self._left -= 1
        if self._left <= 0:
            if self._left == 0:
                self._problem(node, (), f"aliases expand the file to more than {MAX_VALUES} values")
            return None
        if isinstance(node, ScalarNode):
            return self._scalar(node, path)
        if depth >= MAX_DEPTH:
            if self._left > 0:
                self._problem(node, (), f"nested deeper than {MAX_DEPTH} levels")
                self._left = 0
            return None
        if isinstance(node, MappingNode):
            return self.mapping(node, path, depth)
        if node.tag != _SEQ:
            self._problem(node, path, f"the tag {shown(node.tag)} means nothing here")
        return [self.value(child, (*path, index), depth + 1) for index, child in enumerate(node.value)]

    def mapping(self, node: MappingNode, path: KeyPath, depth: int) -> dict[str, Any]:
        """The values of a map by key."""
        if node.tag != _MAP:
            self._problem(node, path, f"the tag {shown(node.tag)} means nothing here")
        first: dict[str, Node] = {}
        for key, _ in node.value:
            if not isinstance(key, ScalarNode):
                self._problem(key, path, "a key must be a word, not a list or a map")
                continue
            before = first.setdefault(key.value, key)
            if before is not key:
                place = place_of(before)
                self._problem(key, (*path, key.value), f"the key is given twice; first in line {place.line}")
        values: dict[str, Any] = {}
        for key, child in pairs(node, depth):
            if key.value not in values:
                values[key.value] = self.value(child, (*path, key.value), depth + 1)
        return values

    def _scalar(self, node: ScalarNode, path: KeyPath) -> Any:
        text: str = node.value
        tag = node.tag
        if tag not in (_PLAIN, _TEXT):
            self._problem(node, path, f"the tag {shown(tag)} means nothing here")
            return text
        if "${" in text:
            text = self._substituted(node, text, path)
            if not text:
                return text
        return text if tag == _TEXT else plain_value(text)

    def _substituted(self, node: ScalarNode, text: str, path: KeyPath) -> str:
        def replace(found: re.Match[str]) -> str:
            inside, end = found[1], found[2]
            if inside is None:
                return "${"
            if not end:
                self._problem(node, path, "`${` is not closed by `}`; write `$${` for the characters themselves")
                return ""
            name, has_default, default = inside.partition(":-")
            if _NAME.fullmatch(name) is None:
                self._problem(
                    node,
                    path,
                    f"{shown(found[0])} must be `${{NAME}}` or `${{NAME:-default}}`; `$${{` stands for `${{`",
                )
                return ""
            value = self._environ.get(name, "")
            if value or (not has_default and name in self._environ):
                return value
            if not has_default:
                self._problem(
                    node, path, f"the environment variable `{name}` is not set; `${{{name}:-default}}` gives a default"
                )
            return default

        return _REFERENCE.sub(replace, text)


def plain_value(text: str) -> Any:
    """What an unquoted scalar means: nothing, a truth value, a number, else text."""
    first = text[:1]
    if first.isdigit() or first in "+-.":
        if _INT.fullmatch(text):
            return int(text)
        if _FLOAT.fullmatch(text) and text.strip("+-.") != "":
            return float(text)
        return text or None
    return _WORDS.get(text, text) if len(text) <= 5 else text


def pairs(node: MappingNode, depth: int = 0) -> Iterator[tuple[ScalarNode, Node]]:
    """Keys and values of a map: its own, and then those that `<<` merges in (the first of a name counts)."""
    merged: list[Node] = []
    for key, child in node.value:
        if not isinstance(key, ScalarNode):
            continue
        if key.tag == _PLAIN and key.value == "<<":
            merged.extend(child.value if isinstance(child, SequenceNode) else [child])
        else:
            yield key, child
    if depth < MAX_DEPTH:
        for child in merged:
            if isinstance(child, MappingNode):
                yield from pairs(child, depth + 1)


def locate(root: Node, path: KeyPath, *, key: bool = False) -> tuple[KeyPath, Node]:
    """As much of `path` as exists under `root`, and the node to point at: a plain value, else the key that holds it.

    With `key` that is always the key.
    """
    node: Node = root
    shown_node: Node = root
    for count, step in enumerate(path):
        found: tuple[Node, Node] | None = None
        if isinstance(node, MappingNode):
            found = next(((name, child) for name, child in pairs(node) if name.value == step), None)
        elif isinstance(node, SequenceNode) and isinstance(step, int) and step < len(node.value):
            found = (node.value[step], node.value[step])
        if found is None:
            # Under a scalar there is nothing to name: the step belongs to the long form of what was written short.
            if isinstance(node, ScalarNode):
                return path[:count], shown_node if key else node
            return (path[:count] if isinstance(step, int) else path), shown_node
        shown_node, node = found
    return path, (node if isinstance(node, ScalarNode) and not key else shown_node)


def read_file(path: Path) -> bytes:
    """The bytes of a configuration file.

    Raises ValueError with what is wrong, in words for the person who named the file.
    """
    try:
        if path.is_dir():
            raise ValueError("is a directory, not a file")
        with path.open("rb") as file:
            return file.read(MAX_BYTES + 1)
    except FileNotFoundError:
        raise ValueError("there is no such file") from None
    except OSError as error:
        raise ValueError(f"cannot be read: {error.strerror or error}") from None
