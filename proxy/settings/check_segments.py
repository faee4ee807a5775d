"""What no single matcher shows: segments that need each other, what they come to, and whether what they look at can be there."""

from collections.abc import Collection, Iterator, Mapping
from datetime import UTC, datetime
from typing import Final

from proxy.expressions import ExpressionError, available, check
from proxy.settings.check_route import unit_chain
from proxy.settings.draft import Draft
from proxy.settings.models.matchers import Matcher, Period
from proxy.settings.models.route import Route
from proxy.settings.problems import ERROR, WARNING, KeyPath, Report, suggestion
from proxy.settings.references import matcher_references, matchers_of
from proxy.settings.unit_files import MAX_UNIT

MAX_DEPTH: Final = 16
"""Segments within segments. A decision walks them all the way down."""
MAX_TESTS: Final = 10_000
"""Tests that a segment comes to with all that it names: a millisecond, at worst, of every request."""

_NEEDS: Final = {
    "claim": ("jwt", "claims are read from tokens whose signature is checked"),
    "attribute": ("flags", "attributes are those of the context that a flag is asked with"),
}
_NOBODY: Final = "nobody has any: {}, and there is no `{}`"


def known(report: Report, path: KeyPath, what: str, name: str, names: Collection[str]) -> None:
    """Report a name that nothing has."""
    if name not in names:
        report(path, f"there is no {what} `{name}`" + suggestion(name, names, f"{what}s"))


def check_segments(draft: Draft) -> None:
    """Report what is wrong between segments, in what they look at, and in the files they name."""
    _order(draft)
    _sizes(draft)
    for path, matcher in matchers_of(
        draft.values.get("segments"), draft.values.get("routes"), draft.values.get("flags")
    ):
        for key, (needed, because) in _NEEDS.items():
            if key in matcher and not draft.values.get(needed):
                draft.report((*path, key), _NOBODY.format(because, needed))
        if matcher.get("trusted") is True and draft.general is not None and not draft.general.trusted_proxies:
            draft.report(
                (*path, "trusted"), "nobody is in `trusted_proxies`, so that this never holds", WARNING, key=True
            )
        expression = matcher.get("cel")
        if isinstance(expression, str) and expression:
            _expression(draft, (*path, "cel"), expression)
        name = matcher.get("units_file")
        if isinstance(name, str) and name:
            _list(draft, (*path, "units_file"), name)
    for name, segment in draft.segments.items():
        _past(draft, ("segments", name), segment)
    _units(draft)


def _order(draft: Draft) -> None:
    names = draft.names("segments")
    needs: dict[str, list[tuple[KeyPath, str]]] = {}
    given = draft.values.get("segments")
    for name, raw in given.items() if isinstance(given, dict) else ():
        needs[name] = []
        for path, what, other in matcher_references(raw, ("segments", name)):
            needs[name].append((path, other))
            known(draft.report, path, what, other, names)
    done: set[str] = set()

    def visit(name: str, trail: list[str], path: KeyPath) -> None:
        if name in trail:
            ring = " -> ".join([*trail[trail.index(name) :], name])
            draft.report(path, f"segments need each other in a circle: {ring}")
            done.update(trail)
        elif name in needs and name not in done:
            if len(trail) >= MAX_DEPTH:
                chain = " -> ".join([*trail[:2], "...", name])
                draft.report(path, f"segments are more than {MAX_DEPTH} deep within each other: {chain}")
                done.update(trail)
                return
            for place, other in needs[name]:
                visit(other, [*trail, name], place)
            if name not in done:
                done.add(name)
                draft.segment_order.append(name)

    for name in draft.segments:
        visit(name, [], ("segments", name))


def _sizes(draft: Draft) -> None:
    """In the order of segments, so that those named are known: what each comes to when all of it is looked at."""
    sizes: dict[str, int] = {}

    def size(matcher: Matcher) -> int:
        source, value = matcher.sources()[0]
        if source in ("all", "any"):
            return sum(size(one) for one in value)
        if source == "not":
            return size(value)
        return sizes.get(value, 1) if source == "segment" else 1

    for name in draft.segment_order:
        segment = draft.segments.get(name)
        if segment is not None:
            sizes[name] = min(size(segment), MAX_TESTS + 1)
            if sizes[name] > MAX_TESTS:
                message = f"comes to more than {MAX_TESTS} tests with the segments it names, each time they are named"
                draft.report(("segments", name), message)
                sizes[name] = 1


