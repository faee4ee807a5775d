"""Keys of the configuration whose capability is not built yet.

They are refused with a message that names it, and never accepted and idle: a `holdout` that does nothing is worse
than none. A row goes when its capability comes. `*` stands for any name or place in a list.
"""

from collections.abc import Iterator
from typing import Any, Final

from proxy.settings.problems import KeyPath

WHO: Final = "who gets what (users, rings, experiments, flags, exposure)"
FLEETS: Final = "fleets (several machines, HTTP/2 and gRPC)"

KEYS: Final[dict[tuple[str, ...], str]] = {
    ("upstreams", "*", "h2"): FLEETS,
    ("h2",): FLEETS,
    ("listen", "*", "h2"): FLEETS,
}
"""Key path to the capability that brings it."""

STATE_LATER: Final = ("redis://", "rediss://", "valkey://")


def message(key: str, capability: str) -> str:
    """What the person is told who used `key` too early."""
    return f"`{key}` is not built yet: it comes with {capability}"


def find_later(values: dict[str, Any]) -> Iterator[tuple[KeyPath, str]]:
    """Yield the place and the message of everything in `values` that comes later."""
    for pattern, capability in KEYS.items():
        for path, _ in _matching(values, pattern, ()):
            yield path, message(str(path[-1]), capability)
    state = values.get("state")
    if isinstance(state, str) and state.startswith(STATE_LATER):
        yield ("state",), message(f"state: {state.partition(':')[0]}", FLEETS)


def _matching(value: Any, pattern: tuple[str, ...], path: KeyPath) -> Iterator[tuple[KeyPath, Any]]:
    """The places under `value` that `pattern` names, and what stands there."""
    if not pattern:
        yield path, value
        return
    step, rest = pattern[0], pattern[1:]
    if step != "*":
        if isinstance(value, dict) and step in value:
            yield from _matching(value[step], rest, (*path, step))
    elif isinstance(value, dict):
        for key, child in value.items():
            yield from _matching(child, rest, (*path, key))
    elif isinstance(value, list):
        for index, child in enumerate(value):
            yield from _matching(child, rest, (*path, index))
