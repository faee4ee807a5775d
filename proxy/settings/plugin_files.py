"""The files of plugins: their text, which goes to the workers with the plan, and whether they can be used.

Workers run the text that was checked, and not whatever lies in the file by then: a worker that takes another's place a day later
gets the same. Nothing of it is imported here; a child process tries that (plugin_check.py), once for each text and config.
"""

import json
import os
from hashlib import sha256
from pathlib import Path
from typing import Any, Final

from proxy.form import search_path
from proxy.plugin_check import try_plugins

MAX_SOURCE: Final = 1 << 20
"""Bytes of a plugin's file. A program of that size wants to be a package."""

Spec = dict[str, Any]
Verdict = tuple[str, int]
"""What is wrong, "" for nothing, and the line of the file, 0 for none."""


class PluginFiles:
    """Reads files named in a configuration that stands in `base`. `files` are those it looked at in this load."""

    def __init__(self, base: Path) -> None:
        self._base: Final = base
        self._texts: Final[dict[Path, str]] = {}
        self._known: dict[str, Verdict] = {}
        self.files: Final[dict[Path, None]] = {}

    def begin(self) -> None:
        """Another load: the files are read again."""
        self._texts.clear()
        self.files.clear()

    def path(self, name: str) -> str:
        """The file a name means."""
        return str(self._base / name)

    def source(self, name: str) -> str:
        """The file's text. Raises ValueError with what is wrong with it."""
        path = self._base / name
        self.files[path] = None
        known = self._texts.get(path)
        if known is not None:
            return known
        try:
            with path.open("rb") as file:
                data = file.read(MAX_SOURCE + 1)
        except FileNotFoundError:
            raise ValueError(f"there is no file {path}") from None
        except OSError as error:
            raise ValueError(f"{path} cannot be read: {error.strerror or error}") from None
        if len(data) > MAX_SOURCE:
            raise ValueError(
                f"{path} is longer than {MAX_SOURCE >> 20} MiB: make it a package, and name its `entry_point`"
            )
        try:
            text = data.decode()
        except UnicodeDecodeError:
            raise ValueError(f"{path} is not UTF-8 text") from None
        self._texts[path] = text
        return text

    def try_all(self, specs: list[Spec]) -> list[Verdict]:
        """What is wrong with each: they are imported and made in a child process, but for those that were already."""
        keys = [sha256(json.dumps(spec, sort_keys=True, default=str).encode()).hexdigest() for spec in specs]
        unknown = [index for index, key in enumerate(keys) if key not in self._known]
        if unknown:
            environ = {**os.environ, "PYTHONPATH": search_path(os.environ)}  # as workers have it
            verdicts = try_plugins([specs[index] for index in unknown], environ)
            self._known |= {keys[index]: verdict for index, verdict in zip(unknown, verdicts, strict=True)}
        # What was wrong may be right the next time: a package that was not installed, say.
        said = [self._known[key] for key in keys]
        self._known = {key: verdict for key, verdict in zip(keys, said, strict=True) if not verdict[0]}
        return said