def _expression(draft: Draft, path: KeyPath, text: str) -> None:
    if not available():
        draft.report(path, "wants cel-expr-python: pip install 'tidegate[cel]'", key=True)
        return
    try:
        reads = check(text)
    except ExpressionError as error:
        draft.report(path, str(error))
        return
    for key, (needed, because) in _NEEDS.items():
        name = f"{key}s"
        if name in reads and not draft.values.get(needed):
            draft.report(path, f"`{name}`: {_NOBODY.format(because, needed)}")


def _list(draft: Draft, path: KeyPath, name: str) -> None:
    files = draft.unit_files
    if name not in draft.lists:
        draft.lists.append(name)
        files.look(name)
    read = files.known.get(name)
    problem = files.problems.get(name)
    if problem is not None:
        if read is None:
            draft.report(path, problem, ERROR)
        else:
            draft.report(path, f"{problem}; the list read before stays, of {read.units} units", WARNING)
    elif read is not None:
        if not read.units:
            draft.report(path, f"{read.path} has no unit in it", WARNING)
        bad = read.skipped["not_text"] + read.skipped["too_long"]
        if bad:
            draft.report(
                path,
                f"{bad} of the lines of {read.path} are left out, the first of them line {read.first_bad}: a unit is"
                f" UTF-8 text of at most {MAX_UNIT} bytes",
                WARNING,
            )


def _past(draft: Draft, path: KeyPath, matcher: Matcher) -> None:
    source, value = matcher.sources()[0]
    if isinstance(value, Period) and value.to is not None and value.to <= draft.now:
        ended = datetime.fromtimestamp(value.to, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        draft.report((*path, "between", "to"), f"this is over since {ended} and never holds again", WARNING)
    elif source == "not":
        _past(draft, (*path, "not"), value)
    elif source in ("all", "any"):
        for index, one in enumerate(value):
            _past(draft, (*path, source, index), one)


def _units(draft: Draft) -> None:
    """A route without a unit of its users' own has nobody in a list."""
    about: dict[str, bool] = {}
    for name in draft.segment_order:
        segment = draft.segments.get(name)
        about[name] = segment is not None and _about_units(segment, about)
    for index, route in enumerate(draft.routes):
        if route is None or any(kind != "mint_cookie" for kind, _ in unit_chain(route)):
            continue
        for path, named in _named_by(route, about):
            if named:
                draft.report(
                    ("routes", index, *path),
                    "it is about units by name, and this route's are "
                    + ("ids that nobody knows" if unit_chain(route) else "none")
                    + ": give `unit`",
                    WARNING,
                )


def _named_by(route: Route, about: Mapping[str, bool]) -> Iterator[tuple[KeyPath, bool]]:
    """The rules, the choice and the rings of a route, and whether each is about units by name."""
    for number, rule in enumerate(route.rules):
        matcher = rule.when
        yield (
            ("rules", number),
            about.get(rule.segment or "", False) or (matcher is not None and _about_units(matcher, about)),
        )
    if route.choice is not None:
        yield ("choice", "segment"), about.get(route.choice.segment or "", False)
    for number, rings in enumerate(route.rings):
        for place, name in enumerate(rings.order):
            yield ("rings", number, "order", place), about.get(name, False)


def _about_units(matcher: Matcher, segments: Mapping[str, bool]) -> bool:
    source, value = matcher.sources()[0]
    if source in ("all", "any"):
        return any(_about_units(one, segments) for one in value)
    if source == "not":
        return _about_units(value, segments)
    if source == "cel":
        return available() and _reads_unit(value)
    return segments.get(value, False) if source == "segment" else source in ("units", "units_file")


def _reads_unit(text: str) -> bool:
    try:
        return "unit" in check(text)
    except ExpressionError:  # told already
        return False
