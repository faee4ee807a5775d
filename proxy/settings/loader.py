"""From a file's name to a loaded configuration: read, merge, validate part by part, check, compile.

Validation goes part by part (each upstream, segment and route by itself), so that a mistake in one of them does not
hide those in the others, nor the references between them.
"""

import gc
import hashlib
import os
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from pydantic import ValidationError
from pydantic_core import PydanticCustomError

from proxy.settings.certificates import CertificateReader
from proxy.settings.check import check
from proxy.settings.compile import compile_spec
from proxy.settings.draft import Draft
from proxy.settings.later import find_later
from proxy.settings.models.matchers import Matcher
from proxy.settings.models.route import Route
from proxy.settings.models.top import General, Settings
from proxy.settings.models.upstream import Upstream
from proxy.settings.plugin_files import PluginFiles
from proxy.settings.problems import ERROR, KeyPath, Place, Problem, SettingsError, kind_of, shown
from proxy.settings.scalars import parse_name
from proxy.settings.source import Document, locate, parse_document, place_of, read_file
from proxy.settings.translation import errors_of
from proxy.settings.tree import Tree
from proxy.settings.unit_files import UnitFile, UnitFiles

MAX_INCLUDES: Final = 10_000
_PARTS: Final = ("upstreams", "segments", "routes")


@dataclass(frozen=True, slots=True)
class Loaded:
    """A configuration that can be run.

    `spec` are the plain values a plan is built from (generation 0), `settings` the whole model for control, `warnings`
    what is worth knowing. `files` are all files it depends on and `directories` those where files may come or go.
    `sources` is the text of each file by name, for excerpts. `lists` are the files of units, by the name the
    configuration gives them.
    """

    spec: dict[str, Any]
    settings: Settings
    warnings: list[Problem]
    files: list[Path]
    directories: list[Path]
    sources: dict[str, str] = field(repr=False)
    lists: dict[str, UnitFile] = field(default_factory=dict, repr=False)


def load(path: str | Path, environ: Mapping[str, str] | None = None) -> Loaded:
    """The configuration in `path`, with `${NAME}` read from `environ` (default: the process's).

    Raises SettingsError with all that is wrong.
    """
    return Loader(path, os.environ if environ is None else environ).load()


class Loader:
    """Loads one configuration again and again; files that did not change are not parsed again.

    `files` and `directories` say what to watch. They are current after a load that failed, too: the fix may be in any
    of the files that were read. Files of units (`unit_files`) are not among them: a change of theirs takes no load.
    """

    def __init__(self, path: str | Path, environ: Mapping[str, str], clock: Callable[[], float] = time.time) -> None:
        self._clock: Final = clock
        self.path: Final = Path(path)
        self.parsed = 0
        """Files parsed since the start, as opposed to taken from the cache."""
        self.unit_files: Final = UnitFiles(self.path.parent)
        self._plugin_files: Final = PluginFiles(self.path.parent)
        self.files: list[Path] = [self.path]
        self.directories: list[Path] = [self.path.parent]
        self._environ: Final = environ
        self._documents: dict[str, tuple[bytes, Document]] = {}

    def load(self) -> Loaded:
        """Load it now.

        Raises SettingsError with all that is wrong.
        """
        # A load makes a million objects and drops few: the collector finds nothing and takes two thirds of the time.
        collecting = gc.isenabled()
        gc.disable()
        try:
            return self._load()
        finally:
            if collecting:
                gc.enable()

    def _load(self) -> Loaded:
        gathered = _Gathering(self)
        gathered.read(self.path, (), None)
        self._documents = gathered.kept
        self.files = list(gathered.files)
        self.directories = list(gathered.directories)
        sources = {document.file: document.text for document in gathered.documents}
        if gathered.unreadable:
            raise SettingsError(gathered.problems, sources=sources)
        tree = Tree()
        for document in gathered.documents:
            tree.add(document)
        certificates = CertificateReader(self.path.parent)
        problems = [*gathered.problems, *tree.problems]
        self._plugin_files.begin()
        draft = _validated(tree, problems, certificates, self.unit_files, self._plugin_files, self._clock())
        check(draft)
        for named in (certificates.files, self._plugin_files.files):
            self.files.extend(named)
            self.directories.extend(dict.fromkeys(file.parent for file in named))
        order = {name: index for index, name in enumerate(sources)}
        problems.sort(key=lambda one: (order.get(one.place.file, -1), one.place.line, one.place.column))
        errors = list(dict.fromkeys(one for one in problems if one.severity == ERROR))
        warnings = [one for one in problems if one.severity != ERROR]
        if errors:
            raise SettingsError(errors, warnings, sources)
        assert draft.general is not None  # noqa: S101 - else there is an error
        settings = Settings.model_construct(
            **{name: getattr(draft.general, name) for name in General.model_fields},
            upstreams=draft.upstreams,
            segments=draft.segments,
            routes=[route for route in draft.routes if route is not None],
        )
        spec = compile_spec(settings, certificates, self._plugin_files, draft.segment_order, draft.flag_order)
        self.unit_files.keep(draft.lists)
        lists = {name: self.unit_files.known[name] for name in draft.lists}
        return Loaded(spec, settings, warnings, self.files, self.directories, sources, lists)

    def document(self, path: Path, data: bytes) -> tuple[bytes, Document]:
        """The document in `data`, from the cache if it is the one parsed before."""
        digest = hashlib.sha256(data).digest()
        known = self._documents.get(str(path))
        if known is not None and known[0] == digest:
            return known
        self.parsed += 1
        return digest, parse_document(str(path), data, self._environ)


