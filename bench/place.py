"""Where the bench works, and what a part of it hands in."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from bench.peers import Ports


@dataclass(frozen=True, slots=True)
class Row:
    """One line of the table: what was measured, with its unit, and what issue or design asked for."""

    title: str
    measured: str
    wanted: str
    key: str = ""
    value: float | None = None
    """For a figure that is wanted of the whole: its name there, and its number."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where things are: the bench's own directory, the ports, the cores of the peer and of the load."""

    directory: Path
    ports: Ports
    cores: set[int]
    load_cores: set[int]

    def under(self, name: str) -> Path:
        path = self.directory / name
        path.mkdir(parents=True, exist_ok=True)
        return path


Part = Callable[[Place, bool], list[Row]]
"""Measures something of Tidegate alone; the flag asks for a quick look."""
