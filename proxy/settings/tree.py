"""Several files as one configuration: the merged values, and merged nodes of the same shape to find places in.

The first file comes first: lists of the others are appended to its lists, their maps joined to its maps. Whatever is
named twice is an error that names both places; nothing ever overrides anything.
"""

from typing import Any, Final

from yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode

from proxy.settings.problems import KeyPath, Place, Problem
from proxy.settings.source import Document, locate, pairs, place_of


class Tree:
    """The merged files. `problems` is what they say twice."""

    def __init__(self) -> None:
        self.values: Final[dict[str, Any]] = {}
        self.problems: Final[list[Problem]] = []
        self._pairs: Final[dict[str, tuple[Node, Node]]] = {}
        self._start = Place("", 1, 1)

    def add(self, document: Document) -> None:
        """Merge a document in."""
        if document.root is None:
            return
        if not self._start.file:
            self._start = Place(document.file, 1, 1)
        own = {key.value: (key, node) for key, node in reversed(list(pairs(document.root)))}
        for name, value in document.values.items():
            key, node = own[name]
            if name not in self.values:
                self.values[name] = value
                self._pairs[name] = (key, node)
            elif name != "include":
                self._merge(name, value, key, node)

    def place(self, path: KeyPath, *, key: bool = False) -> tuple[KeyPath, Place]:
        """As much of the path as stands in the files, and where.

        That is a plain value itself, and the key of anything larger; with `key` always the key.
        """
        if not path or path[0] not in self._pairs:
            return path, self._start
        first, node = self._pairs[str(path[0])]
        found, target = locate(node, path[1:], key=key)
        if target is node and (key or not isinstance(node, ScalarNode)):
            target = first
        return (path[0], *found), place_of(target)

    def _merge(self, name: str, value: Any, key: Node, node: Node) -> None:
        here = self.values[name]
        first_key, first = self._pairs[name]
        if isinstance(here, list) and isinstance(value, list):
            children = [*first.value, *node.value]
            self.values[name] = here + value
            self._pairs[name] = (first_key, SequenceNode(first.tag, children, first.start_mark, first.end_mark))
        elif isinstance(here, dict) and isinstance(value, dict):
            known = {one.value: one for one, _ in pairs(first)} if isinstance(first, MappingNode) else {}
            entries = list(pairs(node)) if isinstance(node, MappingNode) else []
            for one, _ in entries:
                if one.value in known:
                    self._twice((name, one.value), one, known[one.value])
            self.values[name] = here | {one: child for one, child in value.items() if one not in here}
            if isinstance(first, MappingNode):
                children = [*pairs(first), *((one, child) for one, child in entries if one.value not in known)]
                self._pairs[name] = (first_key, MappingNode(first.tag, children, first.start_mark, first.end_mark))
        else:
            self._twice((name,), key, first_key)

    def _twice(self, path: KeyPath, node: Node, first: Node) -> None:
        self.problems.append(Problem(place_of(node), path, f"is given twice; first at {place_of(first)}"))