class _Gathering:
    """One pass over a file and what it includes."""

    def __init__(self, loader: Loader) -> None:
        self._loader: Final = loader
        self.documents: Final[list[Document]] = []
        self.kept: Final[dict[str, tuple[bytes, Document]]] = {}
        self.problems: Final[list[Problem]] = []
        self.files: Final[dict[Path, None]] = {}
        self.directories: Final[dict[Path, None]] = {}
        self.unreadable = False

    def read(self, path: Path, trail: tuple[Path, ...], place: Place | None) -> None:
        """Read `path` and then what it includes. `trail` are the files that led here, `place` the word that did."""
        self.files[path] = None
        self.directories[path.parent] = None
        try:
            data = read_file(path)
        except ValueError as error:
            message = str(error) if place is None else f"{path}: {error}"
            self.problems.append(Problem(place or Place(str(path), 1, 1), ("include",) if place else (), message))
            self.unreadable = self.unreadable or place is None
            return
        entry = self._loader.document(path, data)
        self.kept[str(path)] = entry
        document = entry[1]
        self.documents.append(document)
        self.problems.extend(document.problems)
        if document.root is None:
            self.unreadable = True
            return
        patterns = document.values.get("include", [])
        for index, pattern in enumerate(patterns if isinstance(patterns, list) else [patterns]):
            if isinstance(pattern, str):
                _, node = locate(document.root, ("include", index))
                self._include(path, pattern, (*trail, path), place_of(node))

    def _include(self, path: Path, pattern: str, trail: tuple[Path, ...], place: Place) -> None:
        fixed = path.parent
        parts = Path(pattern).parts
        wild = next((index for index, part in enumerate(parts) if any(sign in part for sign in "*?[")), len(parts))
        fixed = fixed.joinpath(*parts[:wild])
        if wild == len(parts):
            found = [fixed]
        else:
            self.directories[fixed] = None
            found = sorted(one for one in fixed.glob(str(Path(*parts[wild:]))) if not one.name.startswith("."))
            self.directories.update(dict.fromkeys(one.parent for one in found))
        for one in found:
            resolved = one.resolve()
            if resolved in {other.resolve() for other in trail}:
                if wild == len(parts):
                    self.problems.append(
                        Problem(place, ("include",), f"{shown(pattern)} leads back to a file that includes it")
                    )
            elif any(resolved == other.resolve() for other in self.files):
                self.problems.append(Problem(place, ("include",), f"{one} is included twice"))
            elif len(self.files) >= MAX_INCLUDES:
                self.problems.append(Problem(place, ("include",), f"more than {MAX_INCLUDES} files"))
                return
            else:
                self.read(one, trail, place)


def _validated(
    tree: Tree,
    problems: list[Problem],
    certificates: CertificateReader,
    unit_files: UnitFiles,
    plugin_files: PluginFiles,
    now: float,
) -> Draft:
    """The parts of the configuration that are valid by themselves; what is wrong with the others goes to `problems`."""
    later = list(find_later(tree.values))
    for path, message in later:
        problems.append(Problem(tree.place(path, key=True)[1], path, message))
    refused = [path for path, _ in later]

    told = {problem.place for problem in problems}

    def report(path: KeyPath, message: str, severity: str = ERROR, *, key: bool = False) -> None:
        # A key that comes later is one error, not also an unknown key or a value that is not allowed.
        if severity == ERROR and any(path[: len(one)] == one or one[: len(path)] == path for one in refused):
            return
        stands, place = tree.place(path, key=key)
        # A value that could not be read (an unset variable, say) is one error, not also a value that is not allowed.
        if place not in told:
            problems.append(Problem(place, stands, message, severity))

    def valid(model: type[Any], value: Any, path: KeyPath) -> Any:
        try:
            return model.model_validate(value)
        except ValidationError as error:
            for under, message, key in errors_of(model, error):
                report((*path, *under), message, key=key)
            return None

    values = tree.values
    draft = Draft(values, report, lambda path: tree.place(path)[1], certificates, unit_files, plugin_files, now)
    rest = {name: value for name, value in values.items() if name not in _PARTS}
    draft.general = valid(_Known, rest, ())
    for name, model, found in (("upstreams", Upstream, draft.upstreams), ("segments", Matcher, draft.segments)):
        given = values.get(name, {})
        if not isinstance(given, dict):
            report((name,), f"must be a map of {name} by name, not {kind_of(given)}")
            continue
        for own, value in given.items():
            name_problem = _name_problem(own)
            if name_problem is not None:
                report((name, own), name_problem, key=True)
            part = valid(model, value, (name, own))
            if part is not None:
                found[own] = part
    for name in ("upstreams", "routes"):
        if name not in values:
            report((name,), "is missing")
        elif values[name] in ([], {}):
            report((name,), "must not be empty")
    routes = values.get("routes", [])
    if isinstance(routes, list):
        draft.routes.extend(valid(Route, value, ("routes", index)) for index, value in enumerate(routes))
    else:
        report(("routes",), f"must be a list of routes, not {kind_of(routes)}")
    return draft


class _Known(General):
    """The general part, knowing the names of the others for its suggestions."""

    upstreams: Any = None
    segments: Any = None
    routes: Any = None


def _name_problem(name: str) -> str | None:
    try:
        parse_name(name)
    except PydanticCustomError as error:
        return error.message()
    return None
