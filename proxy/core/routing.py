"""Which route takes a request: the first in the file that matches, found without walking the file.

Routes are indexed by host (exact, `*.suffix`, any), then by path (exact, prefix); only patterns stand in a list. A
lookup visits the few lists that can hold the request's host and path, each in the order of the file, and the lowest
position that also passes methods and `where` wins. So a thousand routes cost about what one costs, and the answer is
that of a plain scan (a property test compares the two).
"""

import re
from collections.abc import Iterable
from typing import Final

from proxy.core.plan import Route
from proxy.core.request import Request

_UNRESERVED: Final = frozenset(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~")
_ESCAPE: Final = re.compile(rb"%[0-9A-Fa-f]{2}")


class _Candidate:
    """A route at its place in the file, with the pattern its path has to match whole, if any."""

    def __init__(self, position: int, route: Route, pattern: re.Pattern[bytes] | None) -> None:
        self.position: Final = position
        self.route: Final = route
        self.pattern: Final = pattern
        self.methods: Final = route.methods
        self.where: Final = route.where


class _Paths:
    """The routes of one host, by path."""

    def __init__(self) -> None:
        self.exact: dict[bytes, list[_Candidate]] = {}
        self.prefixes: dict[bytes, list[_Candidate]] = {}  # keys without the slash at the end
        self.depth: int = -1  # slashes in the deepest prefix: a path of 4,000 segments is not looked up 4,000 times
        self.everything: list[_Candidate] = []
        self.patterns: list[_Candidate] = []

    def find(self, path: bytes, request: Request, best: _Candidate | None) -> _Candidate | None:
        """The first candidate that takes the request, if it stands before `best`; else `best`."""
        if self.everything:
            best = _first(self.everything, path, request, best)
        if self.exact:
            exact = self.exact.get(path)
            if exact is not None:
                best = _first(exact, path, request, best)
        if self.depth >= 0:
            prefixes = self.prefixes
            slash = path.find(b"/", 1)
            left = self.depth
            while left >= 0:
                found = prefixes.get(path if slash < 0 else path[:slash])
                if found is not None:
                    best = _first(found, path, request, best)
                if slash < 0:
                    break
                slash = path.find(b"/", slash + 1)
                left -= 1
        if self.patterns:
            best = _first(self.patterns, path, request, best)
        return best


def _first(candidates: list[_Candidate], path: bytes, request: Request, best: _Candidate | None) -> _Candidate | None:
    for candidate in candidates:
        if best is not None and candidate.position >= best.position:
            return best
        if (
            (candidate.methods is None or request.method in candidate.methods)
            and (candidate.pattern is None or candidate.pattern.fullmatch(path) is not None)
            and (candidate.where is None or candidate.where(request))
        ):
            return candidate
    return best


class _Hosts:
    """The routes that look at one form of the path (decoded or raw), by host."""

    def __init__(self) -> None:
        self.exact: dict[bytes, _Paths] = {}
        self.suffixes: dict[bytes, _Paths] = {}  # b".example.com"
        self.labels: int = 0  # in the longest suffix
        self.any: _Paths = _Paths()
        self.empty: bool = True

    def add(self, candidate: _Candidate, *, raw: bool) -> None:
        route = candidate.route
        self.empty = False
        for host in dict.fromkeys(route.hosts or ["*"]):
            name = host.lower().encode()
            if name == b"*":
                paths = self.any
            elif name.startswith(b"*."):
                paths = self.suffixes.setdefault(name[1:], _Paths())
                self.labels = max(self.labels, name.count(b"."))
            else:
                paths = self.exact.setdefault(name, _Paths())
            _place(paths, candidate, raw=raw)

    def find(self, path: bytes, request: Request, best: _Candidate | None) -> _Candidate | None:
        host = request.host
        paths = self.exact.get(host)
        if paths is not None:
            best = paths.find(path, request, best)
        if self.labels:
            dot = host.rfind(b".")
            left = self.labels
            while dot > 0 and left > 0:  # a suffix stands for one label or more before it, never for none
                paths = self.suffixes.get(host[dot:])
                if paths is not None:
                    best = paths.find(path, request, best)
                dot = host.rfind(b".", 0, dot)
                left -= 1
        return self.any.find(path, request, best)


def _place(paths: _Paths, candidate: _Candidate, *, raw: bool) -> None:
    route = candidate.route
    if route.path_regex is not None:
        paths.patterns.append(candidate)
    elif route.path is not None:
        paths.exact.setdefault(wire_path(route.path, raw=raw), []).append(candidate)
    else:
        prefix = wire_path(route.path_prefix or "", raw=raw).removesuffix(b"/")
        if not prefix:
            paths.everything.append(candidate)
        else:
            paths.prefixes.setdefault(prefix, []).append(candidate)
            paths.depth = max(paths.depth, prefix.count(b"/", 1))


class RouteTable:
    """Answers which route takes a request. Routes are added in the order of the file."""

    def __init__(self, routes: Iterable[Route] = ()) -> None:
        self._clean: Final = _Hosts()
        self._raw: Final = _Hosts()
        self._count: int = 0
        for route in routes:
            self.add(route)

    def add(self, route: Route) -> None:
        """Put a route behind those already there. Raises ValueError for a path pattern that is none."""
        pattern = None
        if route.path_regex is not None:
            try:
                pattern = re.compile(route.path_regex.encode())
            except re.error as error:
                raise ValueError(f"route {route.name}: not a regular expression: {error}") from error
        candidate = _Candidate(self._count, route, pattern)
        self._count += 1
        (self._raw if route.raw_paths else self._clean).add(candidate, raw=route.raw_paths)

    def find(self, request: Request) -> Route | None:
        """The first route that takes the request.

        Prefixes match at segment boundaries, with or without a slash at their end (`/` takes everything, `OPTIONS *`
        too); a pattern has to match the whole path. A route with raw paths looks at the path as received, others at
        the decoded one and only where that is clean. None means 404, but 400 for a request whose path is not clean:
        no route that takes raw paths wanted it.
        """
        best: _Candidate | None = None
        if request.clean:
            best = self._clean.find(request.path, request, None)
        if not self._raw.empty:
            best = self._raw.find(request.raw_path, request, best)
        return None if best is None else best.route


def wire_path(text: str, *, raw: bool = False) -> bytes:
    """A configured path as a request would carry it.

    What a URI cannot hold is escaped, and unreserved escapes are decoded as they are in a request's path (RFC 3986
    section 6.2.2.2). For raw paths escapes stay as written.
    """
    escaped = b"".join(
        bytes((byte,)) if 0x21 <= byte <= 0x7E and byte not in b'"<>\\^`{|}' else b"%%%02X" % byte
        for byte in text.encode()
    )
    return escaped if raw else _ESCAPE.sub(_decoded, escaped)


def _decoded(found: re.Match[bytes]) -> bytes:
    byte = int(found[0][1:], 16)
    return bytes((byte,)) if byte in _UNRESERVED else found[0]
